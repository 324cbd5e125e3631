"""Agents, their prompts, the order of their turns, and the driver that plays many debates through one engine."""
