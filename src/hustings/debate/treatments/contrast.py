"""Contrast: amplifies what the story adds to the Default's choice of the next token.

Source: protocol.md, mitigations; classifier-free guidance for language models (2306.17806).
"""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from hustings.debate.treatments.base import Moment, Treatment
from hustings.engine.base import Contrast, Request
from hustings.settings import DEFAULT, Capability, TreatmentSettings


class ContrastSettings(TreatmentSettings):
    """Two contexts for every token: the agent's own, and the Default's."""

    kind: Literal["contrast"]
    scope: Literal["replies"]  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen
    """Only replies are drawn token by token."""
    dose: float = Field(ge=0, le=10)
    """γ: the logits are ℓ_default + γ (ℓ_story − ℓ_default); 1 has no effect, and drops no tokens."""
    floor: float = Field(ge=0, lt=1)
    """Tokens whose probability given the story is below this fraction of the largest are never drawn."""

    @property
    def needs(self) -> frozenset[Capability]:
        """An engine that reads two contexts at once."""
        return frozenset({"contrast"})


def build(name: str, settings: ContrastSettings) -> "ContrastTreatment":
    """The treatment for these settings."""
    return ContrastTreatment(name, settings)


class ContrastTreatment(Treatment):
    """Adds the Default's context to the request of every agent that has a story of its own."""

    def __init__(self, name: str, settings: ContrastSettings) -> None:
        super().__init__(name, settings)
        self._gamma, self._floor = settings.dose, settings.floor

    def request(self, request: Request, moment: Moment) -> Request:
        """The request with the rival context."""
        if self._gamma == 1 or moment.agent.role == DEFAULT or request.options:
            return request
        rival = moment.as_default()
        return replace(request, contrast=Contrast(rival.prompt, rival.system, self._gamma, self._floor))
