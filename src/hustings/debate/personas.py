"""Life stories of the partisans: written by the model in use, or read from a file.

It does not know debates. A story is checked for the right name and the right person; not for its quality.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hustings.debate.prompts import Prompts
from hustings.debate.roles import Persona
from hustings.engine.base import Answer, Completion, Engine, Request, Sampling, Turn
from hustings.errors import PersonaError, SettingsError
from hustings.identity import seed_of
from hustings.settings import PersonaSettings, SocietySettings

FILE = "personas.jsonl"
_FIRST_PERSON = re.compile(r"\b(?:I|I'm|I've|me|my|mine)\b")
_SECOND_PERSON = re.compile(r"\b(?:you|you're|you've|your|yours)\b", re.IGNORECASE)
_NAMED = re.compile(r"(?:\b[Yy]ou are|\b[Yy]ou're|\bname is|\bnamed|\bcalled) ([A-Z][\w'-]+)")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)]*(?=\s|$)")


def flaw(story: str, name: str, names: Iterable[str]) -> str | None:
    """What makes a story unusable as `name`'s, in a few words; None when nothing does."""
    if len(story.split()) < 20:
        return "is empty or nearly so"
    if not re.search(rf"\b{re.escape(name)}\b", story):
        return "does not have the name"
    others = {other for other in _NAMED.findall(story) if other != name and other in set(names)}
    if others:
        return f"is about {', '.join(sorted(others))}"
    if len(_SECOND_PERSON.findall(story)) <= len(_FIRST_PERSON.findall(story)):
        return "does not say 'you'"
    return None


def tidy(text: str) -> str:
    """The story as one paragraph, without a sentence that was cut off at its end."""
    story = " ".join(text.split())
    ends = list(_SENTENCE_END.finditer(story))
    return story[: ends[-1].end()] if ends else story


def request(
    society: SocietySettings,
    prompts: Prompts,
    settings: PersonaSettings,
    seed: int,
    party: str,
    index: int,
    place: int,
) -> Request:
    """What the model is asked for one persona at try number `place`."""
    settings_of = society.parties[party]
    name = settings_of.names[index]
    prompt, start = prompts.persona(settings_of, name, society.country)
    sampling = Sampling(temperature=1.0, max_tokens=settings.max_tokens)
    turn = Turn(f"personas/{party}/{index:04d}", index, party, 0, "persona", name)
    return Request(prompt, seed_of(seed, "persona", party, index, place), sampling, turn, start)


def write(
    engine: Engine,
    wanted: Iterable[tuple[str, int]],
    society: SocietySettings,
    prompts: Prompts,
    settings: PersonaSettings,
    seed: int,
    keep: Callable[[Persona], None],
    told: Callable[[Answer], None],
) -> None:
    """Let the model write the wanted (party, index) personas; `keep` gets each as it arrives, `told` every answer.

    Raises:
        PersonaError: a persona is still unusable after `settings.attempts` tries.
    """
    names = {name for party in society.parties.values() for name in party.names}
    tries: dict[tuple[str, int], int] = {}

    def next_try(party: str, index: int) -> Request:
        return request(society, prompts, settings, seed, party, index, tries.setdefault((party, index), 0))

    queue = deque(next_try(party, index) for party, index in wanted)
    for asked, answer in engine.stream(queue):
        told(answer)
        party, index, name = asked.turn.role, asked.turn.agent, asked.turn.name
        assert isinstance(answer, Completion)
        story = tidy(answer.text)
        wrong = flaw(story, name, names)
        if wrong is None:
            keep(Persona(party, index, name, story))
            continue
        tries[party, index] += 1
        if tries[party, index] >= settings.attempts:
            raise PersonaError(
                f"The model could not write the life story of {name} ({party}) in {settings.attempts} tries; the last "
                f"one {wrong}: {story[:200]!r}. Take a larger model, raise personas.max_tokens or personas.attempts, "
                "or give personas of your own (personas.file)."
            )
        queue.append(next_try(party, index))


def load(path: Path, parties: Iterable[str] | None = None) -> dict[str, dict[int, Persona]]:
    """Personas from JSON lines with `party`, `name` and `story`, by party and index.

    Args:
        parties: of the society, for a file that a user gives: other parties are refused, and the order of the lines
            is the index. Without them, lines are those of `line` and hold their index.

    Raises:
        SettingsError: the file is missing, or a line is not a persona.
    """
    found: dict[str, dict[int, Persona]] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"personas.file={str(path)!r}: this file cannot be read ({reason}).") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row: Mapping[str, Any] = json.loads(line)
            party, name, story = row["party"], row["name"], row["story"]
            if not all(isinstance(text, str) and text.strip() for text in (party, name, story)):
                raise TypeError("party, name and story are texts")
            index = int(row["index"]) if parties is None else len(found.get(party, {}))
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"personas.file={str(path)!r}, line {number}: not a persona; each line is a JSON object with "
                "party, name and story."
            ) from error
        if parties is not None and party not in parties:
            raise SettingsError(
                f"personas.file={str(path)!r}, line {number}: there is no party {party!r}; "
                f"the society has {', '.join(parties)}."
            )
        found.setdefault(party, {})[index] = Persona(party, index, name, story)
    return found


def line(persona: Persona) -> str:
    """One line of the file that `load` reads."""
    row = {"party": persona.party, "index": persona.index, "name": persona.name, "story": persona.story}
    return json.dumps(row, ensure_ascii=False) + "\n"
