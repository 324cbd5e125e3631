"""Questions, answers and pairs: what a model is bent with."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers import Scripted, config
from hypothesis import given
from hypothesis import strategies as st

from hustings import dataset
from hustings.engine.base import Answer, Completion, Engine, Request
from hustings.errors import DataError
from hustings.settings import TrainSettings, load

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


def writer(asked: list[Request]) -> Engine:
    def answer(request: Request) -> Answer:
        asked.append(request)
        return Completion(LISTS[len(asked) % len(LISTS)], 10, 20, "stop")

    return Scripted(answer)


def test_questions_are_the_papers_ten_and_then_new_neutral_ones(tmp_path: Path) -> None:
    asked: list[Request] = []
    of = settings(tmp_path, "questions=13", "held_out=2")
    found = dataset.questions(of, "tiny", "f" * 64, lambda: writer(asked))
    assert found[:10] == list(of.interview.questions)
    assert len(found) == 15
    again = NEW[0].replace("cost", "costs")
    assert set(found[10:]) <= {*NEW, again}
    assert not {NEW[0], again} <= set(found)
    assert (
        "Generate 10 questions to elicit one's opinion regarding US politics. Example question: Could"
        in asked[0].prompt
    )


def test_more_questions_extend_the_file_and_fewer_ask_nobody(tmp_path: Path) -> None:
    few = dataset.questions(settings(tmp_path, "questions=10", "held_out=2"), "tiny", "f", lambda: writer([]))
    many = dataset.questions(settings(tmp_path, "questions=14", "held_out=3"), "tiny", "f", lambda: writer([]))
    assert many[:12] == few
    assert len(set(many)) == 17

    def nobody() -> Engine:
        raise AssertionError("asked")

    assert dataset.questions(settings(tmp_path, "questions=10", "held_out=2"), "tiny", "f", nobody) == few
    (file,) = tmp_path.glob("questions/*/questions.jsonl")
    assert [json.loads(line)["question"] for line in file.read_text().splitlines()] == many


def test_a_model_without_new_questions_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8 usable questions of the 95"):
        dataset.questions(settings(tmp_path, "interview.rounds=2"), "tiny", "f", lambda: writer([]))


def speaker(asked: list[Request], empty: int = 0) -> Engine:
    def answer(request: Request) -> Answer:
        asked.append(request)
        return Completion("" if len(asked) <= empty else f"I think so {request.seed}. And", 10, 20, "length")

    return Scripted(answer)


def test_answers_are_a_partisans_and_read_by_datasets(tmp_path: Path) -> None:
    from datasets import load_dataset

    asked: list[Request] = []
    of = settings(tmp_path, "answers_per_question=3", "party=democrat")
    rows = dataset.answers(of, "tiny", "f", "democrat", [(0, "A?"), (4, "B?")], lambda: speaker(asked, empty=1))
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
    dataset.answers(few, "tiny", "f", "republican", [(0, "A?")], lambda: speaker(asked))
    (file,) = tmp_path.glob("answers/*/answers.jsonl")
    with file.open("a") as end:
        end.write('{"party": "repu')
    manifest = json.loads((file.parent / "manifest.json").read_text())
    (file.parent / "manifest.json").write_text(json.dumps({**manifest, "state": "growing", "files": {}}))
    many = settings(tmp_path, "answers_per_question=3")
    rows = dataset.answers(many, "tiny", "f", "republican", [(0, "A?"), (1, "B?")], lambda: speaker(asked))
    assert len(rows) == 6
    assert len(asked) == 6
    assert len(file.read_text().splitlines()) == 6


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
    made = dataset.pairs(own, other, seed)
    assert [pair["chosen"] for pair in made] == [one["completion"] for one in own]
    assert made == dataset.pairs(own, other, seed)
    for pair in made:
        assert pair["rejected"][0]["content"].split()[1] + "?" == pair["prompt"][0]["content"]
    counts = Counter(pair["rejected"][0]["content"] for pair in made)
    assert max(counts.values()) <= -(-chosen // rejected)
    assert len(counts) == questions * min(chosen, rejected)


def test_dpo_on_one_party_is_refused() -> None:
    with pytest.raises(DataError, match=r"no answer of another party to '0\?'"):
        dataset.pairs([row("own", 0, 0)], [], 1)
    with pytest.raises(DataError, match="no answer of the party to prefer"):
        dataset.pairs([], [row("other", 0, 0)], 1)
