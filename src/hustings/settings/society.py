"""Settings of who debates and about what: countries, parties, topics, compositions."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from hustings import names
from hustings.settings.base import Colour, Many, Name, Settings, Text, knob, neutral


def _sayable(name: str) -> str:
    if not names.on_one_line(name):
        raise ValueError("must be a name on one line, such as Ann Lee")
    return name


PersonName = Annotated[str, AfterValidator(_sayable)]
"""A person's name in any script; it precedes what that person says."""


def _twice(of: Sequence[str]) -> list[str]:
    """Names that occur more than once, even if typed differently."""
    count = Counter(map(names.key, of))
    return sorted({names.key(name): name for name in of if count[names.key(name)] > 1}.values())


class StanceSettings(Settings):
    """A party's position on one topic."""

    pole: Literal["low", "high"]
    """The end of the topic's scale where the party stands."""
    position: Text
    """The position in words, for the persona meta-prompt: 'racism is not a problem at all'."""


class PartySettings(Settings):
    """A political party and how its voters are described to the model."""

    name: Name = knob()
    """Name in settings, roles and tables; the same as its key in `society.parties`."""
    label: Text = knob()
    """Name in figures and sentences."""
    adjective: Text
    """What its voters are called in prompts: 'a committed Republican voter'."""
    colour: Colour = knob()
    """Colour in figures."""
    names: Many[PersonName] = Field(min_length=1)
    """First names of its personas, one for each persona."""
    stances: dict[Name, StanceSettings]
    """Its position on each topic; every persona is told all of them, whatever its debate is about."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        twice = _twice(self.names)
        if twice:
            raise ValueError(f"names: each name may appear only once, and {', '.join(twice)} appears again")
        return self


class DefaultAgentSettings(Settings):
    """The agent without a party, which reveals the model's own bias."""

    label: Text = knob()
    """Name in figures and sentences."""
    story: Text
    """All that this agent is told about itself."""
    colour: Colour = knob()
    """Colour in figures."""
    names: Many[PersonName] = Field(min_length=1)
    """Neutral names; at least as many as there are such agents in a debate."""


class HumansSettings(Settings):
    """Results of a poll among people, to compare the agents with."""

    source: Text
    """The poll's name, as reports quote it."""
    share: dict[Name, dict[Name, Annotated[float, Field(ge=0, le=1000)]]]
    """Percentage of a party's supporters who call a topic a very big problem, by party and topic."""


class SocietySettings(Settings):
    """A country, its parties and its default agent."""

    name: Name
    """Name of this society in results."""
    country: Text
    """The country in prompts: 'a voter in the United States'."""
    language: Name | None = neutral("en")
    """Language of the life stories, as an ISO 639-1 code. Their length and grammatical person are checked in en, de and
    zh, but not in other languages or with None."""
    parties: dict[Name, PartySettings]
    default: DefaultAgentSettings
    humans: HumansSettings | None = knob()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        shared = _twice([*(name for party in self.parties.values() for name in party.names), *self.default.names])
        if shared:
            raise ValueError(
                f"society.parties: every name in a debate must be unique, and {', '.join(shared)} appears in two lists "
                "of names; change the files in conf/party or conf/society"
            )
        return self


class TopicSettings(Settings):
    """Something to debate, and what the two ends of its attitude scale mean."""

    label: Text
    """The topic as it appears in a sentence: 'climate change'."""
    question: Text
    """The survey question, without the scale."""
    low: Text
    """What the low end of the scale means."""
    high: Text
    """What the high end of the scale means."""


class CompositionSettings(Settings):
    """Who takes part in a debate."""

    name: Name
    """Name in folders and tables."""
    roles: Many[Name] = Field(min_length=2, max_length=8)
    """Party of each speaker, or `default`, in the order in which they take turns after a random first speaker."""
    observers: Many[Name]
    """Agents that are surveyed once, at iteration 0, and never speak (the dashed Default line)."""
    rounds: int = knob(ge=1)
    """Rounds that the paper plays with this composition; the run's own setting `rounds` decides how many are played."""

    @property
    def everybody(self) -> tuple[str, ...]:
        """Roles of all agents, speakers first."""
        return self.roles + self.observers


class ControlSettings(Settings):
    """What happens instead of the debate, to isolate what moves attitudes (Source: protocol.md, controls)."""

    name: Name
    """Name in folders and tables; `none` is the debate itself."""
    speak: bool
    """Whether anybody speaks; if False, agents are still surveyed as often as in the debate."""
    topic: TopicSettings | None
    """Topic to debate instead of the surveyed one; None debates the surveyed topic."""
    read: bool
    """If True, nobody speaks; agents read the debate of another repetition and are surveyed."""
    advocates: Many[Literal["low", "high"]]
    """The end of the scale that each partner argues for, alternating; partners hear nobody and are not surveyed.

    If empty, the partners are the other agents, as in the debate.
    """
    advocate: str
    """How an advocate is described to itself: a template with `topic` and `end` (what its end of the scale means)."""

    @property
    def partners(self) -> tuple[str, ...]:
        """Roles of the advocates, each once."""
        return tuple(dict.fromkeys(f"advocate_{side}" for side in self.advocates))


NO_CONTROL = {"name": "none", "speak": True, "topic": None, "read": False, "advocates": [], "advocate": ""}
"""The debate itself, as plain values."""


class TopologySettings(Settings):
    """Who hears whom."""

    name: Name
    """Name of a function in debate/protocol.py."""
