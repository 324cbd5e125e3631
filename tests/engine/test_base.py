"""What every engine's answers promise, whoever generated them."""

import pytest
from helpers import Scripted, play_all, settings
from hypothesis import given
from hypothesis import strategies as st

from hustings.engine.base import Completion, Request, Score, spoken
from hustings.records import Reply, Survey

TEXTS = {
    "Hello.": "Hello.",
    "<think>Hm.</think>Hello.": "Hello.",
    "<think>\nHm.\n</think>\n\nHello.": "\n\nHello.",
    "Ann: <thinking>Hm.</thinking>Hello.": "Ann: Hello.",
    "<THINK>Hm.</THINK>Hello.": "Hello.",
    "<seed:think>Hm.</seed:think>Hello.": "Hello.",
    "<reasoning effort='low'>Hm.</reasoning>Hello.": "Hello.",
    "[THINK]Hm.[/THINK]Hello.": "Hello.",
    "◁think▷Hm.◁/think▷Hello.": "Hello.",
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hello.": "Hello.",
    "<|START_THINKING|>Hm.<|END_THINKING|>Hello.": "Hello.",
    "<think>Hm.</think>Hello. <think>More.</think>Bye.": "Hello. Bye.",
    "<think>Hm, <think>hm</think>, hm.</think>Hello.": "Hello.",
    "Hm.</think>Hello.": "Hello.",
    "<think>Hm.": "",
    "<think>": "",
    "Hello.<think>Hm": "Hello.",
    "I think, therefore 3 < 5.": "I think, therefore 3 < 5.",
    "They call it a <b>think</b> tank.": "They call it a <b>think</b> tank.",
}


@pytest.mark.parametrize(("text", "said"), TEXTS.items())
def test_reasoning_is_no_part_of_what_was_said(text: str, said: str) -> None:
    assert spoken(text) == said
    assert Completion(text, 1, 40, "stop") == Completion(said, 1, 40, "stop")
    assert Score(None, text, 1, 40) == Score(None, said, 1, 40)


@given(st.text(alphabet="<>/[]think \n◁▷|ab"))
def test_nothing_is_left_of_reasoning_when_it_was_taken_out_once(text: str) -> None:
    assert spoken(spoken(text)) == spoken(text) or "think" in spoken(text)


def test_whatever_engine_generates_it_reasoning_is_neither_spoken_nor_an_answer_and_its_tokens_count() -> None:
    def answer(request: Request) -> Completion | Score:
        thought = f"<think>\nOkay, 3 things.{' Hm.' * 20}"
        if request.options:
            return Score(None, thought if request.turn.agent else f"{thought}</think>\n\n8", 9, 50)
        return Completion(f"{request.start}{thought}</think> I say no.", 9, 60, "stop")

    events = play_all(settings("topic=racism", "repetitions=1", "rounds=1"), Scripted(answer))
    replies = [event for event in events if isinstance(event, Reply)]
    assert {(event.text, event.tokens) for event in replies} == {("I say no.", 60)}
    surveys = [event for event in events if isinstance(event, Survey)]
    assert {(event.agent == 0, event.value) for event in surveys} == {(True, 8.0), (False, None)}
