"""What a run consists of: which debates, where they are kept, and what is there already."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings import records
from hustings.artifacts import MANIFEST, Place, artifacts
from hustings.debate import personas
from hustings.debate.personas import Writer
from hustings.debate.prompts import Prompts
from hustings.debate.roles import Persona, Seating, seating
from hustings.errors import SettingsError
from hustings.identity import canonical, seed_of, sha256
from hustings.progress import say
from hustings.records import End, Event, Start
from hustings.runfolder import DebateKey
from hustings.settings import DEFAULT, SimulateSettings
from hustings.simulation.casting import Casting

Logged = Mapping[str, list[Event]]
"""Events by debate."""
People = Mapping[str, Mapping[int, Persona]]
"""Personas by party and number."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The debates of a run, and where they and their personas are kept."""

    settings: SimulateSettings
    casting: Casting
    writer: Writer
    seats: dict[str, list[int]]
    """Numbers of the personas in every debate, by its key; repetition by repetition, all topics of each."""

    @classmethod
    def of(cls, settings: SimulateSettings, *, resolve: bool = True) -> "Plan":
        """The plan that the settings of a run make.

        Args:
            resolve: find the weights, downloading what is not here.

        Raises:
            HustingsError: bad settings, a missing model or adapter.
        """
        writer = Writer(settings.society, Prompts(settings.prompt), settings.personas, settings.seed)
        seats = _seats(settings)
        return cls(settings, Casting(settings, resolve=resolve), writer, seats)

    @property
    def store(self) -> Path:
        """Folder of the artifact store."""
        return Path(self.settings.artifacts)

    @property
    def parties(self) -> list[str]:
        """Of the agents, in one order for all processes, so that none waits for a lock that another holds."""
        return sorted({*self.settings.composition.everybody} - {DEFAULT})

    def personas(self, party: str) -> Place:
        """Where a party's personas are kept."""
        seat = self.casting.of(party).base
        substance = {**seat.substance(), "party": party, **self.writer.substance(party)}
        return Place(self.store, "personas", f"{seat.weights.name}-{party}", substance)

    def debates(self, topic: str) -> Place:
        """Where the debates on a topic are kept. Its identity is what changes them, and nothing about other topics."""
        settings, main = self.settings, self.casting.main
        adapter = [main.adapter.name] if main.adapter else []
        control = ["silent"] if settings.silent else []
        slug = "-".join((main.weights.name, *adapter, settings.composition.name, *control, topic))
        whole = settings.substance()
        kept = ("composition", "topology", "instrument", "sampling", "treatments", "seed", "rounds", "silent")
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
            substance["cast"] = {role: seat.substance() for role, seat in sorted(self.casting.own.items())}
        return Place(self.store, "debates", slug, substance)

    def _personas_id(self) -> dict[str, str] | str:
        """Which life stories the agents have."""
        if self.settings.personas.file:
            return sha256(Path(self.settings.personas.file))
        return {party: self.personas(party).id for party in self.parties}

    def missing(self, logged: Logged) -> dict[str, list[int]]:
        """Seats of the debates that have not been played to their end."""
        return {key: seats for key, seats in self.seats.items() if not ended(logged.get(key))}

    def wanted(self, keys: Iterable[str]) -> dict[str, set[int]]:
        """Numbers of the personas in these debates, by party."""
        wanted: dict[str, set[int]] = {}
        for key in keys:
            for role, index in zip(self.settings.composition.everybody, self.seats[key], strict=True):
                if role != DEFAULT:
                    wanted.setdefault(role, set()).add(index)
        return dict(sorted(wanted.items()))

    def starts(self, keys: Iterable[str], logged: Logged, people: People) -> list[Start]:
        """First events of debates: those of the log, and new ones."""
        settings = self.settings
        table = Seating(settings.composition, settings.society.default, settings.topology.name, self.casting.words)
        return [first(logged[key]) if key in logged else self._start(key, table, people) for key in keys]

    def _start(self, key: str, table: Seating, people: People) -> Start:
        settings = self.settings
        adapters = [f"adapter {seat.adapter.name}" for seat in (self.casting.main,) if seat.adapter]
        return Start(
            debate=key,
            agents=table.agents(self.seats[key], people),
            first=seed_of(settings.seed, key, "first") % len(settings.composition.roles),
            topology=settings.topology.name,
            control="silent" if settings.silent else "none",
            treatments=(*adapters, *settings.treatments),
        )

    def say_what_changed(self, topics: Iterable[str]) -> None:
        """Say where debates exist that will be played again only because the personas' stories have changed."""
        for topic in topics:
            place = self.debates(topic)
            if (place.folder / MANIFEST).exists():
                continue
            wanted = canonical({**place.substance, "personas": None})
            for manifest in artifacts(self.store, "debates"):
                if canonical({**manifest["of"], "personas": None}) == wanted:
                    say(
                        f"{topic}: debates with these settings are in {manifest['folder']}, but with other life stories "
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
    return {
        str(DebateKey(topic, composition.name, repetition)): seating(composition, repetition, settings.seed, sizes)
        for repetition in range(settings.repetitions)
        for topic in settings.topics
    }


def by_debate(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Events grouped by debate."""
    logged: dict[str, list[Event]] = {}
    for event in events:
        logged.setdefault(event.debate, []).append(event)
    return logged


def ended(events: list[Event] | None) -> bool:
    """Whether a debate has been played to its end."""
    return bool(events) and isinstance(events[-1], End)


def first(events: list[Event]) -> Start:
    """The event that begins a debate."""
    start = events[0]
    assert isinstance(start, Start)
    return start
