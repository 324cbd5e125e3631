"""The survey: what an agent is asked at every survey point, and what its answers are worth.

It is the only module that knows the scale of attitudes. It does not send anything: play.py does. Source: protocol.md,
surveys.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from hustings.engine.base import Score
from hustings.identity import seed_of
from hustings.settings import InstrumentSettings, ItemSettings, TopicSettings
from hustings.settings.instrument import ANY
from hustings.template import Template

_END = r"(?:\s*\([^)]*\))?"
_SCALE = re.compile(
    rf"\b[0-9]+{_END}\s*-?(?:to|through|[-–—])-?\s*[0-9]+\b{_END}|\bbetween\s+[0-9]+{_END}\s+and\s+[0-9]+\b{_END}",
    re.IGNORECASE,
)
_SHARE = re.compile(
    r"(?<![0-9.,/])[0-9.,]*[0-9](?:\s*(?:/|\b(?:out\s+)?of\b|\bin\b(?=\s*10))\s*[0-9]+)+", re.IGNORECASE
)
_OUT_OF = re.compile(r"([0-9]+)\s*(?:/|out\s+of|of)\s*([0-9]+)", re.IGNORECASE)
_WHOLE = re.compile(r"(?<![0-9.,/\w$£€−-])([0-9]+)(?![0-9]|[.,/][0-9]|\s*%|\s*percent|\w)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer, in the item's normal direction."""

    value: float | None
    """What the chosen option is worth; None when the answer is invalid."""
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
        settings: of the instrument.
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
        """What can be answered to an item."""
        return self.settings.items[item].options

    def wording(self, item: str, topic: str, *occasion: str | int) -> int:
        """Which of its wordings an item has on an occasion, from 0: drawn, and the same whenever it is asked again.

        Args:
            occasion: run seed, debate, iteration, agent.
        """
        count = len(self._templates(item, topic))
        return seed_of(*occasion, item, "wording") % count if count > 1 else 0

    def question(self, item: str, wording: int, key: str, topic: TopicSettings) -> str:
        """The instruction that asks an item.

        Args:
            wording: as `wording` chose it.
            key: of the topic.
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
        """What an answer is worth: the most probable option, or the one that the generated text names."""
        of = self.settings.items[item]
        values = self._values(of)
        if answer.logprobs is None:
            place = parse(answer.text, of.options)
            return Reading(None if place is None else values[place], None, None, None, answer.text)
        top = max(answer.logprobs)
        weights = [math.exp(logprob - top) for logprob in answer.logprobs]
        expected = sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
        logprobs = tuple(round(it, 6) if math.isfinite(it) else None for it in answer.logprobs)
        mass = min(1.0, sum(map(math.exp, answer.logprobs)))
        return Reading(values[of.options.index(answer.text)], expected, logprobs, mass, answer.text)

    def _values(self, item: ItemSettings) -> tuple[float, ...]:
        """What each option is worth as it is asked: counted from the other end for a turned item."""
        turned = (item.direction == "reversed") != self._swapped
        low, high = item.values[0], item.values[-1]
        return tuple(low + high - value for value in item.values) if turned else item.values


def parse(text: str, options: tuple[str, ...]) -> int | None:
    """Position of the option that an answer in words gives; None when it gives none, or several.

    Among options that are whole numbers it is the first that the text names. A scale or range ("0 to 10") is no
    answer, as it may be quoted from the question. "8/10" and "8 out of 10" are 8 where 10 is the highest option,
    wherever they stand; other shares ("4 out of 5", "1 in 10") are no answers.
    """
    if all(option.isdecimal() and option.isascii() for option in options):
        return _number(text, options)
    found: set[int] = set()
    rest = text.casefold()
    for option in sorted(options, key=len, reverse=True):
        named = re.compile(rf"(?<!\w){re.escape(option.casefold())}(?!\w)")
        if named.search(rest):
            found.add(options.index(option))
            rest = named.sub(" ", rest)
    return found.pop() if len(found) == 1 else None


def _number(text: str, options: tuple[str, ...]) -> int | None:
    places = {int(option): place for place, option in enumerate(options)}
    bare = _SCALE.sub(" ", text)
    for share in _SHARE.finditer(bare):
        found = _OUT_OF.fullmatch(share[0])
        if found and int(found[2]) == max(places) and int(found[1]) in places:
            return places[int(found[1])]
    numbers = (int(found[1]) for found in _WHOLE.finditer(_SHARE.sub(" ", bare)))
    return next((places[number] for number in numbers if number in places), None)
