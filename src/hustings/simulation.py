"""The main job: personas, debates, tables and figures, each made only as far as it is not there yet."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from hustings import adapters, distributed, models, records, report
from hustings.artifacts import Artifact, held, link, seen, write_atomically
from hustings.debate import personas, protocol
from hustings.debate.estimate import SECOND, Counter, count
from hustings.debate.play import Rules, play
from hustings.debate.prompts import Prompts
from hustings.debate.roles import DEFAULT, Persona, cast, seating
from hustings.engine.base import Answer, Engine
from hustings.errors import SettingsError
from hustings.identity import canonical, seed_of, sha256
from hustings.progress import say, showing
from hustings.provenance import commit, versions
from hustings.settings import PriceSettings, SimulateSettings

EVENTS = "events.jsonl"
ATTITUDES = "attitudes.csv"
_VERSIONS = ("torch", "transformers", "bitsandbytes", "openvino-genai", "hydra-core", "pandas")


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a run made."""

    folder: Path
    debates: int
    """In the run."""
    played: int
    """In this process; the others were there."""
    seconds: float
    replies: int
    tokens: int
    invalid: int
    """Invalid survey answers in the whole run."""


class _Lazy:
    """An engine that is loaded when it is first needed, and once."""

    def __init__(self, build: Callable[[], Engine], name: str) -> None:
        self._build, self._name = build, name
        self._engine: Engine | None = None

    def get(self) -> Engine:
        if self._engine is None:
            began = time.monotonic()
            say(f"loading {self._name} …")
            self._engine = self._build()
            if time.monotonic() - began > 1:
                say(f"{self._name} loaded in {time.monotonic() - began:.1f} s")
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def run(settings: SimulateSettings, folder: Path, command: list[str]) -> Outcome:
    """Play what the settings ask for and is not in the store, and put tables and figures into `folder`.

    Args:
        folder: the run's folder; the event log in it is a link into the store.
        command: the command line, for the manifest.

    Raises:
        HustingsError: bad settings, a missing model, a busy or damaged artifact.
    """
    prompts = Prompts(settings.prompt)
    seats = _seats(settings)
    store = Path(settings.artifacts)
    weights, adapter = _model(settings, store)
    if settings.engine.kind == "openai":
        say(estimate(settings))
    base = lazy = _lazy(settings, weights, None)
    if adapter is not None:
        lazy = _lazy(settings, weights, adapter)
    slug, substance = _named(settings, weights, adapter)
    counts = _Counts()
    try:
        with held(store, "debates", slug, substance, wait=False) as artifact:
            path = artifact.folder / EVENTS
            distributed.gather(artifact.folder, EVENTS)
            logged = _logged(path)
            missing = {key: seat for key, seat in seats.items() if not _ended(logged.get(key))}
            if missing:
                artifact.grow(model=weights.fingerprint, versions=versions(_VERSIONS))
                try:
                    new = {key: seat for key, seat in missing.items() if key not in logged}
                    cast_of = _personas(settings, new, weights, prompts, store, base, counts)
                    if base is not lazy:
                        base.close()
                    starts = _starts(settings, missing, logged, cast_of)
                    artifact.grow(promise=lazy.get().promise)
                    _play(settings, prompts, path, starts, logged, len(seats), lazy, counts)
                finally:
                    artifact.grow(spent=counts.added(artifact.manifest.get("spent")))
            elif distributed.awaited(settings.trainer):
                _play(settings, prompts, path, [], logged, len(seats), lazy, counts)
            if artifact.growing:
                artifact.seal()
            return _tables(settings, weights, adapter, artifact, set(seats), folder, command, counts)
    finally:
        base.close()
        lazy.close()


def assists(settings: SimulateSettings) -> bool:
    """Play a share of a run that another process leads, if this process was started for that, and say so."""
    if settings.trainer.ranks == 1 or distributed.first():
        return False
    weights, adapter = _model(settings, Path(settings.artifacts))
    lazy = _lazy(settings, weights, adapter)
    try:
        _share_out(settings, None, lazy, _rules(settings, Prompts(settings.prompt)), lambda _: None, lambda _: None)
    finally:
        lazy.close()
    return True


def _lazy(settings: SimulateSettings, weights: models.Weights, adapter: adapters.Adapter | None) -> _Lazy:
    bent = f" with {adapter.name}" if adapter else ""
    return _Lazy(lambda: adapters.build(settings, weights, adapter), f"{weights.name}{bent} on {settings.engine.kind}")


@dataclasses.dataclass(slots=True)
class _Counts:
    """Of this process."""

    played: int = 0
    seconds: float = 0.0
    replies: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    persona_tokens: int = 0
    persona_prompt_tokens: int = 0
    calls: int = 0
    """Answers, of personas too."""
    refusals: int = 0
    dollars: float | None = None
    """Of debates and personas; None without a price."""

    def told(self, answer: Answer, price: PriceSettings | None, *, persona: bool = False) -> None:
        """Count an answer."""
        self.calls += 1
        self.refusals += answer.refused
        if persona:
            self.persona_tokens += answer.tokens
            self.persona_prompt_tokens += answer.prompt_tokens
        else:
            self.tokens += answer.tokens
            self.prompt_tokens += answer.prompt_tokens
        if price is not None:
            dollars = (answer.prompt_tokens * price.input + answer.tokens * price.output) / 1e6
            self.dollars = (self.dollars or 0.0) + dollars

    def added(self, before: Mapping[str, Any] | None) -> dict[str, Any]:
        """With what earlier processes took for the same debates."""
        mine = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return {name: value + (before or {}).get(name, 0) for name, value in mine.items()} | {
            name: value for name, value in (before or {}).items() if name not in mine
        }


def estimate(settings: SimulateSettings) -> str:
    """What the run would take, in one paragraph; nothing is loaded, downloaded or written.

    Raises:
        HustingsError: bad settings, a missing model, a damaged artifact.
    """
    prompts = Prompts(settings.prompt)
    seats = _seats(settings)
    store = Path(settings.artifacts)
    logged: dict[str, list[Any]] = {}
    spent: dict[str, Any] = {}
    cast_of: dict[str, dict[int, Persona]] = {}
    if settings.model.source != "hub":  # whose commit, and so what is there, only the hub tells
        weights, adapter = _model(settings, store)
        artifact = seen(store, "debates", *_named(settings, weights, adapter))
        logged, spent = _logged(artifact.folder / EVENTS), artifact.manifest.get("spent", {})
        for party in {*settings.composition.roles, *settings.composition.observers} - {DEFAULT}:
            file = seen(store, *_persona_named(settings, party, weights)).folder / personas.FILE
            cast_of[party] = personas.load(file).get(party, {}) if file.exists() else {}
    missing = {key: seat for key, seat in seats.items() if not _ended(logged.get(key))}
    new = {key: seat for key, seat in missing.items() if key not in logged}
    if settings.personas.file:
        cast_of = personas.load(Path(settings.personas.file), settings.society.parties)
    counter = Counter(0)
    for party, indices in _wanted(settings, new).items():
        known = cast_of.setdefault(party, {})
        unwritten = [(party, index) for index in sorted(indices - known.keys())]
        stand_in = functools.partial(_stand_in, settings, prompts)
        cast_of[party] = known | {index: stand_in(counter, party, index) for party, index in unwritten}
    # A server that is not told the options generates the answer's whole length; other engines only score.
    engine = settings.engine
    survey_tokens = 8 if engine.kind == "openai" else 1
    # Where answers can be begun, models that take digits one by one are asked what follows "1", unless they said "1".
    twice = engine.kind == "openai" and engine.start == "prefill" and engine.logprobs > 0
    starts, rules = _starts(settings, missing, logged, cast_of), _rules(settings, prompts)
    counted = functools.partial(count, rules=rules, survey_tokens=survey_tokens, survey_calls=1 + SECOND * twice)
    total = counted(starts, logged)
    begun = [_first(events) for events in logged.values()]
    done = counted(begun, {})
    done.add(counted(begun, logged), -1)
    replies = sum(isinstance(event, records.Reply) for events in logged.values() for event in events)
    told = spent.get("replies") == replies  # what a process that was killed took is not in `spent`
    if told and done.prompt_tokens and done.tokens:
        total.scaled(spent, done)
    total.add(counter.counted, 1)
    note = " Two surveys in five are counted twice, for models that take the digits of 10 one by one." if twice else ""
    return total.text(settings.model.price) + note


def _stand_in(settings: SimulateSettings, prompts: Prompts, counter: Counter, party: str, index: int) -> Persona:
    """A life story as long as the one that the model will write."""
    request = personas.request(settings.society, prompts, settings.personas, settings.seed, party, index, 0)
    (answer,) = counter.complete([request])
    return Persona(party, index, request.turn.name, answer.text)


def _model(settings: SimulateSettings, store: Path) -> tuple[models.Weights, adapters.Adapter | None]:
    if settings.engine.kind == "planted":
        return models.Weights("planted", "planted", None, None), None
    weights = models.resolve(settings.model)
    return weights, None if settings.adapter is None else adapters.find(store, weights, settings.adapter)


def _named(
    settings: SimulateSettings, weights: models.Weights, adapter: adapters.Adapter | None
) -> tuple[str, dict[str, Any]]:
    """Slug and substance of the debates."""
    bent = [adapter.name] if adapter else []
    slug = "-".join((weights.name, *bent, settings.composition.name, *(["silent"] if settings.silent else [])))
    return slug, _substance(settings, weights.fingerprint, adapter)


def _seats(settings: SimulateSettings) -> dict[str, list[int]]:
    """Persona numbers of every debate of the run, by its key; repetition by repetition, all topics of each."""
    parties = {*settings.composition.roles, *settings.composition.observers} - {DEFAULT}
    sizes = {party: len(settings.society.parties[party].names) for party in parties}
    if settings.personas.file:
        given = personas.load(Path(settings.personas.file), settings.society.parties)
        sizes = {party: len(given.get(party, {})) for party in parties}
        empty = sorted(party for party, size in sizes.items() if size == 0)
        if empty:
            raise SettingsError(f"personas.file={settings.personas.file!r}: there is no persona of {', '.join(empty)}.")
    composition = settings.composition
    return {
        f"{topic}/{composition.name}/{repetition:04d}": seating(composition, repetition, settings.seed, sizes)
        for repetition in range(settings.repetitions)
        for topic in settings.topics
    }


def _substance(settings: SimulateSettings, fingerprint: str, adapter: adapters.Adapter | None) -> dict[str, Any]:
    """What the identity of the debates is made of: all that changes them, and how their log is read."""
    substance = settings.substance()
    substance["model"] = fingerprint
    del substance["adapter"]
    if adapter is not None:
        substance["adapter"] = adapter.manifest["files"][adapters.FILE]
    if settings.personas.file:
        substance["personas"] = sha256(Path(settings.personas.file))
    return {"events": 1, **substance}


def _logged(path: Path) -> dict[str, list[Any]]:
    logged: dict[str, list[Any]] = {}
    if path.exists():
        for event in records.read(path):
            logged.setdefault(event.debate, []).append(event)
    return logged


def _ended(events: list[Any] | None) -> bool:
    return bool(events) and isinstance(events[-1], records.End)


def _first(events: list[Any]) -> records.Start:
    start = events[0]
    assert isinstance(start, records.Start)
    return start


def _starts(
    settings: SimulateSettings,
    missing: Mapping[str, list[int]],
    logged: Mapping[str, list[Any]],
    cast_of: Mapping[str, Mapping[int, Persona]],
) -> list[records.Start]:
    """First events of debates: those of the log, and new ones."""
    return [
        _first(logged[key]) if key in logged else _start(settings, key, seat, cast_of) for key, seat in missing.items()
    ]


def _start(
    settings: SimulateSettings, key: str, seat: list[int], cast_of: Mapping[str, Mapping[int, Persona]]
) -> records.Start:
    agents = cast(settings.composition, seat, cast_of, settings.society.default)
    first = seed_of(settings.seed, key, "first") % len(settings.composition.roles)
    return records.Start(debate=key, agents=agents, first=first)


def _personas(
    settings: SimulateSettings,
    seats: Mapping[str, list[int]],
    weights: models.Weights,
    prompts: Prompts,
    store: Path,
    lazy: _Lazy,
    counts: _Counts,
) -> dict[str, dict[int, Persona]]:
    """The personas that sit in the debates: from the file, from the store, or written now."""
    if settings.personas.file:
        return personas.load(Path(settings.personas.file), settings.society.parties)
    # Sorted: processes that take the parties' locks in one order do not wait for each other.
    wanted = dict(sorted(_wanted(settings, seats).items()))
    with contextlib.ExitStack() as stack:
        artifacts = {
            party: stack.enter_context(held(store, *_persona_named(settings, party, weights), wait=True))
            for party in wanted
        }
        have = {party: _written(artifact.folder / personas.FILE, party) for party, artifact in artifacts.items()}
        missing = [(party, index) for party in wanted for index in sorted(wanted[party] - have[party].keys())]
        if missing:
            files: dict[str, TextIO] = {}
            for party in dict(missing):
                artifacts[party].grow()
                file = artifacts[party].folder / personas.FILE
                files[party] = stack.enter_context(file.open("a", encoding="utf-8"))
            live = lazy.get()
            total = sum(map(len, wanted.values()))
            with showing("personas", total, total - len(missing), len(missing)) as progress:

                def keep(persona: Persona) -> None:
                    files[persona.party].write(personas.line(persona))
                    files[persona.party].flush()
                    have[persona.party][persona.index] = persona
                    progress.done += 1
                    progress.answers += 1
                    progress.show()

                def told(answer: Answer) -> None:
                    counts.told(answer, settings.model.price, persona=True)
                    progress.dollars, progress.refusals = counts.dollars, counts.refusals

                personas.write(live, missing, settings.society, prompts, settings.personas, settings.seed, keep, told)
        for artifact in artifacts.values():
            if artifact.growing:
                artifact.seal()
    return have


def _written(path: Path, party: str) -> dict[int, Persona]:
    """The personas that are there; a line that was cut short is taken away."""
    if not path.exists():
        return {}
    with path.open("rb+") as file:
        records.drop_half_line(file.fileno())
    return personas.load(path).get(party, {})


def _wanted(settings: SimulateSettings, seats: Mapping[str, list[int]]) -> dict[str, set[int]]:
    """Numbers of the personas that sit in the debates, by party."""
    roles = (*settings.composition.roles, *settings.composition.observers)
    wanted: dict[str, set[int]] = {}
    for seat in seats.values():
        for role, index in zip(roles, seat, strict=True):
            if role != DEFAULT:
                wanted.setdefault(role, set()).add(index)
    return wanted


def _persona_named(settings: SimulateSettings, party: str, weights: models.Weights) -> tuple[str, str, dict[str, Any]]:
    """Kind, slug and substance of a party's personas."""
    substance = {
        "model": weights.fingerprint,
        "engine": settings.engine.substance(),
        "country": settings.society.country,
        "party": settings.society.parties[party].substance(),
        "prompt": [settings.prompt.persona, settings.prompt.persona_start],
        "personas": settings.personas.substance(),
        "seed": settings.seed,
    }
    return "personas", f"{weights.name}-{party}", substance


def _play(
    settings: SimulateSettings,
    prompts: Prompts,
    path: Path,
    starts: list[records.Start],
    logged: Mapping[str, list[Any]],
    total: int,
    lazy: _Lazy,
    counts: _Counts,
) -> None:
    """Play to the end, counting as it goes, so that a run that is stopped has its counts too."""
    speakers = len(settings.composition.roles)
    replies = 0 if settings.silent else protocol.iterations(settings.rounds, speakers)
    answers = (
        replies + len(protocol.surveys(settings.rounds, speakers)) * speakers + len(settings.composition.observers)
    )
    there = sum(
        isinstance(event, records.Reply | records.Survey) for start in starts for event in logged.get(start.debate, ())
    )
    rules = _rules(settings, prompts)
    ranks = settings.trainer.ranks
    with (
        contextlib.closing(records.Log(path)) as log,
        showing("debates", total, total - len(starts), (answers * len(starts) - there) // ranks) as progress,
    ):

        def seen(event: records.Start | records.Survey | records.Reply | records.End) -> None:
            match event:
                case records.Reply():
                    progress.replies += 1
                    progress.answers += 1
                case records.Survey():
                    progress.invalid += not event.valid
                    progress.answers += 1
                case records.End():
                    progress.done += 1
                case records.Start():
                    pass
            progress.show()

        def keep(event: records.Start | records.Survey | records.Reply | records.End) -> None:
            log.append(event)
            seen(event)

        def told(answer: Answer) -> None:
            counts.told(answer, settings.model.price)
            progress.tokens += answer.tokens
            progress.dollars, progress.refusals = counts.dollars, counts.refusals

        try:
            if ranks == 1:
                play(lazy.get(), starts, logged, rules, settings.engine.concurrency, keep, told)
            else:
                unfinished = {start.debate: logged.get(start.debate, ()) for start in starts}
                plan = distributed.Plan(str(path.parent.resolve()), starts, unfinished)
                progress.replies, counts.tokens, counts.prompt_tokens = _share_out(
                    settings, plan, lazy, rules, seen, told
                )
                progress.done = total  # those of the other ranks too
        finally:
            counts.played = progress.done - total + len(starts)
            counts.seconds, counts.replies = progress.seconds, progress.replies


def _share_out(
    settings: SimulateSettings,
    plan: distributed.Plan | None,
    lazy: _Lazy,
    rules: Rules,
    seen: Callable[[Any], None],
    told: Callable[[Answer], None],
) -> list[int]:
    device = settings.engine.device if settings.engine.kind == "transformers" else "cpu"
    return distributed.share_out(
        settings.trainer, plan, lazy.get, device, rules, settings.engine.concurrency, seen, told
    )


def _rules(settings: SimulateSettings, prompts: Prompts) -> Rules:
    return Rules(
        prompts,
        settings.topics,
        settings.rounds,
        settings.silent,
        settings.sampling,
        settings.seed,
        settings.prompt.scale,
    )


def _tables(
    settings: SimulateSettings,
    weights: models.Weights,
    adapter: adapters.Adapter | None,
    artifact: Artifact,
    keys: set[str],
    folder: Path,
    command: list[str],
    counts: _Counts,
) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    link(artifact.folder / EVENTS, folder / EVENTS)
    if adapter is not None:
        link(adapter.folder, folder / report.ADAPTER)
    events = (event for event in records.read(artifact.folder / EVENTS) if event.debate in keys)
    table = records.attitudes(events, weights.name, adapter.name if adapter else "", settings.seed)
    manifest = {
        "v": 1,
        "kind": "run",
        "command": command,
        "debates": artifact.id,
        "promise": artifact.manifest.get("promise"),
        "model": {"name": weights.name, "sha256": weights.fingerprint},
        "adapter": {"name": adapter.name, "id": adapter.id} if adapter else None,
        "played": dataclasses.asdict(counts),
        "spent": artifact.manifest.get("spent"),
        "versions": versions(_VERSIONS),
        "commit": commit(),
        "settings": settings.model_dump(mode="json"),
    }
    write_atomically(folder / ATTITUDES, table.to_csv(index=False))
    write_atomically(folder / "manifest.json", canonical(manifest) + "\n")
    return Outcome(
        folder,
        len(keys),
        counts.played,
        counts.seconds,
        counts.replies,
        counts.tokens,
        int((~table["valid"].astype(bool)).sum()),
    )
