from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import engine_settings
from tiny import tiny_model

from hustings.engine.base import Contrast, Request, Sampling, Turn
from hustings.engine.transformers import TransformersEngine
from hustings.engine.transformers_fixed import Fixed
from hustings.engine.transformers_state import Kept, Prefixes
from hustings.models import Weights

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def request(number: int, **changes: Any) -> Request:
    plain: dict[str, Any] = {
        "prompt": f"You are number {number}. " + "The climate is changing. " * (number % 5) + "What do you say?",
        "seed": number,
        "sampling": Sampling(1.0, 5 + number % 20),
        "turn": Turn(f"racism/rep_dem/{number:04}", 1, "default", 3, "reply", "Ann"),
    }
    return Request(**{**plain, **changes})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(params=DEVICES)
def both(tiny: Path, request: pytest.FixtureRequest) -> Iterator[tuple[TransformersEngine, TransformersEngine]]:
    """An engine that computes each pass anew, token by token, and one with buffers that looks at every eighth token."""
    settings = engine_settings("transformers", device=request.param, precision="exact", batch_size=20)
    known = Weights("tiny", "0" * 64, None, tiny)
    with TransformersEngine(known, settings, 600) as one, TransformersEngine(known, settings, 600) as other:
        one._fixed, other._fixed = None, Fixed(other._model, request.param)
        other._ahead = 8
        one._ahead = 1 if request.param == "cpu" else 8
        yield one, other


def test_fixed_buffers_change_no_text(both: tuple[TransformersEngine, TransformersEngine]) -> None:
    asked = [request(number) for number in range(50)]
    plain, fixed = (engine.complete(asked) for engine in both)
    assert plain == fixed
    assert len({answer.tokens for answer in plain}) > 10
    longer = [request(number, prompt="The people say so. " * 30 + str(number)) for number in range(18)]
    assert both[0].complete(longer) == both[1].complete(longer)


def test_a_prompt_that_goes_on_is_read_from_where_it_ended(both: tuple[TransformersEngine, TransformersEngine]) -> None:
    begun = [request(number) for number in range(4)]
    gone_on = [request(number, prompt=begun[number].prompt + " And " * (2 + number)) for number in range(4)]
    for engine in both:
        engine.complete(begun)
    first, second = (engine.complete(gone_on) for engine in both)
    assert first == second


def test_a_contrast_keeps_its_rival_beside_it(both: tuple[TransformersEngine, TransformersEngine]) -> None:
    rival = Contrast("You are nobody. What do you say?", None, 1.5, 0.1)
    asked = [request(number, contrast=rival if number % 2 else None) for number in range(9)]
    plain, fixed = (engine.complete(asked) for engine in both)
    assert plain == fixed


def test_a_model_that_cannot_be_recorded_answers_all_the_same(
    both: tuple[TransformersEngine, TransformersEngine],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    plain, fixed = both
    assert fixed._fixed is not None
    fixed._fixed._replays = True
    monkeypatch.setattr(fixed._fixed, "_capture", refuse)
    asked = [request(number) for number in range(5)]
    assert plain.complete(asked) == fixed.complete(asked)
    assert "cannot be recorded on the GPU" in capsys.readouterr().err


def test_prompts_are_kept_within_the_memory_that_they_may_take() -> None:
    """A batch takes its memory until the last of its prompts is replaced, so whole batches go."""

    def batch(rows: int) -> list[tuple[Any, Any]]:
        return [(torch.zeros(rows, 2, 10, 4), torch.zeros(rows, 2, 10, 4)) for _ in range(3)]

    one, tokens = batch(1), list(range(9))
    size = sum(it.nbytes for pair in one for it in pair)
    prefixes = Prefixes(8 * size)
    first, second, third = (batch(rows) for rows in (4, 4, 3))
    for lane in range(4):
        prefixes.keep(lane, "survey", Kept(tokens, first, lane, (range(0), range(9))))
        prefixes.keep(lane, "reply", Kept(tokens, second, lane, (range(0), range(9))))
    assert [prefixes.longest(lane, tokens)[0] for lane in range(4)] == [8] * 4
    for lane in range(3):
        prefixes.keep(lane, "reply", Kept(tokens, third, lane, (range(0), range(9))))
    held = {id(found.batch) for lane in range(4) if (found := prefixes.longest(lane, tokens)[1]) is not None}
    assert id(third) in held
    assert sum(len(it[0][0]) for it in (first, second, third) if id(it) in held) <= 8
