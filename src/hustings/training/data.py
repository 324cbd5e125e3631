"""The data that a model is fine-tuned on: questions, answers of its own partisans, and pairs of answers for DPO.

It does not know how a model is trained. Both files grow line by line and resume where they stopped; raising the
number of questions or answers extends them.
"""

import json
import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hustings.artifacts import Place, rows
from hustings.debate import personas
from hustings.debate.alarm import blank
from hustings.debate.personas import Writer, tidy
from hustings.debate.prompts import Prompts
from hustings.debate.roles import Persona
from hustings.debate.stories import Hands, gather, place_of
from hustings.engine.base import Completion, Engine, Request, Sampling, Turn
from hustings.errors import DataError
from hustings.identity import identity, seed_of
from hustings.models import Weights
from hustings.progress import Progress, showing
from hustings.settings import InterviewSettings, TrainSettings
from hustings.template import Template

QUESTIONS = "questions.jsonl"
ANSWERS = "answers.jsonl"
_LISTED = re.compile(r"^\s*(?:\d+\s*[.):]|[-*•])\s*(?P<text>.+?)\s*$", re.MULTILINE)
_LEADING = re.compile(
    r"^(?:(?:do|does|did|is|are|was|were|would|should|could|can|has|have)n['’]t\b|why (?:is|are|do|does|should)\b)"
    r"|(?:n['’]t (?:you|it|they|we)|right|correct)\?$",
    re.IGNORECASE,
)
"""Questions that take the answer for granted: "Don't you think …", "Why is … wrong?", "…, right?"."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Interview:
    """Questions and answers of one training, and the model that writes them."""

    settings: TrainSettings
    weights: Weights
    engine: Engine
    """Asked only for what the artifact store does not have yet."""


class _Item(NamedTuple):
    """A wanted answer."""

    number: int
    """Number of the question."""
    question: str
    place: int
    """Number of the answer among those to this question."""


def of_questions(settings: TrainSettings, fingerprint: str) -> dict[str, Any]:
    """What the identity of the questions is computed from: everything that changes one, but not how many there are."""
    interview = settings.interview
    return {
        "model": fingerprint,
        "engine": settings.engine.substance(),
        "questions": list(interview.questions),
        "prompts": _question_prompts(interview),
        "similarity": interview.similarity,
        "temperature": interview.question_temperature,
        "tokens": interview.question_tokens,
        "seed": interview.seed,
    }


def of_answers(settings: TrainSettings, fingerprint: str, party: str) -> dict[str, Any]:
    """What the identity of a party's answers is computed from: the rendered prompt, not everything it could use.

    So a stance on another topic changes the answers only if the prompt mentions it.
    """
    return {
        "questions": identity(of_questions(settings, fingerprint)),
        "party": party,
        "names": list(settings.society.parties[party].names),
        "prompt": _answer_prompt(settings, party)("{name}", "{story}", "{question}"),
        "tokens": settings.interview.answer_tokens,
        **_personas_id(settings, fingerprint, party),
    }


def _personas_id(settings: TrainSettings, fingerprint: str, party: str) -> dict[str, str]:
    """Which life stories the agents have; empty if they have none."""
    if settings.interview.agents == "positions":
        return {}
    if settings.personas.file:
        _given(settings, party)
        return {"personas": personas.fingerprint(Path(settings.personas.file))}
    return {"personas": _personas_at(settings, Weights("", fingerprint, None, None), party).id}


def _given(settings: TrainSettings, party: str) -> dict[int, Persona]:
    """The user's own personas of a party."""
    known = personas.load(Path(settings.personas.file or ""), settings.society.parties).get(party, {})
    if not known:
        raise DataError(f"personas.file={settings.personas.file!r}: there is no persona of {party}.")
    return known


def _writer(settings: TrainSettings) -> Writer:
    return Writer(settings.society, Prompts(settings.prompt), settings.personas, settings.interview.seed)


def _personas_at(settings: TrainSettings, weights: Weights, party: str) -> Place:
    """Where the personas are kept; debates with the same seed have the same ones."""
    return place_of(Path(settings.artifacts), _writer(settings), party, weights, settings.engine.substance())


def _template(interview: InterviewSettings, field: str) -> Template:
    return Template(getattr(interview, field), f"interview.{field}", f"conf/interview/{interview.name}.yaml")


def _question_prompts(interview: InterviewSettings) -> list[str]:
    """The prompts for more questions; each shows the model one of the interview's own questions as an example."""
    template = _template(interview, "more")
    return [template.render(politics=interview.politics, question=example) for example in interview.questions]


def _answer_prompt(settings: TrainSettings, party: str) -> Callable[[str, str, str], str]:
    """The prompt for an answer, as a function of the agent's name, its life story and the question."""
    field = "answer" if settings.interview.agents == "positions" else "answer_story"
    template, of = _template(settings.interview, field), settings.society.parties[party]
    values: dict[str, Any] = {
        "party": of.adjective,
        "country": settings.society.country,
        "positions": [stance.position for stance in of.stances.values()],
    }
    return lambda name, story, question: template.render(**values, name=name, story=story, question=question)


def _agents(interview: Interview, party: str, places: set[int]) -> dict[int, tuple[str, str]]:
    """Name and life story of the agents that give the answers with these numbers; bare positions have no stories."""
    settings = interview.settings
    names = settings.society.parties[party].names
    if settings.interview.agents == "positions":
        return {place: (names[place % len(names)], "") for place in places}
    if settings.personas.file:
        known = _given(settings, party)
        return {place: (known[place % len(known)].name, known[place % len(known)].story) for place in places}
    wanted = {party: {place % len(names) for place in places}}
    at = {party: _personas_at(settings, interview.weights, party)}
    known = gather(_writer(settings), at, wanted, Hands(lambda parties: interview.engine))[party]
    return {place: (known[place % len(names)].name, known[place % len(names)].story) for place in places}


def questions(interview: Interview) -> list[str]:
    """The questions to train on, followed by the held-out ones: the interview's own, then the model's.

    Raises:
        DataError: the model does not write enough new ones.
    """
    settings, weights = interview.settings, interview.weights
    count = settings.questions + settings.held_out
    substance = of_questions(settings, weights.fingerprint)
    place = Place(Path(settings.artifacts), "questions", f"{weights.name}-{settings.interview.name}", substance)
    with rows(place, QUESTIONS, wait=True) as kept:
        found: list[dict[str, Any]] = [json.loads(line) for _, line in kept.read()]
        own = [{"question": text, "by": "society", "round": -1} for text in settings.interview.questions]
        for row in own[len(found) :]:
            kept.append(_line(row))
            found.append(row)
        if len(found) < count:
            interview.engine.prepare()
            with showing("questions", count, len(found), count - len(found)) as progress:
                known = [row["question"] for row in found]
                for row in _more(interview, known, found[-1]["round"], count, progress):
                    kept.append(_line(row))
                    found.append(row)
    return [row["question"] for row in found[:count]]


def _more(
    interview: Interview, known: list[str], last_round: int, count: int, progress: Progress
) -> Iterator[dict[str, Any]]:
    """New questions until there are `count`; a round shows the model each of the interview's own questions once.

    On resuming, the last round is asked again: the questions that it already gave are known, and the rest follow. So
    neither an interruption nor the number of questions changes any question.

    Args:
        known: the questions so far; new ones are added to it.
        last_round: the round in which the last of them was written; -1 for the interview's own.
    """
    settings = interview.settings.interview
    own = len(settings.questions)
    sampling = Sampling(settings.question_temperature, settings.question_tokens)
    for place in range(max(last_round, 0), settings.rounds):
        requests = [
            Request(
                prompt,
                seed_of(settings.seed, "question", number, place),
                sampling,
                Turn(f"questions/{number:02d}", number, "default", place, "question", "nobody"),
            )
            for number, prompt in enumerate(_question_prompts(settings))
        ]
        for completion in interview.engine.complete(requests):
            new = _usable(known, completion.text, settings.similarity)[: count - len(known)]
            known.extend(new)
            progress.done += len(new)
            progress.answers += len(new)
            progress.tokens += completion.tokens
            progress.show()
            yield from ({"question": text, "by": "model", "round": place} for text in new)
            if len(known) >= count:
                return
    raise DataError(
        f"The model wrote only {len(known) - own} usable questions of the {count - own} that are needed, in "
        f"{settings.rounds} rounds; ask for fewer questions, raise interview.rounds or interview.similarity, or choose "
        "a larger model."
    )


def _usable(known: Sequence[str], text: str, similarity: float) -> list[str]:
    """Usable questions in a list that the model wrote, without near-duplicates."""
    from rapidfuzz import fuzz, process, utils

    found: list[str] = []
    for match in _LISTED.finditer(text):
        question = match["text"].strip(' *"“”')
        if not 5 <= len(question.split()) <= 40 or question.count("?") != 1 or not question.endswith("?"):
            continue
        if _LEADING.search(question) or not question[0].isupper():
            continue
        near = process.extractOne(
            question,
            [*known, *found],
            scorer=fuzz.token_sort_ratio,
            processor=utils.default_process,
            score_cutoff=similarity,
        )
        if near is None:
            found.append(question)
    return found


def answers(interview: Interview, party: str, asked: Sequence[tuple[int, str]]) -> list[Row]:
    """Answers of a party's agents to (number, question) pairs, `answers_per_question` each, in order.

    Each row is what `datasets` and TRL read: `prompt` and `completion` as messages, with `party`, `question` and
    `answer` (numbers) and `name` (who answers; the same agent gives the k-th answer to every question).

    Raises:
        DataError: an answer is still empty after `interview.attempts` attempts.
    """
    settings, weights = interview.settings, interview.weights
    wanted = [_Item(number, text, k) for number, text in asked for k in range(settings.answers_per_question)]
    substance = of_answers(settings, weights.fingerprint, party)
    place = Place(Path(settings.artifacts), "answers", f"{weights.name}-{party}", substance)
    with rows(place, ANSWERS, wait=True) as kept:
        have = {(row["question"], row["answer"]): row for row in (json.loads(line) for _, line in kept.read())}
        missing = [item for item in wanted if (item.number, item.place) not in have]
        if missing:
            interview.engine.prepare()
            with showing(f"{party} answers", len(wanted), len(wanted) - len(missing), len(missing)) as progress:
                for row in _answered(interview, party, missing, progress):
                    kept.append(_line(row))
                    have[row["question"], row["answer"]] = row
    return [have[item.number, item.place] for item in wanted]


def _answered(
    interview: Interview, party: str, wanted: Iterable[_Item], progress: Progress
) -> Iterator[dict[str, Any]]:
    """Rows as they arrive."""
    settings = interview.settings.interview
    prompt = _answer_prompt(interview.settings, party)
    sampling = Sampling(temperature=1.0, max_tokens=settings.answer_tokens)
    items = {f"answers/{party}/{item.number:04d}/{item.place:04d}": item for item in wanted}
    agents = _agents(interview, party, {item.place for item in items.values()})
    attempts = dict.fromkeys(items, 0)

    def request(key: str) -> Request:
        number, question, place = items[key]
        name, story = agents[place]
        seed = seed_of(settings.seed, "answer", party, number, place, attempts[key])
        return Request(prompt(name, story, question), seed, sampling, Turn(key, place, party, 0, "answer", name))

    queue = deque(map(request, items))
    for done, answer in interview.engine.stream(queue):
        assert isinstance(answer, Completion)
        key, name = done.turn.debate, done.turn.name
        number, question, place = items[key]
        text = tidy(answer.text.removeprefix(f"{name}:"))
        progress.tokens += answer.tokens
        if not blank(text):
            progress.done += 1
            progress.answers += 1
            progress.show()
            yield {
                "party": party,
                "question": number,
                "answer": place,
                "name": name,
                "prompt": [{"role": "user", "content": question}],
                "completion": [{"role": "assistant", "content": text}],
            }
            continue
        attempts[key] += 1
        if attempts[key] >= settings.attempts:
            raise DataError(
                f"The model gave no answer to {question!r} ({party}, answer {place}) in {settings.attempts} attempts "
                f"(the last one was {answer.text[:60]!r}); choose a larger model, or raise interview.answer_tokens or "
                "interview.attempts."
            )
        queue.append(request(key))


def pairs(chosen: Iterable[Row], rejected: Iterable[Row], seed: int) -> list[dict[str, Any]]:
    """Rows for DPO: each chosen answer with a rejected one to the same question.

    Rejected answers are drawn with the seed, and none is reused before all have been used.

    Raises:
        DataError: a question has no answer to reject.
    """
    pools: dict[int, list[Row]] = {}
    for row in rejected:
        pools.setdefault(row["question"], []).append(row)
    drawn: dict[int, list[Row]] = {}
    found: list[dict[str, Any]] = []
    for row in chosen:
        question = row["question"]
        if question not in pools:
            raise DataError(
                f"No other party answered {row['prompt'][0]['content']!r}, and DPO needs an answer to reject; rerun "
                "the same command to have one written, or use method=nwp."
            )
        if not drawn.get(question):
            shuffled = list(pools[question])
            random.Random(seed_of(seed, "pairs", question, len(found))).shuffle(shuffled)
            drawn[question] = shuffled
        other = drawn[question].pop()
        found.append({"prompt": row["prompt"], "chosen": row["completion"], "rejected": other["completion"]})
    if not found:
        raise DataError("There is no answer of the party to prefer; set questions and answers_per_question above 0.")
    return found


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False)
