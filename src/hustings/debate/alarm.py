"""Checks whether a model's answers are usable: a run stops early if most of them are invalid or empty.

It does not know how debates are played; it counts their events.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hustings.engine.base import Answer, Completion, Request
from hustings.errors import AlarmError
from hustings.records import End, Event, Reply, Start, Survey
from hustings.settings import AlarmSettings

_EXAMPLES = 3
_LONGEST = 60
"""Maximum length of an example, in characters."""
_ADVICE = {
    "invalid": (
        "Read surveys from log-probabilities where the engine has them (engine.logprobs above 0), or choose a model "
        "or a prompt whose answers are options of the survey (model=…, prompt=…, instrument=…)"
    ),
    "empty": (
        "Raise sampling.max_tokens (a model that reasons may use them up before it speaks), turn its reasoning off, or "
        "choose another prompt or model (prompt=…, model=…)"
    ),
}
_CALLED = {"invalid": "survey answers", "empty": "replies"}


def blank(text: str) -> bool:
    """Whether a text has nothing visible: it is empty, or has only spaces, line ends and invisible characters."""
    return all(unicodedata.category(character) in _UNSEEN for character in text)


_UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")
"""Unicode's categories of spaces, line ends, and characters that only control how others look."""


@dataclass(slots=True)
class _Count:
    """Answers of one kind from one model."""

    answers: int = 0
    bad: int = 0
    examples: dict[str, None] = field(default_factory=dict[str, None])
    """A few of the bad answers; a dictionary keeps them unique and in order."""

    def add(self, *, bad: bool, text: str) -> None:
        self.answers += 1
        self.bad += bad
        if bad and len(self.examples) < _EXAMPLES:
            words = " ".join(text.split())
            self.examples[repr(words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…")] = None


class Alarm:
    """Counts the answers of a run by model, and stops the run when too many of them are unusable.

    Args:
        settings: the shares above which the run stops.
    """

    def __init__(self, settings: AlarmSettings) -> None:
        self._settings = settings
        self._runs_on: dict[str, list[str]] = {}
        """What each agent runs on, by debate, while the debate is in progress."""
        self._said: dict[str, dict[int, str]] = {}
        """What each agent said last, by debate."""
        self._counts: dict[tuple[str, str], _Count] = {}

    def read(self, events: Iterable[Event]) -> None:
        """Count events that are already in a log."""
        for event in events:
            self._count(event)

    def on_answer(self, request: Request, answer: Answer) -> None:
        """Remember what was said, in case nothing is left of it after cleaning."""
        if isinstance(answer, Completion):
            said = self._said.setdefault(request.turn.debate, {})
            said[request.turn.agent] = answer.text.removeprefix(request.start)

    def on_event(self, event: Event) -> None:
        """Count an event that has just been logged.

        Raises:
            AlarmError: too many answers of its kind are unusable.
        """
        self._count(event)
        if isinstance(event, Reply | Survey):
            self.check()

    def _count(self, event: Event) -> None:
        match event:
            case Start():
                self._runs_on[event.debate] = [it.runs_on for it in event.agents]
            case Survey():
                self._of("invalid", event.debate, event.agent).add(bad=not event.valid, text=event.raw)
            case Reply():
                text = self._said.get(event.debate, {}).get(event.agent, event.full or event.text)
                self._of("empty", event.debate, event.agent).add(bad=event.finish == "empty", text=text)
            case End():
                self._runs_on.pop(event.debate, None)
                self._said.pop(event.debate, None)
            case _:
                pass

    def _of(self, kind: str, debate: str, agent: int) -> _Count:
        runs_on = self._runs_on.get(debate)
        return self._counts.setdefault((kind, runs_on[agent] if runs_on else ""), _Count())

    def check(self, *, ended: bool = False) -> None:
        """Stop a run that is not worth continuing.

        Args:
            ended: whether no more answers will come; then even a few answers count if none of them is usable.

        Raises:
            AlarmError: too many answers of a kind are unusable.
        """
        shares: Mapping[str, float] = {"invalid": self._settings.invalid, "empty": self._settings.empty}
        for (kind, model), count in self._counts.items():
            enough = count.answers >= self._settings.after or (ended and count.bad == count.answers)
            if enough and count.bad > shares[kind] * count.answers:
                raise AlarmError(
                    f"{count.bad} of {count.answers} {_CALLED[kind]} of {model or 'the model'} are {kind}, which is "
                    f"above alarm.{kind}={shares[kind]:g}, so the run has stopped; everything up to here is kept. They "
                    f"look like this: {', '.join(count.examples)}. {_ADVICE[kind]}. To go on all the same, run the "
                    f"same command with a higher alarm.{kind} (1 never stops it): nothing is asked again."
                )
