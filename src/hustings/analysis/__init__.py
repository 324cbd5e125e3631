"""Statistics and figures of a study. Nothing here loads a model."""
