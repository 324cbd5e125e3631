"""Shows one debate on the terminal as it happens, with everybody's attitudes after each round.

It only watches: it knows events and colours, but nothing about engines or files.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from hustings.records import End, Event, Reply, Start, Survey
from hustings.runfolder import DebateKey
from hustings.settings import DEFAULT, SHADOW, SimulateSettings

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

_BELOW = 3
"""Lines of the terminal that are left free for the counts."""


class Watch:
    """A rich renderable that follows one debate at a time; when it ends, the one that has got furthest is next.

    Args:
        settings: the run's settings.
        begun: logged events of debates that have not ended, by debate.
    """

    def __init__(self, settings: SimulateSettings, begun: Mapping[str, Sequence[Event]]) -> None:
        society = settings.society
        self._colours = {party: of.colour for party, of in society.parties.items()} | {DEFAULT: society.default.colour}
        self._topics = {name: topic.label for name, topic in settings.topics.items()}
        self._debates = {debate: [*events] for debate, events in begun.items()}
        self._followed = ""

    def on_event(self, event: Event) -> None:
        """Record an event."""
        if isinstance(event, End):
            self._debates.pop(event.debate, None)
            return
        self._debates.setdefault(event.debate, []).append(event)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """The latest part of the debate, as much of it as fits on the terminal."""
        from rich.console import Group
        from rich.segment import Segment

        lines = console.render_lines(Group(*self._told()), options, pad=False)
        for line in lines[-max(1, console.height - _BELOW) :]:
            yield from line
            yield Segment.line()

    def _told(self) -> Iterator["Text"]:
        from rich.text import Text

        debates = dict(self._debates)  # drawing happens in a separate thread
        if self._followed not in debates and debates:
            self._followed = max(debates, key=lambda key: len(debates[key]))
        events = debates.get(self._followed, [])
        if len(events) < 2:
            return
        start, *said = events
        assert isinstance(start, Start)
        key = DebateKey.parse(start.debate)
        yield Text(f"A debate on {self._topics[key.topic]}, repetition {key.repetition + 1}", style="bold")
        surveys: dict[int, dict[int, list[float]]] = {}
        for place, event in enumerate(said):
            if isinstance(event, Reply):
                yield Text.assemble(self._name(start, event.agent), "  ", event.text)
            elif isinstance(event, Survey):
                answers = surveys.setdefault(event.iteration, {})
                value = event.value if event.expected is None else event.expected
                if value is not None:
                    answers.setdefault(event.agent, []).append(value)
                following = said[place + 1 : place + 2]
                if not (following and isinstance(following[0], Survey) and following[0].iteration == event.iteration):
                    yield self._attitudes(start, answers)

    def _name(self, start: Start, agent: int) -> tuple[str, str]:
        it = start.agents[agent]
        name = "shadow" if it.role == SHADOW else it.name
        return name, f"bold {self._colours.get(it.role, '')}".strip()

    def _attitudes(self, start: Start, answers: Mapping[int, Sequence[float]]) -> "Text":
        """One line: what everybody thinks now."""
        from rich.text import Text

        parts: list[str | tuple[str, str]] = ["    "]
        for agent, values in sorted(answers.items()):
            parts += [self._name(start, agent), f" {fmean(values):.1f}   "]
        return Text.assemble(*parts, style="dim")
