"""A note to oneself: an agent writes down reasons for its view, and sees them when it speaks."""

from typing import Literal

from pydantic import Field

from hustings.debate.treatments.base import Moment, Treatment
from hustings.settings import TreatmentSettings
from hustings.settings.base import Text
from hustings.template import Template


class StanceNoteSettings(TreatmentSettings):
    """A note of reasons for one's own view."""

    kind: Literal["stance_note"]
    dose: int = Field(ge=0, le=10)
    """How many reasons the agent writes down; 0 writes no note."""
    update: Literal["frozen", "rounds"]
    """`frozen`: the note is written before the debate and stays; `rounds`: the agent rewrites it after each round."""
    max_tokens: int = Field(ge=16)
    """Longest note, in tokens."""
    ask: Text
    """Template of the instruction that asks for the note, with `name`, `topic`, `position` and `dose`."""
    rewrite: Text
    """Template of the instruction to rewrite it, with `note` as well."""
    show: Text
    """Template of what the agent is shown before its turns, with the same variables."""


def build(name: str, settings: StanceNoteSettings) -> "StanceNote":
    """The treatment for these settings."""
    return StanceNote(name, settings)


class StanceNote(Treatment):
    """Lets agents that have a position write reasons for it.

    Raises:
        SettingsError: a template does not compile.
    """

    def __init__(self, name: str, settings: StanceNoteSettings) -> None:
        super().__init__(name, settings)
        self._settings = settings
        file = f"conf/mitigation/{name}.yaml"
        self._templates = {
            field: Template(getattr(settings, field), f"treatments.{name}.{field}", file)
            for field in ("ask", "rewrite", "show")
        }

    def treats(self, moment: Moment) -> bool:
        """Only agents that have a position, and none at dose 0."""
        return self._settings.dose > 0 and bool(moment.position) and super().treats(moment)

    def writes(self, round: int) -> bool:
        """Before the debate, and after each round if notes may change."""
        return round == 1 or self._settings.update == "rounds"

    def note(self, moment: Moment) -> tuple[str, int]:
        """The instruction that asks for the note, and how long it may be."""
        return self._text("rewrite" if moment.notes.get(self.name) else "ask", moment), self._settings.max_tokens

    def instruction(self, moment: Moment) -> str:
        """The note, if one was written."""
        return self._text("show", moment) if moment.notes.get(self.name) else ""

    def _text(self, field: str, moment: Moment) -> str:
        note = moment.notes.get(self.name, "")
        values = {"name": moment.agent.name, "topic": moment.topic, "position": moment.position, "note": note}
        return self._templates[field].render(**values, dose=self._settings.dose).strip()
