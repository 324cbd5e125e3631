"""Questions, answers and pairs: what a model is fine-tuned on."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers import Recorder, Scripted, config
from hypothesis import given
from hypothesis import strategies as st

from hustings.debate.personas import Writer
from hustings.debate.prompts import Prompts
from hustings.debate.stories import place_of
from hustings.engine.base import Answer, Completion, Engine, Request
from hustings.errors import DataError, HustingsError
from hustings.identity import identity
from hustings.models import Weights
from hustings.settings import SimulateSettings, TrainSettings, load
from hustings.training import data
from hustings.training.data import Interview

NEW = [
    "What should the federal government do about the cost of health care?",
    "Should the voting age be lowered to sixteen?",
    "How well does the Supreme Court serve the country?",
    "Which taxes would you raise or cut first?",
    "What is the right role of labor unions in the economy?",
    "How should public schools be paid for?",
    "What do you make of the country's alliances abroad?",
    "How should police departments be overseen by the public?",
]
LISTS = [
    "Here are 10 questions:\n1. " + "\n2. ".join(NEW[:2]) + "\n3. Don't you think taxes are too high in this country?",
    "1) **" + NEW[2] + "**\n2) What should the federal government do about the costs of health care?\n3) Taxes?",
    "- " + "\n- ".join(NEW[3:6]) + "\n- Why is the other party always wrong about everything?",
    "1. " + NEW[6] + "\n2. " + NEW[7] + "\n3. You agree with the president on most things, right?",
]


def settings(folder: Path, *overrides: str) -> TrainSettings:
    return load(TrainSettings, config(f"artifacts={folder}", *overrides, name="train"))


def interview(of: TrainSettings, engine: Engine) -> Interview:
    return Interview(of, Weights("tiny", "f" * 64, None, None), engine)


def writer(asked: list[Request]) -> Engine:
    """Answers as a model does: the same text to the same request."""

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Completion(LISTS[request.turn.agent % len(LISTS)], 10, 20, "stop")

    return Scripted(answer)


def nobody() -> Engine:
    def answer(request: Request) -> Answer:
        raise AssertionError(f"asked {request}")

    return Scripted(answer)


def questions(folder: Path, asked: list[Request], *overrides: str) -> list[str]:
    return data.questions(interview(settings(folder, *overrides), writer(asked)))


def test_questions_are_the_papers_ten_and_then_new_neutral_ones(tmp_path: Path) -> None:
    asked: list[Request] = []
    found = questions(tmp_path, asked, "questions=13", "held_out=2")
    assert found[:10] == list(settings(tmp_path).interview.questions)
    assert len(found) == 15
    again = NEW[0].replace("cost", "costs")
    assert set(found[10:]) <= {*NEW, again}
    assert not {NEW[0], again} <= set(found)
    assert (
        "Generate 10 questions to elicit one's opinion regarding US politics. Example question: Could"
        in asked[0].prompt
    )


def test_more_questions_extend_the_file_and_fewer_ask_nobody(tmp_path: Path) -> None:
    few = questions(tmp_path, [], "questions=10", "held_out=2")
    many = questions(tmp_path, [], "questions=14", "held_out=3")
    assert many[:12] == few
    assert len(set(many)) == 17
    assert data.questions(interview(settings(tmp_path, "questions=10", "held_out=2"), nobody())) == few
    (file,) = tmp_path.glob("questions/*/questions.jsonl")
    assert [json.loads(line)["question"] for line in file.read_text().splitlines()] == many


def test_neither_an_interruption_nor_the_number_of_questions_changes_a_question(tmp_path: Path) -> None:
    whole = questions(tmp_path / "whole", [], "questions=16", "held_out=2")
    for count in range(8, 17):
        assert questions(tmp_path / "parts", [], f"questions={count}", "held_out=2") == whole[: count + 2]


def test_a_model_without_new_questions_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only 8 usable questions of the 95"):
        questions(tmp_path, [], "interview.rounds=2")


def test_the_identity_of_questions_and_answers_is_that_of_their_prompts(tmp_path: Path) -> None:
    def ids(*overrides: str) -> tuple[str, str]:
        of = settings(tmp_path, *overrides)
        return identity(data.of_questions(of, "f")), identity(data.of_answers(of, "f", "republican"))

    questions_id, answers_id = ids()
    stance = "+society.parties.republican.stances.new={pole: low, position: all is well}"
    same = ("questions=7", "interview.rounds=9", "interview.attempts=9", "interview.name=mine", "lora.r=8")
    assert {ids(word) for word in same} == {(questions_id, answers_id)}
    assert ids(stance)[0] == questions_id
    assert ids(stance)[1] != answers_id
    plain = "interview.answer='{{ name }} of {{ party }}: {{ question }}'"
    assert ids(plain)[0] == questions_id
    assert ids(plain, stance) == ids(plain)
    assert ids("interview.politics=politics")[0] != questions_id
    assert ids("interview.seed=2")[0] != questions_id


def speaker(asked: list[Request], empty: int = 0, silence: str = "") -> Engine:
    def answer(request: Request) -> Answer:
        asked.append(request)
        return Completion(silence if len(asked) <= empty else f"I think so {request.seed}. And", 10, 20, "length")

    return Scripted(answer)


def test_answers_are_a_partisans_and_read_by_datasets(tmp_path: Path) -> None:
    from datasets import load_dataset

    asked: list[Request] = []
    of = settings(tmp_path, "answers_per_question=3", "party=democrat")
    rows = data.answers(interview(of, speaker(asked, empty=1)), "democrat", [(0, "A?"), (4, "B?")])
    assert [(row["question"], row["answer"]) for row in rows] == [(q, k) for q in (0, 4) for k in range(3)]
    assert all("You believe that racism is a very big problem in the country today." in it.prompt for it in asked)
    assert all(it.sampling.temperature == 1.0 for it in asked)
    assert len(asked) == 7 and len({it.seed for it in asked}) == 7
    (file,) = tmp_path.glob("answers/*/answers.jsonl")
    read: Any = load_dataset("json", data_files=str(file), cache_dir=str(tmp_path / "hf"))["train"]
    assert len(read) == 6
    assert read[0]["prompt"] == [{"role": "user", "content": read[0]["prompt"][0]["content"]}]
    assert read[0]["completion"][0]["content"].endswith(".")


def test_answers_are_resumed_and_extended(tmp_path: Path) -> None:
    asked: list[Request] = []
    few = settings(tmp_path, "answers_per_question=2")
    data.answers(interview(few, speaker(asked)), "republican", [(0, "A?")])
    (file,) = tmp_path.glob("answers/*/answers.jsonl")
    with file.open("a") as end:
        end.write('{"party": "repu')
    manifest = json.loads((file.parent / "manifest.json").read_text())
    (file.parent / "manifest.json").write_text(json.dumps({**manifest, "state": "growing", "files": {}}))
    many = settings(tmp_path, "answers_per_question=3")
    rows = data.answers(interview(many, speaker(asked)), "republican", [(0, "A?"), (1, "B?")])
    assert len(rows) == 6
    assert len(asked) == 6
    assert len(file.read_text().splitlines()) == 6


@pytest.mark.parametrize("silence", ["", " \n\t ", "\u200b\ufeff"])
def test_an_answer_that_stays_empty_is_an_error_that_says_so(tmp_path: Path, silence: str) -> None:
    of = settings(tmp_path, "interview.attempts=2", "answers_per_question=1")
    said = rf"no answer to 'A\?' \(republican, answer 0\) in 2 attempts \(the last one was {re.escape(repr(silence))}\)"
    with pytest.raises(DataError, match=said):
        data.answers(interview(of, speaker([], empty=9, silence=silence)), "republican", [(0, "A?")])


def row(party: str, question: int, place: int) -> dict[str, Any]:
    return {
        "question": question,
        "prompt": [{"role": "user", "content": f"{question}?"}],
        "completion": [{"role": "assistant", "content": f"{party} {question} {place}"}],
    }


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_pairs_answer_one_question_and_reuse_nothing_before_all_is_used(
    questions: int, chosen: int, rejected: int, seed: int
) -> None:
    own = [row("own", question, place) for question in range(questions) for place in range(chosen)]
    other = [row("other", question, place) for question in range(questions) for place in range(rejected)]
    made = data.pairs(own, other, seed)
    assert [pair["chosen"] for pair in made] == [one["completion"] for one in own]
    assert made == data.pairs(own, other, seed)
    for pair in made:
        assert pair["rejected"][0]["content"].split()[1] + "?" == pair["prompt"][0]["content"]
    counts = Counter(pair["rejected"][0]["content"] for pair in made)
    assert max(counts.values()) <= -(-chosen // rejected)
    assert len(counts) == questions * min(chosen, rejected)


def test_dpo_on_one_party_is_refused() -> None:
    with pytest.raises(DataError, match=r"No other party answered '0\?'"):
        data.pairs([row("own", 0, 0)], [], 1)
    with pytest.raises(DataError, match="no answer of the party to prefer"):
        data.pairs([], [row("other", 0, 0)], 1)


def test_the_personas_that_debate_can_be_the_ones_who_answer(tmp_path: Path) -> None:
    words = (f"artifacts={tmp_path}", "questions=2", "answers_per_question=3", "interview.agents=stories")
    of = load(TrainSettings, config(*words, name="train"))
    story = "You are {} and you vote as you like, because life in your town has taught you so, year after year, friend."

    def answer(request: Request) -> Completion:
        text = story.format(request.turn.name) if request.turn.purpose == "persona" else "I think so."
        return Completion(text, 1, 5, "stop")

    engine = Recorder(Scripted(answer))
    interview = Interview(of, Weights("tiny", "f" * 64, None, None), engine)
    rows = data.answers(interview, "republican", [(0, "Why?"), (1, "How?")])
    assert [row["name"] for row in rows] == ["James", "John", "Robert"] * 2
    asked = [request for request in engine.asked if request.turn.purpose == "answer"]
    assert all(story.format(request.turn.name) in request.prompt for request in asked)
    assert sum(request.turn.purpose == "persona" for request in engine.asked) == 3
    assert len(list(tmp_path.glob("personas/tiny-republican-*/personas.jsonl"))) == 1
    plain = load(TrainSettings, config(*words[:-1], name="train"))
    one, other = (data.of_answers(it, "f" * 64, "republican") for it in (plain, of))
    assert "personas" not in one and "personas" in other


def test_personas_that_answer_have_the_identity_of_those_that_debate(tmp_path: Path) -> None:
    words = ("model=gguf", "model.path=a.gguf", f"artifacts={tmp_path}")
    train = load(TrainSettings, config(*words, "interview.agents=stories", name="train"))
    debate = load(SimulateSettings, config(*words, "topic=racism"))
    weights = Weights("a", "f" * 64, None, None)
    writer = Writer(debate.society, Prompts(debate.prompt), debate.personas, debate.seed)
    there = place_of(tmp_path, writer, "democrat", weights, debate.engine.substance())
    assert data._personas_at(train, weights, "democrat") == there


@pytest.mark.parametrize("content", [None, '{"party":"democrat","name":"A","story":"s"}\n'])
def test_personas_that_are_missing_are_named_before_anything_is_asked(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "mine.jsonl"
    if content is not None:
        path.write_text(content)
    of = settings(tmp_path, "interview.agents=stories", f"personas.file={path}")
    with pytest.raises(HustingsError, match=r"^personas\.file=.*(cannot be read|no persona of republican)"):
        data.of_answers(of, "f" * 64, "republican")
