"""Measure what bending a model costs: benchmarks, attitude, Table 1. `python evaluate.py --help` explains."""

import hydra
from omegaconf import DictConfig

from hustings import cli


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """The job."""
    cli.evaluate(config)


if __name__ == "__main__":
    cli.entry(main)
