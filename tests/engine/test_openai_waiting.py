"""Waiting as an endpoint asks, all requests together, and backing off where it does not say."""

import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from clients import KEY, ask, build
from endpoint import Endpoint, answer

from hustings.engine.openai_waiting import asked, backoff
from hustings.errors import EngineError

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
NOW_HTTP = format_datetime(NOW, usegmt=True)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


ASKED: dict[str, tuple[dict[str, str], float | None]] = {
    "nothing": ({}, None),
    "seconds": ({"Retry-After": "60"}, 60),
    "fractions": ({"retry-after": "0.5"}, 0.5),
    "with a unit": ({"retry-after": "20s"}, 20),
    "a date": ({"Retry-After": format_datetime(NOW + timedelta(seconds=45), usegmt=True)}, 45),
    "a date in the past": ({"Retry-After": format_datetime(NOW - timedelta(hours=1), usegmt=True)}, 0),
    "milliseconds": ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
    "nonsense": ({"retry-after": "soon"}, None),
    "not a number": ({"retry-after": "nan"}, None),
    "for ever": ({"retry-after": "inf"}, None),
    "negative": ({"retry-after": "-5"}, None),
    "empty": ({"retry-after": ""}, None),
    "nonsense, then a reset": ({"retry-after": "soon", "x-ratelimit-reset-requests": "3s"}, 3),
    "a duration": ({"x-ratelimit-reset-requests": "6m0s"}, 360),
    "a long duration": ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
    "a short duration": ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
    "the limit that is used up": (
        {
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        360,
    ),
    "the shorter limit is used up": (
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-tokens": "900",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        1,
    ),
    "two limits": ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "30s"}, 30),
    "seconds of a reset": ({"X-RateLimit-Reset": "30"}, 30),
    "seconds since 1970": ({"X-RateLimit-Reset": f"{NOW.timestamp() + 90:.0f}"}, 90),
    "milliseconds since 1970": ({"X-RateLimit-Reset": f"{(NOW.timestamp() + 90) * 1000:.0f}"}, 90),
    "an ISO date": ({"anthropic-ratelimit-tokens-reset": (NOW + timedelta(seconds=12)).isoformat()}, 12),
    "an ISO date with Z": ({"anthropic-ratelimit-requests-reset": "2026-11-26T12:00:07Z"}, 7),
    "the draft standard": ({"ratelimit-remaining": "0", "ratelimit-reset": "50"}, 50),
    "limits alone": ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}, None),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_an_endpoint_asks_is_read_in_every_form(case: str) -> None:
    headers, seconds = ASKED[case]
    found = asked({**headers, "Date": NOW_HTTP})
    assert found == (None if seconds is None else pytest.approx(seconds, abs=0.01))


def test_without_the_servers_clock_a_date_is_compared_with_ours() -> None:
    later = datetime.now(UTC) + timedelta(seconds=40)
    found = asked({"Retry-After": format_datetime(later, usegmt=True)})
    assert found == pytest.approx(40, abs=2)


def test_waits_of_our_own_grow_up_to_a_minute_and_differ() -> None:
    waits = [backoff(failures) for failures in range(12)]
    assert all(0.375 * 2**n <= wait <= 0.5 * 2**n for n, wait in enumerate(waits[:7]))
    assert all(45 <= wait <= 60 for wait in waits[7:]) and len(set(waits)) == 12
    assert backoff(100_000) <= 60


def limited(headers: dict[str, str], status: int = 429) -> Any:
    return lambda *_: (status, {"error": {"message": "slow down"}}, headers)


SIXTY = {
    "seconds": lambda: {"Retry-After": "60"},
    "a date": lambda: {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)},
    "milliseconds": lambda: {"retry-after-ms": "60000"},
    "a reset": lambda: {"x-ratelimit-reset-requests": "1m0s", "x-ratelimit-remaining-requests": "0"},
    "nothing": dict,
    "503": lambda: {"Retry-After": "60"},
}


def ends_later(headers: dict[str, str], status: int, after: float) -> Any:
    """Allows no more requests, but the first: that fails for good after so many seconds."""

    def respond(body: dict[str, Any], key: str) -> tuple[Any, ...]:
        if body["seed"] == 0:
            time.sleep(after)
            return 400, {"error": {"message": "bad"}}
        return limited(headers, status)()

    return respond


@pytest.mark.parametrize("way", SIXTY)
def test_an_endpoint_that_allows_no_more_is_not_hammered(way: str, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with (
        Endpoint(respond=ends_later(SIXTY[way](), 503 if way == "503" else 429, 1.2)) as endpoint,
        build(endpoint.url, "engine.concurrency=32") as engine,
        pytest.raises(EngineError, match="400: bad"),
    ):
        engine.complete([ask(seed) for seed in range(64)])
    assert time.monotonic() - began < 10  # those that waited for a minute were woken
    assert len(endpoint.asked) <= 32 + (3 if way == "nothing" else 0)
    said = capfd.readouterr().err
    if way == "nothing":
        assert "429, too many requests; trying again in" in said
    else:
        assert len(re.findall(r"; trying again in [56]\d\.\d s, at \d\d:\d\d:\d\d", said)) == 1


def test_after_a_wait_one_request_goes_first_and_the_others_follow_its_success() -> None:
    begun = time.monotonic()

    def respond(body: dict[str, Any], key: str) -> tuple[Any, ...]:
        if time.monotonic() - begun < 2.0:
            return limited({"retry-after-ms": "300"})()
        return 200, answer(body, True)

    with Endpoint(respond=respond) as endpoint, build(endpoint.url, "engine.concurrency=16") as engine:
        assert len(engine.complete([ask(seed) for seed in range(40)])) == 40
    refused = [at for at in endpoint.times if at - begun < 2.0]
    # all that were in flight, then one after each wait of 0.3 s
    assert 16 <= len(refused) <= 16 + 2.0 / 0.3 + 1
    assert endpoint.times[-1] - begun < 5


def test_an_endpoint_whose_word_does_not_help_is_asked_less_and_less_often() -> None:
    begun = time.monotonic()

    def respond(body: dict[str, Any], key: str) -> tuple[Any, ...]:
        return (200, answer(body, True)) if time.monotonic() - begun > 2.5 else limited({"Retry-After": "0.01"})()

    with Endpoint(respond=respond) as endpoint, build(endpoint.url, "engine.concurrency=1") as engine:
        engine.complete([ask(1)])
    assert len(endpoint.asked) <= 8


def test_a_wait_longer_than_anybody_waits_ends_the_run_and_says_until_when() -> None:
    with (
        Endpoint(respond=limited({"Retry-After": "86400"})) as endpoint,
        build(endpoint.url) as engine,
        pytest.raises(EngineError, match=r"429.* allowed in 2\d h \d\d min, on \d\d \w+ at \d\d:\d\d.*rerun the same"),
    ):
        engine.complete([ask(seed) for seed in range(8)])
    assert len(endpoint.asked) <= 8
