"""The survey: the questions that agents are asked at every survey point, and what their answers are worth.

It is the only module that knows the scale of attitudes. It does not send anything: play.py does. Source: protocol.md,
surveys.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from hustings.engine.base import Score, spoken
from hustings.identity import seed_of
from hustings.settings import InstrumentSettings, ItemSettings, TopicSettings
from hustings.settings.instrument import ANY
from hustings.template import Template

_LABEL = r"(?:\s*\([^)\n]*\))?"
_SCALE = re.compile(
    rf"\b(?:from\s+)?[0-9]+{_LABEL}\s*-?(?:to|through|[-–—])-?\s*[0-9]+\b{_LABEL}"
    rf"|\bbetween\s+[0-9]+{_LABEL}\s+and\s+[0-9]+\b{_LABEL}",
    re.IGNORECASE,
)
"""A scale or range, which is not an answer because it may be quoted from the question."""
_SHARE = re.compile(
    r"(?<![0-9.,/])[0-9.,]*[0-9](?:\s*(?:/|\b(?:out\s+)?of\b|\bin\b(?=\s*10))\s*[0-9]+)+", re.IGNORECASE
)
_OUT_OF = re.compile(r"([0-9]+)\s*(?:/|out\s+of|of)\s*([0-9]+)", re.IGNORECASE)
_AFTER = (
    r"(?:because|as|since|on|for|given|when|if|and|but|although|though|while|I|I['’]m|I['’]d|it|it['’]s|the|this|that|my"
    r"|we|they|there|in|overall|points?|is\s+my|would\s+be\s+my|due|myself|personally|with|at|so|too|here|really)"
)
"""Words that may follow an answer; before other words ("3 things"), a number counts something."""
_END = re.compile(
    rf"(?=\s*(?:\Z|\n|[^\w\s=%+°/:.,'’…-]|[.,:](?!\d)|['’](?!\w)|-(?!\w)|(?<=\s){_AFTER}\b))"
    r"(?!\s*(?:%|percent|(?:-|–|—|or|and|to)\s*[0-9]))",
    re.IGNORECASE,
)
"""What may follow an answer."""
_NUMBER = re.compile(r"(?<![0-9.,/\w$£€−-])(?<!\d:)(?<!\bno\.\s)([0-9]+)(?![0-9]|[.,/:][0-9]|\w)", re.IGNORECASE)
_ALONE = re.compile(r"[\s*_#(\"'“\[>]*([0-9]+)[\s*_.!)\"'”\]<]*")
_FILLED = (
    r"(?:(?:an?|at|as|is|be|it|this|that|like|about|around|roughly|approximately|maybe|perhaps|probably|definitely|just"
    r"|honestly|solid|strong|firm|full|clear|number|the|so|only|still|very|somewhere|level|score|rating|of|with|for|on"
    r"|to)\s+)*"
)
_FIRST = re.compile(
    r"(?:(?:an?|so|but|then|therefore|thus|hence|well|ok|okay|yes|maybe|perhaps|probably|definitely|honestly|about"
    r"|around|roughly|approximately|just|solid|strong|firm|clear|number)\s+)*",
    re.IGNORECASE,
)
"""What may come before an answer that begins its clause."""
_SAID = re.compile(
    r"\b(?:(?:say|saying|choose|chose|pick|picked|select|rate|rated|answer|give|put|call|consider|rank|place|score|estimate"
    r"|vote|go|settle|lean|think)(?:\s+(?!that\b|there\b)[^\s\d]+){0,7}?\s+(?:an?\s+|at\s+|as\s+|is\s+|be\s+|it\s+"
    r"|this\s+|that\s+|with\s+|for\s+|on\s+)"
    r"|(?:say|choose|pick|select|answer|rate|give|vote|rank|score)\s+"
    r"|(?:answer|rating|score|response|choice|opinion|view|vote|pick|number|estimate)(?:\s+[^\s\d]+){0,6}?\s+"
    r"(?:is|be|of|=)\s+"
    r"|(?:it|that|this)(?:['’]s|\s+is|['’]d\s+be|\s+would\s+be)\s+"
    r"|(?:is|be)\s+an?\s+)"
    rf"{_FILLED}\Z",
    re.IGNORECASE,
)
"""What may come before an answer that is stated ("I'd say", "my rating is", "it is a")."""
_DENIED = re.compile(r"\b(?:not|never|cannot|hardly|neither|nor)\b|n['’]t\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[^\w\s'’-]|\n|(?<=\s)-(?=\s)")


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer, in the item's normal direction."""

    value: float | None
    """The value of the chosen option; None if the answer is invalid."""
    expected: float | None
    """Mean of the values under the options' renormalised probabilities; None without log-probabilities."""
    logprobs: tuple[float | None, ...] | None
    """Log-probability of each option, in the order of the options; None for one too improbable to be listed."""
    mass: float | None
    """Probability that the answer is an option at all."""
    raw: str
    """The answer as the engine gave it."""


class Instrument:
    """The items of one instrument, as they are asked with one prompt setting.

    Args:
        settings: the instrument's settings.
        scale: `reversed` asks every item with the ends of its scale swapped.

    Raises:
        SettingsError: a wording does not compile.
    """

    def __init__(self, settings: InstrumentSettings, scale: Literal["normal", "reversed"]) -> None:
        self.settings = settings
        self._swapped = scale == "reversed"
        file = f"conf/instrument/{settings.name}.yaml"
        self._answer = Template(settings.answer, "instrument.answer", file)
        self._wordings = {
            (name, topic): [Template(text, f"instrument.items.{name}.wordings.{topic}", file) for text in texts]
            for name, item in settings.items.items()
            for topic, texts in item.wordings.items()
        }

    @property
    def items(self) -> tuple[str, ...]:
        """Names of the items, in the order in which they are asked; none of them sees another."""
        return tuple(self.settings.items)

    def options(self, item: str) -> tuple[str, ...]:
        """The possible answers to an item."""
        return self.settings.items[item].options

    def wording(self, item: str, topic: str, *occasion: str | int) -> int:
        """Which of its wordings, from 0, an item has on an occasion: drawn, but the same whenever it is asked again.

        Args:
            occasion: run seed, debate, iteration, agent.
        """
        count = len(self._templates(item, topic))
        return seed_of(*occasion, item, "wording") % count if count > 1 else 0

    def question(self, item: str, wording: int, key: str, topic: TopicSettings) -> str:
        """The instruction that asks an item.

        Args:
            wording: as `wording` chose it.
            key: the topic's key.
        """
        of = self.settings.items[item]
        ends = (of.low or topic.low, of.high or topic.high)
        first, last = reversed(ends) if self._swapped else ends
        values = {"topic": topic.label, "question": topic.question, "options": list(of.options)}
        templates = (self._templates(item, key)[wording], self._answer)
        return " ".join(filter(None, (it.render(**values, first=first, last=last) for it in templates)))

    def _templates(self, item: str, topic: str) -> list[Template]:
        return self._wordings.get((item, topic)) or self._wordings[item, ANY]

    def read(self, item: str, answer: Score) -> Reading:
        """The value of an answer: that of the most probable option, or of the one that the generated text names."""
        of = self.settings.items[item]
        values = self._values(of)
        if answer.logprobs is None:
            place = parse(answer.text, of.options, cut=answer.cut)
            return Reading(None if place is None else values[place], None, None, None, answer.text)
        top = max(answer.logprobs)
        weights = [math.exp(logprob - top) for logprob in answer.logprobs]
        expected = sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
        logprobs = tuple(round(it, 6) if math.isfinite(it) else None for it in answer.logprobs)
        mass = min(1.0, sum(map(math.exp, answer.logprobs)))
        return Reading(values[of.options.index(answer.text)], expected, logprobs, mass, answer.text)

    def _values(self, item: ItemSettings) -> tuple[float, ...]:
        """The value of each option as it is asked, counted from the other end for a turned item."""
        turned = (item.direction == "reversed") != self._swapped
        low, high = item.values[0], item.values[-1]
        return tuple(low + high - value for value in item.values) if turned else item.values


def parse(text: str, options: tuple[str, ...], *, cut: bool = False) -> int | None:
    """Position of the option that an answer in words gives; None if it gives none or several.

    If the options are whole numbers, it is the one that the text gives as its answer: alone on the first line, as
    "8/10" or "8 out of 10" if 10 is the highest option, stated ("I'd say 8", "my rating is 8"), or at the beginning of
    a clause ("8, because", "Answer: 8"). Other numbers are not answers: the ends of a scale, a share ("4 out of 5"), a
    count ("3 things", "a father of 2"). Reasoning is ignored.

    Args:
        cut: whether the text was cut at the token limit, so that a number or option at its end may be incomplete.
    """
    text = spoken(text)
    if all(option.isdecimal() and option.isascii() for option in options):
        return _number(text, options, cut)
    found: set[int] = set()
    rest = text.casefold()
    for option in sorted(options, key=len, reverse=True):
        named = re.compile(rf"(?<!\w){re.escape(option.casefold())}(?!\w)")
        for place in named.finditer(rest):
            before = _CLAUSE.split(rest[: place.start()])[-1]
            denied = _DENIED.search(" ".join(before.split()[-3:]))
            if not denied and not (cut and not rest[place.end() :].strip()):
                found.add(options.index(option))
        rest = named.sub(" ", rest)
    return found.pop() if len(found) == 1 else None


def _number(text: str, options: tuple[str, ...], cut: bool) -> int | None:
    places = {int(option): place for place, option in enumerate(options)}
    first, _, others = text.strip().partition("\n")
    alone = _ALONE.fullmatch(first)
    if alone and int(alone[1]) in places and (others.strip() or not cut):
        return places[int(alone[1])]
    bare = _SCALE.sub(" , ", re.sub(r"(?<=[0-9])\s*\([^)\n]*\)", "", text))
    bare = bare.rstrip(" \n.,:/-") + "…x" if cut and not bare.endswith("\n") else bare
    shares = [(_OUT_OF.fullmatch(it[0]), bare[it.end() :]) for it in _SHARE.finditer(bare)]
    whole = {int(it[1]) for it, rest in shares if it and int(it[2]) == max(places) and _END.match(rest)}
    stated, begun = set[int](), set[int]()
    rest = _SHARE.sub(" # ", bare)
    for found in _NUMBER.finditer(rest):
        before = _CLAUSE.split(rest[: found.start()])[-1]
        if not _END.match(rest, found.end()) or _DENIED.search(before):
            continue
        if _SAID.search(before):
            stated.add(int(found[1]))
        elif _FIRST.fullmatch(before.lstrip()):
            begun.add(int(found[1]))
    given = next((it for it in (whole, stated, begun) if it), set[int]())
    return places.get(given.pop()) if len(given) == 1 else None
