"""How requests go through OpenVINO, on a tiny model and on the embedded one; see also test_real_model.py."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import engine_settings
from tiny import tiny_model

from hustings.engine.base import Completion, Request, Sampling, Turn
from hustings.engine.openvino import OpenvinoEngine
from hustings.engine.transformers import TransformersEngine
from hustings.errors import EngineError
from hustings.models import Weights, embedded


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenvinoEngine:
    monkeypatch.setenv("HUSTINGS_CACHE", str(tmp_path / "cache"))
    weights = Weights("tiny", "tiny", None, tiny_model(tmp_path / "tiny"))
    return OpenvinoEngine(weights, engine_settings("openvino", precision="fast"), 512)


def asked(debate: str, story: str, seed: int) -> Request:
    turn = Turn(debate, 0, "", 0, "reply", "Ann")
    return Request(f"{story}\n\nIt is your turn.", seed, Sampling(1.0, 4), turn)


def test_of_those_that_begin_alike_one_is_started_first(
    engine: OpenvinoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = "You are Ann, and climate is your life. " * 6, "You are Bob, and racism is your life. " * 6
    requests = [asked("a", one, 1), asked("b", one, 2), asked("c", other, 3), asked("b", one, 4), asked("d", one, 5)]
    steps: list[list[int]] = [[]]
    start, fill = engine._start, engine._fill_rows
    monkeypatch.setattr(engine, "_start", lambda request: steps[-1].append(request.seed) or start(request))
    monkeypatch.setattr(engine, "_fill_rows", lambda running: steps.append([]) or fill(running))
    with engine:
        answers = {request.seed: answer for request, answer in engine.stream(deque(requests))}
        again = {request.seed: answer for request, answer in engine.stream(deque(requests[::-1]))}
    assert steps[0] == [1, 3]
    assert steps[1] == [2, 5]  # 4 is of the same agent as 2, and waits for its answer
    assert sorted(answers) == sorted(again) == [1, 2, 3, 4, 5]
    assert all(isinstance(answer, Completion) and answer.tokens for answer in answers.values())


OPTIONS = [
    tuple(map(str, range(11))),
    ("A", "B", "C", "D", "E"),
    ("Strongly disagree", "Disagree", "Neither", "Agree", "Strongly agree"),
    ("Agree", "Agree strongly", "Disagree"),
    ("1", "10", "100"),
    ("no problem at all", "für alle (sehr)", 'a "very big" problem'),
]


def surveys() -> list[Request]:
    """Each set of options, asked of two agents, and of the first one in two debates at once."""
    return [
        Request(
            f"You are {name}. Is racism a problem? Answer with one of: {', '.join(options)}.", 1, Sampling(0.0, 8),
            Turn(f"{debate}/{place}", 0, "", 0, "survey", name, "severity"), "I say" if name == "Bob" else "", options,
        )
        for place, options in enumerate(OPTIONS)
        for debate, name in (("one", "Ann"), ("two", "Ann"), ("one", "Bob"))
    ]  # fmt: skip


def test_options_in_words_are_as_probable_as_in_transformers() -> None:
    asked = surveys()
    with TransformersEngine(embedded(), engine_settings("transformers"), 2048) as other:
        expected = other.score(asked)
    with OpenvinoEngine(embedded(), engine_settings("openvino", concurrency=16), 2048) as engine:
        first, again = engine.score(asked), engine.score(asked[::-1])[::-1]
    for scores in (first, again):
        for score, other_score in zip(scores, expected, strict=True):
            assert score.logprobs == pytest.approx(other_score.logprobs, abs=0.05)
            assert (score.text, score.tokens) == (other_score.text, other_score.tokens)


def test_an_option_that_the_tokenizer_cuts_within_a_character_is_refused() -> None:
    (asked,) = [it for it in surveys() if it.options == OPTIONS[1] and it.turn.name == "Bob"]
    with OpenvinoEngine(embedded(), engine_settings("openvino"), 2048) as engine:
        with pytest.raises(EngineError, match=r"one/1: OpenVINO cannot .* Über alles, Nein; set engine=transformers"):
            engine.score([replace(asked, options=("Über alles", "Nein"))])
        assert engine.score([asked])[0].text in OPTIONS[1]


def test_a_consumer_that_leaves_takes_its_requests_along(engine: OpenvinoEngine) -> None:
    with engine:
        for _ in engine.stream(deque(asked(str(seed), "Speak.", seed) for seed in range(10))):
            break
        assert not engine._pipeline.has_non_finished_requests()
        assert len(engine.complete([asked("a", "Speak.", 1)])) == 1
