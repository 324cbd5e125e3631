"""What tests share: settings composed in-process from conf/, engines that write down what they are asked, the CLI."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from hustings import report, simulation
from hustings.debate.play import Rules, play
from hustings.debate.prompts import Prompts
from hustings.debate.roles import Persona, cast, seating
from hustings.engine.base import Answer, Engine, Request
from hustings.engine.planted import PlantedEngine
from hustings.identity import seed_of
from hustings.records import End, Reply, Start, Survey
from hustings.settings import PlantedSettings, SimulateSettings, load

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
Event = Start | Survey | Reply | End

hypothesis.settings.register_profile("hustings", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("hustings")


def config(*overrides: str, name: str = "simulate") -> DictConfig:
    """The composed config of an entry point."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


def settings(*overrides: str) -> SimulateSettings:
    """The settings of simulate.py, on the planted engine unless told otherwise."""
    return load(SimulateSettings, config("engine=planted", *overrides))


class Recorder(Engine):
    """Another engine, with every request that it took and every answer that it gave."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.promise = inner.promise
        self.asked: list[Request] = []
        self.answered: list[Answer] = []

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        for request, answer in self.inner.stream(queue):
            self.asked.append(request)
            self.answered.append(answer)
            yield request, answer

    def close(self) -> None:
        self.inner.close()


class Scripted(Engine):
    """Answers each request with what a function says."""

    promise = "scripted"

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self._answer = answer

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        while queue:
            request = queue.popleft()
            yield request, self._answer(request)


def planted(of: SimulateSettings) -> PlantedEngine:
    """The planted engine of the settings."""
    assert isinstance(of.engine, PlantedSettings)
    return PlantedEngine(of.engine, of.society, of.prompt.scale, of.seed)


def story_of(party: str, index: int, name: str) -> str:
    """A life story that can be told from every other."""
    return f"You are {name} of the {party} party, and story number {party}-{index:02d}-story is yours alone."


def starts_of(of: SimulateSettings) -> list[Start]:
    """The first events of every debate, with made-up life stories."""
    personas = {
        party: {index: Persona(party, index, name, story_of(party, index, name)) for index, name in enumerate(it.names)}
        for party, it in of.society.parties.items()
    }
    sizes = {party: len(these) for party, these in personas.items()}
    starts: list[Start] = []
    for repetition in range(of.repetitions):
        for topic in of.topics:
            key = f"{topic}/{of.composition.name}/{repetition:04d}"
            agents = cast(
                of.composition, seating(of.composition, repetition, of.seed, sizes), personas, of.society.default
            )
            starts.append(
                Start(debate=key, agents=agents, first=seed_of(of.seed, key, "first") % len(of.composition.roles))
            )
    return starts


def play_all(
    of: SimulateSettings,
    engine: Engine,
    logged: Mapping[str, Sequence[Event]] | None = None,
    starts: Sequence[Start] | None = None,
) -> list[Event]:
    """Play every debate of the settings; the new events."""
    events: list[Event] = []
    rules = Rules(Prompts(of.prompt), of.topics, of.rounds, of.silent, of.sampling, of.seed, of.prompt.scale)
    begun = starts_of(of) if starts is None else starts
    play(engine, begun, logged or {}, rules, of.engine.concurrency, events.append, lambda _: None)
    return events


def simulate(folder: Path, *overrides: str) -> simulation.Outcome:
    """A whole run of simulate.py in this process, with its store in `folder`."""
    of = settings(f"artifacts={folder / 'artifacts'}", *overrides)
    return simulation.run(of, folder / "run", ["simulate.py", *overrides])


def log_of(store: Path) -> Path:
    """The one event log in a store."""
    (path,) = store.glob("debates/*/events.jsonl")
    return path


def start_cli(cwd: Path, *arguments: str, script: str = "simulate.py", **options: Any) -> "subprocess.Popen[str]":
    """An entry point in a process of its own, run in the folder `cwd`."""
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def cli(cwd: Path, *arguments: str, script: str = "simulate.py") -> "subprocess.CompletedProcess[str]":
    """An entry point run to its end."""
    process = start_cli(cwd, *arguments, script=script)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small finished planted run: `run` and `artifacts` are in it. Only to be read."""
    folder = tmp_path_factory.mktemp("finished")
    simulate(folder, "repetitions=6", "topic=racism")
    report.finish(folder / "run", folder / "artifacts")
    return folder
