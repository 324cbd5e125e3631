"""Parties, personas and seats: who sits in which debate.

It does not know how personas are written (personas.py) nor what agents are told (prompts.py).
"""

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hustings.debate import protocol
from hustings.errors import SettingsError
from hustings.identity import seed_of
from hustings.records import Agent
from hustings.settings import DEFAULT, CompositionSettings, DefaultAgentSettings


@dataclass(frozen=True, slots=True)
class Persona:
    """A partisan with a life story."""

    party: str
    index: int
    """Place among the party's personas, from 0."""
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
        sizes: personas of each party.

    Raises:
        SettingsError: there are too few personas.
    """
    seats: list[int] = []
    taken: dict[str, int] = {}
    for role in composition.everybody:
        if role == DEFAULT:
            seats.append(-1)
            continue
        place = taken.get(role, 0)
        taken[role] = place + 1
        size = sizes[role]
        if repetition >= size:
            raise SettingsError(
                f"repetitions={repetition + 1}: party {role} has {size} personas, and every repetition needs another "
                f"one; set repetitions to at most {size}, or add names or personas."
            )
        if place >= size:
            raise SettingsError(
                f"composition={composition.name}: it seats {place + 1} agents of party {role}, which has "
                f"{size} persona{'s' if size > 1 else ''}, so nobody can be paired with somebody else; "
                "give more personas."
            )
        order, places = _cycle(seed, role, size)
        seats.append(order[(places[repetition] + place) % size])
    return seats


@functools.lru_cache(maxsize=16)
def _cycle(seed: int, role: str, size: int) -> tuple[list[int], list[int]]:
    """All personas of a party in an order drawn from the seed, and the place of each in it."""
    order = list(range(size))
    random.Random(seed_of(seed, role, size, "cycle")).shuffle(order)
    places = sorted(range(size), key=order.__getitem__)
    return order, places


@dataclass(frozen=True, slots=True)
class Seating:
    """What the agents of every debate of a run have in common."""

    composition: CompositionSettings
    default: DefaultAgentSettings
    topology: str
    runs_on: Mapping[str, str]
    """By role: model, adapter and engine, in words."""

    def agents(self, seats: Sequence[int], personas: Mapping[str, Mapping[int, Persona]]) -> tuple[Agent, ...]:
        """Agents for the seats, speakers first, in the order of their turns.

        Args:
            seats: numbers of personas, as `seating` drew them.
            personas: by party and number.

        Raises:
            SettingsError: two of them have one name, or there is no such topology.
        """
        agents: list[Agent] = []
        names = iter(self.default.names)
        speakers = len(self.composition.roles)
        for place, (role, seat) in enumerate(zip(self.composition.everybody, seats, strict=True)):
            heard = protocol.heard(self.topology, place, speakers)
            everybody = len(heard) == speakers - (place < speakers)
            if role == DEFAULT:
                name, id, story = next(names), DEFAULT, self.default.story
            else:
                persona = personas[role][seat]
                name, id, story = persona.name, persona.id, persona.story
            agents.append(
                Agent(
                    role=role,
                    persona=id,
                    name=name,
                    story=story,
                    speaks=place < speakers,
                    hears="all" if everybody else heard,
                    runs_on=self.runs_on[role],
                )
            )
        taken = [agent.name for agent in agents]
        twice = next((name for name in taken if taken.count(name) > 1), None)
        if twice:
            raise SettingsError(
                f"composition={self.composition.name}: two agents of one debate would be called {twice}, and could not "
                "be told apart; give the personas in personas.file other names."
            )
        return tuple(agents)
