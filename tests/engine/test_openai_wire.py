"""What an endpoint sends is validated whole: an answer, an error in its place, or neither."""

import json
import math
from typing import Any

import pytest
from clients import KEY, OPTIONS, ask, build, events, run
from endpoint import Endpoint, answer

from hustings import records
from hustings.engine.base import Completion, Score
from hustings.engine.openai_wire import Reported, Unreadable, mended, read
from hustings.errors import EngineError


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("hustings.engine.openai_errors.backoff", lambda _: 0.01)


def said(content: Any = "7", **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {
        "choices": [{"index": 0, "finish_reason": "stop", "message": message, **choice}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1},
    }


def scored(body: Any, *overrides: str) -> Score:
    """The answer to a survey from an endpoint that sends this."""
    with Endpoint(respond=lambda *_: (200, body)) as endpoint, build(endpoint.url, *overrides) as engine:
        (score,) = engine.score([ask(1, options=OPTIONS)])
    assert len(endpoint.asked) == 1
    return score


SHARES = {option: math.log(0.5 if option == "7" else 0.0499) for option in OPTIONS}


def listed(**changes: Any) -> dict[str, Any]:
    """Log-probabilities of an answer; `p3` changes that of "3"."""
    every = {**SHARES, **{name[1:]: value for name, value in changes.items()}}
    top = [{"token": token, "logprob": logprob} for token, logprob in every.items()]
    return {"content": [{"token": "7", "logprob": every["7"], "top_logprobs": top}]}


# Log-probabilities.


@pytest.mark.parametrize("zero", [-math.inf, "-Infinity", -9999.0])
def test_minus_infinity_is_probability_zero(zero: Any) -> None:
    score = scored(said(logprobs=listed(p3=zero)))
    assert score.text == "7" and score.logprobs is not None
    assert math.exp(score.logprobs[3]) == 0
    assert [math.exp(score.logprobs[place]) for place in (2, 7)] == pytest.approx([0.0499, 0.5])


def test_an_option_whose_log_probability_is_null_is_unknown_and_may_not_matter() -> None:
    rare = {**dict.fromkeys((f"p{option}" for option in OPTIONS), math.log(0.0999)), "p7": math.log(0.1)}
    almost = scored(said(logprobs=listed(**{**rare, "p3": None, "p2": math.log(0.1995)})))
    assert almost.logprobs is not None and almost.logprobs[3] == -math.inf
    for unknown in (None, math.nan):
        score = scored(said(logprobs=listed(p3=unknown)))
        assert (score.text, score.logprobs) == ("7", None)  # 5 % of the probability could be that of "3"


def test_where_the_log_probability_of_the_generated_token_is_null_the_text_counts() -> None:
    score = scored(said(logprobs=listed(p7=None)))
    assert (score.text, score.logprobs) == ("7", None)


FLAWS: dict[str, Any] = {
    "a list": [{"token": "7", "logprob": -0.1}],
    "a text": "none",
    "a number": 3,
    "positive": listed(p3=2.0),
    "no list": {"content": {"token": "7"}},
    "tokens without a name": {"content": [{"logprob": -0.1}]},
    "tokens that are numbers": {"content": [{"token": 7, "logprob": -0.1}]},
    "words": listed(p3="unlikely"),
    "old and odd": {"tokens": ["7"], "top_logprobs": "7"},
    "old and positive": {"tokens": ["7"], "top_logprobs": [{"7": 0.9}]},
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_log_probabilities_that_are_none_leave_the_text_and_say_so_once(
    flaw: str, capfd: pytest.CaptureFixture[str]
) -> None:
    body = said("I'd say 8.", logprobs=FLAWS[flaw])
    with Endpoint(respond=lambda *_: (200, body)) as endpoint, build(endpoint.url) as engine:
        scores = engine.score([ask(seed, options=OPTIONS) for seed in range(4)])
    assert {(score.text, score.logprobs) for score in scores} == {("I'd say 8.", None)}
    assert capfd.readouterr().err.count("log-probabilities cannot be read") == 1


@pytest.mark.parametrize(
    "empty",
    [
        None,
        {},
        [],
        {"content": None},
        {"content": []},
        listed(**{f"p{n}": None for n in OPTIONS}),
        listed(**{f"p{n}": -math.inf for n in OPTIONS}),
    ],
)
def test_without_any_known_log_probability_the_text_counts(empty: Any) -> None:
    score = scored(said("I'd say 8.", logprobs=empty))
    assert (score.text, score.logprobs) == ("I'd say 8.", None)


def test_a_log_probability_that_is_positive_by_rounding_is_zero() -> None:
    certain = {f"p{option}": -math.inf for option in OPTIONS} | {"p7": 1e-6}
    assert max(scored(said(logprobs=listed(**certain))).logprobs or ()) == 0.0


# Texts.


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Hello.", "Hello."),
        ([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo."}], "Hello."),
        ([{"type": "output_text", "text": "Hello.", "annotations": []}], "Hello."),
        (["Hello."], "Hello."),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Hi."}], "Hi."),
        ([], ""),
        (None, ""),
        ("Half a smile: \ud83d", "Half a smile: \ufffd"),
        ("A whole one: \ud83d\ude00", "A whole one: 😀"),
        ("<think>\nShould I?</think>Hello.", "Hello."),
        ("<think>\nOkay, 3 things", ""),
    ],
)
def test_the_text_of_a_message_is_found_in_every_form(content: Any, text: str) -> None:
    assert read(json.dumps(said(content))).text == text


def test_halves_of_characters_never_reach_the_log(tmp_path: Any) -> None:
    def respond(body: dict[str, Any], _: str) -> tuple[int, dict[str, Any]]:
        made = answer(body, True)
        made["choices"][0]["message"]["content"] += "\ud83d" if "logprobs" not in body else ""
        for place in made["choices"][0].get("logprobs", {}).get("content", ()):
            place["top_logprobs"].append({"token": "\udc00", "logprob": -12.0})
        return 200, made

    with Endpoint(respond=respond) as endpoint:
        run(tmp_path, endpoint.url, "topic=racism", "repetitions=1")
    replies = [event.text for event in events(tmp_path) if isinstance(event, records.Reply)]
    assert len(replies) == 9 and all(text.endswith("\ufffd") for text in replies)


def test_a_refusal_is_its_text_and_counted_as_one() -> None:
    parts = said([{"type": "refusal", "refusal": "No."}])
    for body in (
        parts,
        said(None, finish_reason="content_filter"),
        said(None, message={"content": None, "refusal": "No."}),
    ):
        assert read(json.dumps(body)).declined


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_never_said_and_its_tokens_are_counted(field: str, capfd: pytest.CaptureFixture[str]) -> None:
    thought = "I could say 3. " * 20
    bodies = iter([
        said(message={"content": "Hello.", field: thought}),
        {"choices": said(message={"content": None, field: thought})["choices"]},
        {**said(f"<think>{thought}"), "usage": {"prompt_tokens": 5, "completion_tokens": 90}},
        {**said(), "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 77}},
    ])  # fmt: skip
    with (
        Endpoint(respond=lambda *_: (200, next(bodies))) as endpoint,
        build(endpoint.url, "engine.concurrency=1") as engine,
    ):
        spoken = engine.complete([ask(seed) for seed in range(4)])
    assert [(it.text, it.tokens) for it in spoken] == [("Hello.", 1), ("", 75), ("", 90), ("7", 72)]
    assert capfd.readouterr().err.count("reasoning used up an answer's tokens") == 1


def test_log_probabilities_count_from_the_answer_on_not_from_the_reasoning_before_it() -> None:
    thought = [{"token": token, "logprob": -0.1, "top_logprobs": [{"token": "3", "logprob": -0.1}]}
               for token in ("<think>", "3", "</think>", "\n\n")]  # fmt: skip
    logprobs = {"content": [*thought, *listed()["content"]]}
    score = scored(said("<think>3</think>\n\n7", logprobs=logprobs))
    assert score.text == "7" and score.logprobs is not None
    assert math.exp(score.logprobs[7]) == pytest.approx(0.5)
    never = scored(said("<think>3", logprobs={"content": thought[:2]}))
    assert (never.text, never.logprobs) == ("", None)


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", None, "unheard_of", 7])
def test_a_number_at_the_end_of_an_answer_that_was_cut_is_marked(reason: Any) -> None:
    body = said("My answer to this is: 1", finish_reason=reason)
    score = scored({**body, "usage": {"prompt_tokens": 5, "completion_tokens": 20}}, "engine.logprobs=0")
    assert score.cut


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        "none",
        {},
        {"prompt_tokens": None},
        {"prompt_tokens": -3, "completion_tokens": "x"},
        {"prompt_tokens": math.inf, "completion_tokens": math.nan},
        {"prompt_tokens": 1e300},
    ],
)
def test_a_usage_that_cannot_be_believed_is_estimated(usage: Any) -> None:
    with (
        Endpoint(respond=lambda *_: (200, {**said("word " * 8), "usage": usage})) as endpoint,
        build(endpoint.url) as engine,
    ):
        (made,) = engine.complete([ask(1, "word " * 20)])
    assert (made.prompt_tokens, made.tokens) == (25, 10)


def test_a_usage_in_texts_is_read() -> None:
    assert read(json.dumps({**said(), "usage": {"prompt_tokens": "12", "completion_tokens": "3"}})).prompt_tokens == 12


# What is no answer.

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "nothing"),
    "a web page": (b"<!DOCTYPE html><html><title>Sign\n in</title></html>", "a web page, 'Sign in'"),
    "half of it": (b'{"choices": [{"message": {"con', "not JSON"),
    "not UTF-8": (b"\xff\xfe", "not JSON"),
    "very deep": (b"[" * 100_000, "not JSON"),
    "a list": (b"[]", "JSON, but not an object"),
    "null": (b"null", "JSON, but not an object"),
    "no choices": (b"{}", "choices is missing"),
    "null choices": (b'{"choices": null}', "choices is null"),
    "empty choices": (b'{"choices": []}', "choices is empty"),
    "choices that are no list": (b'{"choices": {"message": {"content": "Hi."}}}', "choices is an object"),
    "a null choice": (b'{"choices": [null]}', "choices.0 is null"),
    "an empty choice": (b'{"choices": [{}]}', "choices.0: neither a message nor a text"),
    "a null message": (b'{"choices": [{"message": null}]}', "choices.0: neither a message nor a text"),
    "a message that is a list": (b'{"choices": [{"message": ["Hi."]}]}', "choices.0.message is a list"),
    "a content that is a number": (
        b'{"choices": [{"message": {"content": 7}}]}',
        "choices.0.message.content is a number",
    ),
    "a content that is an object": (
        b'{"choices": [{"message": {"content": {}}}]}',
        "choices.0.message.content is an object",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_answer_is_asked_for_again_and_the_last_word_says_what_it_was(case: str) -> None:
    raw, said = UNREADABLE[case]
    with (
        Endpoint(respond=lambda *_: (200, raw)) as endpoint,
        build(endpoint.url, "engine.attempts=2") as engine,
        pytest.raises(EngineError) as caught,
    ):
        engine.complete([ask(1)])
    assert f"an unreadable answer ({said}), 2 times for one request" in str(caught.value)
    assert len(endpoint.asked) == 2


def test_an_answer_with_another_content_type_is_an_answer() -> None:
    respond = lambda *_: (200, b"\xef\xbb\xbf" + json.dumps(said("Hello.")).encode(), {"Content-Type": "text/plain"})  # noqa: E731
    with Endpoint(respond=respond) as endpoint, build(endpoint.url) as engine:
        (made,) = engine.complete([ask(1)])
    assert isinstance(made, Completion) and made.text == "Hello."


def test_a_web_page_says_what_the_address_must_be() -> None:
    with (
        Endpoint(respond=lambda *_: (200, b"<html></html>", {"Content-Type": "text/html"})) as endpoint,
        build(endpoint.url, "engine.attempts=1") as engine,
        pytest.raises(EngineError, match=r"engine\.base_url must be the address of the API, including /v1"),
    ):
        engine.complete([ask(1)])


def test_what_an_unreadable_answer_used_counts_against_the_budget() -> None:
    paid = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 500}}
    words = ("engine.budget_tokens=600", "engine.attempts=9")
    bodies = iter([paid, said()])
    with Endpoint(respond=lambda *_: (200, next(bodies))) as endpoint, build(endpoint.url, *words) as engine:
        engine.complete([ask(1)])
        with pytest.raises(EngineError, match=r"engine\.budget_tokens=600: the budget is used up \(516 tokens\)"):
            engine.complete([ask(2, "word " * 400)])


# Errors with status 200.

FINAL: dict[str, tuple[dict[str, Any], str]] = {
    "credits": ({"error": {"message": "Insufficient credits"}}, r"Insufficient credits\).* no credit left"),
    "402": ({"error": {"message": "Add more", "code": 402}}, r"402: Add more\).* no credit left"),
    "key": ({"error": {"message": "No such key", "code": 401}}, r"401: No such key\).*OPENAI_API_KEY was not accepted"),
    "text": ({"error": "model 'x' not found"}, r"model 'x' not found\).*rejects this request"),
    "detail": ({"detail": "Not Found"}, r"Not Found\).*rejects this request"),
    "vllm": ({"object": "error", "message": "bad field", "code": 400}, r"400: bad field\).*rejects this request"),
    "in the choice": ({"choices": [{"error": {"code": 403, "message": "Flagged"}}]}, r"403: Flagged\)"),
    "beside choices": ({**said(), "error": {"code": 400, "message": "Half"}}, r"400: Half\)"),
    "surrogate": ({"error": "odd \ud83d"}, "odd \ufffd"),
    "long": ({"error": "no " * 5000}, "no no"),
}  # fmt: skip


@pytest.mark.parametrize("case", FINAL)
def test_an_error_with_status_200_is_quoted_and_ends_the_run(case: str) -> None:
    body, reason = FINAL[case]
    with (
        Endpoint(respond=lambda *_: (200, body)) as endpoint,
        build(endpoint.url) as engine,
        pytest.raises(EngineError, match=reason) as caught,
    ):
        engine.complete([ask(1)])
    assert len(endpoint.asked) == 1
    assert len(str(caught.value)) < 1000 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Rate limit exceeded", "code": 429},
        {"message": "Upstream is gone", "code": 502},
        {"message": "Upstream is gone", "code": "503"},
        {"message": "The model is overloaded"},
        {"message": "Oops", "type": "server_error"},
        "Please try again later",
    ],
)
def test_an_error_with_status_200_that_waiting_cures_is_waited_for(
    error: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    bodies = iter([{"error": error}, said("Hello.")])
    with Endpoint(respond=lambda *_: (200, next(bodies))) as endpoint, build(endpoint.url) as engine:
        (made,) = engine.complete([ask(1)])
    assert isinstance(made, Completion) and made.text == "Hello."
    reason = error if isinstance(error, str) else error["message"]
    assert f"{reason}; trying again in" in capfd.readouterr().err


def test_an_error_keeps_the_key_to_itself() -> None:
    with (
        Endpoint(respond=lambda body, key: (200, {"error": {"message": f"bad {key}"}})) as endpoint,
        build(endpoint.url) as engine,
        pytest.raises(EngineError) as caught,
    ):
        engine.complete([ask(1)])
    assert "canary" not in str(caught.value)


def test_only_halves_of_characters_are_mended() -> None:
    assert mended("é 😀 \ud83d \udc00.") == "é 😀 \ufffd \ufffd."
    with pytest.raises(Unreadable):
        read('"\\ud83d"')
    with pytest.raises(Reported, match="\ufffd"):
        read('{"error": "\\ud83d"}')
