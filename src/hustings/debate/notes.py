"""Notes that agents write for themselves: a treatment asks for them at set times, and shows them to the agents later.

It does not know about prompts.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hustings.records import Note


class Point(NamedTuple):
    """A note to be written."""

    iteration: int
    """Number of replies made before it."""
    place: int
    """Position of the agent that writes it."""
    treatment: str


class Notes:
    """The notes of one debate: those already written, and those still to be written.

    Args:
        points: all notes that will be written.
    """

    def __init__(self, points: Iterable[Point]) -> None:
        self.open = set(points)
        """Notes still to be written."""
        self._written: dict[tuple[int, str], dict[int, str]] = {}

    def write(self, note: Note) -> None:
        """Record a note."""
        self.open.discard(Point(note.iteration, note.agent, note.treatment))
        self._written.setdefault((note.agent, note.treatment), {})[note.iteration] = note.text

    def due(self, made: int) -> list[Point]:
        """Notes that can be written after this many replies: each agent's next one for each treatment."""
        next_of: dict[tuple[int, str], Point] = {}
        for point in sorted(self.open):
            if point.iteration <= made:
                next_of.setdefault((point.place, point.treatment), point)
        return sorted(next_of.values())

    def waits(self, place: int, iteration: int, treatments: Iterable[str]) -> bool:
        """Whether an agent still has to write a note that these treatments show it after this many replies."""
        shown = set(treatments)
        return any(
            point.place == place and point.iteration <= iteration and point.treatment in shown for point in self.open
        )

    def of(self, place: int, iteration: int) -> Mapping[str, str]:
        """An agent's newest note for each treatment after this many replies."""
        found: dict[str, str] = {}
        for (writer, treatment), texts in self._written.items():
            before = [at for at in texts if at <= iteration]
            if writer == place and before:
                found[treatment] = texts[max(before)]
        return found
