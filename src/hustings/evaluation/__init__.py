"""The job of evaluate.py: what fine-tuning costs in benchmark scores and how far it moves an attitude, and Table 1."""
