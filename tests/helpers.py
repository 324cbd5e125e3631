"""What tests share: settings composed in-process from conf/, engines that write down what they are asked, the CLI."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import forked
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from hustings import records
from hustings.debate.play import Listener, Rules, play
from hustings.debate.roles import Persona, Seating, seating
from hustings.engine.base import Answer, Engine, Request
from hustings.engine.planted import PlantedEngine, PlantedSettings
from hustings.files import write_table
from hustings.identity import seed_of
from hustings.records import Event, Start
from hustings.runfolder import (
    AGENTS,
    ATTITUDES,
    EVENTS,
    MANIFEST,
    REPLIES,
    REPORT,
    DebateKey,
    RunManifest,
    TrainingManifest,
    read_manifest,
    write_manifest,
)
from hustings.settings import EngineSettings, SimulateSettings, TrainSettings, load
from hustings.simulation import job

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
PUBLISHED = Path(os.environ.get("HUSTINGS_DATA", ROOT.parent / "shared" / "data"))
LIKERT = (
    f"hydra.searchpath=[file://{ROOT / 'tests' / 'conf'}]",
    "instrument=likert",
    "engine.bias=3.5",
    "engine.start_low=1.5",
    "engine.start_high=4.5",
)
"""Overrides for an instrument of two items with five options, on the planted engine."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def config(*overrides: str, name: str = "simulate") -> DictConfig:
    """The composed config of an entry point."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


def settings(*overrides: str) -> SimulateSettings:
    """The settings of simulate.py, on the planted engine unless told otherwise."""
    return load(SimulateSettings, config("engine=planted", *overrides))


def engine_settings(kind: str, **changes: Any) -> Any:
    """The settings of an engine, as conf/engine has them but for the changes; small and exact for tests."""
    small = {"openvino": {"cache_gb": 1}, "transformers": {"device": "cpu", "batch_size": 8}}
    plain: Any = OmegaConf.to_container(OmegaConf.load(CONF / "engine" / f"{kind}.yaml"))
    exact = {"precision": "exact"} if "precision" in plain else {}
    return EngineSettings.of_kind({**plain, **exact, "concurrency": 8, **small.get(kind, {}), **changes})


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
    return PlantedEngine(of.engine, of)


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
    table = Seating(of, dict.fromkeys(of.roles, ""))
    starts: list[Start] = []
    for repetition in range(of.repetitions):
        for topic in of.topics:
            key = str(DebateKey(topic, of.composition.name, repetition))
            agents = table.agents(topic, seating(of.composition, repetition, of.seed, sizes), personas)
            first = seed_of(of.seed, key, "first") % sum(agent.speaks for agent in agents)
            starts.append(Start(debate=key, agents=agents, first=first))
    return starts


def play_all(
    of: SimulateSettings,
    engine: Engine,
    logged: Mapping[str, Sequence[Event]] | None = None,
    starts: Sequence[Start] | None = None,
) -> list[Event]:
    """Play every debate of the settings; the new events."""
    events: list[Event] = []
    begun = starts_of(of) if starts is None else starts
    play(engine, begun, logged or {}, Rules.of(of), of.engine.concurrency, Listener(events.append))
    return events


def simulate(folder: Path, *overrides: str) -> job.Outcome:
    """A whole run of simulate.py in this process, with its store in `folder`."""
    of = settings(f"artifacts={folder / 'artifacts'}", *overrides)
    return job.run(of, folder / "run", ["simulate.py", *overrides])


def report(folder: Path) -> Path:
    """Give the run in `folder`, as `simulate` leaves it, its statistics, figures and page; the page."""
    from hustings import page
    from hustings.report import run

    run.finish(folder / "run", folder / "artifacts")
    return page.write([folder / "run"], folder / "run" / REPORT)


def log_of(store: Path) -> Path:
    """The event log in a store that holds debates on one topic."""
    (path,) = logs_of(store)
    return path


def logs_of(store: Path) -> list[Path]:
    """The event logs in a store, one for each topic."""
    return sorted(store.glob("debates/*/events.jsonl"))


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return {**kept, "PIP_NO_INDEX": "1"}  # no test downloads a model by accident


def start_cli(cwd: Path, *arguments: str, script: str = "simulate.py", **options: Any) -> "subprocess.Popen[str]":
    """An entry point in a process as a user starts it, run in the folder `cwd`."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        env=_environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def cli(
    cwd: Path, *arguments: str, script: str = "simulate.py", timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """An entry point run to its end, which comes within so many seconds, in a process that is forked (forked.py)."""
    return forked.run([str(ROOT / script), *arguments], cwd, _environment(), timeout)


def start_forked(cwd: Path, *arguments: str, script: str = "simulate.py") -> "multiprocessing.process.BaseProcess":
    """An entry point in a forked process (forked.py), which a test may kill; what it prints is lost."""
    nowhere = [Path(os.devnull)] * 2
    return forked.start([str(ROOT / script), *arguments], cwd, _environment(), nowhere)


def fresh_cli(cwd: Path, *arguments: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
    """`simulate.py` run to its end in a process as a user starts it, for what its start makes a difference to."""
    process = start_cli(cwd, *arguments)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def hustings(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The `hustings` command run to its end."""
    command = [sys.executable, "-m", "hustings", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def left(folder: Path) -> list[str]:
    """All that is in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def tuned(folder: Path, card: str, *overrides: str) -> Path:
    """A run's folder with an adapter as train.py leaves one, and a manifest of train.py where there is none."""
    adapter = folder / "adapter"
    adapter.mkdir(parents=True)
    made = ("party=republican", "lora.r=8", "questions=20", "held_out=5", *overrides)
    plain = load(TrainSettings, config(*made, name="train")).model_dump(mode="json")
    manifest = {
        "kind": "adapters", "id": "0123456789ab", "name": "republican_nwp_r8_s1", "base": "tiny", "rows": 80,
        "of": {"model": "f" * 64}, "questions": "a1b2", "answers": {"republican": "c3d4"}, "first_loss": 3.5,
        "last_loss": 3.2, "seconds": 61.0, "versions": {"trl": "1.16.0"}, "settings": plain,
        "held_out_loss": {"base": {"republican": 3.52, "democrat": 3.6},
                          "adapter": {"republican": 3.4, "democrat": 3.6}},
    }  # fmt: skip
    (adapter / "manifest.json").write_text(json.dumps(manifest))
    (adapter / "loss.csv").write_text("step,loss\n1,3.5\n2,3.2\n")
    (adapter / "README.md").write_text(card, encoding="utf-8")
    if not (folder / MANIFEST).exists():
        command = ["train.py", *made]
        name = "republican_nwp_r8_s1-0123456789ab"
        write_manifest(
            folder,
            TrainingManifest(command=command, versions={}, settings=plain, adapter=name, trained=True, seconds=61.0),
        )
    return folder


def log(debates: int, topic: str = "racism", words: str = "word " * 60) -> Iterator[Event]:
    """Debates of five rounds of three, with replies of 300 characters."""
    story = "You are somebody, and life taught you this. " * 15
    roles = ("republican", "democrat", "default")
    for number in range(debates):
        key = str(DebateKey(topic, "rep_dem_default", number))
        agents = tuple(records.Agent(role=role, persona=f"{role}/{number % 40:02d}", name=f"{role}-{number % 40}",
                                     story=f"{number % 40} {role} {story}") for role in roles)  # fmt: skip
        yield records.Start(debate=key, agents=agents, first=0)
        for iteration in range(16):
            if iteration:
                yield records.Reply(debate=key, iteration=iteration, agent=iteration % 3, text=f"{number} {words}",
                                    tokens=60, finish="stop")  # fmt: skip
            if iteration % 3 == 0:
                for agent in range(3):
                    value = (number + agent) % 11
                    yield records.Survey(debate=key, iteration=iteration, agent=agent, item="severity", wording=0,
                                         value=value, expected=5.25, logprobs=None, mass=None, valid=True,
                                         raw=str(value))  # fmt: skip
        yield records.End(debate=key)


def leave(events: Iterable[Event], folder: Path, manifest: RunManifest) -> Path:
    """A run's folder with the log and the tables of these events."""
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, manifest.model_copy(update={"files": {}}))
    events = list(events)
    (folder / EVENTS).write_text("".join(event.model_dump_json() + "\n" for event in events), encoding="utf-8")
    for table, file in zip(records.tables(events, "planted", "", 1), (ATTITUDES, REPLIES, AGENTS), strict=True):
        write_table(folder / file, table)
    return folder


def large(folder: Path, finished: Path, debates: int) -> Path:
    """A run of many debates on four topics, written as a log; planted replies are shorter than a model's."""
    topics = ("climate_change", "gun_violence", "illegal_immigration", "racism")
    manifest = read_manifest(finished / "run", RunManifest)
    racism = manifest.settings["topics"]["racism"]
    plain = {**manifest.settings, "topics": {key: {**racism, "label": key.replace("_", " ")} for key in topics}}
    whole = manifest.model_copy(update={"settings": plain, "debates": dict.fromkeys(topics, "0" * 12)})
    return leave((event for topic in topics for event in log(debates // 4, topic)), folder / "run", whole)
