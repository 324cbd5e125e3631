"""What a run would take, before anything is loaded, downloaded or written."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from hustings.artifacts import peek
from hustings.debate import personas
from hustings.debate.estimate import Counter, Estimate, count
from hustings.debate.play import SURVEY_TOKENS, Rules
from hustings.debate.roles import Persona
from hustings.files import existing, megabytes, read_lines
from hustings.records import End, Event, Reply, Start, parse
from hustings.runfolder import EVENTS
from hustings.settings import SimulateSettings
from hustings.simulation import disk
from hustings.simulation.counts import total
from hustings.simulation.plan import Plan, by_debate, first
from hustings.simulation.speed import earlier, time_of
from hustings.simulation.stories import given


@dataclass(frozen=True, slots=True)
class _Work:
    """What a run would do."""

    plan: Plan
    rules: Rules
    starts: list[Start]
    """The debates to play, with personas or stand-ins."""
    logged: dict[str, list[Event]]
    known: bool
    """Whether we know what the store has for this run: only the hub knows the commit of a model there."""
    result: Estimate


def estimate(settings: SimulateSettings, folder: Path = Path("outputs")) -> str:
    """What the run would take, in one paragraph.

    Args:
        settings: the run's settings.
        folder: the run's folder, which need not exist.

    Raises:
        HustingsError: bad settings, a missing model, a damaged artifact.
    """
    work = _work(settings)
    new = [start for start in work.starts if start.debate not in work.logged]
    twice = any(engine.calls(SURVEY_TOKENS)[1] > 1 for engine in settings.engines().values())
    parts = (
        work.result.text,
        "Two in five surveys are counted twice, for options that begin alike (1 and 10)." if twice else "",
        time_of(work.plan, work.result, new, work.rules) if work.known else "",
        _disk(disk.needed(work.plan, folder, resolved=work.known)),
    )
    return " ".join(filter(None, parts))


def seconds(settings: SimulateSettings) -> float | None:
    """How long the run takes at the speed of earlier runs of its model here; None if there are none.

    Raises:
        HustingsError: bad settings, a missing model, a damaged artifact.
    """
    work = _work(settings)
    return earlier(work.plan, work.result) if work.known else None


def _work(settings: SimulateSettings) -> _Work:
    here = "hub" not in {settings.model.source, *(it.model.source for it in settings.cast.values())}
    plan = Plan.of(settings, download=False)
    logged, spent = _store(plan) if here else ({}, {})
    missing = plan.missing({key for key, events in logged.items() if isinstance(events[-1], End)})
    counter = Counter({}, settings.price)
    people = _people(plan, counter, [key for key in missing if key not in logged], here)
    rules = Rules.of(settings)
    surveys = {role: engine.calls(SURVEY_TOKENS) for role, engine in settings.engines().items()}
    starts = list(plan.starts(missing, logged, people))
    result = count(starts, logged, rules, surveys, settings.price)
    begun = [first(events) for events in logged.values()]
    done = count(begun, {}, rules, surveys, settings.price)
    done.add(count(begun, logged, rules, surveys, settings.price), -1)
    replies = sum(isinstance(event, Reply) for events in logged.values() for event in events)
    complete = spent.get("replies") == replies  # killed processes are missing from `spent`
    if complete and done.prompt_tokens and done.tokens:
        result.scaled(spent, done)
    result.add(counter.counted, 1)
    return _Work(plan, rules, starts, logged, here, result)


def _disk(needed: list[tuple[Path, float]]) -> str:
    """How much the run writes, and whether there is room for it."""
    size = sum(size for _, size in needed)
    free = min(shutil.disk_usage(existing(folder)).free for folder, _ in needed)
    short = ", which is too little" if size > free else ""
    return f"It writes about {megabytes(size)} to a disk with {megabytes(free)} left{short}."


def _store(plan: Plan) -> tuple[dict[str, list[Event]], dict[str, float]]:
    """Events of the run's topics by debate, and what they took."""
    logged: dict[str, list[Event]] = {}
    spent: list[dict[str, float]] = []
    for topic in plan.settings.topics:
        artifact = peek(plan.debates(topic))
        path = artifact.folder / EVENTS
        if path.exists():
            logged |= by_debate(parse(read_lines(path), path))
        spent.append(artifact.manifest.get("spent", {}))
    return logged, total(spent)


def _people(plan: Plan, counter: Counter, new: list[str], here: bool) -> dict[str, dict[int, Persona]]:
    """The personas that exist, and stand-ins for those that the model will write."""
    if plan.settings.personas.file:
        return given(plan)
    people: dict[str, dict[int, Persona]] = {}
    for party, indices in plan.wanted(new).items():
        path = plan.personas(party).folder / personas.FILE if here else None
        known = personas.of_party(party, path, read_lines(path)) if path and path.exists() else {}
        for index in sorted(indices - known.keys()):
            request = plan.writer.request(party, index, 0)
            (answer,) = counter.complete([request])
            known[index] = Persona(party, index, request.turn.name, answer.text)
        people[party] = known
    return people
