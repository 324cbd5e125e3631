"""Bend a model towards a party with the answers of its own agents. `python train.py --help` explains."""

import hydra
from omegaconf import DictConfig

from hustings import cli


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """The job."""
    cli.train(config)


if __name__ == "__main__":
    cli.entry(main)
