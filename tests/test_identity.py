"""What names an artifact: everything that changes the output, and nothing else."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from helpers import config, settings
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hustings.debate.treatments.prompt import PromptTreatmentSettings
from hustings.identity import canonical, identity, seed_of
from hustings.settings import KNOB, Settings, SimulateSettings, TopologySettings, load
from hustings.simulation.plan import Plan

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), plain, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    def shuffled(item: Any) -> Any:
        if not isinstance(item, dict):
            return [shuffled(part) for part in item] if isinstance(item, list) else item
        keys = list(item)
        random.shuffle(keys)
        return {key: shuffled(item[key]) for key in keys}

    assert identity(shuffled(value)) == identity(value)


@given(plain, plain)
def test_values_have_one_identity_exactly_when_their_json_is_one(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical(one) == canonical(other)) == same
    assert (identity(one) == identity(other)) == same


@given(plain)
def test_canonical_json_reads_back_as_the_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value


def test_an_identity_is_the_same_in_another_process() -> None:
    code = "from hustings.identity import identity, seed_of; print(identity({'a': [1, 'ü']}), seed_of(1, 'b'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [identity({"a": [1, "ü"]}), str(seed_of(1, "b"))]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_has_no_identity(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        identity({"x": value})


parts = st.lists(st.integers() | st.text(alphabet="ab/0123", max_size=4), min_size=1, max_size=4)


@given(parts, parts)
def test_seeds_differ_when_their_parts_do_and_fit_32_bits(one: list[Any], other: list[Any]) -> None:
    same = list(map(str, one)) == list(map(str, other))
    assert (seed_of(*one) == seed_of(*other)) == same
    assert 0 <= seed_of(*one) < 2**32


def fields(of: BaseModel, path: str = "", knob: bool = False) -> Iterator[tuple[str, bool]]:
    """Every dotted leaf of nested settings, and whether it or what it is in is a knob."""
    for name, field in type(of).model_fields.items():
        value = getattr(of, name)
        is_knob = knob or bool(isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get(KNOB))
        for key, item in value.items() if isinstance(value, Mapping) else [("", value)]:
            place = f"{path}{name}.{key}".rstrip(".")
            if isinstance(item, Settings):
                yield from fields(item, f"{place}.", is_knob)
            else:
                yield place, is_knob


def changed(of: Any, *place: str) -> Any:
    """A copy of nested settings with another value in one place."""
    if not place:
        return "something else"
    name, *inside = place
    if isinstance(of, Mapping):
        return {**of, name: changed(of[name], *inside)}
    return of.model_copy(update={name: changed(getattr(of, name), *inside)})


CHOICES = {
    "planted": ("engine=planted", "topic=racism"),
    "openvino": ("model=gguf", "model.path=a.gguf", "topic=racism"),
    "transformers": ("model=mistral", "topic=racism"),
    "vllm": ("model=mistral", "engine=vllm", "topic=racism"),
    "openai": ("model=openai_chat", "topic=racism"),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_setting_but_the_knobs_changes_the_substance(choice: str) -> None:
    before = load(SimulateSettings, config(*CHOICES[choice]))
    same = {
        place
        for place, _ in fields(before)
        if identity(changed(before, *place.split(".")).substance()) == identity(before.substance())
    }
    assert same == {place for place, knob in fields(before) if knob}


def test_the_knobs_are_those_that_change_speed_place_or_looks_only() -> None:
    knobs = {
        place for choice in CHOICES.values() for place, knob in fields(load(SimulateSettings, config(*choice))) if knob
    }
    shown = {place for place in knobs if place.endswith((".label", ".colour")) or place.count(".") == 3}
    assert all(place.startswith(("society.parties.", "society.default.", "society.humans.")) for place in shown)
    assert knobs - shown == {
        "alarm.after",
        "alarm.empty",
        "alarm.invalid",
        "analysis.outcome",
        "analysis.spaghetti",
        "analysis.tuning_topics",
        "artifacts",
        "composition.rounds",
        "dry_run",
        "engine.attempts",
        "engine.batch_size",
        "engine.budget_tokens",
        "engine.budget_usd",
        "engine.cache_gb",
        "engine.compile",
        "engine.concurrency",
        "engine.device",
        "engine.distributed_executor",
        "engine.gpu_memory_utilization",
        "engine.key",
        "engine.pipeline_parallel",
        "engine.requests_a_minute",
        "engine.tensor_parallel",
        "engine.threads",
        "engine.timeout",
        "engine.tokens_a_minute",
        "model.holds_persona",
        "model.licence",
        "model.memory_gb",
        "model.price",
        "model.price.date",
        "model.price.input",
        "model.price.output",
        "model.retired",
        "repetitions",
        "society.humans.source",
        "tracker.kind",
        "trainer.devices",
        "trainer.num_nodes",
        "trainer.strategy",
        "watch",
    }


def test_a_neutral_value_is_no_part_of_an_identity_and_any_other_is() -> None:
    plain = settings("topic=racism")
    assert {"topology", "treatments", "cast"}.isdisjoint(plain.substance())
    ring = plain.model_copy(update={"topology": TopologySettings(name="ring")})
    assert ring.substance() == {**plain.substance(), "topology": {"name": "ring"}}
    note = PromptTreatmentSettings(kind="prompt", roles=None, scope="replies", place="story", text="Note.", dose=None)
    assert "treatments" in plain.model_copy(update={"treatments": {"note": note}}).substance()


PINNED = {
    ("topic=racism",): {
        "racism": "da9bc77e7e63",
    },
    ("topic=all",): {
        "climate_change": "cd64077b4d02",
        "gun_violence": "82865561cc76",
        "illegal_immigration": "f542ad8a260a",
        "racism": "da9bc77e7e63",
    },
    ("experiment=figure3",): {
        "climate_change": "8c59cc1c3c3b",
        "gun_violence": "7116f6de1942",
        "illegal_immigration": "6b13b75db0db",
        "racism": "d35d9156e1fa",
    },
    ("experiment=figure4", "topic=racism"): {
        "racism": "587920396677",
    },
    ("experiment=figure5", "topic=racism"): {
        "racism": "239cc5238798",
    },
    ("topic=racism", "seed=2"): {
        "racism": "f516c8430403",
    },
    ("topic=racism", "control=retest"): {
        "racism": "80ff509ce64a",
    },
    ("topic=racism", "shadow=false"): {
        "racism": "cd0c50c86cdb",
    },
    ("topic=racism", "prompt=reversed_scale"): {
        "racism": "443a35d952ce",
    },
    ("topic=racism", "topology=ring"): {
        "racism": "70524200bb6e",
    },
    ("topic=racism", "mitigation=reminder"): {
        "racism": "84b7b185b565",
    },
    ("society=uk", "topic=uk", "composition=uk_mixed"): {
        "immigration_cap": "5d32c39c71ab",
        "wealth_tax": "00770dad6108",
    },
}
"""Identities of the debates on every topic of a run, on the planted engine; a version that moves one plays it again."""


@pytest.mark.parametrize("words", PINNED, ids=[" ".join(words) for words in PINNED])
def test_identities_do_not_move_between_versions(words: tuple[str, ...]) -> None:
    plan = Plan.of(settings(*words))
    assert {topic: plan.debates(topic).id for topic in plan.settings.topics} == PINNED[words]


def test_personas_have_identities_that_do_not_move_either() -> None:
    plan = Plan.of(settings("topic=racism"))
    assert {party: plan.personas(party).id for party in plan.parties} == {
        "democrat": "1d3094cdd3af",
        "republican": "fe8cb7474de9",
    }
    assert identity({"b": [1, 2.5, None, True], "a": "ü"}) == "5cffe7b22562"


def test_debates_on_a_topic_are_the_same_whatever_else_is_debated() -> None:
    alone, among = Plan.of(settings("topic=racism")), Plan.of(settings("topic=all"))
    assert alone.debates("racism") == among.debates("racism")


def test_a_stance_on_another_topic_leaves_debates_alone_unless_it_is_told_in_the_stories() -> None:
    tax = "+society.parties.democrat.stances.tax={pole: low, position: taxes are no problem}"
    mute = ("topic=racism", "prompt.persona='Write about {{ name }}.'", "prompt.persona_start='You are {{ name }}.'")
    assert Plan.of(settings(*mute)).debates("racism") == Plan.of(settings(*mute, tax)).debates("racism")
    assert Plan.of(settings("topic=racism")).debates("racism") != Plan.of(settings("topic=racism", tax)).debates(
        "racism"
    )
