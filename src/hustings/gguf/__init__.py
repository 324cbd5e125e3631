"""GGUF files: their header, and conversion to a transformers folder and back."""
