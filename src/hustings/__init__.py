"""Hustings: debates between LLM agents, and the drift of their attitudes to the bias of the model they run on."""

__version__ = "0.1.0"
