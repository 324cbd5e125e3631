"""The personas of a run: from the user's file, from the store, or written now by the model."""

from pathlib import Path

from hustings.debate import personas, stories
from hustings.debate.roles import Persona
from hustings.engine.base import Answer
from hustings.progress import Progress
from hustings.simulation.counts import Counts
from hustings.simulation.plan import Plan


def people(plan: Plan, wanted: dict[str, set[int]], counts: Counts) -> dict[str, dict[int, Persona]]:
    """The wanted personas, by party and number.

    Args:
        wanted: numbers by party.
        counts: counts what writing them takes.

    Raises:
        PersonaError: the model cannot write one of them.
    """
    if plan.settings.personas.file:
        return given(plan)

    def on_answer(answer: Answer, progress: Progress) -> None:
        counts.add(answer, plan.settings.model.price, persona=True)
        progress.dollars, progress.refusals = counts.dollars, counts.refusals

    places = {party: plan.personas(party) for party in wanted}
    return stories.gather(plan.writer, places, wanted, stories.Hands(plan.casting.writers, on_answer))


def given(plan: Plan) -> dict[str, dict[int, Persona]]:
    """The user's own personas.

    Raises:
        SettingsError: the file cannot be read, or a line is not a persona.
    """
    return personas.load(Path(plan.settings.personas.file or ""), plan.settings.society.parties)
