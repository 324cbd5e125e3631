"""The personas of a run: from the user's file, from the store, or written now by the model."""

from contextlib import ExitStack
from pathlib import Path

from hustings import artifacts
from hustings.debate import personas
from hustings.debate.roles import Persona
from hustings.engine.base import Answer
from hustings.progress import showing
from hustings.simulation.counts import Counts
from hustings.simulation.plan import Plan


def people(plan: Plan, wanted: dict[str, set[int]], counts: Counts) -> dict[str, dict[int, Persona]]:
    """The wanted personas, by party and number.

    Args:
        wanted: numbers by party.
        counts: of what their writing takes.

    Raises:
        PersonaError: the model cannot write one of them.
    """
    if plan.settings.personas.file:
        return given(plan)
    with ExitStack() as stack:
        rows = {
            party: stack.enter_context(artifacts.rows(plan.personas(party), personas.FILE, wait=True))
            for party in wanted
        }
        have = {party: personas.of_party(party, each.path, each.read()) for party, each in rows.items()}
        missing = [(party, index) for party in wanted for index in sorted(wanted[party] - have[party].keys())]
        if missing:
            engine = plan.casting.writers(dict(missing))
            total = sum(map(len, wanted.values()))
            with showing("personas", total, total - len(missing), len(missing)) as progress:

                def on_persona(persona: Persona) -> None:
                    rows[persona.party].append(personas.line(persona))
                    have[persona.party][persona.index] = persona
                    progress.done += 1
                    progress.answers += 1
                    progress.show()

                def on_answer(answer: Answer) -> None:
                    counts.add(answer, plan.settings.model.price, persona=True)
                    progress.dollars, progress.refusals = counts.dollars, counts.refusals

                plan.writer.write(engine, missing, on_persona, on_answer)
    return have


def given(plan: Plan) -> dict[str, dict[int, Persona]]:
    """The user's own personas.

    Raises:
        SettingsError: the file cannot be read, or a line is not a persona.
    """
    return personas.load(Path(plan.settings.personas.file or ""), plan.settings.society.parties)
