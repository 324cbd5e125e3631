"""The job of simulate.py: plays the debates that the store lacks, and writes the tables to the run's folder."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hustings import artifacts, distributed, records
from hustings.artifacts import Rows
from hustings.debate import protocol
from hustings.debate.alarm import Alarm
from hustings.debate.play import Listener, Rules, play
from hustings.engine.base import Answer, Engine, Request
from hustings.files import check_room, written_tables
from hustings.progress import Progress, say, showing
from hustings.provenance import commit, versions
from hustings.records import Agent, End, Event, Note, Reply, Start, Survey
from hustings.runfolder import (
    AGENTS,
    ATTITUDES,
    EVENTS,
    MANIFEST,
    REPLIES,
    AdapterName,
    DebateKey,
    ModelName,
    RunManifest,
    copy_adapter,
    hashes,
    write_manifest,
)
from hustings.settings import SimulateSettings
from hustings.simulation import disk
from hustings.simulation.counts import Tally, total
from hustings.simulation.estimate import estimate
from hustings.simulation.growing import Draw, Growing
from hustings.simulation.plan import Logged, Plan
from hustings.simulation.stories import people
from hustings.simulation.vectors import Workshop
from hustings.simulation.watch import Watch
from hustings.study import Study

_VERSIONS = ("torch", "transformers", "bitsandbytes", "openvino-genai", "hydra-core", "pandas")
_GROWING = 10_000
"""Most debates for which the page of a run in progress is drawn: each time, everything said so far is read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run."""

    folder: Path
    debates: int
    """Number of debates in the run."""
    played: int
    """Debates played by this process; the others were already in the store."""
    seconds: float
    replies: int
    tokens: int
    invalid: int
    """Invalid survey answers in the whole run."""


def run(settings: SimulateSettings, folder: Path, command: list[str], draw: Draw | None = None) -> Outcome:
    """Play the debates that the settings ask for and the store lacks, and write log and tables to `folder`.

    Args:
        folder: the run's folder.
        command: the command line, for the manifest.
        draw: draws the page of a run in progress; not called if the folder contains a finished run.

    Raises:
        HustingsError: bad settings, a missing model, a busy or damaged artifact.
    """
    _say_who_hears_nobody(settings)
    rules = Rules.of(settings)
    plan = Plan.of(settings)
    check_room(disk.needed(plan, folder), "ask for fewer debates (repetitions=…, topic=…)")
    if any(engine.kind == "openai" for engine in settings.engines().values()):
        say(estimate(settings, folder))
    tally = Tally()
    try:
        if settings.control.read:
            rules = replace(rules, transcripts=_transcripts(plan.read, tally))
        with ExitStack() as stack:
            rows = {topic: stack.enter_context(_topic(plan, topic)) for topic in sorted(settings.topics)}
            growing = None
            if draw is not None and not (folder / MANIFEST).exists() and len(plan.seats) <= _GROWING:
                growing = Growing(folder, _so_far(plan, rows, folder, command), draw)
            _complete(plan, rules, rows, tally, growing)
            return _leave(plan, rows, folder, command, tally)
    finally:
        plan.casting.close()


def _transcripts(plan: Plan, tally: Tally) -> dict[str, list[tuple[Agent, str]]]:
    """What was said in the debates of a plan, by debate; missing debates are played first."""
    said: dict[str, list[tuple[Agent, str]]] = {}
    with ExitStack() as stack:
        rows = {topic: stack.enter_context(_topic(plan, topic)) for topic in sorted(plan.settings.topics)}
        _complete(plan, Rules.of(plan.settings), rows, tally)
        starts: dict[str, Start] = {}
        for event in _events(rows):
            if isinstance(event, Start):
                starts[event.debate] = event
                said[event.debate] = []
            elif isinstance(event, Reply):
                said[event.debate].append((starts[event.debate].agents[event.agent], event.text))
    return said


def run_as_worker(settings: SimulateSettings) -> bool:
    """Play a share of a run that another process leads, if this process was started for that; return whether it was."""
    if settings.trainer.ranks == 1 or distributed.first():
        return False
    plan = Plan.of(settings)
    try:
        sharing = distributed.Sharing(settings.trainer, settings.engine, settings.alarm, Rules.of(settings))
        sharing.play(None, plan.casting.debaters, Listener())
    finally:
        plan.casting.close()
    return True


def _say_who_hears_nobody(settings: SimulateSettings) -> None:
    speakers = len(settings.composition.roles)
    alone = [place for place in range(speakers) if not protocol.heard(settings.topology.name, place, speakers)]
    if alone:
        who = ", ".join(f"{place} ({settings.composition.roles[place]})" for place in alone)
        say(f"topology={settings.topology.name}: these agents hear nobody but themselves: {who}.")


@contextmanager
def _topic(plan: Plan, topic: str) -> Generator[Rows]:
    """The debates on a topic in the store, merged with what several processes have left there."""
    with artifacts.rows(plan.debates(topic), EVENTS, wait=False) as rows:
        distributed.gather(rows.artifact.folder, EVENTS)
        yield rows


def _complete(plan: Plan, rules: Rules, rows: Mapping[str, Rows], tally: Tally, growing: Growing | None = None) -> None:
    """Play the missing debates, and record what they took even if they are interrupted."""
    logged, alarm = _logged(plan, rows)
    missing = plan.missing(logged.ended)
    if not missing and not distributed.awaited(plan.settings.trainer):
        alarm.check(ended=True)
        return
    topics = dict.fromkeys(DebateKey.parse(key).topic for key in missing)
    plan.say_what_changed(topics)
    for topic in topics:
        rows[topic].artifact.grow(model=plan.casting.main.weights.fingerprint, versions=versions(_VERSIONS))
    before = {topic: tally.on(topic).plain() for topic in topics}
    try:
        new = [key for key in missing if key not in logged.begun]
        cast = people(plan, plan.wanted(new), tally.on(next(iter(topics), "")))
        engine = plan.casting.debaters()
        plan.casting.close(keep=engine)
        for treatment in rules.treatments:
            treatment.prepare(Workshop(plan))
        starts = plan.starts(missing, logged.begun, cast)
        for topic in topics:
            rows[topic].artifact.grow(promise=engine.promise, preamble=engine.preamble)
        alarm.check()
        _play(plan, rules, _Table(rows, starts, len(missing), logged.begun, tally, alarm, growing), engine)
    finally:
        for topic in topics:
            artifact = rows[topic].artifact
            now = {name: value - before[topic].get(name, 0) for name, value in tally.on(topic).plain().items()}
            artifact.grow(spent=total([artifact.manifest.get("spent") or {}, now]))
    if plan.settings.trainer.ranks > 1:  # what the others have played is only in the log
        _, alarm = _logged(plan, rows)
    alarm.check(ended=True)


def _logged(plan: Plan, rows: Mapping[str, Rows]) -> tuple[Logged, Alarm]:
    """What is in the store, and an alarm that has counted the answers in the debates of this run."""
    logged, alarm = Logged(), Alarm(plan.settings.alarm)
    for event in _events(rows):
        logged.take(event)
        if event.debate in plan.seats:
            alarm.read([event])
    return logged, alarm


def _events(rows: Mapping[str, Rows]) -> Iterator[Event]:
    """Everything in the store, topic by topic."""
    for each in rows.values():
        yield from records.parse(each.read(), each.path)


@dataclass(frozen=True, slots=True)
class _Table:
    """What is played, and where its events go."""

    rows: Mapping[str, Rows]
    """By topic."""
    starts: Iterator[Start]
    missing: int
    """Number of starts."""
    begun: Mapping[str, Sequence[Event]]
    """Logged events of debates that have not ended."""
    tally: Tally
    alarm: Alarm
    growing: Growing | None
    """The page that is redrawn meanwhile."""

    def keep(self, event: Event) -> None:
        """Write an event to the log of its topic, and count it."""
        topic = DebateKey.parse(event.debate).topic
        self.rows[topic].append(event.model_dump_json())
        self.count(event)

    def count(self, event: Event) -> None:
        """Count an event that is in a log."""
        counts = self.tally.on(DebateKey.parse(event.debate).topic)
        counts.replies += isinstance(event, Reply)
        counts.played += isinstance(event, End)


def _play(plan: Plan, rules: Rules, table: _Table, engine: Engine) -> None:
    """Play to the end and count along the way, so that an interrupted run has its counts too."""
    settings, debates = plan.settings, len(plan.seats)
    begun = {key: events for key, events in table.begun.items() if key in plan.seats}
    replies, surveys = disk.answers(settings)
    done = sum(_work(event) for events in begun.values() for event in events)
    work = ((_REPLY * replies + surveys) * table.missing - done) // settings.trainer.ranks
    watch = Watch(settings, begun) if settings.watch else None
    with showing("debates", debates, debates - table.missing, work, watch) as progress:
        alone = settings.trainer.ranks == 1

        def on_event(event: Event) -> None:
            (table.keep if alone else table.count)(event)
            _show(progress, event)
            if watch:
                watch.on_event(event)
            if alone:
                table.alarm.on_event(event)
                if table.growing:
                    table.growing.look(progress)

        def on_answer(request: Request, answer: Answer) -> None:
            table.alarm.on_answer(request, answer)
            turn, price = request.turn, settings.price(request.turn.role, request.turn.purpose)
            table.tally.on(DebateKey.parse(turn.debate).topic).add(answer, price)
            progress.tokens += answer.tokens
            if answer.refused or price is not None:
                counts = table.tally.total
                progress.dollars, progress.refusals = counts.dollars, counts.refusals

        listener = Listener(on_event, on_answer)
        try:
            if alone:
                play(engine, table.starts, table.begun, rules, settings.engine.concurrency, listener)
            else:
                _share(plan, rules, table, engine, listener)
                progress.done = debates
        finally:
            calls = max(1, table.tally.total.calls)
            for counts in table.tally.topics.values():
                counts.seconds = progress.seconds * counts.calls / calls


def _share(plan: Plan, rules: Rules, table: _Table, engine: Engine, listener: Listener) -> None:
    """Play with several processes, each doing its share, and count what they all took."""
    folders = {topic: str(rows.artifact.folder.resolve()) for topic, rows in table.rows.items()}
    starts = list(table.starts)
    work = distributed.Work(folders, starts, {start.debate: table.begun.get(start.debate, ()) for start in starts})
    settings = plan.settings
    sharing = distributed.Sharing(settings.trainer, settings.engine, settings.alarm, rules)
    whole = sharing.play(work, lambda: engine, listener)
    for topic, taken in whole.items():
        counts = table.tally.on(topic)
        counts.replies, counts.tokens, counts.prompt_tokens, counts.played = taken


_REPLY = 8
"""Survey answers that take as long as one reply: a survey only reads a prompt, a reply also writes dozens of tokens."""


def _work(event: Event) -> int:
    """How much work an event took, in survey answers."""
    return _REPLY if isinstance(event, Reply) else int(isinstance(event, Survey))


def _show(progress: Progress, event: Event) -> None:
    """Update the screen."""
    progress.answers += _work(event)
    match event:
        case Reply():
            progress.replies += 1
        case Survey():
            progress.invalid += not event.valid
        case End():
            progress.done += 1
        case Start() | Note():
            pass
    progress.show()


def _leave(plan: Plan, rows: Mapping[str, Rows], folder: Path, command: list[str], tally: Tally) -> Outcome:
    """Write the run's own log, its tables and its manifest to its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    adapter = plan.casting.main.adapter
    _write_log(plan, rows, folder / EVENTS)
    invalid = 0
    with written_tables([folder / file for file in (ATTITUDES, REPLIES, AGENTS)]) as add:
        for tables in records.pieces(records.read(folder / EVENTS), *_ran_on(plan)):
            add(tables)
            invalid += int((~tables[0]["valid"].astype(bool)).sum())
    if adapter is not None:
        copy_adapter(adapter.folder, folder)
    manifest = _manifest(plan, rows, command).model_copy(
        update={
            "played": tally.total.plain(),
            "spent": total(it.artifact.manifest.get("spent") or {} for it in rows.values()),
            "files": hashes(folder, (EVENTS, ATTITUDES, REPLIES, AGENTS)),
        }
    )
    write_manifest(folder, manifest)
    counts = tally.total
    return Outcome(folder, len(plan.seats), counts.played, counts.seconds, counts.replies, counts.tokens, invalid)


def _so_far(plan: Plan, rows: Mapping[str, Rows], folder: Path, command: list[str]) -> Callable[[], Study | None]:
    """A function that makes a study of the debates in the log, ended or not; None before the first survey answer."""

    def study() -> Study | None:
        events = [event for event in _events(rows) if event.debate in plan.seats]
        if not any(isinstance(event, Survey) for event in events):
            return None
        return Study(folder, _manifest(plan, rows, command), *records.tables(events, *_ran_on(plan)))

    return study


def _ran_on(plan: Plan) -> tuple[str, str, int]:
    """Names of model and adapter, and the seed, for the tables."""
    main = plan.casting.main
    return main.weights.name, main.adapter.name if main.adapter else "", plan.settings.seed


def _manifest(plan: Plan, rows: Mapping[str, Rows], command: list[str]) -> RunManifest:
    """The manifest of how the run was made, without what it took and the files it wrote."""
    settings, main = plan.settings, plan.casting.main
    adapter = main.adapter
    return RunManifest(
        command=command,
        versions=versions(_VERSIONS),
        settings=settings.model_dump(mode="json"),
        debates={topic: rows[topic].artifact.id for topic in settings.topics},
        promise=_said(rows, "promise"),
        preamble=_said(rows, "preamble"),
        model=ModelName(name=main.weights.name, sha256=main.weights.fingerprint),
        adapter=AdapterName(name=adapter.name, id=adapter.id) if adapter else None,
        played={},
        spent={},
        commit=commit(),
    )


def _said(rows: Mapping[str, Rows], fact: str) -> str | None:
    """What the engines that played the debates reported about themselves."""
    facts = {str(it.artifact.manifest[fact]) for it in rows.values() if it.artifact.manifest.get(fact)}
    return "; ".join(sorted(facts)) or None


def _write_log(plan: Plan, rows: Mapping[str, Rows], path: Path) -> None:
    """Write the events of the run's own debates to a separate file, in order, so that the folder can be copied."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(_lines(plan, rows))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _lines(plan: Plan, rows: Mapping[str, Rows]) -> Iterator[bytes]:
    """Log lines in the order of the tables; lines are held back until their turn, few in a run played in one go."""
    waiting: dict[str, deque[str]] = {}
    for key in plan.seats:
        waiting.setdefault(DebateKey.parse(key).topic, deque()).append(key)
    for topic, keys in sorted(waiting.items()):
        held: dict[str, list[bytes]] = {key: [] for key in keys}
        ended = set[str]()
        for _, line in rows[topic].read():
            debate = line.partition(b'"debate":"')[2].partition(b'"')[0].decode()
            if debate not in held:
                continue
            held[debate].append(line)
            if b'"kind":"end"' in line[:30]:
                ended.add(debate)
            while keys and keys[0] in ended:
                yield from held.pop(keys.popleft())
