"""Settings of the survey: the items that agents answer, and the value of each answer."""

from typing import Literal, Self

from pydantic import Field, model_validator

from hustings.settings.base import Many, Name, Settings, Text, neutral

ANY = "any"
"""Key of the wordings for all topics without wordings of their own."""


class ItemSettings(Settings):
    """One survey question with its options."""

    wordings: dict[Name, Many[Text]] = Field(min_length=1)
    """The question in one or more paraphrases, by topic; `any` applies to every topic without its own.

    They are Jinja templates with `topic` and `question` (the topic's), `options`, and `first` and `last` (what the
    first and last options mean).
    """
    options: Many[Text] = Field(min_length=2)
    """The possible answers, verbatim, from the low end of the scale to the high end."""
    values: Many[float] = Field(min_length=2)
    """The value of each option on the attitude scale, in the same order, ascending."""
    low: str | None = neutral(None)
    """What the first option means; None uses the topic's words for the low end of its scale."""
    high: str | None = neutral(None)
    """What the last option means; None uses the topic's words for the high end of its scale."""
    direction: Literal["normal", "reversed"]
    """Direction of the item. `reversed`: a high answer means a low attitude, so values count from the other end."""
    parcel: Literal[1, 2]
    """The half of the instrument that the item belongs to, for estimates without survey noise."""

    @model_validator(mode="after")
    def _matching(self) -> Self:
        if len(self.options) != len(self.values):
            raise ValueError(
                f"instrument.items.….values: there must be one value for each of the {len(self.options)} options, not "
                f"{len(self.values)}"
            )
        if len(set(self.options)) < len(self.options):
            raise ValueError("instrument.items.….options: each option may appear only once")
        if list(self.values) != sorted(set(self.values)):
            raise ValueError(
                "instrument.items.….values: values must ascend; list the options from the low end to the high end"
            )
        return self


class InstrumentSettings(Settings):
    """What agents are asked at every survey; an agent's attitude is the mean of its items."""

    name: Name
    """Name of this instrument in results."""
    answer: str
    """Instruction on how to answer, which follows the wording of every item; a template with the same variables."""
    items: dict[Name, ItemSettings] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_scale(self) -> Self:
        ends = {(item.values[0], item.values[-1]) for item in self.items.values()}
        if len(ends) > 1:
            scales = ", ".join(f"{low:g} … {high:g}" for low, high in sorted(ends))
            raise ValueError(
                f"instrument.items: every item must run over one scale, so that their mean is on it, and {self.name} "
                f"has {scales}; change the values"
            )
        return self

    @property
    def low(self) -> float:
        """The lowest attitude."""
        return next(iter(self.items.values())).values[0]

    @property
    def high(self) -> float:
        """The highest attitude."""
        return next(iter(self.items.values())).values[-1]
