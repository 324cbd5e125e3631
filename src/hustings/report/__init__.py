"""Figures, statistics and comparisons, made from the tables of runs. They need no model and can be remade any time."""
