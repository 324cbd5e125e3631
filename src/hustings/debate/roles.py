"""Parties, personas and seats: who sits in which debate.

It does not know how personas are written (personas.py) or what agents are told (prompts.py).
"""

import functools
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from hustings import names
from hustings.debate import protocol
from hustings.errors import SettingsError
from hustings.identity import seed_of
from hustings.records import Agent
from hustings.settings import DEFAULT, SHADOW, CompositionSettings, SimulateSettings
from hustings.template import Template


@dataclass(frozen=True, slots=True)
class Persona:
    """A partisan with a life story."""

    party: str
    index: int
    """Position among the party's personas, from 0."""
    name: str
    story: str

    @property
    def id(self) -> str:
        """`party/07`."""
        return f"{self.party}/{self.index:02d}"


def seating(composition: CompositionSettings, repetition: int, seed: int, sizes: Mapping[str, int]) -> list[int]:
    """Which persona of its party takes each seat of a repetition; -1 for default agents.

    The first seat of a party goes to persona `repetition`. Further seats of the same party follow a cycle
    through all its personas, drawn once from the seed, so that over the repetitions they are derangements of
    the first, and of each other (Source: protocol.md, debates).

    Args:
        sizes: number of personas of each party, checked to be enough (`check`).
    """
    seats: list[int] = []
    taken: dict[str, int] = {}
    for role in composition.everybody:
        if role == DEFAULT:
            seats.append(-1)
            continue
        place = taken.get(role, 0)
        taken[role] = place + 1
        order, places = _cycle(seed, role, sizes[role])
        seats.append(order[(places[repetition] + place) % sizes[role]])
    return seats


def check(composition: CompositionSettings, repetitions: int, sizes: Mapping[str, int]) -> None:
    """Refuse more repetitions or seats than there are personas.

    Args:
        sizes: number of personas of each party.

    Raises:
        SettingsError: there are too few personas.
    """
    for role in dict.fromkeys(it for it in composition.everybody if it != DEFAULT):
        size = sizes[role]
        personas = f"{size} persona{'s' if size != 1 else ''}"
        seats = composition.everybody.count(role)
        if repetitions > size:
            raise SettingsError(
                f"repetitions={repetitions}: party {role} has {personas}, and every repetition needs another one; set "
                f"repetitions to at most {size}, or add names (society.parties.{role}.names) or personas."
            )
        if seats > size:
            raise SettingsError(
                f"composition={composition.name}: it seats {seats} agents of party {role}, which has {personas}, so "
                "nobody can be paired with somebody else; give more personas."
            )


@functools.lru_cache(maxsize=16)
def _cycle(seed: int, role: str, size: int) -> tuple[list[int], list[int]]:
    """All personas of a party in an order drawn from the seed, and the position of each in it."""
    order = list(range(size))
    random.Random(seed_of(seed, role, size, "cycle")).shuffle(order)
    places = sorted(range(size), key=order.__getitem__)
    return order, places


@dataclass(frozen=True, slots=True)
class Seating:
    """What the agents of every debate of a run have in common."""

    settings: SimulateSettings
    runs_on: Mapping[str, str]
    """By role: model, adapter and engine, in words."""

    def agents(
        self, topic: str, seats: Sequence[int], personas: Mapping[str, Mapping[int, Persona]]
    ) -> tuple[Agent, ...]:
        """Agents for the seats: speakers in the order of their turns, advocates among them, observers, the shadow.

        Args:
            topic: the topic's key.
            seats: numbers of personas, as `seating` drew them.
            personas: by party and number.

        Raises:
            SettingsError: two of them have the same name, or there is no such topology.
        """
        composition = self.settings.composition
        free = iter(self.settings.society.default.names)
        if self.settings.control.read:  # the first ones are taken in the debate that is read
            free = islice(free, composition.everybody.count(DEFAULT), None)
        seated = [
            self._seated(role, seat, free, personas) for role, seat in zip(composition.everybody, seats, strict=True)
        ]
        size = len(composition.roles)
        speakers = [one.model_copy(update={"hears": self._hears(place)}) for place, one in enumerate(seated[:size])]
        observers = [one.model_copy(update={"speaks": False, "surveyed": "first"}) for one in seated[size:]]
        agents = (*speakers, *self._advocates(topic, free), *observers, *self._shadow(free))
        taken = Counter(names.key(agent.name) for agent in agents)
        twice = next((agent.name for agent in agents if taken[names.key(agent.name)] > 1), None)
        if twice:
            raise SettingsError(
                f"composition={composition.name}: two agents of one debate would be called {twice}, and could not be "
                "told apart; give the personas in personas.file other names."
            )
        return agents

    def _seated(
        self, role: str, seat: int, free: Iterator[str], personas: Mapping[str, Mapping[int, Persona]]
    ) -> Agent:
        runs_on = self.runs_on[role]
        if role == DEFAULT:
            story = self.settings.society.default.story
            return Agent(role=role, persona=DEFAULT, name=next(free), story=story, runs_on=runs_on)
        persona = personas[role][seat]
        return Agent(role=role, persona=persona.id, name=persona.name, story=persona.story, runs_on=runs_on)

    def _advocates(self, topic: str, free: Iterator[str]) -> Iterator[Agent]:
        """Partners that each argue one position and hear nobody."""
        if not self.settings.partners:
            return
        control, of = self.settings.control, self.settings.topics[topic]
        template = Template(control.advocate, "control.advocate", f"conf/control/{control.name}.yaml")
        for place in range(self.settings.partners):
            side = control.advocates[place % len(control.advocates)]
            role = f"advocate_{side}"
            story = template.render(topic=of.label, end=of.low if side == "low" else of.high)
            yield Agent(
                role=role,
                persona=role,
                name=next(free),
                story=story,
                surveyed="never",
                hears=(),
                runs_on=self.runs_on[role],
            )

    def _shadow(self, free: Iterator[str]) -> Iterator[Agent]:
        """The Default that listens to what the agents hear from others, and never speaks."""
        if self.settings.shadow:
            yield Agent(
                role=SHADOW,
                persona=DEFAULT,
                name=next(free),
                story=self.settings.society.default.story,
                speaks=False,
                hears=self._partners or "all",
                runs_on=self.runs_on[SHADOW],
            )

    @property
    def _partners(self) -> tuple[int, ...]:
        """Positions of the advocates."""
        size = len(self.settings.composition.roles)
        return tuple(range(size, size + self.settings.partners))

    def _hears(self, place: int) -> Literal["all"] | tuple[int, ...]:
        """Whose replies a speaker hears: the advocates' alone if there are any, or else those of the topology."""
        if self._partners:
            return self._partners
        speakers = len(self.settings.composition.roles)
        heard = protocol.heard(self.settings.topology.name, place, speakers)
        return "all" if len(heard) == speakers - 1 else heard
