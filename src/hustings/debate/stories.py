"""Life stories in the artifact store: where each party's are kept, and how the model writes missing ones.

It does not know what they are used for: debates and interviews share them.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings import artifacts
from hustings.artifacts import Place
from hustings.debate import personas
from hustings.debate.personas import Writer
from hustings.debate.roles import Persona
from hustings.engine.base import Answer, Engine
from hustings.models import Weights
from hustings.progress import Progress, showing


def place_of(store: Path, writer: Writer, party: str, weights: Weights, engine: dict[str, Any]) -> Place:
    """Where a party's personas are kept.

    Args:
        weights: the model that writes them.
        engine: substance of the engine that it runs on.
    """
    substance = {"model": weights.fingerprint, "engine": engine, "party": party, **writer.substance(party)}
    return Place(store, "personas", f"{weights.name}-{party}", substance)


def _uncounted(answer: Answer, progress: Progress) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Hands:
    """The engine that writes missing stories, and what counts its answers."""

    engine: Callable[[list[str]], Engine]
    """Gives the engine that writes the personas of these parties; not called if none is missing."""
    on_answer: Callable[[Answer, Progress], None] = _uncounted


def gather(
    writer: Writer, places: Mapping[str, Place], wanted: Mapping[str, set[int]], hands: Hands
) -> dict[str, dict[int, Persona]]:
    """The wanted personas, by party and number: from the store, or written now.

    Args:
        places: where each party's personas are kept.
        wanted: numbers by party, in the same order in all processes, so that their locks cannot deadlock.

    Raises:
        PersonaError: the model cannot write one of them.
    """
    with ExitStack() as stack:
        rows = {party: stack.enter_context(artifacts.rows(places[party], personas.FILE, wait=True)) for party in wanted}
        have = {party: personas.of_party(party, each.path, each.read()) for party, each in rows.items()}
        missing = [(party, index) for party in wanted for index in sorted(wanted[party] - have[party].keys())]
        if missing:
            live = hands.engine(list(dict(missing)))
            live.prepare()
            total = sum(map(len, wanted.values()))
            with showing("personas", total, total - len(missing), len(missing)) as progress:

                def on_persona(persona: Persona) -> None:
                    rows[persona.party].append(personas.line(persona))
                    have[persona.party][persona.index] = persona
                    progress.done += 1
                    progress.answers += 1
                    progress.show()

                writer.write(live, missing, on_persona, lambda answer: hands.on_answer(answer, progress))
    return have
