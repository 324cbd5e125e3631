"""How long a run will take, as a dry run says it."""

from pathlib import Path

import pytest
from tiny import tiny_model

from hustings import compose
from hustings.settings import SimulateSettings
from hustings.simulation.estimate import estimate, seconds
from hustings.simulation.job import run


def settings(tmp_path: Path, *words: str) -> SimulateSettings:
    return compose("topic=racism", f"artifacts={tmp_path / 'store'}", *words)


def test_earlier_runs_of_the_same_model_tell_the_time(tmp_path: Path) -> None:
    planted = settings(tmp_path, "engine=planted", "repetitions=4")
    assert seconds(planted) is None
    assert "It takes about" not in estimate(planted)
    run(planted, tmp_path / "run", [])
    assert "It takes about" not in estimate(planted)  # nothing is left to play
    more = settings(tmp_path, "engine=planted", "repetitions=8")
    known = seconds(more)
    assert known is not None and 0 < known < 60
    assert "at the speed of earlier runs of this model here" in estimate(more)
    other = settings(tmp_path, "engine=planted", "repetitions=8", "engine.bias=3.0")
    assert seconds(other) is None


def test_where_the_model_has_never_run_its_speed_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model(tmp_path / "tiny")
    words = (
        "model=hf",
        "model.source=local",
        f"model.path={model}",
        "engine=transformers",
        "repetitions=2",
        "rounds=1",
    )
    new = settings(tmp_path, *words)
    said = estimate(new)
    assert "at the speed just measured, once the model is loaded" in said
    assert "measuring the speed of this machine" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
