"""Engines made of engines: loading on the first request, and a different engine for each role."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import pytest
from helpers import Scripted, settings

from hustings import engine
from hustings.engine.base import Answer, Completion, Engine, Order, Request, Sampling, Turn
from hustings.engine.lazy import SURVEYED, CastEngine, LazyEngine
from hustings.models import Weights


def asked(role: str, seed: int) -> Request:
    return Request("Speak.", seed, Sampling(1.0, 4), Turn("racism/rep_dem/0000", 0, role, 0, "reply", "Ann"))


def said(text: str) -> Engine:
    return Scripted(lambda request: Completion(f"{text} {request.seed}", 1, 1, "stop"))


@pytest.fixture
def lazy(monkeypatch: pytest.MonkeyPatch) -> tuple[LazyEngine, list[Order]]:
    built: list[Order] = []
    monkeypatch.setattr(engine, "build", lambda _, order: built.append(order) or said("Yes"))
    of = settings()
    return LazyEngine(of.engine, Order(of.model, Weights("tiny", "0" * 64, None, None)), "tiny"), built


def test_an_engine_is_loaded_by_its_first_request_and_once(lazy: tuple[LazyEngine, list[Order]]) -> None:
    one, built = lazy
    assert list(one.stream(deque())) == [] and built == []
    assert [it.text for it in one.complete([asked("a", 1), asked("a", 2)])] == ["Yes 1", "Yes 2"]
    assert one.promise == "scripted" and len(built) == 1


def test_an_engine_that_was_closed_is_loaded_again(lazy: tuple[LazyEngine, list[Order]]) -> None:
    one, built = lazy
    one.complete([asked("a", 1)])
    one.close()
    one.close()
    one.complete([asked("a", 1)])
    assert len(built) == 2


def test_each_role_is_answered_by_its_own_engine() -> None:
    shared = said("Both")
    with CastEngine({"a": shared, "b": said("B"), "c": shared}) as cast:
        answers = cast.complete([asked(role, seed) for seed, role in enumerate("abcab")])
        assert [it.text for it in answers] == ["Both 0", "B 1", "Both 2", "Both 3", "B 4"]
        assert cast.promise == "a and c: scripted; b: scripted"
        assert len(cast.members) == 2


def test_surveys_of_a_role_may_run_on_another_engine_than_its_replies() -> None:
    with CastEngine({"a": said("A"), f"a{SURVEYED}": said("Base"), "b": said("B")}) as cast:
        surveyed = replace(asked("a", 1), turn=replace(asked("a", 1).turn, purpose="survey"))
        answers = cast.complete([asked("a", 0), surveyed, asked("b", 2)])
        assert [it.text for it in answers] == ["A 0", "Base 1", "B 2"]


def test_requests_added_meanwhile_reach_the_engine_of_their_role() -> None:
    queue = deque([asked("a", 0)])
    answers: list[str] = []
    for request, answer in CastEngine({"a": said("A"), "b": said("B")}).stream(queue):
        assert isinstance(answer, Completion)
        answers.append(answer.text)
        if request.seed < 3:
            queue.append(asked("b" if request.seed % 2 == 0 else "a", request.seed + 1))
    assert answers == ["A 0", "B 1", "A 2", "B 3"]


def test_engines_take_turns() -> None:
    order: list[str] = []

    class Slow(Engine):
        promise = "slow"

        def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
            while queue:
                request = queue.popleft()
                order.append(request.turn.role)
                yield request, Completion("", 1, 1, "stop")

    CastEngine({"a": Slow(), "b": Slow()}).complete([asked(role, 1) for role in "aaabbb"])
    assert order == list("ababab")
