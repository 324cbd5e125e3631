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
    return whole_sentences(" ".join(text.split()))


def whole_sentences(text: str) -> str:
    """A text without the sentence that was cut off at its end; the whole text where it has no other."""
    ends = list(_SENTENCE_END.finditer(text))
    return text[: ends[-1].end()] if ends else text


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


def load(path: Path, parties: Iterable[str]) -> dict[str, dict[int, Persona]]:
    """A user's personas, by party and number: JSON lines with `party`, `name` and `story`, numbered in their order.

    Args:
        parties: of the society; others are refused.

    Raises:
        SettingsError: the file is missing, or a line is not a persona.
    """
    where = f"personas.file={str(path)!r}"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{where}: this file cannot be read ({reason}).") from error
    known, found = list(parties), dict[str, dict[int, Persona]]()
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        row = _row(text, f"{where}, line {number}")
        if row["party"] not in known:
            raise SettingsError(
                f"{where}, line {number}: there is no party {row['party']!r}; the society has {', '.join(known)}."
            )
        index = len(found.setdefault(row["party"], {}))
        found[row["party"]][index] = Persona(row["party"], index, row["name"], row["story"])
    return found


def of_party(party: str, path: Path, lines: Iterable[tuple[int, bytes]]) -> dict[int, Persona]:
    """Personas of the store, by number.

    Args:
        path: where the lines are from, for errors.
        lines: number and content, as `line` wrote them.

    Raises:
        SettingsError: a line is not a persona.
    """
    rows = [_row(text.decode(), f"{path}, line {number}") for number, text in lines]
    return {int(row["index"]): Persona(party, int(row["index"]), row["name"], row["story"]) for row in rows}


def _row(text: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(text)
        if not all(isinstance(row[key], str) and row[key].strip() for key in ("party", "name", "story")):
            raise TypeError("party, name and story are texts")
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{where}: not a persona; each line is a JSON object with party, name and story."
        ) from error
    if any("\ud800" <= letter <= "\udfff" for letter in row["name"] + row["story"]):
        raise SettingsError(
            f"{where}: the name or story has half a character (such as \\ud83d, a lone surrogate), which no file can "
            "hold; write the whole character."
        )
    return row


def line(persona: Persona) -> str:
    """One line of the file that `load` reads, without its line break."""
    row = {"party": persona.party, "index": persona.index, "name": persona.name, "story": persona.story}
    return json.dumps(row, ensure_ascii=False)
