"""The story in the system slot: chat models are trained to follow what is written there."""

from typing import Literal

from hustings.debate.treatments.base import Moment, Slot, Treatment
from hustings.settings import TreatmentSettings


class SystemStorySettings(TreatmentSettings):
    """The story in the system slot."""

    kind: Literal["system_story"]
    dose: Literal[0, 1]
    """1: the story moves from the user's turn to the system slot of the chat template; 0: no effect."""


def build(name: str, settings: SystemStorySettings) -> "SystemStory":
    """The treatment for these settings."""
    return SystemStory(name, settings)


class SystemStory(Treatment):
    """Moves the story to the system slot."""

    def __init__(self, name: str, settings: SystemStorySettings) -> None:
        super().__init__(name, settings)
        self._on = settings.dose == 1

    def system(self, slot: Slot, moment: Moment) -> Slot:
        """The story, unless the dose is 0."""
        return "story" if self._on else slot
