"""From tidy tables to statistics and figures; reads what is on disk and never loads a model."""
