"""The order of turns: who speaks at which iteration, when everybody is surveyed, and who hears whom.

Pure functions of numbers; they know nothing about agents, prompts or engines. Source: protocol.md, debates.
"""

from collections.abc import Callable

from hustings.errors import SettingsError


def speaker(iteration: int, first: int, speakers: int) -> int:
    """Position of the agent that makes reply number `iteration` (from 1), taking turns from agent `first` on."""
    return (first + iteration - 1) % speakers


def iterations(rounds: int, speakers: int) -> int:
    """Number of replies in a whole debate."""
    return rounds * speakers


def surveys(rounds: int, speakers: int) -> range:
    """Iterations at which every agent is surveyed: 0, and the end of each round."""
    return range(0, iterations(rounds, speakers) + 1, speakers)


def first_speaker(drawn: int, repetition: int, speakers: int, *, balanced: bool) -> int:
    """Position of the agent that begins a debate.

    Args:
        drawn: a number drawn for the debate, or for its topic if `balanced`.
        balanced: whether each agent begins equally often over the repetitions.
    """
    return (drawn + repetition * balanced) % speakers


def transcript(repetition: int, repetitions: int) -> list[int]:
    """Repetitions whose debate a reader may read, in order of preference; neighbours read each other's."""
    pair = repetition ^ 1
    others = [(repetition + step) % repetitions for step in range(1, repetitions)]
    return [it for it in dict.fromkeys([pair, *others]) if it < repetitions and it != repetition]


Topology = Callable[[int, int, int], bool]
"""Whether `listener` hears `other`, given the number of speakers; every agent remembers its own replies anyway."""


def round_robin(listener: int, other: int, speakers: int) -> bool:
    """Everybody hears everybody."""
    return True


def ring(listener: int, other: int, speakers: int) -> bool:
    """Each speaker hears its two neighbours, in the order of turns; an observer hears everybody."""
    return listener >= speakers or (listener - other) % speakers in (1, speakers - 1)


TOPOLOGIES: dict[str, Topology] = {"round_robin": round_robin, "ring": ring}
"""Topologies by the name used in `topology`; add yours here."""


def heard(topology: str, listener: int, speakers: int) -> tuple[int, ...]:
    """Positions of the other speakers whose replies an agent hears.

    Raises:
        SettingsError: there is no such topology.
    """
    if topology not in TOPOLOGIES:
        raise SettingsError(f"topology.name={topology}: there is no such topology; there is {', '.join(TOPOLOGIES)}.")
    hears = TOPOLOGIES[topology]
    return tuple(other for other in range(speakers) if other != listener and hears(listener, other, speakers))
