"""What every treatment is: it may change the story, add to the instruction, or change the request."""

from dataclasses import dataclass
from typing import Literal

from hustings.engine.base import Request
from hustings.records import Agent
from hustings.settings import SHADOW, TreatmentSettings


@dataclass(frozen=True, slots=True)
class Moment:
    """What a treatment may know when an agent is about to be asked. It never holds a survey answer."""

    agent: Agent
    purpose: Literal["reply", "survey"]
    position: str
    """The agent's own position on the topic, in words; empty for an agent without a party."""
    topic: str
    """Label of the topic."""
    replies: tuple[str, ...]
    """The agent's own earlier replies."""
    iteration: int
    """Replies made before, by everybody."""
    round: int
    """Of the debate, from 1."""


class Treatment:
    """An intervention that does nothing. Kinds override what they change.

    Args:
        name: as the run calls it.
        settings: roles and scope.
    """

    def __init__(self, name: str, settings: TreatmentSettings) -> None:
        self.name = name
        self._roles = settings.roles
        self._scope = settings.scope

    def treats(self, moment: Moment) -> bool:
        """Whether it is in force for this agent and purpose; advocates and the shadow are never treated."""
        if moment.agent.surveyed == "never" or moment.agent.role == SHADOW:
            return False
        scope = {"reply": "replies", "survey": "survey"}[moment.purpose]
        return self._scope in (scope, "both") and (self._roles is None or moment.agent.role in self._roles)

    def story(self, story: str, moment: Moment) -> str:
        """What the agent is told about itself."""
        return story

    def instruction(self, moment: Moment) -> str:
        """Text before the instruction, a paragraph of its own; empty for none."""
        return ""

    def request(self, request: Request, moment: Moment) -> Request:
        """The request as the engine gets it."""
        return request
