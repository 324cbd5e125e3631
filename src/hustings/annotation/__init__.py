"""People rate what agents said, and how far they agree."""
