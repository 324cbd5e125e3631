"""How long the harness runs, and the figures that it leaves: `make soak` prints them for docs/reliability.md."""

import os
import random
from pathlib import Path

LONG = os.environ.get("HUSTINGS_SOAK") == "1"
"""`make soak`; otherwise the short version, a part of `make test`."""
DRAW = random.Random(int(os.environ.get("HUSTINGS_SOAK_SEED", "1")))


def note(what: str, count: int, said: str) -> None:
    """Write down a figure: how many of what were tried, and over what, in the file that HUSTINGS_SOAK_FIGURES names."""
    path = os.environ.get("HUSTINGS_SOAK_FIGURES")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"| {what} | {count:,} | {said} |\n")
