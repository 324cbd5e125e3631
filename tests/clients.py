"""The openai engine as tests build it, what they ask it, and what its runs leave."""

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from helpers import config, logs_of

from hustings import records
from hustings.engine.base import Request, Sampling, Turn
from hustings.engine.openai import OpenaiEngine, OpenaiSettings
from hustings.settings import SimulateSettings, load
from hustings.simulation import job

KEY = "sk-canary-4f1d9c77aa"
OPTIONS = tuple(map(str, range(11)))
LIKERT = ("Strongly disagree", "Disagree", "Neither", "Agree", "Strongly agree")


def of(url: str, *overrides: str) -> SimulateSettings:
    words = ["model=api", "model.id=some-model", f"engine.base_url='{url}'", *overrides]
    return load(SimulateSettings, config(*words))


_of = lru_cache(of)


def build(url: str, *overrides: str) -> OpenaiEngine:
    made = _of("http://127.0.0.1:1/v1", *overrides)  # composing takes half a second
    assert isinstance(made.engine, OpenaiSettings)
    return OpenaiEngine(made.engine.model_copy(update={"base_url": url}), made.model)


def ask(seed: int, prompt: str = "Speak.", options: tuple[str, ...] = (), start: str = "") -> Request:
    turn = Turn(
        f"racism/rep_dem_default/{seed:04d}", 0, "republican", 3, "survey" if options else "reply", "Ann", "severity"
    )
    return Request(prompt, seed, Sampling(1.0, 20), turn, start, options)


def run(folder: Path, url: str, *overrides: str) -> job.Outcome:
    return job.run(of(url, f"artifacts={folder / 'artifacts'}", *overrides), folder / "run", ["simulate.py"])


def events(folder: Path) -> list[Any]:
    return [event for path in logs_of(folder / "artifacts") for event in records.read(path)]


def whole(found: list[Any], debates: int, rounds: int = 3) -> None:
    """The log has every debate to its end, and every reply and answer of it once."""
    kinds = Counter(type(event).__name__ for event in found)
    surveys, replies = debates * 4 * (rounds + 1), debates * 3 * rounds
    assert kinds == {"Start": debates, "End": debates, "Survey": surveys, "Reply": replies}
    places = [(event.debate, event.kind, getattr(event, "iteration", 0), getattr(event, "agent", 0)) for event in found]
    assert len(set(places)) == len(places)


def assert_nowhere(folder: Path) -> None:
    """The key, or the part of it that could not be anything else, is in no file."""
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes(), path
