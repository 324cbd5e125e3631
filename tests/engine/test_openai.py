"""engine=openai: against a real llama.cpp server, and over a network that fails in seven ways."""

import json
import math
import re
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clients import KEY, LIKERT, OPTIONS, ask, assert_nowhere, build, events, of, run, whole
from endpoint import WAYS, Endpoint, answer, free_port, identity, llama
from helpers import config, engine_settings, left, starts_of

from hustings import compose, records
from hustings.debate.play import Debate, Rules
from hustings.engine.base import Completion, Request, Sampling, Score
from hustings.engine.openvino import OpenvinoEngine
from hustings.engine.transformers import TransformersEngine
from hustings.errors import EngineError, ModelError, SettingsError
from hustings.models import as_gguf, embedded
from hustings.settings import SimulateSettings, load
from hustings.simulation import job
from hustings.simulation.counts import total
from hustings.simulation.estimate import estimate

FAST = ("engine.timeout=3", "engine.attempts=30", "engine.concurrency=48")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


# Through a network that breaks down.


def test_thousand_requests_of_which_three_in_ten_fail_in_seven_ways(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Endpoint(share=0.3) as endpoint:
        run(tmp_path, endpoint.url, "topic=all", "repetitions=12", *FAST)
    assert len(endpoint.asked) > 1000
    assert set(endpoint.failed) == set(WAYS)
    assert 0.25 < endpoint.failed.total() / len(endpoint.asked) < 0.35
    found = events(tmp_path)
    whole(found, 48)
    assert set(endpoint.generated.values()) == {1}
    personas = sum(len(path.read_text().splitlines()) for path in tmp_path.rglob("personas.jsonl"))
    assert endpoint.generated.total() == 48 * 25 + personas
    seeds = {identity_.split()[0] for identity_ in endpoint.generated}
    said = [event.text for event in found if isinstance(event, records.Reply)]
    assert len(set(said)) == len(said) and all(text.rstrip(".").split()[-1] in seeds for text in said)
    shown = capfd.readouterr()
    for words in (
        "429, too many",
        "no answer within",
        "the connection broke",
        "unreadable answer",
        "status 500",
        "trying again in",
    ):
        assert words in shown.err
    assert KEY not in shown.err + shown.out
    assert_nowhere(tmp_path)


@pytest.mark.parametrize("way", [*(way for way in WAYS if way != "429"), "401", "403", "404", "400", "quota", "echo"])
def test_a_run_that_fails_shows_the_key_nowhere(way: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def respond(_: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        said = f"Incorrect API key provided: {key} and sk-canary**77aa"
        status = {"quota": 429, "echo": 418}.get(way) or int(way)
        return status, {"error": {"message": said, "code": "insufficient_quota" if way == "quota" else None}}

    with Endpoint(share=float(way in WAYS), ways=(way,), respond=respond) as endpoint:
        with pytest.raises(EngineError) as caught:
            run(tmp_path, endpoint.url, "engine.timeout=0.3", "engine.attempts=2", "topic=racism", "repetitions=1")
        assert endpoint.url in str(caught.value)
    trace = "".join(traceback.format_exception(caught.value))
    shown = capfd.readouterr()
    assert "canary" not in trace + shown.err + shown.out
    assert_nowhere(tmp_path)


def test_a_storm_of_429_is_waited_for_and_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with Endpoint(share=1.0, ways=("429",)) as endpoint, build(endpoint.url, "engine.attempts=1") as engine:
        threading.Timer(1.0, setattr, (endpoint, "share", 0.0)).start()
        began = time.monotonic()
        answers = engine.complete([ask(seed) for seed in range(8)])
    assert len(answers) == 8 and time.monotonic() - began > 0.9
    assert "429, too many requests; trying again in" in capfd.readouterr().err
    assert set(endpoint.generated.values()) == {1}


def test_an_address_where_nothing_is_fails_within_thirty_seconds_and_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    began = time.monotonic()
    with pytest.raises(EngineError, match=f"{url}: nothing answers at this address"):
        run(tmp_path, url, "topic=racism", "repetitions=1")
    assert time.monotonic() - began < 30


def test_a_server_that_dies_and_comes_back_costs_time_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Endpoint() as endpoint:
        dying = threading.Thread(target=_die_for_a_second, args=(endpoint, 60))
        dying.start()
        run(tmp_path, endpoint.url, "topic=all", "repetitions=2", "engine.concurrency=4")
        dying.join()
    whole(events(tmp_path), 8)
    assert "no connection; trying again in" in capfd.readouterr().err
    stored = 8 * 25 + sum(len(path.read_text().splitlines()) for path in tmp_path.rglob("personas.jsonl"))
    # What was on its way when the server died was generated there and never arrived.
    assert len(endpoint.generated) == stored and endpoint.generated.total() <= stored + 4


def _die_for_a_second(endpoint: Endpoint, after: int) -> None:
    while len(endpoint.asked) < after:
        time.sleep(0.005)
    endpoint.stop()
    time.sleep(1.0)
    endpoint.start(endpoint.port)


def test_a_run_that_gave_up_goes_on_where_it_was_and_pays_nothing_twice(tmp_path: Path) -> None:
    words = ("topic=all", "repetitions=2", "engine.attempts=2", "engine.concurrency=4")
    with Endpoint() as endpoint:

        def fail_later(body: dict[str, Any], _: str) -> tuple[int, dict[str, Any]]:
            if len(endpoint.asked) > 80:
                return 500, {}
            endpoint.generated[identity(body)] += 1
            return 200, answer(body, True)

        endpoint.respond = fail_later
        with pytest.raises(EngineError, match="status 500, 2 times for one request"):
            run(tmp_path, endpoint.url, *words)
        before = len(events(tmp_path))
        assert before > 40
        endpoint.respond = None
        run(tmp_path, endpoint.url, *words)
    whole(events(tmp_path), 8)
    assert set(endpoint.generated.values()) == {1}


# Limits.


def test_a_budget_stops_before_it_is_overshot_and_the_next_command_goes_on(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        words = ("topic=all", "repetitions=2", "model.price={input: 1.0, output: 2.0, date: 2026-01-01}")
        with pytest.raises(EngineError, match=r"engine.budget_usd=0.01: the budget is used up .* dollars"):
            run(tmp_path, endpoint.url, *words, "engine.budget_usd=0.01")
        stores = list((tmp_path / "artifacts").glob("debates/*/manifest.json"))
        first = total([json.loads(path.read_text()).get("spent", {}) for path in stores])
        assert 0.007 < first["dollars"] <= 0.01
        run(tmp_path, endpoint.url, *words)
    whole(events(tmp_path), 8)
    assert set(endpoint.generated.values()) == {1}
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    spent, played = manifest["spent"], manifest["played"]
    assert spent["calls"] == endpoint.generated.total() == first["calls"] + played["calls"]
    assert spent["dollars"] == pytest.approx(first["dollars"] + played["dollars"])
    tokens = spent["tokens"] + spent["persona_tokens"]
    prompts = spent["prompt_tokens"] + spent["persona_prompt_tokens"]
    assert spent["dollars"] == pytest.approx((prompts * 1.0 + tokens * 2.0) / 1e6)


def test_a_budget_of_tokens_stops_too(tmp_path: Path) -> None:
    with Endpoint() as endpoint, pytest.raises(EngineError, match=r"engine\.budget_tokens=3000"):
        run(tmp_path, endpoint.url, "engine.budget_tokens=3000")
    assert 0 < endpoint.generated.total() < 40


def test_no_more_requests_are_on_their_way_than_concurrency_says() -> None:
    def respond(body: dict[str, Any], _: str) -> tuple[int, dict[str, Any]]:
        time.sleep(0.05)  # so that requests meet
        return 200, answer(body, True)

    with Endpoint(respond=respond) as endpoint, build(endpoint.url, "engine.concurrency=3") as engine:
        assert len(engine.complete([ask(seed) for seed in range(60)])) == 60
        assert 2 <= endpoint.most <= 3


@pytest.mark.parametrize("limit", ["engine.requests_a_minute=600", "engine.tokens_a_minute=13000"])
def test_limits_a_minute_are_kept(limit: str) -> None:
    with Endpoint() as endpoint, build(endpoint.url, limit) as engine:
        engine.complete([ask(seed) for seed in range(12)])
    assert 0.8 < endpoint.times[-1] - endpoint.times[0] < 3


# What is sent, and what is read.


def test_each_request_carries_its_seed_and_fields_of_its_own_endpoint_alone() -> None:
    with Endpoint() as endpoint, build(endpoint.url) as engine:
        engine.complete([ask(7, start="Ann:")])
        engine.score([ask(8, options=OPTIONS)])
    reply, survey = endpoint.asked
    assert (reply["seed"], reply["model"], reply["temperature"], reply["max_tokens"]) == (7, "some-model", 1.0, 20)
    assert (reply["top_k"], reply["min_p"]) == (0, 0.0)
    assert reply["messages"][-1] == {"role": "assistant", "content": "Ann:"}
    assert (survey["logprobs"], survey["top_logprobs"]) == (True, 20)
    assert "reasoning_effort" not in reply


def test_an_endpoint_that_cannot_go_on_from_given_words_is_asked_for_them() -> None:
    with Endpoint() as endpoint, build(endpoint.url, "engine=openai") as engine:
        engine.complete([ask(7, start="Ann:")])
    (message,) = endpoint.asked[0]["messages"]
    assert message == {"role": "user", "content": "Speak.\n\nBegin your answer with these words: Ann:"}


def test_without_log_probabilities_the_number_in_the_text_counts(tmp_path: Path) -> None:
    with Endpoint(logprobs=False) as endpoint:
        run(tmp_path, endpoint.url, "engine.logprobs=0", "topic=racism", "repetitions=1")
    surveys = [event for event in events(tmp_path) if isinstance(event, records.Survey)]
    assert all(event.valid and event.expected is None and str(int(event.value or 0)) == event.raw for event in surveys)
    assert not any("logprobs" in body for body in endpoint.asked)


def test_refusals_are_missing_data_and_counted(tmp_path: Path) -> None:
    texts = iter(["I'm sorry, but I can't share personal opinions.", "I cannot answer that.", "As an AI, I have none."])

    def respond(body: dict[str, Any], _: str) -> tuple[int, dict[str, Any]]:
        said = answer(body, True)
        if "logprobs" in body and (text := next(texts, None)):
            message = {"role": "assistant", "content": text}
            said["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
        elif "logprobs" in body and not hasattr(respond, "filtered"):
            respond.filtered = True  # type: ignore[attr-defined]
            said["choices"][0] |= {"finish_reason": "content_filter", "message": {"content": None, "refusal": "No."}}
        return 200, said

    with Endpoint(respond=respond) as endpoint:
        outcome = run(tmp_path, endpoint.url, "topic=racism", "repetitions=1")
    invalid = [event for event in events(tmp_path) if isinstance(event, records.Survey) and not event.valid]
    assert outcome.invalid == len(invalid) == 4
    assert {"I cannot answer that.", "No."} < {event.raw for event in invalid}
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["played"]["refusals"] == 4


def listed(first: dict[str, float], *further: dict[str, float]) -> dict[str, Any]:
    """A choice whose most probable tokens are these at each place, the first of which is generated."""
    places = [
        [{"token": token, "logprob": math.log(share)} for token, share in tokens.items()]
        for tokens in (first, *further)
    ]
    text = "".join(tokens[0]["token"] for tokens in places)
    content = [{**tokens[0], "top_logprobs": tokens} for tokens in places]
    message = {"role": "assistant", "content": text}
    return {"index": 0, "finish_reason": "stop", "message": message, "logprobs": {"content": content}}


def test_an_option_that_begins_like_another_is_asked_for_where_answers_can_be_prefilled() -> None:
    after = {
        "": {"Agree": 0.6, "Strong": 0.3, "Dis": 0.06, "Neither": 0.0399},
        "Strong": {"ly": 0.99},
        "Strongly": {" agree": 0.9, " disagree": 0.05},
    }

    def respond(body: dict[str, Any], _: str) -> tuple[int, dict[str, Any]]:
        start = body["messages"][1]["content"] if len(body["messages"]) > 1 else ""
        usage = {"prompt_tokens": 10, "completion_tokens": 2}
        return 200, {"choices": [listed(after[start])], "usage": usage}

    with Endpoint(respond=respond) as endpoint, build(endpoint.url) as engine:
        (score,) = engine.score([ask(1, options=LIKERT)])
    assert score.text == "Agree" and (score.prompt_tokens, score.tokens) == (30, 6)
    assert score.logprobs is not None
    expected = [0.3 * 0.99 * 0.05, 0.06, 0.0399, 0.6, 0.3 * 0.99 * 0.9]
    assert [math.exp(it) for it in score.logprobs] == pytest.approx(expected)


def test_where_they_cannot_the_text_is_read_and_there_are_no_log_probabilities() -> None:
    first = {"Strong": 0.7, "Agree": 0.3}
    choice = {**listed(first), "message": {"content": "Strongly agree"}}
    with (
        Endpoint(respond=lambda *_: (200, {"choices": [choice]})) as endpoint,
        build(endpoint.url, "engine.start=ask") as engine,
    ):
        (score,) = engine.score([ask(1, options=LIKERT)])
    assert (score.text, score.logprobs) == ("Strongly agree", None)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"message": "request (5000 tokens) exceeds the available context size", "n_prompt_tokens": 5000, "n_ctx": 4096},
        {"message": "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 "
                    "tokens.", "code": "context_length_exceeded"},
        {"message": "This model's maximum context length is 4096 tokens. However, you requested 5020 tokens (5000 in "
                    "the messages, 20 in the completion)."},
        {"message": "This model's maximum context length is 4096 tokens. However, you requested 20 output tokens and "
                    "your prompt contains at least 5000 input tokens."},
    ],
)  # fmt: skip
def test_a_prompt_too_long_says_how_many_tokens_and_which_debate(body: dict[str, Any]) -> None:
    said = r"racism/rep_dem_default/0007, agent 0.* has 5000 tokens .* of 4096"
    with (
        Endpoint(respond=lambda *_: (400, {"error": body})) as endpoint,
        build(endpoint.url) as engine,
        pytest.raises(EngineError, match=said),
    ):
        engine.complete([ask(7)])
    assert len(endpoint.asked) == 1


def test_a_retired_model_says_so_before_any_call_and_what_comes_closest(tmp_path: Path) -> None:
    made = load(SimulateSettings, config("model=gpt35_instruct", f"artifacts={tmp_path / 'artifacts'}"))
    with pytest.raises(ModelError, match=r"28 September 2026.*closest.*model=mistral"):
        job.run(made, tmp_path / "run", [])
    assert left(tmp_path) == []


def test_openai_itself_needs_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    made = load(SimulateSettings, config("model=openai_chat", f"artifacts={tmp_path / 'artifacts'}"))
    with pytest.raises(EngineError, match="OPENAI_API_KEY is not set"):
        job.run(made, tmp_path / "run", [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["engine=openai"], "model.source='embedded': engine=openai needs a model that an endpoint serves"),
        (["model=openai_chat", "engine=openvino"], "engine=openvino needs weights"),
        (["model=api", "model.id=x", "engine.budget_usd=1"], "the model has no price, so its cost cannot be counted"),
        (["model=api", "model.id=x", "engine.base_url=http://me:secret@host/v1"], "must not hold a name or key"),
        (["model=api", "model.id=x", "adapter=republican_nwp_r16"], "engine=openai cannot run adapters"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(SimulateSettings, config(*words))
    assert said in str(caught.value) and "secret" not in str(caught.value)


def test_a_dry_run_counts_what_is_missing_and_leaves_nothing(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        words = (f"artifacts={tmp_path / 'artifacts'}", "repetitions=2", "topic=racism", "engine.start=ask")
        said = estimate(of(endpoint.url, *words))
        assert left(tmp_path) == [] and endpoint.asked == []
        assert "2 debates to play: about 54 calls" in said
        run(tmp_path, endpoint.url, *words)
        assert endpoint.generated.total() == 54
        before = left(tmp_path)
        assert "0 debates to play: about 0 calls" in estimate(of(endpoint.url, *words))
        assert "1 debates to play: about 27 calls" in estimate(of(endpoint.url, *words, "repetitions=3"))
        assert left(tmp_path) == before


def test_a_dry_run_prices_each_role_at_what_it_runs_on(tmp_path: Path) -> None:
    def dollars(*words: str) -> float:
        said = estimate(compose(f"artifacts={tmp_path / 'artifacts'}", "repetitions=40", *words))
        found = re.search(r"about ([\d.]+) dollars", said)
        return float(found[1]) if found else 0.0

    cast = ("cast.democrat.engine=openai", "cast.democrat.model=openai_chat")
    some, everybody = dollars("engine=planted", *cast), dollars("model=openai_chat")
    assert dollars("engine=planted") == 0.0
    assert 0.0 < some < everybody / 2


def test_a_dry_run_goes_by_what_the_debates_of_the_run_took(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"party": party, "name": f"{party}{n}", "story": f"{n} {_LIFE}"}
        for party in ("republican", "democrat")
        for n in (1, 2, 3)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Endpoint() as endpoint:
        words = (f"artifacts={tmp_path / 'artifacts'}", f"personas.file={file}", "topic=racism", "engine.start=ask")
        run(tmp_path, endpoint.url, *words, "repetitions=2")
        spent = json.loads((tmp_path / "run" / "manifest.json").read_text())["spent"]
        said = estimate(of(endpoint.url, *words, "repetitions=3"))
    assert "the 2 debates of this run that have begun" in said
    _, _, prompts, tokens = [int(word) for word in said.split() if word.isdigit()][:4]
    assert prompts == pytest.approx(spent["prompt_tokens"] / 2, rel=0.1)
    assert tokens == pytest.approx(spent["tokens"] / 2, rel=0.1)


# Against a real server.


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    port = free_port()
    process = llama(as_gguf(embedded(), faithful=True), port)
    yield f"http://127.0.0.1:{port}/v1"
    assert process.stdin is not None
    process.stdin.close()
    process.wait(30)


def surveys(count: int) -> list[Request]:
    """What agents are asked at iteration 0."""
    made = load(SimulateSettings, config("engine=planted", f"repetitions={count // 12 + 1}"))
    rules = Rules.of(made)
    return [request for start in starts_of(made) for request in Debate(start, rules).due() if request.options][:count]


def test_surveys_of_a_real_server_agree_with_openvino_on_the_same_weights(server: str) -> None:
    asked = surveys(20)
    with build(server, "engine.concurrency=2", "engine.logprobs=1000") as engine:
        there = engine.score(asked)
    with OpenvinoEngine(embedded(), engine_settings("openvino", concurrency=64), 8192) as engine:
        here = engine.score(asked)
    same = [a.text == b.text for a, b in zip(there, here, strict=True)]
    assert sum(same) / len(same) >= 0.95
    both = [(a.logprobs, b.logprobs) for a, b in zip(there, here, strict=True) if a.logprobs and b.logprobs]
    assert len(both) > len(asked) / 2
    for mine, theirs in both:
        assert abs(_mean(mine) - _mean(theirs)) < 0.05


def test_options_in_words_on_a_real_server_are_as_probable_as_on_the_same_weights_here(server: str) -> None:
    asked = [
        ask(seed, f"{who}: racism is a problem. Do you agree? Answer with one of: {', '.join(LIKERT)}.", LIKERT)
        for seed, who in enumerate(("Ann, a teacher, says", "Keith, a farmer, says", "Many people say"))
    ]
    with build(server, "engine.concurrency=2", "engine.logprobs=1000") as engine:
        there = engine.score(asked)
    with TransformersEngine(embedded(), engine_settings("transformers"), 8192) as engine:
        here = engine.score(asked)
    for mine, theirs in zip(there, here, strict=True):
        assert mine.text == theirs.text
        # An option counts with the token that begins it, "Ag" for "Agree", and words such as "Again" count with it.
        assert _shares(mine) == pytest.approx(_shares(theirs), abs=0.01)


@pytest.mark.parametrize("kind", ["auto", "json_schema", "grammar"])
def test_a_real_server_answers_with_an_option_where_it_is_asked_for_one(
    kind: str, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = [
        ask(seed, "Tell a long story about racism in America, and do not use numbers.", options)
        for seed, options in enumerate((OPTIONS, LIKERT))
    ]
    words = ("engine.logprobs=0", f"engine.structured={kind}", "engine.concurrency=2", "engine.attempts=1")
    with build(server, *words) as engine:
        found = engine.score(asked)
    assert [score.text in request.options for score, request in zip(found, asked, strict=True)] == [True, True]
    assert "no structured output" not in capfd.readouterr().err


def _shares(score: Score) -> list[float]:
    """What the options have of their probability."""
    assert score.logprobs is not None
    weights = [math.exp(it) for it in score.logprobs]
    return [it / sum(weights) for it in weights]


def _mean(logprobs: tuple[float, ...]) -> float:
    weights = [math.exp(value) for value in logprobs]
    return sum(number * weight for number, weight in enumerate(weights)) / sum(weights)


def test_a_debate_on_a_real_server_comes_to_its_end(server: str, tmp_path: Path) -> None:
    short = ("personas.max_tokens=64", "sampling.max_tokens=24")
    words = ("repetitions=1", "rounds=1", "engine.concurrency=2", "engine.logprobs=1000", *short)
    run(tmp_path, server, "topic=racism", *words)
    found = events(tmp_path)
    assert Counter(type(event).__name__ for event in found) == {"Start": 1, "Survey": 8, "Reply": 3, "End": 1}
    assert all(event.valid and event.expected is not None for event in found if isinstance(event, records.Survey))


def test_a_real_server_counts_as_many_tokens_as_were_estimated(server: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    lives = [("republican", "Keith"), ("democrat", "Maya")]
    rows = [{"party": party, "name": name, "story": f"You are {name}. {_LIFE}"} for party, name in lives]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = (f"personas.file={file}", "control=retest", "topic=racism", "repetitions=1", "rounds=1")
    words = (*words, "engine.concurrency=2", "engine.logprobs=1000", f"artifacts={tmp_path / 'artifacts'}")
    words = (*words, "engine.start=ask")  # where answers are begun, none to all of so few surveys take a second call
    said = estimate(of(server, *words))
    run(tmp_path, server, *words)
    spent = json.loads((tmp_path / "run" / "manifest.json").read_text())["spent"]
    _, _, prompts, tokens = [int(word) for word in said.split() if word.isdigit()][:4]
    assert 0.85 < (prompts + tokens) / (spent["prompt_tokens"] + spent["tokens"]) < 1.15


_LIFE = (
    "You grew up in a small town in Ohio, where your father ran a hardware store and your mother taught at the school "
    "down the road. You saw factories close and friends move away, and you learned that hard work is not always paid. "
    "After two years at college you came back, married, and took over the store; today you coach the baseball team, "
    "read the paper every morning, and never miss an election, because you think that your vote is your voice."
)


def test_a_real_server_goes_on_from_given_words_and_refuses_what_is_too_long(server: str) -> None:
    with build(server) as engine:
        asked = ask(1, "Name the capital of France.", start="The capital of France is")
        (answer,) = engine.complete([replace(asked, sampling=Sampling(0.0, 20))])
        assert isinstance(answer, Completion)
        assert answer.text.startswith("The capital of France is Paris")
        (score,) = engine.score([ask(2, "Answer with one number from 0 to 10: how good is peace?", OPTIONS)])
        assert isinstance(score, Score) and score.text in OPTIONS
        with pytest.raises(EngineError, match=r"racism/rep_dem_default/0003.* tokens and the answer up to 20"):
            list(engine.stream(deque([ask(3, "word " * 5000)])))
