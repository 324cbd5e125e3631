"""From what an engine says of the survey to a score in 0 … 10, or to missing data; never to a guess.

It does not ask: prompts.py words the question and play.py sends it. Source: protocol.md, scores.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from hustings.engine.base import Score

OPTIONS = tuple(str(number) for number in range(11))

_QUOTED = re.compile(
    r"(?:from|between)?\s*\b0\s*(?:\([^)]*\)\s*)?(?:to|and|through|[-–—])\s*10\b(?:\s*\([^)]*\))?", re.IGNORECASE
)
_OUT_OF_TEN = re.compile(r"(?<![\d./])(\d+)\s*(?:/|out of|of)\s*10\b(?![.\d])", re.IGNORECASE)
_WHOLE = re.compile(r"(?<![\d.,/\w-])(\d+)(?!\d|[.,/]\d|\s*%|\w)")


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
    """The first whole number in 0 … 10 that is not quoted from the question; None when there is none."""
    bare = _QUOTED.sub(" ", text)
    out_of_ten = _OUT_OF_TEN.search(bare)
    if out_of_ten and int(out_of_ten[1]) <= 10:
        return int(out_of_ten[1])
    numbers = (int(found[1]) for found in _WHOLE.finditer(bare))
    return next((number for number in numbers if number <= 10), None)
