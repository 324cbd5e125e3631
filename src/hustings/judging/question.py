"""What a judge is asked about one reply, and what its answer is worth. It does not know runs."""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from hustings.debate.instrument import parse
from hustings.engine.base import Request, Sampling, Score, Turn
from hustings.identity import seed_of
from hustings.template import Template

Poles = Literal["normal", "exchanged"]
"""Which end of the topic's scale is +3 in the question: the high one, or the low one."""
VALUES: dict[str, int] = {f"{value:+d}" if value else "0": value for value in range(-3, 4)}
"""What each rating is worth, from the low end of the topic's scale to the high end (Source: protocol.md, judge)."""
NONE = "none"
"""The rating of a reply that takes no stance."""
RATINGS = (*VALUES, NONE)
"""What a judge can answer."""
_TOKENS = 8
"""Longest answer, on engines that have to generate it."""
_MINUS = str.maketrans("−–", "--")
_UNSIGNED = re.compile(r"(?<![-+\w.])(?=[1-3](?![\w.]))")


class Rated(NamedTuple):
    """One answer of a judge, as it is kept."""

    poles: Poles
    rating: str | None
    """What was chosen; None where the answer was none of RATINGS."""
    logprobs: tuple[float | None, ...] | None
    """Natural log-probability of each of RATINGS; None for one too improbable to be listed."""
    raw: str

    @property
    def stance(self) -> float | None:
        """Mean of the values under the numbers' probabilities, towards the high end; None where no number was chosen.

        Without probabilities it is the number that was chosen.
        """
        if self.rating is None or self.rating == NONE:
            return None
        weights = self._weights(len(VALUES))
        chosen = float(VALUES[self.rating])
        mean = sum(value * it for value, it in zip(VALUES.values(), weights, strict=True)) if weights else chosen
        return -mean if self.poles == "exchanged" else mean

    @property
    def none(self) -> float | None:
        """Probability of no stance among all ratings; None without probabilities."""
        weights = self._weights(len(RATINGS))
        return weights[-1] if weights else None

    @property
    def turned(self) -> str:
        """The rating in the direction of the topic's scale; empty where there is none."""
        if self.rating in (None, NONE) or self.poles == "normal":
            return self.rating or ""
        return next(name for name, value in VALUES.items() if value == -VALUES[str(self.rating)])

    def _weights(self, count: int) -> list[float]:
        """Probabilities of the first so many ratings, renormalised; empty where there are none."""
        known = [-math.inf if it is None else it for it in (self.logprobs or ())[:count]]
        top = max(known, default=-math.inf)
        weights = [math.exp(it - top) for it in known] if math.isfinite(top) else []
        return [it / sum(weights) for it in weights]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about replies on one topic.

    Args:
        text: a template, as JudgeSettings.question.
        topic: `label`, `question`, `low` and `high` of the topic.
    """

    template: Template
    topic: Mapping[str, Any]

    @classmethod
    def of(cls, text: str, topic: Mapping[str, Any]) -> "Question":
        """The question of a template.

        Raises:
            SettingsError: it does not compile.
        """
        return cls(Template(text, "question", "conf/judge.yaml"), topic)

    def substance(self) -> list[str]:
        """What is asked, for its identity: as it is rendered, without a reply."""
        return [self.prompt("{text}", poles) for poles in ("normal", "exchanged")]

    def prompt(self, text: str, poles: Poles) -> str:
        """The question about one reply."""
        low, high = self.topic["low"], self.topic["high"]
        ends = {"low": low, "high": high} if poles == "normal" else {"low": high, "high": low}
        words = {"topic": self.topic["label"], "question": self.topic["question"], "ratings": list(RATINGS)}
        return self.template.render(**words, **ends, text=text)

    def request(self, text: str, poles: Poles) -> Request:
        """The request that asks about one reply."""
        name = name_of(text)
        turn = Turn(f"judge/{self.topic['label']}/{poles}/{name[:12]}", 0, "judge", 0, "survey", "")
        sampling = Sampling(temperature=0.0, max_tokens=_TOKENS)
        return Request(self.prompt(text, poles), seed_of("judge", name, poles), sampling, turn, options=RATINGS)


def name_of(text: str) -> str:
    """What a reply is known by: the sha256 of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(answer: Score, poles: Poles) -> Rated:
    """What an answer says: the most probable rating, or the one that the generated text gives."""
    if answer.logprobs is None:
        signed = _UNSIGNED.sub("+", answer.text.translate(_MINUS))
        place = parse(signed, RATINGS, cut=answer.cut)
        return Rated(poles, None if place is None else RATINGS[place], None, answer.text)
    logprobs = tuple(round(it, 6) if math.isfinite(it) else None for it in answer.logprobs)
    return Rated(poles, answer.text, logprobs, answer.text)
