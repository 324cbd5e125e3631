"""What a model is bent with: questions, the answers of its own partisans, and rows that TRL's trainers take.

It does not know how a model is trained. Both files grow line by line and are resumed where they stopped; raising
the number of questions or answers extends them.
"""

import json
import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template, TemplateError

from hustings.artifacts import held
from hustings.debate.personas import tidy
from hustings.engine.base import Completion, Engine, Request, Sampling, Turn
from hustings.errors import DataError, SettingsError
from hustings.identity import identity, seed_of
from hustings.progress import Progress, showing
from hustings.records import drop_half_line
from hustings.settings import InterviewSettings, TrainSettings

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
Live = Callable[[], Engine]


def of_questions(settings: TrainSettings, fingerprint: str) -> dict[str, Any]:
    """What the identity of the questions is made of: all that changes one of them, and not how many there are."""
    interview = settings.interview.substance()
    for later in ("answer", "answer_tokens", "attempts"):
        del interview[later]
    return {"model": fingerprint, "engine": settings.engine.substance(), "interview": interview}


def of_answers(settings: TrainSettings, fingerprint: str, party: str) -> dict[str, Any]:
    """What the identity of a party's answers is made of, and not how many there are."""
    return {
        "questions": identity(of_questions(settings, fingerprint)),
        "country": settings.society.country,
        "party": settings.society.parties[party].substance(),
        "answer": settings.interview.answer,
        "answer_tokens": settings.interview.answer_tokens,
        "attempts": settings.interview.attempts,
    }


def questions(settings: TrainSettings, name: str, fingerprint: str, live: Live) -> list[str]:
    """The questions to train on and, after them, those that are held out: the society's own, then the model's.

    Args:
        name: of the model, for the artifact's folder.
        fingerprint: of the model.
        live: gives the engine when something has to be written.

    Raises:
        DataError: the model does not come up with enough new ones.
    """
    count = settings.questions + settings.held_out
    interview = settings.interview
    substance = of_questions(settings, fingerprint)
    with held(Path(settings.artifacts), "questions", f"{name}-{interview.name}", substance, wait=True) as artifact:
        path = artifact.folder / QUESTIONS
        rows = _lines(path)
        given: list[dict[str, Any]] = [{"question": text, "by": "society", "round": -1} for text in interview.questions]
        if len(rows) < min(count, len(given)):
            artifact.grow()
            _append(path, given[len(rows) :])
            rows = given
        if len(rows) < count:
            artifact.grow()
            with showing("questions", count, len(rows), count - len(rows)) as progress:
                _more(live(), interview, path, rows, count, progress)
        if artifact.growing:
            artifact.seal()
    return [str(row["question"]) for row in rows[:count]]


def _more(
    engine: Engine, interview: InterviewSettings, path: Path, rows: list[Any], count: int, progress: Progress
) -> None:
    """Let the model write questions until there are `count`; a round shows it every first question once."""
    template = _template("more", interview.more)
    examples = interview.questions
    sampling = Sampling(interview.question_temperature, interview.question_tokens)
    for place in range(rows[-1]["round"] + 1, interview.rounds):
        requests = [
            Request(
                _filled("more", template, politics=interview.politics, question=example),
                seed_of(interview.seed, "question", number, place),
                sampling,
                Turn(f"questions/{number:02d}", number, "default", place, "question", "nobody"),
            )
            for number, example in enumerate(examples)
        ]
        for completion in engine.complete(requests):
            new = _new([row["question"] for row in rows], completion.text, interview.similarity)
            added = [{"question": text, "by": "model", "round": place} for text in new][: count - len(rows)]
            _append(path, added)
            rows.extend(added)
            progress.done += len(added)
            progress.answers += len(added)
            progress.tokens += completion.tokens
            progress.show()
            if len(rows) >= count:
                return
    raise DataError(
        f"The model wrote {len(rows) - len(examples)} usable questions of the {count - len(examples)} that are "
        f"missing, in {interview.rounds} rounds; set a smaller number of questions, raise interview.rounds or "
        "interview.similarity, or take a larger model."
    )


def _new(have: Sequence[str], text: str, similarity: float) -> list[str]:
    """Usable questions in a list that the model wrote, none of them nearly the same as another."""
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
            [*have, *found],
            scorer=fuzz.token_sort_ratio,
            processor=utils.default_process,
            score_cutoff=similarity,
        )
        if near is None:
            found.append(question)
    return found


def answers(
    settings: TrainSettings,
    name: str,
    fingerprint: str,
    party: str,
    asked: Sequence[tuple[int, str]],
    live: Live,
) -> list[Row]:
    """Answers of a party's agents to (number, question) pairs, `answers_per_question` each, in order.

    Each row is what `datasets` and TRL read: `prompt` and `completion` as messages, with `party`, `question` and
    `answer` (numbers) and `name` (who answers; the k-th answer to every question is the same agent's).

    Raises:
        DataError: an answer stays empty.
    """
    wanted = [(number, text, place) for number, text in asked for place in range(settings.answers_per_question)]
    substance = of_answers(settings, fingerprint, party)
    with held(Path(settings.artifacts), "answers", f"{name}-{party}", substance, wait=True) as artifact:
        path = artifact.folder / ANSWERS
        have = {(row["question"], row["answer"]): row for row in _lines(path)}
        missing = [item for item in wanted if (item[0], item[2]) not in have]
        if missing:
            artifact.grow()
            with showing(f"{party} answers", len(wanted), len(wanted) - len(missing), len(missing)) as progress:
                for row in _interviewed(settings, party, missing, live(), progress):
                    _append(path, [row])
                    have[row["question"], row["answer"]] = row
        if artifact.growing:
            artifact.seal()
    return [have[number, place] for number, _, place in wanted]


def _interviewed(
    settings: TrainSettings, party: str, wanted: Iterable[tuple[int, str, int]], engine: Engine, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Rows as they arrive."""
    interview, of = settings.interview, settings.society.parties[party]
    template = _template("answer", interview.answer)
    positions = [stance.position for stance in of.stances.values()]
    sampling = Sampling(temperature=1.0, max_tokens=interview.answer_tokens)
    tries: dict[str, int] = {}
    asked: dict[str, tuple[int, str, int]] = {}

    def request(item: tuple[int, str, int]) -> Request:
        number, question, place = item
        key = f"answers/{party}/{number:04d}/{place:04d}"
        asked[key] = item
        agent = of.names[place % len(of.names)]
        prompt = _filled(
            "answer",
            template,
            name=agent,
            party=of.adjective,
            country=settings.society.country,
            positions=positions,
            question=question,
        )
        seed = seed_of(interview.seed, "answer", party, number, place, tries.setdefault(key, 0))
        return Request(prompt, seed, sampling, Turn(key, place, party, 0, "answer", agent))

    queue = deque(map(request, wanted))
    for done, answer in engine.stream(queue):
        assert isinstance(answer, Completion)
        number, question, place = asked[done.turn.debate]
        text = tidy(answer.text.removeprefix(f"{done.turn.name}:"))
        progress.tokens += answer.tokens
        if text:
            progress.done += 1
            progress.answers += 1
            progress.show()
            yield {
                "party": party,
                "question": number,
                "answer": place,
                "name": done.turn.name,
                "prompt": [{"role": "user", "content": question}],
                "completion": [{"role": "assistant", "content": text}],
            }
            continue
        tries[done.turn.debate] += 1
        if tries[done.turn.debate] >= interview.attempts:
            raise DataError(
                f"The model gave no answer to {question!r} ({party}, answer {place}) in {interview.attempts} tries; "
                "take a larger model, or raise interview.answer_tokens or interview.attempts."
            )
        queue.append(request(asked[done.turn.debate]))


def pairs(chosen: Iterable[Row], rejected: Iterable[Row], seed: int) -> list[dict[str, Any]]:
    """Rows for DPO: to each chosen answer a rejected one to the same question.

    Drawn by the seed, and not a second time while unused ones are left.

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
                f"There is no answer of another party to {row['prompt'][0]['content']!r}, and DPO needs one to reject; "
                "run the same command again to have it written, or use method=nwp."
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


def _lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that may have been left half-written."""
    if not path.exists():
        return []
    with path.open("rb+") as file:
        drop_half_line(file.fileno())
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _append(path: Path, rows: Iterable[Row]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _template(field: str, text: str) -> Template:
    try:
        return Environment(undefined=StrictUndefined).from_string(text)
    except TemplateError as error:
        raise SettingsError(
            f"interview.{field}: this Jinja template does not compile ({error}); correct it in conf/interview."
        ) from error


def _filled(field: str, template: Template, **values: str | list[str]) -> str:
    try:
        return template.render(values)
    except TemplateError as error:
        raise SettingsError(
            f"interview.{field}: this template cannot be filled in ({error}); it may use {', '.join(sorted(values))}; "
            "correct it in conf/interview."
        ) from error
