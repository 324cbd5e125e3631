"""Life stories of the partisans: written by the model in use, or read from a file.

It does not know about debates. A story is checked for the right name and the right person, but not for its quality.
"""

import hashlib
import json
import re
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings import names
from hustings.debate.languages import LANGUAGES
from hustings.debate.prompts import Prompts
from hustings.debate.roles import Persona
from hustings.debate.speech import whole_sentences
from hustings.engine.base import Answer, Completion, Engine, Request, Sampling, Turn
from hustings.errors import PersonaError, SettingsError, first_line
from hustings.identity import seed_of
from hustings.settings import PersonaSettings, SocietySettings

FILE = "personas.jsonl"
_SHORTEST = 20
"""Minimum number of words in a story."""


def flaw(story: str, name: str, everybody: Iterable[str], language: str | None) -> str | None:
    """Why a story cannot be used as `name`'s, in a few words; None if it can.

    Args:
        everybody: names of the society, among them this one.
        language: the story's language; if it has no rules, the story only has to contain the name.
    """
    story, rules = names.composed(story), LANGUAGES.get(language or "")
    if not story.strip() or (rules and len(rules.word.findall(story)) < _SHORTEST):
        return "is empty or nearly so"
    if not names.stands_in(name, story):
        return "does not have the name"
    if rules is None:
        return None
    others = _introduced(story, rules.introduction, everybody) - {names.key(it) for it in names.parts(name)}
    if others:
        return f"is about {', '.join(sorted(it for it in everybody if names.key(it) in others))}"
    if len(rules.you.findall(story)) <= len(rules.me.findall(story)):
        return "does not say 'you'"
    return None


def _introduced(story: str, introduction: str, everybody: Iterable[str]) -> set[str]:
    """Keys of the names that the story introduces: the longest at each place."""
    known = re.compile(f"{introduction}(?P<name>{names.pattern(everybody)})")
    found = [it for it in known.finditer(story) if names.ends_at(story, it.start("name"), it.end())]
    return {names.key(it["name"]) for it in found}


def tidy(text: str) -> str:
    """The story as one paragraph, without a sentence that was cut off at its end."""
    return whole_sentences(" ".join(text.split()))


@dataclass(frozen=True, slots=True)
class Writer:
    """What the life stories of a society are written from."""

    society: SocietySettings
    prompts: Prompts
    settings: PersonaSettings
    seed: int

    def substance(self, party: str) -> dict[str, Any]:
        """What changes a story of the party, for its identity: the rendered prompt, not everything it could use.

        So a stance on another topic changes the stories only if the prompt mentions it.
        """
        of = self.society.parties[party]
        language = self.society.substance().get("language")
        return {
            "names": list(of.names),
            "prompt": list(self.prompts.persona(of, "{name}", self.society.country)),
            "personas": self.settings.substance(),
            "seed": self.seed,
            **({"language": language} if language else {}),
        }

    def request(self, party: str, index: int, attempt: int) -> Request:
        """What the model is asked for one persona at attempt number `attempt`, from 0."""
        of = self.society.parties[party]
        name = of.names[index]
        prompt, start = self.prompts.persona(of, name, self.society.country)
        sampling = Sampling(temperature=1.0, max_tokens=self.settings.max_tokens)
        turn = Turn(f"personas/{party}/{index:04d}", index, party, 0, "persona", name)
        others = () if self.settings.set == 1 else ("set", self.settings.set)
        return Request(prompt, seed_of(self.seed, "persona", party, index, attempt, *others), sampling, turn, start)

    def write(
        self,
        engine: Engine,
        wanted: Iterable[tuple[str, int]],
        on_persona: Callable[[Persona], None],
        on_answer: Callable[[Answer], None],
    ) -> None:
        """Let the model write the wanted (party, index) personas.

        Args:
            on_persona: called with each persona as it arrives.
            on_answer: called with every answer of the engine.

        Raises:
            PersonaError: a persona is still unusable after `settings.attempts` attempts.
        """
        everybody = {name for party in self.society.parties.values() for name in party.names}
        attempts: dict[tuple[str, int], int] = {}

        def next_attempt(party: str, index: int) -> Request:
            return self.request(party, index, attempts.setdefault((party, index), 0))

        queue = deque(next_attempt(party, index) for party, index in wanted)
        for asked, answer in engine.stream(queue):
            on_answer(answer)
            party, index, name = asked.turn.role, asked.turn.agent, asked.turn.name
            assert isinstance(answer, Completion)
            story = tidy(answer.text)
            wrong = flaw(story, name, everybody, self.society.language)
            if wrong is None:
                on_persona(Persona(party, index, name, story))
                continue
            attempts[party, index] += 1
            if attempts[party, index] >= self.settings.attempts:
                raise PersonaError(
                    f"The model could not write the life story of {name} ({party}) in {self.settings.attempts} "
                    f"attempts; the last one {wrong}: {story[:200]!r}. Choose a larger model, raise "
                    "personas.max_tokens or personas.attempts, name the stories' language in society.language "
                    f"({self.society.language or 'null'} now), or provide your own personas (personas.file)."
                )
            queue.append(next_attempt(party, index))


def load(path: Path, parties: Iterable[str]) -> dict[str, dict[int, Persona]]:
    """A user's personas, by party and number: JSON lines with `party`, `name` and `story`, numbered in order.

    Args:
        parties: the society's parties; others are refused.

    Raises:
        SettingsError: the file is missing, or a line is not a persona.
    """
    where = f"personas.file={str(path)!r}"
    known, found = list(parties), dict[str, dict[int, Persona]]()
    for number, line in enumerate(_content(path).removeprefix(BOM_UTF8).split(b"\n"), 1):
        if not line.strip():
            continue
        row = _row(line, f"{where}, line {number}")
        if row["party"] not in known:
            raise SettingsError(
                f"{where}, line {number}: there is no party {row['party']!r}; the society has {', '.join(known)}."
            )
        index = len(found.setdefault(row["party"], {}))
        found[row["party"]][index] = Persona(row["party"], index, row["name"].strip(), row["story"])
    return found


def fingerprint(path: Path) -> str:
    """Hexadecimal sha256 of a user's personas.

    Raises:
        SettingsError: the file cannot be read.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise SettingsError(
            f"personas.file={str(path)!r}: this file cannot be read ({reason}); name a file of JSON lines with party, "
            "name and story, or null to have the model write them."
        ) from error


def of_party(party: str, path: Path, lines: Iterable[tuple[int, bytes]]) -> dict[int, Persona]:
    """Personas of the store, by number.

    Args:
        path: where the lines come from, for error messages.
        lines: number and content, as `line` wrote them.

    Raises:
        SettingsError: a line is not a persona.
    """
    rows = [_row(text, f"{path}, line {number}") for number, text in lines]
    return {int(row["index"]): Persona(party, int(row["index"]), row["name"], row["story"]) for row in rows}


def _row(line: bytes, where: str) -> Mapping[str, Any]:
    """The persona on a line.

    Raises:
        SettingsError: it is not a persona.
    """
    try:
        row: Any = json.loads(line.decode("utf-8"))
        wrong = _wrong(row)
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: this is not UTF-8 text; save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        row, wrong = {}, f"it is not JSON ({first_line(error)})"
    if wrong is not None:
        raise SettingsError(
            f"{where}: not a persona, as {wrong}; each line is a JSON object with party, name and story, such as "
            '{"party": "democrat", "name": "Ann", "story": "You are Ann."}.'
        )
    return row


def _wrong(row: Any) -> str | None:
    """Why a JSON value is not a persona; None if it is one."""
    if not isinstance(row, dict):
        return "it is not an object"
    values: dict[str, Any] = row
    for key in ("party", "name", "story"):
        value = values.get(key)
        if key not in values:
            return f"it has no {key}"
        if not isinstance(value, str) or not value.strip():
            return f"its {key} is {'empty' if value is None or isinstance(value, str) else 'not a text'}"
        if any("\ud800" <= it <= "\udfff" for it in value):
            return f"its {key} has half a character (a lone surrogate such as \\ud83d)"
    if not names.on_one_line(values["name"]):
        return "its name has a line break or another character that cannot be seen"
    return None


def line(persona: Persona) -> str:
    """One line of the file that `load` reads, without its line break."""
    row = {"party": persona.party, "index": persona.index, "name": persona.name, "story": persona.story}
    return json.dumps(row, ensure_ascii=False)
