"""Ratings by people of what agents said, and how far they agree."""
