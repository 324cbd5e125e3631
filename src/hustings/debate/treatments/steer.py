"""Steering: changes the hidden states of replies by a vector that points from the Default's answers to a party's.

Source: protocol.md, mitigations; persona vectors (2507.21509). How vectors are made: simulation/vectors.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from hustings.debate.treatments.base import Moment, Treatment, Workshop
from hustings.engine.base import Request, Steering
from hustings.settings import Capability, TreatmentSettings
from hustings.settings.base import Many, Name, Text


class SteerSettings(TreatmentSettings):
    """A vector for each party, from answers to questions on topics that are not debated."""

    kind: Literal["steer"]
    scope: Literal["replies"]  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen
    """Only the tokens of replies are steered."""
    dose: float = Field(ge=-20, le=20)
    """a: factor for the vector; 0 changes nothing."""
    layer: int | None = Field(ge=0)
    """Layer whose output is steered, from 0; None takes the layer that makes held-out answers of the party most
    probable compared with the Default's."""
    personas: int = Field(ge=1)
    """How many personas of each party are asked; the first ones in its list of names."""
    questions: dict[Name, Many[Text]]
    """The questions they are asked, by topic. Questions on topics that the run debates are left out."""
    held_out: int = Field(ge=1)
    """How many of the questions are used to choose the layer; the others make the vector."""
    ask: Text
    """Template of the prompt, with `story` and `question`."""
    tokens: int = Field(ge=8)
    """Longest answer, in tokens."""

    @property
    def needs(self) -> frozenset[Capability]:
        """An engine whose hidden states can be read and changed."""
        return frozenset({"steering"}) if self.dose else frozenset()


def build(name: str, settings: SteerSettings) -> "Steer":
    """The treatment for these settings."""
    return Steer(name, settings)


class Steer(Treatment):
    """Steers the replies of partisans."""

    def __init__(self, name: str, settings: SteerSettings) -> None:
        super().__init__(name, settings)
        self._settings = settings
        self._vectors: Mapping[str, tuple[Path, int]] = {}

    def prepare(self, workshop: Workshop) -> None:
        """Make the vectors that the store does not have yet."""
        if self._settings.dose:
            self._vectors = workshop.vectors(self._settings, self._roles)

    def request(self, request: Request, moment: Moment) -> Request:
        """The request with its party's vector."""
        vector = self._vectors.get(moment.agent.role)
        if vector is None or request.options:
            return request
        file, layer = vector
        return replace(request, steering=Steering(file, layer, self._settings.dose))
