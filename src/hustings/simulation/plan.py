"""What a run consists of: its debates, where they are kept, and which of them already exist."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hustings import records
from hustings.artifacts import MANIFEST, Place, artifacts
from hustings.debate import personas, protocol
from hustings.debate.personas import Writer
from hustings.debate.prompts import Prompts
from hustings.debate.roles import Persona, Seating, check, seating
from hustings.debate.stories import place_of
from hustings.errors import SettingsError
from hustings.identity import canonical, seed_of
from hustings.progress import say
from hustings.records import End, Event, Start
from hustings.runfolder import DebateKey
from hustings.settings import DEFAULT, ControlSettings, SimulateSettings
from hustings.settings.society import NO_CONTROL
from hustings.simulation.casting import Casting

People = Mapping[str, Mapping[int, Persona]]
"""Personas by party and number."""


@dataclass(slots=True)
class Logged:
    """What a log says about its debates, without the events of those that have ended, which may be a million."""

    ended: set[str] = field(default_factory=set[str])
    """Debates that were played to the end."""
    begun: dict[str, list[Event]] = field(default_factory=dict[str, list[Event]])
    """Events of the other debates, oldest first, by debate."""

    def take(self, event: Event) -> None:
        """Record the next event of the log."""
        if isinstance(event, End):
            self.ended.add(event.debate)
            self.begun.pop(event.debate, None)
        else:
            self.begun.setdefault(event.debate, []).append(event)


@dataclass(frozen=True, slots=True)
class Plan:
    """The debates of a run, and where they and their personas are kept."""

    settings: SimulateSettings
    casting: Casting
    writer: Writer
    seats: dict[str, list[int]]
    """Numbers of the personas in every debate, by its key; ordered by repetition, then by topic."""

    @classmethod
    def of(cls, settings: SimulateSettings, *, download: bool = True) -> "Plan":
        """The plan for the settings of a run.

        Args:
            download: whether to download missing weights.

        Raises:
            HustingsError: bad settings, a missing model or adapter.
        """
        writer = Writer(settings.society, Prompts(settings.prompt), settings.personas, settings.seed)
        seats = _seats(settings)
        return cls(settings, Casting(settings, download=download), writer, seats)

    @property
    def store(self) -> Path:
        """Folder of the artifact store."""
        return Path(self.settings.artifacts)

    @property
    def parties(self) -> list[str]:
        """Parties of the agents, in the same order in all processes, so that their locks cannot deadlock."""
        return sorted({*self.settings.composition.everybody} - {DEFAULT})

    def personas(self, party: str) -> Place:
        """Where a party's personas are kept."""
        seat = self.casting.of(party).base
        return place_of(self.store, self.writer, party, seat.weights, seat.engine.substance())

    def debates(self, topic: str) -> Place:
        """Where the debates on a topic are kept. Its identity covers what changes them, not other topics."""
        settings, main = self.settings, self.casting.main
        adapter = [main.adapter.name] if main.adapter else []
        control = [settings.control.name] if settings.control.name != "none" else []
        slug = "-".join((main.weights.name, *adapter, settings.composition.name, *control, topic))
        whole = settings.substance()
        kept = ("composition", "topology", "instrument", "sampling", "treatments", "seed", "rounds")
        kept = (*kept, "control", "shadow", "first_speaker")
        stances = {party: settings.society.parties[party].stances.get(topic) for party in self.parties}
        substance: dict[str, Any] = {
            "records": records.VERSION,
            "topic": [topic, settings.topics[topic].substance()],
            "default": settings.society.default.substance(),
            "stances": {party: stance.substance() for party, stance in stances.items() if stance},
            "prompt": {name: it for name, it in whole["prompt"].items() if not name.startswith("persona")},
            "personas": self._personas_id(),
            **main.substance(),
            **{name: whole[name] for name in kept if name in whole},
        }
        if self.casting.own:
            scopes = {role: {"scope": it.scope} for role, it in settings.cast.items() if it.scope != "both"}
            own = sorted(self.casting.own.items())
            substance["cast"] = {role: {**seat.substance(), **scopes.get(role, {})} for role, seat in own}
        return Place(self.store, "debates", slug, substance)

    def _personas_id(self) -> dict[str, str] | str:
        """Which life stories the agents have."""
        if self.settings.personas.file:
            return personas.fingerprint(Path(self.settings.personas.file))
        return {party: self.personas(party).id for party in self.parties}

    def missing(self, ended: Collection[str]) -> dict[str, list[int]]:
        """Seats of the debates that have not ended."""
        return {key: seats for key, seats in self.seats.items() if key not in ended}

    def wanted(self, keys: Iterable[str]) -> dict[str, set[int]]:
        """Numbers of the personas in these debates, by party."""
        wanted: dict[str, set[int]] = {}
        for key in keys:
            for role, index in partisans(self.settings, self.seats[key]):
                wanted.setdefault(role, set()).add(index)
        return dict(sorted(wanted.items()))

    def starts(self, keys: Collection[str], logged: Mapping[str, Sequence[Event]], people: People) -> Iterator[Start]:
        """First events of debates: those from the log, and new ones, each made on demand.

        Raises:
            SettingsError: immediately, if agents are to read a debate and none can be found.
        """
        table = Seating(self.settings, self.casting.words)
        new = [key for key in keys if key not in logged] if self.settings.control.read else []
        reads = {key: self._transcript(DebateKey.parse(key)) for key in new}
        return (first(logged[it]) if it in logged else self._start(it, table, people, reads.get(it)) for it in keys)

    def _start(self, key: str, table: Seating, people: People, reads: str | None) -> Start:
        settings, parts = self.settings, DebateKey.parse(key)
        adapters = [f"adapter {seat.adapter.name}" for seat in (self.casting.main,) if seat.adapter]
        agents = table.agents(parts.topic, self.seats[key], people)
        balanced = settings.first_speaker == "balanced"
        drawn = seed_of(settings.seed, str(DebateKey(parts.topic, parts.composition, 0)) if balanced else key, "first")
        speakers = sum(agent.speaks for agent in agents)
        return Start(
            debate=key,
            agents=agents,
            first=protocol.first_speaker(drawn, parts.repetition, speakers, balanced=balanced),
            reads=reads,
            topology=settings.topology.name,
            control=settings.control.name,
            treatments=(*adapters, *settings.treatments),
        )

    def _transcript(self, key: DebateKey) -> str:
        """The debate that the agents of a reader's debate read: one of another repetition, with other personas."""
        mine = {*partisans(self.settings, self.seats[str(key)])}
        for repetition in protocol.transcript(key.repetition, self.settings.repetitions):
            other = str(key._replace(repetition=repetition))
            if not mine & {*partisans(self.settings, self.seats[other])}:
                return other
        raise SettingsError(
            f"control={self.settings.control.name}: in every other repetition one of the agents of repetition "
            f"{key.repetition} debates itself; set more repetitions."
        )

    @property
    def read(self) -> "Plan":
        """The plan of the debates that are read: the same settings without a control."""
        of = ControlSettings.model_validate({**NO_CONTROL, "advocates": ()})
        return replace(self, settings=self.settings.model_copy(update={"control": of}))

    def say_what_changed(self, topics: Iterable[str]) -> None:
        """Report existing debates that will be played again only because the personas' stories have changed."""
        for topic in topics:
            place = self.debates(topic)
            if (place.folder / MANIFEST).exists():
                continue
            wanted = canonical({**place.substance, "personas": None})
            for manifest in artifacts(self.store, "debates"):
                if canonical({**manifest["of"], "personas": None}) == wanted:
                    say(
                        f"{topic}: debates with these settings are in {manifest['folder']}, with other life stories "
                        "(the persona prompt, a party's positions or names, or personas.file changed), so they are "
                        "played again."
                    )


def _seats(settings: SimulateSettings) -> dict[str, list[int]]:
    composition = settings.composition
    parties = {*composition.everybody} - {DEFAULT}
    sizes = {party: len(settings.society.parties[party].names) for party in parties}
    if settings.personas.file:
        given = personas.load(Path(settings.personas.file), settings.society.parties)
        sizes = {party: len(given.get(party, {})) for party in parties}
        empty = sorted(party for party, size in sizes.items() if size == 0)
        if empty:
            raise SettingsError(f"personas.file={settings.personas.file!r}: there is no persona of {', '.join(empty)}.")
    check(composition, settings.repetitions, sizes)
    return {
        str(DebateKey(topic, composition.name, repetition)): seating(composition, repetition, settings.seed, sizes)
        for repetition in range(settings.repetitions)
        for topic in settings.topics
    }


def partisans(settings: SimulateSettings, seats: Sequence[int]) -> list[tuple[str, int]]:
    """Party and number of every persona in a debate."""
    pairs = zip(settings.composition.everybody, seats, strict=True)
    return [(role, index) for role, index in pairs if role != DEFAULT]


def by_debate(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Events grouped by debate."""
    logged: dict[str, list[Event]] = {}
    for event in events:
        logged.setdefault(event.debate, []).append(event)
    return logged


def first(events: Sequence[Event]) -> Start:
    """The event that begins a debate."""
    start = events[0]
    assert isinstance(start, Start)
    return start
