"""kill -9 at random moments: nothing is lost, nothing is asked twice, and the end is that of a run never killed."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from helpers import story_of
from soak.figures import LONG, note
from soak.warm import ASKED, Ended, Order, Warm
from tiny import tiny_model

from hustings import artifacts

PLANTED = ["engine=planted", "repetitions=2", "rounds=2", "artifacts=artifacts"]
RUN = ["hydra.run.dir=out"]
TINY = [
    "model=hf", "model.source=local", "model.path=model", "model.context=512", "engine.precision=exact",
    "engine.device=cpu", "engine.batch_size=1", "artifacts=artifacts", "personas.file=personas.jsonl", *RUN,
]  # fmt: skip
TRAIN = [
    "questions=3", "held_out=1", "answers_per_question=2", "interview.answer_tokens=8", "lora.r=4", "method.batch=2",
    "batch_size=2", "checkpoint=1", "device=cpu", "precision=exact", "model.context=2048",
]  # fmt: skip
EVALUATE = [
    "benchmark.tasks=[]", "benchmark.attitude=default", "repetitions=2", "rounds=1", "sampling.max_tokens=6",
    "prompt.context='{{ story }} {{ conversation }}'", "prompt.reply='Now you:'",
    "instrument.items.severity.wordings={any:['How big?']}",
]  # fmt: skip
KILLS = {"simulate": 400, "sweep": 80, "report": 320, "train": 100, "evaluate": 100} if LONG else {"simulate": 4}
"""How often each is killed."""


@dataclass(frozen=True)
class Scenario:
    """A command, and what it must leave."""

    job: str
    words: list[str]
    same: tuple[str, ...]
    """Files that are equal to the byte, whenever it was killed."""
    close: tuple[str, ...] = ()
    """CSV files whose numbers are equal but for rounding."""


TABLES = ("attitudes.csv", "replies.csv", "agents.csv", "statistics.csv")
SCENARIOS = {
    "simulate": Scenario("simulate", [*PLANTED, *RUN, "topic=racism"], tuple(f"out/{it}" for it in TABLES)),
    "sweep": Scenario(
        "simulate",
        ["-m", *PLANTED, "rounds=1", "topic=racism,gun_violence", "hydra.sweep.dir=out"],
        (*(f"out/{job}/{it}" for job in (0, 1) for it in TABLES), "out/attitudes.csv", "out/comparison.csv"),
    ),
    "report": Scenario("report", ["out"], tuple(f"out/{it}" for it in TABLES)),
    "train": Scenario("train", [*TINY, *TRAIN], (), ("out/adapter/loss.csv",)),
    "evaluate": Scenario("evaluate", [*TINY, *EVALUATE, "topic=racism"], (), ("out/scores.csv",)),
}


@pytest.fixture(scope="module")
def warm() -> Iterator[Callable[[bool], Warm]]:
    """Processes to fork from, with and without the packages that train and run models."""
    started: dict[bool, Warm] = {}

    def get(heavy: bool) -> Warm:
        if heavy not in started:
            started[heavy] = Warm(heavy=heavy)
        return started[heavy]

    yield get
    for each in started.values():
        each.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and personas."""
    folder = tmp_path_factory.mktemp("world")
    names = {"republican": ("James", "John", "Robert"), "democrat": ("Maya", "Sofia", "Amelia")}
    rows = [
        {"party": party, "name": name, "story": story_of(party, place, name)}
        for party, these in names.items()
        for place, name in enumerate(these)
    ]
    (folder / "personas.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def fresh(world: Path, folder: Path, scenario: Scenario, warm: Warm) -> Path:
    """A folder in which the command can begin."""
    folder.mkdir()
    shutil.copy(world / "personas.jsonl", folder)
    if "model.path=model" in scenario.words:
        if not (world / "model").exists():
            tiny_model(world / "model")
        (folder / "model").symlink_to(world / "model")
    if scenario.job == "report":
        if not (world / "finished").exists():
            whole(warm, fresh(world, world / "finished", SCENARIOS["simulate"], warm), SCENARIOS["simulate"])
        shutil.copytree(world / "finished", folder, dirs_exist_ok=True)
    return folder


def whole(warm: Warm, folder: Path, scenario: Scenario) -> Ended:
    """The command, not disturbed."""
    ended = warm.run(Order(str(folder), scenario.job, scenario.words))
    assert ended.code == 0, f"{folder}: {ended.err}"
    return ended


def logged(folder: Path) -> set[str]:
    """What a store holds, as requests are written down."""
    places: set[str] = set()
    for path in folder.glob("artifacts/*/*/*.jsonl"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            row = json.loads(line)
            if "persona" in str(path.parent.parent.name):
                places.add(f"personas/{row['party']}/{row['index']:04d} persona 0 {row['index']} ")
            elif row.get("kind") == "reply":
                places.add(f"{row['debate']} reply {row['iteration'] - 1} {row['agent']} ")
            elif row.get("kind") == "survey":
                places.add(f"{row['debate']} survey {row['iteration']} {row['agent']} {row['item']}")
    return places


def asked(folder: Path) -> list[str]:
    """Every request so far."""
    path = folder / ASKED
    lines = path.read_text().splitlines() if path.exists() else []
    return [re.sub(r"^\d+ (.*) \d+$", r"\1", line) for line in lines]


def valid(folder: Path) -> None:
    """Every artifact can be opened: what is sealed is whole, and what grows has whole lines."""
    for path in folder.glob("artifacts/*/*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        assert manifest["state"] in ("growing", "sealed")
        assert artifacts.whole(manifest)
        assert artifacts.changed(path.parent, manifest["files"]) == []
        assert all((path.parent / name).exists() for name in manifest["files"])


def events(path: Path, *, rounded: bool) -> list[str]:
    """The lines of a log in one order; `rounded` leaves out what a batch of another size changes in its last digits."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return sorted(re.sub(r'"expected":.*?"valid"', '"valid"', line) if rounded else line for line in lines)


def check_end(folder: Path, expected: Path, scenario: Scenario) -> None:
    """The end is that of a run that was never killed."""
    for path in expected.glob("artifacts/*/*/*.jsonl"):
        mine = folder / path.relative_to(expected)
        assert events(mine, rounded=bool(scenario.close)) == events(path, rounded=bool(scenario.close)), mine
    for name in scenario.same:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    for name in scenario.close:
        tables = [pd.read_csv(it / name) for it in (folder, expected)]
        pd.testing.assert_frame_equal(*tables, rtol=1e-3, atol=1e-4)
    for path in folder.glob("artifacts/*/*/manifest.json"):
        assert json.loads(path.read_text())["state"] == "sealed", path
        assert not list(path.parent.glob(".*.[0-9]*")), path


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", KILLS)
def test_a_command_that_is_killed_again_and_again_ends_as_if_it_never_was(
    name: str, tmp_path: Path, world: Path, warm: Callable[[bool], Warm]
) -> None:
    wanted = KILLS[name]
    scenario, machine = SCENARIOS[name], warm(name in ("train", "evaluate"))
    draw = random.Random(f"{name} {os.environ.get('HUSTINGS_SOAK_SEED', '1')}")
    expected = fresh(world, tmp_path / "expected", scenario, machine)
    seconds = whole(machine, expected, scenario).seconds
    counted = fresh(world, tmp_path / "counted", scenario, machine)
    operations = machine.run(Order(str(counted), scenario.job, scenario.words, fault="count")).operations
    killed = requests = series = 0
    while killed < wanted:
        series += 1
        folder = fresh(world, tmp_path / str(series), scenario, machine)
        kills = 0
        for _ in range(min(10, wanted - killed)):
            before, there = asked(folder), logged(folder)
            moment = {"kill_after": draw.uniform(0, seconds)}
            at = {"fault": "kill", "at": draw.randint(1, max(1, operations))}
            chosen = moment if draw.random() < 0.5 else at
            ended = machine.run(Order(str(folder), scenario.job, scenario.words, **chosen))
            assert ended.code in (0, -9), ended.err
            kills += ended.code == -9
            assert there <= logged(folder)
            assert not there & {*asked(folder)[len(before) :]}
            valid(folder)
            if ended.code == 0:
                break
        whole(machine, folder, scenario)
        check_end(folder, expected, scenario)
        assert len(asked(folder)) <= len(asked(expected)) + kills
        killed, requests = killed + kills, requests + len(asked(folder))
        shutil.rmtree(folder)
    note(f"kill -9, {name}", killed, f"{series} runs, {requests:,} requests to engines; nothing lost or asked twice")
