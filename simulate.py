"""Play debates between LLM agents and draw how their attitudes drift. `python simulate.py --help` explains."""

import hydra
from omegaconf import DictConfig

from hustings import cli


@hydra.main(version_base="1.3", config_path="conf", config_name="simulate")
def main(config: DictConfig) -> None:
    """The job."""
    cli.simulate(config)


if __name__ == "__main__":
    cli.entry(main)
