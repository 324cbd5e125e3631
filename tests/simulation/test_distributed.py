"""Debates shared out by Lightning over processes: the log is that of one process, whoever is killed on the way."""

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import cli, fresh_cli, log_of, start_cli, story_of
from tiny import tiny_model

from hustings import records


def debates(store: Path) -> dict[str, list[Any]]:
    """Events of the one log by debate, ordered by kind and place: a log has them as answers came in."""
    found: dict[str, list[Any]] = {}
    for event in records.read(log_of(store)):
        found.setdefault(event.debate, []).append(event.model_dump())
    for events in found.values():
        events.sort(key=lambda event: (event["kind"], event.get("iteration", 0), event.get("agent", 0)))
    return found


def about(plain: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same, with probabilities that may differ by rounding (f32)."""
    return {
        key: [
            {**event, **{name: pytest.approx(event[name], abs=1e-3) for name in ("expected", "logprobs", "mass")}}
            if event.get("expected")
            else event
            for event in events
        ]
        for key, events in plain.items()
    }


def play(folder: Path, *arguments: str) -> list[str]:
    """What simulate.py prints; the imports of several processes take their time on a busy machine."""
    done = fresh_cli(folder, *arguments, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides for debates of a tiny model on the CPU, f32, with personas from a file."""
    folder = tmp_path_factory.mktemp("tiny")
    names = {"republican": ("James", "John", "Robert"), "democrat": ("Maya", "Sofia", "Amelia")}
    lines = [
        json.dumps({"party": party, "name": name, "story": story_of(party, place, name)})
        for party, these in names.items()
        for place, name in enumerate(these)
    ]
    (folder / "personas.jsonl").write_text("\n".join(lines) + "\n")
    model = ["model=hf", "model.source=local", f"model.path={tiny_model(folder / 'model')}", "model.context=512"]
    prompt = [
        "prompt.context='{{ story }} {{ conversation }}'",
        "prompt.reply='Now you:'",
        "instrument.items.severity.wordings={any:['How big?']}",
    ]
    engine = ["engine.precision=exact", "engine.device=cpu", f"personas.file={folder / 'personas.jsonl'}"]
    return [*model, *prompt, *engine, "topic=racism", "repetitions=3", "composition=rep_dem", "sampling.max_tokens=8"]


@pytest.fixture(scope="module")
def alone(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What one process makes of them."""
    folder = tmp_path_factory.mktemp("alone")
    play(folder, *tiny, "rounds=2")
    return debates(folder / "artifacts")


def test_two_processes_make_the_log_of_one(tmp_path: Path, tiny: list[str], alone: dict[str, list[Any]]) -> None:
    said = play(tmp_path, *tiny, "rounds=2", "trainer.devices=2")
    assert debates(tmp_path / "artifacts") == about(alone)
    assert said[0].startswith("3 debates played in ")
    assert [line for line in said if line.startswith("run: ")] == said[-1:]
    assert len(list((tmp_path / "outputs").glob("*/*"))) == 1
    assert not list(log_of(tmp_path / "artifacts").parent.glob("events.rank*"))


def test_a_killed_rank_ends_the_run_and_the_next_one_goes_on_from_what_all_have_logged(
    tmp_path: Path, tiny: list[str], alone: dict[str, list[Any]]
) -> None:
    process = start_cli(tmp_path, *tiny, "rounds=2", "trainer.devices=2")
    deadline = time.monotonic() + 300
    parts: list[Path] = []
    while time.monotonic() < deadline and not (len(parts) == 2 and all(part.stat().st_size > 0 for part in parts)):
        time.sleep(0.02)
        parts = list(tmp_path.glob("artifacts/debates/*/events.rank*.jsonl"))
    (child,) = [it for it in psutil.Process(process.pid).children(recursive=True) if "simulate.py" in str(it.cmdline())]
    child.kill()
    process.communicate(timeout=200)
    assert process.returncode != 0
    assert len(parts) == 2
    play(tmp_path, *tiny, "rounds=2", "trainer.devices=2")
    assert debates(tmp_path / "artifacts") == about(alone)


def test_more_processes_than_debates_make_personas_once_and_the_same_log(tmp_path: Path) -> None:
    small = ["engine=planted", "topic=racism", "repetitions=1", "rounds=2"]
    assert cli(tmp_path, *small, "artifacts=one").returncode == 0
    play(tmp_path, *small, "artifacts=two", "trainer.devices=2")
    assert debates(tmp_path / "two") == debates(tmp_path / "one")
    for file in (tmp_path / "two" / "personas").glob("*/personas.jsonl"):
        assert len(file.read_text().splitlines()) == 1


def test_a_sweep_over_several_devices_is_refused(tmp_path: Path) -> None:
    done = cli(tmp_path, "-m", "engine=planted", "topic=racism,gun_violence", "trainer.devices=2")
    assert done.returncode == 2
    assert "trainer.devices=2, trainer.num_nodes=1: a job of a sweep uses one device" in done.stderr


def test_several_devices_are_for_engines_that_do_not_use_all_by_themselves(tmp_path: Path) -> None:
    done = cli(tmp_path, "engine=openvino", "trainer.devices=2")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "set both to 1, or set engine=transformers." in done.stderr
