"""No number among the settings may be infinite or NaN: JSON has none, and no identity could be made of it."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import config
from omegaconf import OmegaConf
from pydantic import BaseModel

from hustings.errors import SettingsError
from hustings.settings import EvaluateSettings, Settings, SimulateSettings, TrainSettings, load

JOBS: dict[str, tuple[type[Settings], str, tuple[str, ...]]] = {
    "simulate": (SimulateSettings, "simulate", ("engine=planted", "mitigation=reminder")),
    "simulate on openai": (SimulateSettings, "simulate", ("model=openai_chat", "engine.budget_usd=1")),
    "simulate on openvino": (
        SimulateSettings,
        "simulate",
        ("instrument=battery", "society=uk", "topic=uk", "composition=uk_mixed"),
    ),
    "simulate on vllm": (SimulateSettings, "simulate", ("model=mistral", "engine=vllm")),
    "simulate on transformers": (SimulateSettings, "simulate", ("model=mistral", "engine=transformers")),
    "train": (TrainSettings, "train", ("party=republican", "method=nwp")),
    "train by dpo": (TrainSettings, "train", ("party=republican", "method=dpo")),
    "evaluate": (EvaluateSettings, "evaluate", ()),
}


def floats(of: Any, *place: Any) -> Iterator[tuple[Any, ...]]:
    """Where nested settings hold a number that need not be whole, or could."""
    match of:
        case BaseModel():
            for name, field in type(of).model_fields.items():
                value = getattr(of, name)
                if value is None and "float" in str(field.annotation):
                    yield (*place, name)
                yield from floats(value, *place, name)
        case dict():
            for key, value in of.items():
                yield from floats(value, *place, key)
        case list() | tuple():
            for number, value in enumerate(of):
                yield from floats(value, *place, number)
        case float():
            yield place
        case _:
            pass


@pytest.mark.parametrize("job", JOBS)
def test_no_number_of_a_job_may_be_infinite_or_nan(job: str) -> None:
    cls, name, words = JOBS[job]
    plain: Any = OmegaConf.to_container(config(*words, name=name), resolve=True)
    places = list(floats(load(cls, plain)))
    assert places
    for place in places:
        for odd in (math.inf, -math.inf, math.nan):
            changed = _with(plain, place, odd)
            with pytest.raises(SettingsError, match=str(place[-1])):
                load(cls, changed)


def _with(plain: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy of plain values with another value in one place."""
    if not place:
        return value
    first, *rest = place
    if isinstance(plain, dict):
        return {**plain, first: _with(plain.get(first), tuple(rest), value)}
    return [_with(it, tuple(rest), value) if number == first else it for number, it in enumerate(plain)]


@pytest.mark.parametrize(
    "word", ["engine.timeout=inf", "engine.budget_usd=inf", "sampling.temperature=inf", "sampling.temperature=nan"]
)
def test_what_the_command_line_calls_inf_is_refused_with_its_key(word: str) -> None:
    key, value = word.split("=")
    with pytest.raises(SettingsError, match=rf"{key}={value}: must be a finite number"):
        load(SimulateSettings, config("model=openai_chat", word))


def test_fields_of_requests_may_not_be_infinite_either() -> None:
    with pytest.raises(SettingsError, match=r"engine\.extra: .* no infinite numbers"):
        load(SimulateSettings, config("model=openai_chat", "+engine.extra.min_p=inf"))
