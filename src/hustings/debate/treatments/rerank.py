"""Rerank: several replies are drawn, and the one that the story explains best is kept (Source: protocol.md)."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from hustings.debate.treatments.base import Moment, Treatment
from hustings.engine.base import Choice, Request
from hustings.settings import DEFAULT, Capability, TreatmentSettings


class RerankSettings(TreatmentSettings):
    """The most typical of several replies."""

    kind: Literal["rerank"]
    scope: Literal["replies"]  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen
    """Only replies are drawn."""
    dose: int = Field(ge=1, le=64)
    """Number of replies drawn for each one that is kept; with 1 there is nothing to choose."""
    margin: float = Field(ge=0)
    """δ: replies with a log-probability per token further than this below the most probable reply's are left out."""

    @property
    def needs(self) -> frozenset[Capability]:
        """An engine that scores given texts."""
        return frozenset({"text scores"}) if self.dose > 1 else frozenset()


def build(name: str, settings: RerankSettings) -> "Rerank":
    """The treatment for these settings."""
    return Rerank(name, settings)


class Rerank(Treatment):
    """Lets agents that have a story of their own choose among replies."""

    chooses = True

    def __init__(self, name: str, settings: RerankSettings) -> None:
        super().__init__(name, settings)
        self._count, self._margin = settings.dose, settings.margin

    def request(self, request: Request, moment: Moment) -> Request:
        """The request with a choice."""
        if self._count == 1 or moment.agent.role == DEFAULT or request.options:
            return request
        rival = moment.as_default()
        return replace(request, choice=Choice(self._count, self._margin, rival.prompt, rival.system))
