"""What is refused before anything is loaded, and what the error says."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import config, settings
from omegaconf import OmegaConf
from pydantic import ValidationError

import hustings.settings
from hustings.errors import SettingsError
from hustings.settings import EvaluateSettings, Settings, SimulateSettings, TrainSettings, load

CLASSES = [
    cls
    for cls in vars(hustings.settings).values()
    if isinstance(cls, type) and issubclass(cls, Settings) and cls is not Settings
]


@pytest.mark.parametrize("cls", CLASSES)
def test_no_field_of_any_settings_has_a_default(cls: type[Settings]) -> None:
    assert [name for name, field in cls.model_fields.items() if not field.is_required()] == []


@pytest.mark.parametrize("cls", CLASSES)
def test_every_settings_class_is_frozen_strict_and_closed(cls: type[Settings]) -> None:
    rules = cls.model_config
    assert (rules.get("frozen"), rules.get("strict"), rules.get("extra")) == (True, True, "forbid")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().seed = 2  # type: ignore[misc]


REFUSED = {
    ("repetitions=0",): "repetitions=0: must be greater than or equal to 1.",
    ("repetitions=1.5",): "repetitions=1.5: must be a whole number, such as 3.",
    ("repetitions=many",): "repetitions='many': must be a whole number, such as 3.",
    ("repetitions=true",): "repetitions=true: must be a whole number, such as 3.",
    ("rounds=-1",): "rounds=-1: must be greater than or equal to 1.",
    ("seed=null",): "seed=null: must be a whole number, such as 3.",
    ("seed=-1",): "seed=-1: must be greater than or equal to 0.",
    ("shadow=maybe",): "shadow='maybe': must be true or false.",
    ("sampling.temperature=hot",): "sampling.temperature='hot': must be a number, such as 0.5.",
    ("engine.kind=gpu",): "engine.kind='gpu': must be one of 'openai', 'openvino', 'planted', 'transformers', 'vllm'.",
    ("prompt.scale=odd",): "prompt.scale='odd': must be 'normal' or 'reversed'.",
    ("prompt.reply=''",): "prompt.reply='': must not be empty.",
    ("model.name='A B'",): "model.name='A B': must be a name of small letters and digits, with _ . or - only "
    "after the first of them, such as my_name_2.",
    ("+foo=1",): "foo: there is no such setting; check the spelling.",
    ("+sampling.foo=1",): "sampling.foo: there is no such setting; check the spelling.",
    ("~seed",): "seed: this setting is missing; a config file must give it.",
    ("composition.roles=[democrat]",): "composition.roles: there must be at least 2 of them, not 1.",
    ("repetitions=0", "rounds=0"): "repetitions=0: must be greater than or equal to 1. "
    "rounds=0: must be greater than or equal to 1.",
    ("composition.roles=[democrat,green]",): "composition.roles: society us has no party 'green'; "
    "it has republican, democrat, default.",
    ("topic=wealth_tax",): "society.parties.",
    ("composition=uk_mixed",): "composition.roles: society us has no party 'labour'; "
    "it has republican, democrat, default.",
    ("society.default.names=[Alex]", "composition.roles=[default,default]"): "society.default.names: a debate has 3 "
    "agents without a party (advocates and the shadow included), and there are 1 names for them; add names to "
    "conf/society.",
    ("society.parties.democrat.names=[Zoe,Zoe]",): "names: each name may appear only once, and Zoe appears again.",
    ("society.parties.democrat.names=[James,Zoe]",): "society.parties: every name in a debate must be "
    "unique, and James appears in two lists of names; change the files in conf/party or conf/society.",
    ("model=gguf", "engine=planted"): "model.path: this setting has no value yet; set model.path=… on the command "
    "line.",
    ("model.source=local",): "model.path: source local needs a path; set model.path=….",
    ("model.source=hub", "model.id=null"): "model.id: source hub needs an id; set model.id=organisation/name.",
    ("topology=ring", "topology.name='A B'"): "topology.name='A B': must be a name of small letters",
    ("instrument.items.severity.direction=up",): "instrument.items.severity.direction='up': must be 'normal' or "
    "'reversed'.",
    ("instrument.items.severity.values=[0,1]",): "instrument.items.….values: there must be one value for each of the "
    "11 options, not 2.",
    (
        "instrument.items.severity.options=[a,a]",
        "instrument.items.severity.values=[0,1]",
    ): "instrument.items.….options: each option may appear only once.",
    ("instrument.items.severity.options=[a,b]", "instrument.items.severity.values=[1,0]"): "instrument.items.….values: "
    "values must ascend; list the options from the low end to the high end.",
    ("instrument.items.severity.parcel=3",): "instrument.items.severity.parcel=3: must be 1 or 2.",
    (
        "++instrument.items.other={wordings:{any:[q]},options:[a,b],values:[0,2],low:null,high:null,direction:normal,parcel:1}",
    ): "instrument.items: every item must run over one scale",
    ("mitigation=reminder", "treatments.reminder.kind=magic"): "treatments.….kind='magic': must be one of 'contrast'",
    ("mitigation=reminder", "treatments.reminder.scope=all"): "treatments.reminder.scope='all': must be 'replies', "
    "'survey' or 'both'.",
    ("mitigation=reminder", "treatments.reminder.roles=[green]"): "treatments.reminder.roles: nobody of the role "
    "'green' takes part in composition rep_dem_default; it has republican, democrat, default.",
    ("mitigation=contrast",): "treatments.contrast: it needs an engine with contrast, which engine=planted (role "
    "republican) lacks; choose another engine",
    ("mitigation=rerank",): "treatments.rerank: it needs an engine with text scores, which engine=planted",
    ("mitigation=steer",): "treatments.steer: it needs an engine with steering, which engine=planted",
    (
        "mitigation=contrast",
        "treatments.contrast.dose=-1",
    ): "treatments.contrast.dose=-1: must be greater than or equal to 0",
    ("mitigation=contrast", "treatments.contrast.scope=both"): "treatments.contrast.scope='both': must be 'replies'",
    ("mitigation=rerank", "treatments.rerank.dose=0"): "treatments.rerank.dose=0: must be greater than or equal to 1",
    ("mitigation=system_story", "treatments.system_story.dose=2"): "treatments.system_story.dose=2: must be 0 or 1",
    ("mitigation=stance_note", "treatments.stance_note.dose=1.5"): "treatments.stance_note.dose=1.5: must be a whole",
    ("adapter_scale=-1",): "adapter_scale=-1: must be greater than or equal to 0",
    (
        "society.parties.democrat.names=['Zoë','Zoe\u0308']",
    ): "names: each name may appear only once, and Zoe\u0308 appears",
    (
        "society.default.names=['Kim\nBob']",
    ): "society.default.names.0='Kim\\nBob': must be a name on one line, such as ",
    ("topics.racism.label=2024",): "topics.racism.label=2024: must be text; put it in quotes to have it read as text: "
    "topics.racism.label=\"'2024'\".",
    ("+topics.A_B=${topics.racism}",): "topics: the name 'A_B' must be a name of small letters",
    ("sampling=3",): "sampling=3: must be a group of settings, such as {name: value}.",
    ("seed=${nothing}",): "seed: the reference in this setting cannot be resolved (Interpolation key "
    "'nothing' not found); correct it.",
}


@pytest.mark.parametrize(("overrides", "text"), REFUSED.items(), ids=[" ".join(words) for words in REFUSED])
def test_a_wrong_setting_is_refused_with_key_value_and_what_is_allowed(overrides: tuple[str, ...], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(*overrides)
    assert str(refused.value)[: len(text)] == text
    assert "\n" not in str(refused.value)


JARGON = re.compile(
    r"tuple|pattern|regex|\^\[|\bvalid\b|Input|instance|dictionary|\bstrings?\b|boolean|integer|mapping|pydantic|"
    r"validation|\bdict\b|\bstr\b|\bint\b|None|unhashable"
)
WRONG = (
    None,
    True,
    3,
    -1,
    2.5,
    float("inf"),
    "",
    "A B",
    "\ud83d",
    [],
    [None],
    ["a", "a"],
    {},
    {"A B": 1},
    {2024: None},
)
JOBS: tuple[tuple[str, type[Any], tuple[str, ...]], ...] = (
    (
        "simulate",
        SimulateSettings,
        ("engine=planted", "mitigation=reminder", "tracker=wandb", "control=advocates_both"),
    ),
    ("simulate", SimulateSettings, ("model=smollm2", "engine=openvino")),
    ("simulate", SimulateSettings, ("model=mistral", "engine=vllm")),
    ("train", TrainSettings, ("method=dpo", "model=mistral")),
    ("evaluate", EvaluateSettings, ("model=openai_chat", "model.price={input: 1, output: 1, date: '2026'}")),
)


def places(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested settings; of alike groups and lists, only the first."""
    if path:
        yield path
    inside = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in list(inside)[: 1 if path and path[-1] in ("topics", "parties", "stances", "names") else None]:
        if not isinstance(plain, list) or key == 0:
            yield from places(value, (*path, key))


def changed(plain: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of nested settings with another value in one place."""
    if not path:
        return value
    copy = plain.copy()
    copy[path[0]] = changed(plain[path[0]], path[1:], value)
    return copy


def test_no_wrong_value_of_any_setting_is_answered_with_jargon_or_a_traceback() -> None:
    tried: set[tuple[Any, ...]] = set()
    refused = 0
    for name, job, words in JOBS:
        plain: Any = OmegaConf.to_container(config(*words, name=name), resolve=True)
        assert load(job, plain).seed == 1
        for place in sorted({*places(plain)} - tried, key=str):
            tried.add(place)
            for value in WRONG:
                try:
                    load(job, changed(plain, place, value))
                except SettingsError as error:
                    refused += 1
                    assert not JARGON.search(str(error)), f"{place} {value!r}: {error}"
                    assert "\n" not in str(error)
    assert refused > 2000


def evaluation(*overrides: str) -> EvaluateSettings:
    return load(EvaluateSettings, config(*overrides, name="evaluate"))


def test_one_value_stands_for_a_list_of_one() -> None:
    of = settings("mitigation=reminder", "treatments.reminder.roles=democrat", "composition.observers=default",
                  "instrument.items.severity.wordings={any: How big is it?}")  # fmt: skip
    assert of.treatments["reminder"].roles == ("democrat",)
    assert of.composition.observers == ("default",)
    assert of.instrument.items["severity"].wordings["any"] == ("How big is it?",)
    made = evaluation("seeds=3", "lora.targets=q_proj", "interview.questions='What, then?'")
    assert (made.seeds, made.lora.targets, made.interview.questions) == ((3,), ("q_proj",), ("What, then?",))


@pytest.mark.parametrize(
    ("typed", "tasks"),
    [("hellaswag", ("hellaswag",)), ("'hellaswag, mmlu'", ("hellaswag", "mmlu")), ("[mmlu]", ("mmlu",)), ("''", ())],
)
def test_tasks_are_named_as_for_lm_eval(typed: str, tasks: tuple[str, ...]) -> None:
    assert evaluation(f"benchmark.tasks={typed}").benchmark.tasks == tasks


@pytest.mark.parametrize(("typed", "limit"), [("0.1", 0.1), ("100", 100), ("1e2", 100), ("1", 1), ("null", None)])
def test_a_limit_is_a_number_or_a_share_as_for_lm_eval(typed: str, limit: float | None) -> None:
    found = evaluation(f"benchmark.limit={typed}").benchmark.limit
    assert found == limit and type(found) is type(limit)


@pytest.mark.parametrize("typed", ["0", "-1", "1.0", "1.5", "true", "all", "[1]"])
def test_a_limit_that_is_neither_is_refused(typed: str) -> None:
    with pytest.raises(
        SettingsError, match=r"^benchmark\.limit=.*: must be a number of documents, such as 100, a share"
    ):
        evaluation(f"benchmark.limit={typed}")


def test_a_party_without_a_stance_on_the_topic_is_refused_with_the_stances_that_it_has() -> None:
    with pytest.raises(SettingsError, match=r"no stance on the topic 'wealth_tax'; it has one on .*racism.*conf/party"):
        settings("topic=wealth_tax")


def test_plain_dictionaries_load_like_a_composed_config() -> None:
    composed = config("engine=planted")
    plain: Any = OmegaConf.to_container(composed, resolve=True)
    assert load(SimulateSettings, plain) == load(SimulateSettings, composed)
