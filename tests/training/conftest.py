"""A tiny random model, and the settings of trainings of it that take a second."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from helpers import config
from tiny import tiny_model

from hustings import adapters, models
from hustings.adapters import Adapter
from hustings.debate import personas
from hustings.settings import SimulateSettings, TrainSettings, load
from hustings.simulation import job as simulation
from hustings.training import job

SMALL = [
    "questions=6",
    "held_out=2",
    "answers_per_question=4",
    "interview.answer_tokens=16",
    "lora.r=4",
    "method.batch=8",
    "batch_size=4",
    "device=cpu",
    "engine.device=cpu",
    "engine.precision=exact",
    "precision=exact",
]
Small = Callable[..., list[str]]
Settings = Callable[..., TrainSettings]
Tune = Callable[..., tuple[job.Outcome, Adapter]]
Simulate = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUSTINGS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the model."""
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def model(tiny: Path) -> list[str]:
    """Overrides that choose the model."""
    return ["model=hf", "model.source=local", f"model.path={tiny}", "model.context=2048"]


@pytest.fixture(scope="module")
def small(model: list[str]) -> Small:
    """Overrides of a small training with its store in a folder."""

    def words(folder: Path, *overrides: str) -> list[str]:
        start = ["method.nwp.batch=8"] if "method=dpo" in overrides else []
        return [*model, f"artifacts={folder / 'artifacts'}", *SMALL, *overrides, *start]

    return words


@pytest.fixture(scope="module")
def settings(small: Small) -> Settings:
    """Settings of a small training with its store in a folder."""

    def loaded(folder: Path, *overrides: str) -> TrainSettings:
        return load(TrainSettings, config(*small(folder, *overrides), name="train"))

    return loaded


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store has questions and answers already, once the first training has made them."""
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def tune(settings: Settings) -> Tune:
    """A whole run of train.py in this process."""

    def tuned(folder: Path, *overrides: str) -> tuple[job.Outcome, Adapter]:
        of = settings(folder, *overrides)
        outcome = job.run(of, folder / "run", ["train.py", *overrides])
        return outcome, adapters.find(folder / "artifacts", models.resolve(of.model), outcome.adapter)

    return tuned


@pytest.fixture
def simulate(model: list[str], monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """A whole run of simulate.py in this process, on the tiny model; its attitudes."""
    monkeypatch.setattr(personas, "flaw", lambda *_: None)
    small = ["topic=racism", "repetitions=2", "rounds=1", "sampling.max_tokens=8", "personas.max_tokens=32"]

    def simulated(folder: Path, *overrides: str) -> pd.DataFrame:
        words = [*model, *small, f"artifacts={folder / 'artifacts'}", *overrides]
        outcome = simulation.run(load(SimulateSettings, config(*words)), folder / "run", ["simulate.py"])
        return pd.read_csv(outcome.folder / "attitudes.csv")

    return simulated
