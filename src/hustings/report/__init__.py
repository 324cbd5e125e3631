"""What is derived from runs' tables: figures, statistics, comparisons. Made from disk at any time, without a model."""
