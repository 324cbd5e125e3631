"""Works out how probable each option is from the most probable tokens of an answer.

It does not send anything.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter
from typing import Any

from pydantic import BaseModel, ValidationError

UNKNOWN = 0.01
"""Largest share of the options' probability that may be unknown; above it, no log-probabilities are given."""
_ROUNDING = 0.01
"""How far above 0 a log-probability may be, through rounding."""
_REFUSAL = re.compile(
    r"^\W*(?:(?:I['’]m |I am |we['’]re )?(?:very |so )?(?:sorry|afraid|unable)\b|(?:as an? )?(?:AI|language model)\b"
    r"|I (?:can['’]?t|cannot|can not|won['’]t|will not|must decline|decline|(?:don['’]t|do not) (?:have|hold)))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Place:
    """One token position of an answer."""

    token: str
    """The generated token."""
    likely: tuple[tuple[str, float], ...]
    """The most probable tokens, with their log-probabilities."""
    whole: bool = True
    """Whether the endpoint gave the log-probability of each token that it listed."""


def refused(text: str) -> bool:
    """Whether a text begins the way models do when they decline to answer."""
    return bool(_REFUSAL.match(text))


def wrong(error: ValidationError, *place: str) -> str:
    """What is wrong with an answer, in a few words, such as `choices.0.message is null`.

    Args:
        place: where in the answer the validated value is.
    """
    first = error.errors()[0]
    names = [str(it) for it in (*place, *first["loc"]) if it != "str"]  # pydantic also lists members of a union
    where = ".".join(name for name in names if not name.startswith(("_", "list[")))
    match first["type"]:
        case "missing":
            return f"{where} is missing"
        case "too_short":
            return f"{where} is empty"
        case "value_error":
            return f"{where}: {first['msg'].removeprefix('Value error, ')}"
        case _:
            value: Any = first["input"]
            kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: str(value).lower()}
            return f"{where} is {kinds.get(type(value), 'a number')}"


class _Token(BaseModel):
    token: str
    logprob: float | None = None


class _Position(_Token):
    top_logprobs: list[_Token] | None = None


class _OfChat(BaseModel):
    content: list[_Position] | None


class _OfText(BaseModel):
    tokens: list[str] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


def places_of(choice: Mapping[str, Any]) -> list[Place]:
    """The token positions of an answer, in either of the protocol's two formats; empty if the endpoint gave none.

    Raises:
        ValueError: the endpoint's values are not log-probabilities.
    """
    given: Any = choice.get("logprobs")
    if not given:
        return []
    try:
        if isinstance(given, dict) and "content" in given:
            positions = _OfChat.model_validate(given).content or []
            return [_place(it.token, ((top.token, top.logprob) for top in it.top_logprobs or [it])) for it in positions]
        of = _OfText.model_validate(given)
    except ValidationError as error:
        raise ValueError(wrong(error, "logprobs")) from None
    listed = of.top_logprobs or []
    if of.tokens:
        return [_place(token, (it or {}).items()) for token, it in zip(of.tokens, listed, strict=False)]
    likely = [_place("", (it or {}).items()) for it in listed]
    return [replace(it, token=max(it.likely, key=itemgetter(1))[0] if it.likely else "") for it in likely]


def _place(token: str, likely: Iterable[tuple[str, float | None]]) -> Place:
    """A position without tokens whose log-probability is missing or NaN; without any if the generated token's is.

    Raises:
        ValueError: a log-probability is positive beyond rounding.
    """
    every = [(text, logprob) for text, logprob in likely]
    known = [(text, logprob) for text, logprob in every if logprob is not None and not math.isnan(logprob)]
    if any(logprob > _ROUNDING for _, logprob in known):
        raise ValueError(f"logprobs: {max(known, key=itemgetter(1))[1]:g} is no log-probability")
    if any(text == token for text, _ in every) and not any(text == token for text, _ in known):
        known = []
    return Place(token, tuple((text, min(0.0, logprob)) for text, logprob in known), len(known) == len(every))


class Options:
    """How probable each option is, as far as the most probable tokens of an answer show.

    The longest listed token that begins an option represents it, because tokenizers spell it that way: "Ag", not "A",
    for "Agree". A text that represents several options ("1" for "1" and "10", "Strong" for "Strongly agree" and
    "Strongly disagree") is `open` until the tokens after it are known. No values are made up for options that are not
    listed: each is no more probable than the least probable listed token.

    Args:
        options: the possible answers.
        first: the first position of the answer.
    """

    def __init__(self, options: Sequence[str], first: Place) -> None:
        self._options = options
        self._shares: dict[str, float] = {}
        self._open: dict[str, float] = {}
        self._followed: set[str] = set()
        self._spread("", 1.0, first)
        self._rest = max(0.0, 1.0 - sum(math.exp(logprob) for _, logprob in first.likely))
        self._whole = first.whole
        least = min((logprob for _, logprob in first.likely), default=0.0) if first.whole else 0.0
        self._least = math.exp(least)

    def follow(self, places: Sequence[Place]) -> None:
        """Read the later positions of the answer, as long as they continue an open text."""
        text = ""
        for before, place in pairwise(places):
            text = (text + before.token).lstrip()
            if text not in self._open or not place.whole:
                return
            self.resolve(text, place)

    def resolve(self, text: str, after: Place) -> None:
        """Split the probability of an open text among options, according to what comes after it."""
        share = self._open.pop(text)
        self._followed.add(text)
        used = self._spread(text, share, after)
        if text in self._options:
            self._add(text, share * max(1.0 - used, 1e-12))

    def _spread(self, text: str, share: float, place: Place) -> float:
        """Distribute the share of a text among the options that continue it; returns the fraction distributed."""
        parts: dict[str, float] = {}
        for token, logprob in place.likely:
            longer = (text + token).lstrip()
            if not any(option.startswith(longer) for option in self._options):
                longer = longer.rstrip()
            if len(longer) > len(text):
                parts[longer] = parts.get(longer, 0.0) + math.exp(logprob)
        begun: dict[str, list[str]] = {}
        for option in self._options:
            longest = max((it for it in parts if option.startswith(it)), key=len, default=None)
            if longest is not None:
                begun.setdefault(longest, []).append(option)
        for longer, options in begun.items():
            if len(options) > 1:
                self._open[longer] = self._open.get(longer, 0.0) + share * parts[longer]
            else:
                self._add(options[0], share * parts[longer])
        return sum(parts[longer] for longer in begun)

    def _add(self, option: str, share: float) -> None:
        self._shares[option] = self._shares.get(option, 0.0) + share

    @property
    def doubt(self) -> str | None:
        """The most probable open text that holds more than 1 % of the options' probability."""
        mass = sum(self._shares.values()) + sum(self._open.values())
        relevant = [text for text, share in self._open.items() if share > UNKNOWN * mass]
        return max(relevant, key=self._open.__getitem__, default=None)

    @property
    def shares(self) -> dict[str, float]:
        """The known probability of each option, including that of open texts that are options themselves."""
        whole = {text: share for text, share in self._open.items() if text in self._options}
        return {option: self._shares.get(option, 0.0) + whole.get(option, 0.0) for option in {**self._shares, **whole}}

    def logprob(self, option: str) -> float:
        """Natural log-probability of an option; minus infinity if it is not listed."""
        share = self.shares.get(option, 0.0)
        return math.log(share) if share > 0 else -math.inf

    @property
    def complete(self) -> bool:
        """Whether less than 1 % of the options' probability is unknown."""
        begun = (*self._shares, *self._open, *self._followed)
        unlisted = sum(not any(option.startswith(text) for text in begun) for option in self._options)
        unknown = min(self._rest, unlisted * self._least)
        known = sum(self.shares.values())
        return self.doubt is None and known > 0 and unknown <= UNKNOWN * known

    @property
    def best(self) -> str | None:
        """The most probable option; None if nothing is known, or an open text might hold a more probable one."""
        shares = self.shares
        option = max(shares, key=shares.__getitem__, default=None)
        doubt = self.doubt
        hidden = 0.0 if self._whole else self._rest  # may belong to an option listed without a number
        if option is None or shares[option] <= hidden or (doubt is not None and self._open[doubt] >= shares[option]):
            return None
        return option
