"""Surveys without log-probabilities: a server is made to answer with an option, where it can be."""

import json
from pathlib import Path
from typing import Any

import pytest
from clients import KEY, LIKERT, OPTIONS, ask, build, events, of, run
from endpoint import Endpoint, answer

from hustings import records
from hustings.engine.base import Score
from hustings.errors import EngineError, SettingsError
from hustings.identity import identity

TEXT = "engine.logprobs=0"
FIELDS = {
    "json_schema": {"response_format"},
    "guided_choice": {"guided_choice", "structured_outputs"},
    "grammar": {"grammar"},
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("hustings.engine.openai_errors.backoff", lambda _: 0.01)


def said(text: str, finish: str = "stop") -> dict[str, Any]:
    return {"choices": [{"finish_reason": finish, "message": {"role": "assistant", "content": text}}]}


def scores(
    respond: Any, *overrides: str, options: tuple[str, ...] = OPTIONS
) -> tuple[list[Score], list[dict[str, Any]]]:
    """Answers to four surveys, and what was sent for them."""
    with Endpoint(respond=respond) as endpoint, build(endpoint.url, TEXT, "engine.concurrency=1", *overrides) as engine:
        return engine.score([ask(seed, options=options) for seed in range(4)]), endpoint.asked


@pytest.mark.parametrize("kind", FIELDS)
def test_a_server_is_asked_for_an_option_in_the_form_that_was_set(kind: str) -> None:
    text = '{"answer": "Agree"}' if kind == "json_schema" else "Agree"
    found, asked = scores(lambda *_: (200, said(text)), f"engine.structured={kind}", options=LIKERT)
    assert {score.text for score in found} == {"Agree"}
    assert all(set(body) & set().union(*FIELDS.values()) == FIELDS[kind] for body in asked)
    assert all(option in json.dumps(body) for option in LIKERT for body in asked)


def test_auto_asks_by_a_json_schema_with_room_for_it() -> None:
    found, asked = scores(lambda *_: (200, said('{ "answer":\n"10" }')))
    assert [(score.text, score.cut) for score in found] == [("10", False)] * 4
    of_schema = asked[0]["response_format"]["json_schema"]
    assert of_schema["strict"] and of_schema["schema"]["properties"]["answer"]["enum"] == list(OPTIONS)
    assert asked[0]["max_tokens"] > 20


@pytest.mark.parametrize(
    "error", [(400, "unknown field"), (422, "response_format"), (501, "no"), (500, "json_schema: no"), (200, "")]
)
def test_where_a_server_refuses_the_form_auto_goes_on_without_and_says_so_once(
    error: tuple[int, str], capfd: pytest.CaptureFixture[str]
) -> None:
    status, message = error
    refusal = {
        "error": {"message": message or "response_format is not supported", "code": 400 if status == 200 else None}
    }

    def respond(body: dict[str, Any], _: str) -> tuple[int, dict[str, Any]]:
        return (status, refusal) if "response_format" in body else (200, said("I'd say 8."))

    found, asked = scores(respond)
    assert {score.text for score in found} == {"I'd say 8."}
    assert ["response_format" in body for body in asked] == [True, False, False, False, False]
    assert capfd.readouterr().err.count("no structured output") == 1


def test_a_form_that_was_set_and_is_refused_ends_the_run_and_says_what_to_set() -> None:
    respond = lambda *_: (400, {"error": {"message": "response_format is not supported"}})  # noqa: E731
    with pytest.raises(EngineError, match=r"engine\.structured=off"):
        scores(respond, "engine.structured=json_schema")


@pytest.mark.parametrize(
    "text", ["7", '{"answer": "11"}', '{"answer": 1.5}', '["7"]', '{"rating": "7"}', "{", '{"answer": "1']
)
def test_an_answer_in_no_form_is_left_as_it_is(text: str) -> None:
    found, _ = scores(lambda *_: (200, said(text)))
    assert {score.text for score in found} == {text}


@pytest.mark.parametrize("overrides", [("engine.structured=off",), ("engine=openai_completions",)])
def test_nothing_is_asked_for_where_it_is_off_or_a_text_is_continued(overrides: tuple[str, ...]) -> None:
    respond = lambda *_: (200, {"choices": [{"text": "7", "message": {"content": "7"}}]})  # noqa: E731
    with Endpoint(respond=respond) as endpoint, build(endpoint.url, *overrides, TEXT) as engine:
        engine.score([ask(1, options=OPTIONS)])
        engine.complete([ask(2)])
    assert not any(set(body) & set().union(*FIELDS.values()) for body in endpoint.asked)


def test_the_form_is_part_of_the_identity_only_where_it_changes_answers() -> None:
    def of_engine(*words: str) -> str:
        return identity(of("http://127.0.0.1:1/v1", *words).engine.substance())

    assert of_engine() == of_engine("engine.structured=off")
    assert "structured" not in of("http://127.0.0.1:1/v1").engine.substance()
    assert "structured" not in of("http://127.0.0.1:1/v1", TEXT, "engine.structured=off").engine.substance()
    kinds = ("off", "auto", "json_schema", "guided_choice", "grammar")
    assert len({of_engine(TEXT, f"engine.structured={kind}") for kind in kinds}) == 5
    with pytest.raises(SettingsError, match=r"engine\.structured=grammar.*engine\.logprobs=0"):
        of("http://127.0.0.1:1/v1", "engine.structured=grammar")


def test_a_run_without_log_probabilities_records_the_options(tmp_path: Path) -> None:
    def respond(body: dict[str, Any], _: str) -> tuple[int, dict[str, Any]]:
        made = answer(body, False)
        if "response_format" in body:
            made["choices"][0]["message"]["content"] = json.dumps({"answer": str(body["seed"] % 11)})
        return 200, made

    with Endpoint(respond=respond) as endpoint:
        run(tmp_path, endpoint.url, TEXT, "topic=racism", "repetitions=1")
    surveys = [event for event in events(tmp_path) if isinstance(event, records.Survey)]
    assert len(surveys) == 16 and all(event.valid and str(int(event.value or 0)) == event.raw for event in surveys)
