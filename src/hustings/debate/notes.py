"""What agents write down for themselves: a treatment asks for it at set times, and shows it to them later.

It does not know prompts.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hustings.records import Note


class Point(NamedTuple):
    """A note that is to be written."""

    iteration: int
    """Replies made before it."""
    place: int
    """Position of the agent that writes it."""
    treatment: str


class Notes:
    """The notes of one debate: those that are written, and those that are still to be.

    Args:
        points: all that will be written.
    """

    def __init__(self, points: Iterable[Point]) -> None:
        self.open = set(points)
        """Those that are still to be written."""
        self._written: dict[tuple[int, str], dict[int, str]] = {}

    def write(self, note: Note) -> None:
        """Take a note."""
        self.open.discard(Point(note.iteration, note.agent, note.treatment))
        self._written.setdefault((note.agent, note.treatment), {})[note.iteration] = note.text

    def due(self, made: int) -> list[Point]:
        """Notes that can be written after so many replies: each agent's next one for each treatment."""
        next_of: dict[tuple[int, str], Point] = {}
        for point in sorted(self.open):
            if point.iteration <= made:
                next_of.setdefault((point.place, point.treatment), point)
        return sorted(next_of.values())

    def waits(self, place: int, iteration: int, treatments: Iterable[str]) -> bool:
        """Whether an agent has still to write what these treatments show it after so many replies."""
        shown = set(treatments)
        return any(
            point.place == place and point.iteration <= iteration and point.treatment in shown for point in self.open
        )

    def of(self, place: int, iteration: int) -> Mapping[str, str]:
        """An agent's newest note for each treatment after so many replies."""
        found: dict[str, str] = {}
        for (writer, treatment), texts in self._written.items():
            before = [at for at in texts if at <= iteration]
            if writer == place and before:
                found[treatment] = texts[max(before)]
        return found
