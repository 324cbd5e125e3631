"""Counts what a run took (replies, tokens, calls, dollars), in this process and in all that played its debates."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hustings.engine.base import Answer
from hustings.settings import PriceSettings


@dataclass(slots=True)
class Counts:
    """What this process took, on one topic or on all."""

    played: int = 0
    """Finished debates."""
    seconds: float = 0.0
    replies: int = 0
    tokens: int = 0
    """Tokens generated in debates."""
    prompt_tokens: int = 0
    persona_tokens: int = 0
    persona_prompt_tokens: int = 0
    calls: int = 0
    """Answers, including those for personas."""
    refusals: int = 0
    dollars: float | None = None
    """Cost of debates and personas; None without a price."""

    def add(self, answer: Answer, price: PriceSettings | None, *, persona: bool = False) -> None:
        """Count an answer."""
        self.calls += 1
        self.refusals += answer.refused
        if persona:
            self.persona_tokens += answer.tokens
            self.persona_prompt_tokens += answer.prompt_tokens
        else:
            self.tokens += answer.tokens
            self.prompt_tokens += answer.prompt_tokens
        if price is not None:
            self.dollars = (self.dollars or 0.0) + price.dollars(answer.prompt_tokens, answer.tokens)

    def plain(self) -> dict[str, Any]:
        """The counts by name, without unknown ones."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class Tally:
    """Counts of this process by topic, and over all."""

    topics: dict[str, Counts] = field(default_factory=dict[str, Counts])

    def on(self, topic: str) -> Counts:
        """The counts of a topic."""
        return self.topics.setdefault(topic, Counts())

    @property
    def total(self) -> Counts:
        """The counts over all topics."""
        return Counts(**total(counts.plain() for counts in self.topics.values()))


def total(counts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of what several processes, or several topics, took."""
    sums: dict[str, Any] = {}
    for each in counts:
        for name, value in each.items():
            sums[name] = sums.get(name, 0) + value
    return sums
