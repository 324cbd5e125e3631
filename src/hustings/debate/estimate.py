"""Estimates what a run will take, by playing it with an engine that only counts.

It has no tokenizer: a token is a fixed number of characters, and a reply is as long as the prompt asks for.
"""

import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hustings.debate.play import Listener, Rules, play
from hustings.engine.base import Answer, Completion, Engine, Likelihood, Request, Score
from hustings.records import Start
from hustings.settings import PriceSettings

Price = Callable[[str, str], PriceSettings | None]
CHARACTERS = 4.0
"""Characters per token; 4.05 on 336 prompts of debates in SmolLM2's vocabulary of 49,152 tokens."""
_TEMPLATE = 32
"""Tokens that a chat template adds around a prompt: SmolLM2's and Qwen2.5's, with their own system prompts."""
_PER_WORD = 1.3
"""Tokens per word."""
_KEPT = 0.8
"""Share of a text that reaches later prompts once its cut-off end is removed; measured on the same prompts."""
_SAMPLE = 48
"""Maximum number of debates that are played through; the others are assumed to be like them."""
_WORDS = re.compile(r"\b(\d+)\s+words\b")
_FILLER = "I have thought about this for a long time, and what I see around me every day tells me that we must act. "


@dataclass(slots=True)
class Estimate:
    """What a run is expected to take."""

    debates: int
    calls: float = 0.0
    prompt_tokens: float = 0.0
    tokens: float = 0.0
    """Generated tokens."""
    surveys: float = 0.0
    """Calls that are survey answers."""
    prompt_dollars: float = 0.0
    """Price of the prompts, where it is known."""
    dollars: float = 0.0
    """Price of the generated tokens, where it is known."""
    dates: frozenset[str] = frozenset()
    """When the prices were looked up; empty if no price is known."""
    measured: int = 0
    """Number of debates of the same run by which the tokens were corrected."""

    def add(self, other: "Estimate", times: float) -> None:
        """Add another estimate, multiplied by `times`."""
        self.calls += times * other.calls
        self.prompt_tokens += times * other.prompt_tokens
        self.tokens += times * other.tokens
        self.surveys += times * other.surveys
        self.prompt_dollars += times * other.prompt_dollars
        self.dollars += times * other.dollars
        self.dates |= other.dates

    def scaled(self, spent: Mapping[str, Any], counted: "Estimate") -> None:
        """Correct the tokens by the ratio of what the model took to what was counted for the same work."""
        prompts, tokens = spent["prompt_tokens"] / counted.prompt_tokens, spent["tokens"] / counted.tokens
        self.prompt_tokens *= prompts
        self.prompt_dollars *= prompts
        self.tokens *= tokens
        self.dollars *= tokens
        self.measured = counted.debates

    @property
    def money(self) -> str:
        """', about 0.24 dollars at the prices of …', or nothing if no price is known."""
        dollars, dates = self.prompt_dollars + self.dollars, " and ".join(sorted(self.dates))
        return f", about {dollars:.2f} dollars at the prices of {dates}" if dates else ""

    @property
    def text(self) -> str:
        """One paragraph: the figures, and what they are based on."""
        figures = (
            f"{self.debates} debates to play: about {self.calls:.0f} calls, {self.prompt_tokens:.0f} tokens of prompts "
            f"and {self.tokens:.0f} generated{self.money}."
        )
        if self.measured:
            return f"{figures} Extrapolated from the {self.measured} debates of this run that have begun."
        return (
            f"{figures} Assumed: {CHARACTERS:g} characters a token, {_TEMPLATE} tokens of chat template, texts as long "
            f"as the prompt asks for ({_PER_WORD:g} tokens a word), no second attempts. Models differ in all of that: "
            "once repetitions=1 is played, a dry run uses what it took."
        )


def _unpriced(role: str, purpose: str) -> PriceSettings | None:
    return None


class Counter(Engine):
    """Answers with filler as long as a model's answer would be, and counts.

    Args:
        surveys: by role, the generated tokens and the calls that a survey answer takes; 1 and 1 for roles left out.
        price: the price of what answers a role for a purpose (`Turn`); None if it is free or unknown.
    """

    promise = "nothing is generated"

    def __init__(self, surveys: Mapping[str, tuple[int, float]], price: Price = _unpriced) -> None:
        self._surveys = surveys
        self._price = price
        self.counted = Estimate(0)

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer each request at once."""
        while queue:
            request = queue.popleft()
            prompt = round((len(request.prompt) + len(request.start) + len(request.text)) / CHARACTERS) + _TEMPLATE
            if request.text:
                self._count(request, prompt, 0, 1)
                yield request, Likelihood(0.0, 1, prompt)
                continue
            length, calls = self._surveys.get(request.turn.role, (1, 1.0))
            tokens = length if request.options else _length(request)
            self._count(request, prompt, tokens, calls if request.options else 1)
            if request.options:
                yield request, Score(None, request.options[0], prompt, tokens)
            else:
                yield request, Completion(request.start + " " + filler(_KEPT * tokens), prompt, tokens, "stop")

    def _count(self, request: Request, prompt: int, tokens: int, calls: float) -> None:
        """Count an answer that takes this many calls of so many tokens each."""
        one = Estimate(0, 1, prompt, tokens, bool(request.options))
        if price := self._price(request.turn.role, request.turn.purpose):
            one.prompt_dollars, one.dollars = price.dollars(prompt, 0), price.dollars(0, tokens)
            one.dates = frozenset({price.date})
        self.counted.add(one, calls)


def _length(request: Request) -> int:
    """Tokens of a text: enough for the words that its prompt asks for, or else as many as it may have."""
    asked = _WORDS.findall(request.prompt)
    most = request.sampling.max_tokens
    return min(most, math.ceil(int(asked[-1]) * _PER_WORD)) if asked and not request.sampling.ignore_end else most


def filler(tokens: float) -> str:
    """English text of this many tokens."""
    length = round(tokens * CHARACTERS)
    return (_FILLER * (length // len(_FILLER) + 1))[:length].strip()


def count(
    starts: Sequence[Start],
    logged: Mapping[str, Sequence[Any]],
    rules: Rules,
    surveys: Mapping[str, tuple[int, float]],
    price: Price = _unpriced,
) -> Estimate:
    """What these debates will take, from where the log leaves off.

    Args:
        surveys: as in `Counter`.
        price: as in `Counter`.
    """
    result = Estimate(len(starts))
    some = [starts[place * len(starts) // _SAMPLE] for place in range(_SAMPLE)] if len(starts) > _SAMPLE else starts
    if some:
        counter = Counter(surveys, price)
        play(counter, some, logged, rules, len(some), Listener())
        result.add(counter.counted, len(starts) / len(some))
    return result
