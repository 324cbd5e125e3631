"""How requests go through OpenVINO, on a tiny model; what a real one answers is in test_real_model.py."""

from collections import deque
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_model

from hustings.engine.base import Completion, Request, Sampling, Turn
from hustings.engine.openvino import OpenvinoEngine
from hustings.models import Weights
from hustings.settings import OpenvinoSettings


def settings(**changes: Any) -> OpenvinoSettings:
    plain = {
        "kind": "openvino",
        "precision": "exact",
        "faithful": True,
        "device": "CPU",
        "cache_gb": 1,
        "concurrency": 8,
        "threads": None,
    }
    return OpenvinoSettings.model_validate({**plain, **changes})


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenvinoEngine:
    monkeypatch.setenv("HUSTINGS_CACHE", str(tmp_path / "cache"))
    weights = Weights("tiny", "tiny", None, tiny_model(tmp_path / "tiny"))
    return OpenvinoEngine(weights, settings(precision="fast"), 512)


def asked(debate: str, story: str, seed: int) -> Request:
    turn = Turn(debate, 0, "", 0, "reply", "Ann")
    return Request(f"{story}\n\nIt is your turn.", seed, Sampling(1.0, 4), turn)


def test_of_those_that_begin_alike_one_is_started_first(
    engine: OpenvinoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = "You are Ann, and climate is your life. " * 6, "You are Bob, and racism is your life. " * 6
    requests = [asked("a", one, 1), asked("b", one, 2), asked("c", other, 3), asked("b", one, 4), asked("d", one, 5)]
    steps: list[list[int]] = [[]]
    start, company = engine._start, engine._keep_company
    monkeypatch.setattr(engine, "_start", lambda request: steps[-1].append(request.seed) or start(request))
    monkeypatch.setattr(engine, "_keep_company", lambda running: steps.append([]) or company(running))
    with engine:
        answers = {request.seed: answer for request, answer in engine.stream(deque(requests))}
        again = {request.seed: answer for request, answer in engine.stream(deque(requests[::-1]))}
    assert steps[0] == [1, 3]
    assert steps[1] == [2, 5]  # 4 is of the same agent as 2, and waits for its answer
    assert sorted(answers) == sorted(again) == [1, 2, 3, 4, 5]
    assert all(isinstance(answer, Completion) and answer.tokens for answer in answers.values())
