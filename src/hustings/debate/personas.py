"""Life stories of the partisans: written by the model in use, or read from a file.

It does not know debates. A story is checked for the right name and the right person; not for its quality.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Writer:
    """What the life stories of a society are written from."""

    society: SocietySettings
    prompts: Prompts
    settings: PersonaSettings
    seed: int

    def substance(self, party: str) -> dict[str, Any]:
        """What changes a story of the party, for its identity: the prompt as it is rendered, not what it might use.

        So a stance on another topic changes the stories only where the prompt mentions it.
        """
        of = self.society.parties[party]
        return {
            "names": list(of.names),
            "prompt": list(self.prompts.persona(of, "{name}", self.society.country)),
            "personas": self.settings.substance(),
            "seed": self.seed,
        }

    def request(self, party: str, index: int, attempt: int) -> Request:
        """What the model is asked for one persona at attempt number `attempt`, from 0."""
        of = self.society.parties[party]
        name = of.names[index]
        prompt, start = self.prompts.persona(of, name, self.society.country)
        sampling = Sampling(temperature=1.0, max_tokens=self.settings.max_tokens)
        turn = Turn(f"personas/{party}/{index:04d}", index, party, 0, "persona", name)
        return Request(prompt, seed_of(self.seed, "persona", party, index, attempt), sampling, turn, start)

    def write(
        self,
        engine: Engine,
        wanted: Iterable[tuple[str, int]],
        on_persona: Callable[[Persona], None],
        on_answer: Callable[[Answer], None],
    ) -> None:
        """Let the model write the wanted (party, index) personas.

        Args:
            on_persona: gets each as it arrives.
            on_answer: gets every answer of the engine.

        Raises:
            PersonaError: a persona is still unusable after `settings.attempts` attempts.
        """
        names = {name for party in self.society.parties.values() for name in party.names}
        attempts: dict[tuple[str, int], int] = {}

        def next_attempt(party: str, index: int) -> Request:
            return self.request(party, index, attempts.setdefault((party, index), 0))

        queue = deque(next_attempt(party, index) for party, index in wanted)
        for asked, answer in engine.stream(queue):
            on_answer(answer)
            party, index, name = asked.turn.role, asked.turn.agent, asked.turn.name
            assert isinstance(answer, Completion)
            story = tidy(answer.text)
            wrong = flaw(story, name, names)
            if wrong is None:
                on_persona(Persona(party, index, name, story))
                continue
            attempts[party, index] += 1
            if attempts[party, index] >= self.settings.attempts:
                raise PersonaError(
                    f"The model could not write the life story of {name} ({party}) in {self.settings.attempts} "
                    f"attempts; the last one {wrong}: {story[:200]!r}. Choose a larger model, raise "
                    "personas.max_tokens or personas.attempts, or provide your own personas (personas.file)."
                )
            queue.append(next_attempt(party, index))


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
    """One line of the file that `load` reads, without its line break."""
    row = {"party": persona.party, "index": persona.index, "name": persona.name, "story": persona.story}
    return json.dumps(row, ensure_ascii=False)
