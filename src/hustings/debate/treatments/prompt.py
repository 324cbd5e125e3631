"""Treatments that only add words: a text in the prompt, written in YAML. They run on every engine."""

from typing import Literal

from hustings.debate.treatments.base import Moment, Treatment
from hustings.settings import TreatmentSettings
from hustings.template import Template


class PromptTreatmentSettings(TreatmentSettings):
    """A text that is added to the prompt."""

    kind: Literal["prompt"]
    place: Literal["story", "instruction"]
    """`story`: after the agent's life story; `instruction`: before the instruction that asks for a reply."""
    text: str
    """Jinja template; if it renders to nothing, nothing is added.

    It may use `name`, `party` (the role), `story`, `position` (the agent's own, in words), `topic`, `replies` (the
    agent's own earlier replies), `iteration`, `round` and `dose`.
    """
    dose: float | None
    """A number for the template, which can be varied from the command line."""


def build(name: str, settings: PromptTreatmentSettings) -> "PromptTreatment":
    """The treatment for these settings."""
    return PromptTreatment(name, settings)


class PromptTreatment(Treatment):
    """Adds a rendered text to the story or the instruction.

    Raises:
        SettingsError: its template does not compile.
    """

    def __init__(self, name: str, settings: PromptTreatmentSettings) -> None:
        super().__init__(name, settings)
        self._settings = settings
        self._template = Template(settings.text, f"treatments.{name}.text", f"conf/mitigation/{name}.yaml")

    def _text(self, moment: Moment) -> str:
        return self._template.render(
            name=moment.agent.name,
            party=moment.agent.role,
            story=moment.agent.story,
            position=moment.position,
            topic=moment.topic,
            replies=list(moment.replies),
            iteration=moment.iteration,
            round=moment.round,
            dose=self._settings.dose,
        ).strip()

    def story(self, story: str, moment: Moment) -> str:
        """The life story, with the text after it if it belongs there."""
        text = self._text(moment) if self._settings.place == "story" else ""
        return f"{story}\n\n{text}" if text else story

    def instruction(self, moment: Moment) -> str:
        """The text, if it belongs before the instruction."""
        return self._text(moment) if self._settings.place == "instruction" else ""
