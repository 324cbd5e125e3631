"""The base of all treatments: each may change the story, add to the instruction, or change the request."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from hustings.engine.base import Request
from hustings.records import Agent
from hustings.settings import SHADOW, TreatmentSettings

Slot = Literal["template", "empty", "story"]
"""What the system slot contains: the chat template's own text, nothing, or the story."""


class Context(NamedTuple):
    """A prompt with the content of the system slot, as in a request."""

    prompt: str
    system: str | None


@dataclass(frozen=True, slots=True)
class Moment:
    """What a treatment may know when an agent is about to be asked. It never contains a survey answer."""

    agent: Agent
    purpose: Literal["reply", "survey"]
    position: str
    """The agent's own position on the topic, in words; empty for an agent without a party."""
    topic: str
    """Label of the topic."""
    replies: tuple[str, ...]
    """The agent's own earlier replies."""
    iteration: int
    """Number of replies made before, by everybody."""
    round: int
    """Round of the debate, from 1."""
    notes: Mapping[str, str]
    """What the agent wrote down for itself, by the treatment that asked for it."""
    as_default: Callable[[], Context]
    """What the Default would be asked in the agent's place: the same history and instruction, but its own story."""


class Workshop(Protocol):
    """What a run makes for its treatments."""

    def vectors(self, settings: Any, roles: Collection[str] | None) -> Mapping[str, tuple[Path, int]]:
        """By party: a file with steering vectors, and the layer at which it is steered."""
        ...


class Treatment:
    """An intervention that does nothing. Subclasses override what they change.

    Args:
        name: the treatment's name in the run.
        settings: roles and scope.
    """

    chooses: bool = False
    """Whether its requests have a `choice`."""

    def __init__(self, name: str, settings: TreatmentSettings) -> None:
        self.name = name
        self._roles = settings.roles
        self._scope = settings.scope

    def prepare(self, workshop: Workshop) -> None:
        """Prepare what the treatment needs, before the model is asked anything."""

    def treats(self, moment: Moment) -> bool:
        """Whether it applies to this agent and purpose; advocates and the shadow are never treated."""
        if moment.agent.surveyed == "never" or moment.agent.role == SHADOW:
            return False
        scope = {"reply": "replies", "survey": "survey"}[moment.purpose]
        return self._scope in (scope, "both") and (self._roles is None or moment.agent.role in self._roles)

    def story(self, story: str, moment: Moment) -> str:
        """What the agent is told about itself."""
        return story

    def system(self, slot: Slot, moment: Moment) -> Slot:
        """What the system slot contains."""
        return slot

    def writes(self, round: int) -> bool:
        """Whether agents write a note before this round, from 1."""
        return False

    def note(self, moment: Moment) -> tuple[str, int]:
        """The instruction that asks for a note, and how many tokens it may have."""
        raise NotImplementedError

    def instruction(self, moment: Moment) -> str:
        """Text that goes before the instruction as a separate paragraph; empty for none."""
        return ""

    def request(self, request: Request, moment: Moment) -> Request:
        """The request as the engine gets it."""
        return request
