"""Parties, personas and seats: who sits in which debate.

It does not know how personas are written (personas.py) nor what agents are told (prompts.py).
"""

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hustings.errors import SettingsError
from hustings.identity import seed_of
from hustings.records import Agent
from hustings.settings import CompositionSettings, DefaultAgentSettings

DEFAULT = "default"


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
    for role in (*composition.roles, *composition.observers):
        if role == DEFAULT:
            seats.append(-1)
            continue
        place = taken.get(role, 0)
        taken[role] = place + 1
        size = sizes[role]
        if repetition >= size:
            raise SettingsError(
                f"repetitions={repetition + 1}: party {role} has {size} personas, and every repetition needs another; "
                f"set repetitions to at most {size}, or give more names or personas."
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


def cast(
    composition: CompositionSettings,
    seats: Sequence[int],
    personas: Mapping[str, Mapping[int, Persona]],
    default: DefaultAgentSettings,
) -> tuple[Agent, ...]:
    """Agents for the seats, speakers first, in the order of their turns."""
    agents: list[Agent] = []
    names = iter(default.names)
    for place, (role, seat) in enumerate(zip((*composition.roles, *composition.observers), seats, strict=True)):
        speaks = place < len(composition.roles)
        if role == DEFAULT:
            agents.append(Agent(role=role, persona=DEFAULT, name=next(names), story=default.story, speaks=speaks))
        else:
            persona = personas[role][seat]
            agents.append(Agent(role=role, persona=persona.id, name=persona.name, story=persona.story, speaks=speaks))
    names_taken = [agent.name for agent in agents]
    twice = next((name for name in names_taken if names_taken.count(name) > 1), None)
    if twice:
        raise SettingsError(
            f"composition={composition.name}: two agents of one debate would be called {twice}, and could not be told "
            "apart; give the personas of personas.file other names."
        )
    return tuple(agents)
