"""Play debates between LLM agents and draw how their attitudes drift. `python simulate.py --help` explains."""

from hustings.cli.entry import main

if __name__ == "__main__":
    main("simulate")
