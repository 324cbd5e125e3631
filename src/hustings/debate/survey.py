"""From what an engine says of the survey to a score in 0 … 10, or to missing data; never to a guess.

It does not ask: prompts.py words the question and play.py sends it. Source: protocol.md, scores.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from hustings.engine.base import Score

OPTIONS = tuple(str(number) for number in range(11))

_END = r"(?:\s*\([^)]*\))?"
_SCALE = re.compile(
    rf"\b[0-9]+{_END}\s*-?(?:to|through|[-–—])-?\s*[0-9]+\b{_END}|\bbetween\s+[0-9]+{_END}\s+and\s+[0-9]+\b{_END}",
    re.IGNORECASE,
)
_SHARE = re.compile(
    r"(?<![0-9.,/])[0-9.,]*[0-9](?:\s*(?:/|\b(?:out\s+)?of\b|\bin\b(?=\s*10))\s*[0-9]+)+", re.IGNORECASE
)
_OUT_OF_TEN = re.compile(r"(10|[0-9])\s*(?:/|out\s+of|of)\s*10", re.IGNORECASE)
_WHOLE = re.compile(r"(?<![0-9.,/\w$£€−-])([0-9]+)(?![0-9]|[.,/][0-9]|\s*%|\s*percent|\w)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """One survey answer on the normal scale: 0 is the topic's low end, 10 its high end."""

    score: int | None
    """The chosen number; None when the answer is invalid."""
    expected: float | None
    """Mean of 0 … 10 under the renormalised probabilities; None without log-probabilities."""
    raw: str
    """The answer as the engine gave it, on the scale that was asked."""


def read(answer: Score, scale: Literal["normal", "reversed"]) -> Reading:
    """Read an answer to OPTIONS: the most probable option, or the number in the generated text."""
    if answer.logprobs is None:
        number, expected = parse(answer.text), None
    else:
        number = int(answer.text)
        top = max(answer.logprobs)
        weights = [math.exp(logprob - top) for logprob in answer.logprobs]
        expected = sum(place * weight for place, weight in enumerate(weights)) / sum(weights)
    if scale == "reversed":
        number = None if number is None else 10 - number
        expected = None if expected is None else 10 - expected
    return Reading(number, expected, answer.text)


def parse(text: str) -> int | None:
    """The first whole number in 0 … 10 of an answer in words; None when there is none.

    A scale or range ("0 to 10") is no answer, as it may be quoted from the question. "8/10" and "8 out of 10" are 8,
    wherever they stand; other shares ("4 out of 5", "1 in 10") are no answers.
    """
    bare = _SCALE.sub(" ", text)
    for share in _SHARE.finditer(bare):
        if found := _OUT_OF_TEN.fullmatch(share[0]):
            return int(found[1])
    numbers = (int(found[1]) for found in _WHOLE.finditer(_SHARE.sub(" ", bare)))
    return next((number for number in numbers if number <= 10), None)
