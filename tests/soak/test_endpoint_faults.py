"""A run through an endpoint of which three answers in ten are faults: every debate whole, nothing paid twice, no key.

300 requests, or with HUSTINGS_SOAK=1 10,000.
"""

import json
import math
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from clients import KEY, assert_nowhere, events, run, whole
from endpoint import SENT, WAYS, Endpoint, answer, identity
from soak.figures import LONG, note

from hustings import records
from hustings.errors import EngineError

REPETITIONS, ROUNDS = (40, 8) if LONG else (3, 3)
REQUESTS = 7 * ROUNDS + 4
"""Of one debate: three speakers, and a survey of four agents before and after every round."""
UNUSABLE, ODD = 0.2, 0.125
"""Shares of requests that get no answer, and of answers that are odd: together three in ten."""


def odd(made: dict[str, Any], way: str) -> tuple[Any, ...]:
    """An answer in another form, of the same meaning."""
    choice = made["choices"][0]
    message, listed = choice["message"], choice.get("logprobs", {}).get("content")
    text = message["content"]
    match way:
        case "parts":
            half = len(text) // 2
            message["content"] = [{"type": "text", "text": text[:half]}, {"type": "text", "text": text[half:]}]
        case "reasoning":
            message["reasoning_content"] = "I could say 3. " * 9
        case "thinking":
            message["content"] = f"<think>\nI could say 3.</think>\n\n{text}"
        case "half a character":
            message["content"] = text if listed else f"{text} \ud83d"
        case "usage":
            made["usage"] = {"prompt_tokens": "many", "completion_tokens": -5, "total_tokens": None}
        case "no usage":
            made["usage"] = None
        case "finish":
            choice["finish_reason"] = "unheard_of"
        case "null log-probabilities" if listed:
            listed[0]["top_logprobs"][3]["logprob"] = None
        case "impossible tokens" if listed:
            listed[0]["top_logprobs"].append({"token": "x", "logprob": -math.inf})
        case "no numbers" if listed:
            listed[0]["top_logprobs"][3]["logprob"] = math.nan
        case "positive" if listed:
            listed[0]["top_logprobs"][3]["logprob"] = 4.2
        case "a list of log-probabilities" if listed:
            choice["logprobs"] = listed
        case "no type":
            return 200, json.dumps(made).encode(), {"Content-Type": "text/plain"}
        case _:
            pass
    return 200, made


ODDITIES = (
    *("parts", "reasoning", "thinking", "half a character", "usage", "no usage", "finish", "no type"),
    *("null log-probabilities", "impossible tokens", "no numbers", "positive", "a list of log-probabilities"),
)


@pytest.mark.timeout(3600)
def test_through_faults_of_every_kind_each_debate_is_whole_and_nothing_is_paid_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    debates = REPETITIONS * 4
    drawn, odds, said = random.Random(2), Counter[str](), Counter[str]()

    def respond(body: dict[str, Any], _: str) -> tuple[Any, ...]:
        with endpoint.lock:
            if len(said) and said.total() == debates * REQUESTS // 2 and not odds["stop"]:
                odds["stop"] += 1
                return 400, {"error": {"message": "once, for good"}}
            endpoint.generated[identity(body)] += 1
            way = drawn.choice(ODDITIES) if drawn.random() < ODD else ""
            odds[way] += 1
            made = answer(body, True)
            said[made["choices"][0]["message"]["content"].strip()] += 1
        return odd(made, way)

    words = (
        "topic=all",
        f"repetitions={REPETITIONS}",
        f"rounds={ROUNDS}",
        "engine.timeout=3",
        "engine.attempts=40",
        "engine.concurrency=48",
    )
    began = time.monotonic()
    with Endpoint(share=UNUSABLE, ways=(*WAYS, *SENT), respond=respond) as endpoint:
        with pytest.raises(EngineError, match="once, for good"):
            run(tmp_path, endpoint.url, *words)
        run(tmp_path, endpoint.url, *words)
    faults = endpoint.failed.total() + odds.total() - odds[""]
    with capfd.disabled():
        print(
            f"\n{len(endpoint.asked)} requests, {faults} faults ({faults / len(endpoint.asked):.0%}) of "
            f"{len(endpoint.failed) + len(odds) - 1} kinds, {debates} debates, {time.monotonic() - began:.0f} s"
        )
    assert 0.25 < faults / len(endpoint.asked) < 0.35
    assert not LONG or set(endpoint.failed) == {*WAYS, *SENT}
    assert set(endpoint.generated.values()) == {1}
    found = events(tmp_path)
    whole(found, debates, ROUNDS)
    personas = sum(len(path.read_text().splitlines()) for path in tmp_path.rglob("personas.jsonl"))
    assert endpoint.generated.total() == debates * REQUESTS + personas
    logged = Counter[str]()
    for event in found:
        match event:
            case records.Survey():
                assert event.valid and event.raw == str(int(event.value or 0))
                logged[event.raw] += 1
            case records.Reply():
                logged[event.text.removesuffix(" \ufffd")] += 1
            case _:
                pass
    assert logged.total() == debates * REQUESTS
    assert all(said[text] == count for text, count in logged.items())
    shown = capfd.readouterr()
    assert "canary" not in shown.out + shown.err
    assert_nowhere(tmp_path)
    said = f"{faults:,} faults, {debates} debates whole; nothing paid twice, the key in no file"
    note("requests through a failing endpoint", len(endpoint.asked), said)
