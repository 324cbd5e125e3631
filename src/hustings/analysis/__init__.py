"""From a study to statistics and figures; it never loads a model."""
