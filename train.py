"""Fine-tune a model towards a party with the answers of its own agents. `python train.py --help` explains."""

from hustings.cli.entry import main

if __name__ == "__main__":
    main("train")
