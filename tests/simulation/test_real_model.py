"""What only a real model shows: the embedded SmolLM2, on both engines."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT, engine_settings, story_of

from hustings.engine.base import Engine, Request, Sampling, Turn
from hustings.engine.openvino import OpenvinoEngine
from hustings.engine.transformers import TransformersEngine
from hustings.models import Weights, embedded

OPTIONS = tuple(map(str, range(11)))
COMMAND = [
    sys.executable,
    str(ROOT / "simulate.py"),
    "model=smollm2",
    "topic=racism",
    "rounds=2",
    "sampling.max_tokens=24",
]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return embedded()


@pytest.fixture(scope="module")
def openvino(weights: Weights) -> Iterator[OpenvinoEngine]:
    with OpenvinoEngine(weights, engine_settings("openvino", cache_gb=2, concurrency=64), 8192) as engine:
        yield engine


@pytest.fixture(scope="module")
def transformers(weights: Weights) -> Iterator[TransformersEngine]:
    with TransformersEngine(weights, engine_settings("transformers", concurrency=64), 8192) as engine:
        yield engine


def stories(count: int) -> list[str]:
    town = ("by the sea", "in the mountains", "near the border", "in a big city", "on the plains")
    work = ("a nurse", "a farmer", "a teacher", "a driver", "an engineer", "a shop owner", "a student")
    return [
        f"You are voter {n}, {work[n % 7]} {town[n % 5]}, {20 + n} years old.\n\nThe debate about racism so far:\n"
        f"Ann: Every year brings {n} new reasons to look at this with care."
        for n in range(count)
    ]


def replies(count: int, tokens: int) -> list[Request]:
    return [
        Request(
            f"{story}\n\nGive your next reply.", 100 + n, Sampling(1.0, tokens), Turn(str(n), 0, "x", 1, "reply", "x")
        )
        for n, story in enumerate(stories(count))
    ]


def questions(count: int) -> list[Request]:
    ask = (
        "How big a problem do you think racism is in the country today? "
        "Answer with one number from 0 (not a problem at all) to 10 (a very big problem)."
    )
    return [
        Request(f"{story}\n\n{ask}", 0, Sampling(0.0, 8), Turn(str(n), 0, "x", 1, "survey", "x"), options=OPTIONS)
        for n, story in enumerate(stories(count))
    ]


@pytest.mark.parametrize(("name", "count", "tokens"), [("openvino", 12, 16), ("transformers", 12, 16)])
def test_exact_replies_repeat_in_another_order_in_small_batches_and_alone(
    name: str, count: int, tokens: int, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(name)
    requests = replies(count, tokens)
    first = [completion.text for completion in engine.complete(requests)]
    assert len(set(first)) > count * 0.9
    order = random.Random(0).sample(range(count), count)
    eights = [order[start : start + 8] for start in range(0, count, 8)]
    same = total = 0
    for places in (order, *eights, *([place] for place in order)):
        for place, completion in zip(places, engine.complete([requests[p] for p in places]), strict=True):
            same += completion.text == first[place]
            total += 1
    assert same >= 0.99 * total


def test_openvino_and_transformers_choose_the_same_survey_answers(
    openvino: OpenvinoEngine, transformers: TransformersEngine
) -> None:
    requests = questions(24)
    pairs = list(zip(openvino.score(requests), transformers.score(requests), strict=True))
    assert all(one.text == other.text for one, other in pairs)
    for one, other in pairs:
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-3)


def log_of(folder: Path) -> Path:
    [path] = folder.glob("artifacts/debates/*/events.jsonl")
    return path


def events(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def personas(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Short life stories from a file: what is tested are the debates."""
    path = tmp_path_factory.mktemp("personas") / "personas.jsonl"
    rows = [
        {"party": party, "name": name, "story": story_of(party, 0, name)}
        for party, name in (("republican", "James"), ("democrat", "Maya"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"personas.file={path}"


def run(folder: Path, *overrides: str) -> list[dict[str, object]]:
    folder.mkdir(exist_ok=True)
    subprocess.run([*COMMAND, *overrides], cwd=folder, check=True, capture_output=True)
    return events(log_of(folder))


def test_fast_gives_the_same_log_in_two_fresh_processes(tmp_path: Path, personas: str) -> None:
    overrides = ("repetitions=1", personas)
    assert run(tmp_path / "one", *overrides) == run(tmp_path / "two", *overrides)


def test_an_exact_run_killed_three_times_is_complete_without_doubles_and_says_the_same(
    tmp_path: Path, personas: str
) -> None:
    overrides = ("repetitions=1", "engine.precision=exact", personas)
    whole = run(tmp_path / "whole", *overrides)
    folder = tmp_path / "killed"
    folder.mkdir()
    moments = sorted(random.Random(1).sample(range(2, len(whole) - 2), 3))
    for moment in moments:
        process = subprocess.Popen(
            [*COMMAND, *overrides], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            logs = list(folder.glob("artifacts/debates/*/events.jsonl"))
            if logs and logs[0].read_bytes().count(b"\n") >= moment:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        process.wait()
    resumed = run(folder, *overrides)

    def key(event: dict[str, object]) -> tuple[object, ...]:
        return event["kind"], event["debate"], event.get("iteration"), event.get("agent")

    assert Counter(map(key, resumed)) == Counter(map(key, whole))
    texts = {key(event): event["text"] for event in whole if event["kind"] == "reply"}
    again = {key(event): event["text"] for event in resumed if event["kind"] == "reply"}
    assert sum(texts[place] == again[place] for place in texts) >= 0.99 * len(texts)
