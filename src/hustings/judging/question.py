"""The question that a judge is asked about one reply, and how its answer is read. It does not know runs."""

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
"""Which end of the topic's scale is +3 in the question: `normal` is the high end, `exchanged` the low one."""
VALUES: dict[str, int] = {f"{value:+d}" if value else "0": value for value in range(-3, 4)}
"""Value of each rating, from the low end of the topic's scale to the high end (Source: protocol.md, judge)."""
NONE = "none"
"""The rating of a reply that takes no stance."""
RATINGS = (*VALUES, NONE)
"""All answers that a judge can give."""
_TOKENS = 8
"""Longest answer, in tokens, on engines that have to generate it."""
_MINUS = str.maketrans("−–", "--")
_UNSIGNED = re.compile(r"(?<![-+\w.])(?=[1-3](?![\w.]))")


class Rated(NamedTuple):
    """One answer of a judge, as it is stored."""

    poles: Poles
    rating: str | None
    """The chosen rating; None if the answer was none of RATINGS."""
    logprobs: tuple[float | None, ...] | None
    """Natural log-probability of each of RATINGS; None for one that was too improbable to be listed."""
    raw: str

    @property
    def stance(self) -> float | None:
        """Mean of the values, weighted by their probabilities, towards the high end; None if no number was chosen.

        Without probabilities, it is the chosen number.
        """
        if self.rating is None or self.rating == NONE:
            return None
        weights = self._weights(len(VALUES))
        chosen = float(VALUES[self.rating])
        mean = sum(value * it for value, it in zip(VALUES.values(), weights, strict=True)) if weights else chosen
        return -mean if self.poles == "exchanged" else mean

    @property
    def none(self) -> float | None:
        """Probability that the reply takes no stance, among all ratings; None without probabilities."""
        weights = self._weights(len(RATINGS))
        return weights[-1] if weights else None

    @property
    def turned(self) -> str:
        """The rating in the direction of the topic's scale; empty if there is none."""
        if self.rating in (None, NONE) or self.poles == "normal":
            return self.rating or ""
        return next(name for name, value in VALUES.items() if value == -VALUES[str(self.rating)])

    def _weights(self, count: int) -> list[float]:
        """Renormalised probabilities of the first `count` ratings; empty without probabilities."""
        known = [-math.inf if it is None else it for it in (self.logprobs or ())[:count]]
        top = max(known, default=-math.inf)
        weights = [math.exp(it - top) for it in known] if math.isfinite(top) else []
        return [it / sum(weights) for it in weights]


@dataclass(frozen=True, slots=True)
class Question:
    """The question about replies on one topic.

    Args:
        text: a template, like JudgeSettings.question.
        topic: `label`, `question`, `low` and `high` of the topic.
    """

    template: Template
    topic: Mapping[str, Any]

    @classmethod
    def of(cls, text: str, topic: Mapping[str, Any]) -> "Question":
        """The question from a template.

        Raises:
            SettingsError: the template does not compile.
        """
        return cls(Template(text, "question", "conf/judge.yaml"), topic)

    def substance(self) -> list[str]:
        """What identifies the question: its rendered text, without a reply."""
        return [self.prompt("{text}", poles) for poles in ("normal", "exchanged")]

    def prompt(self, text: str, poles: Poles) -> str:
        """The text of the question about one reply."""
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
    """The key under which a reply is stored: the sha256 of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(answer: Score, poles: Poles) -> Rated:
    """Read an answer: the most probable rating or, without probabilities, the one that the generated text gives."""
    if answer.logprobs is None:
        signed = _UNSIGNED.sub("+", answer.text.translate(_MINUS))
        place = parse(signed, RATINGS, cut=answer.cut)
        return Rated(poles, None if place is None else RATINGS[place], None, answer.text)
    logprobs = tuple(round(it, 6) if math.isfinite(it) else None for it in answer.logprobs)
    return Rated(poles, answer.text, logprobs, answer.text)
