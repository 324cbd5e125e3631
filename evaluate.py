"""Measure what fine-tuning costs: benchmarks, attitude, Table 1. `python evaluate.py --help` explains."""

from hustings.cli.entry import main

if __name__ == "__main__":
    main("evaluate")
