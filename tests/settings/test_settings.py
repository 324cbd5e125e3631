"""What is refused before anything is loaded, and what the error says."""

from typing import Any

import pytest
from helpers import config, settings
from omegaconf import OmegaConf
from pydantic import ValidationError

import hustings.settings
from hustings.errors import SettingsError
from hustings.settings import Settings, SimulateSettings, load

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
    ("repetitions=1.5",): "repetitions=1.5: must be a valid integer.",
    ("repetitions=many",): "repetitions='many': must be a valid integer.",
    ("repetitions=true",): "repetitions=True: must be a valid integer.",
    ("rounds=-1",): "rounds=-1: must be greater than or equal to 1.",
    ("seed=null",): "seed=null: must be a valid integer.",
    ("seed=-1",): "seed=-1: must be greater than or equal to 0.",
    ("shadow=maybe",): "shadow='maybe': must be a valid boolean.",
    ("sampling.temperature=hot",): "sampling.temperature='hot': must be a valid number.",
    ("engine.kind=gpu",): "engine.kind='gpu': must be one of 'openai', 'openvino', 'planted', 'transformers', 'vllm'.",
    ("prompt.scale=odd",): "prompt.scale='odd': must be 'normal' or 'reversed'.",
    ("prompt.reply=''",): "prompt.reply='': must have at least 1 character.",
    ("model.name='A B'",): "model.name='A B': must match pattern '^[a-z0-9][a-z0-9_.-]*$'.",
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
    ("society.parties.democrat.names=[Zoe,Zoe]",): "names: each first name may appear only once.",
    ("society.parties.democrat.names=[James,Zoe]",): "society.parties: every name in a debate must be "
    "unique, and James appears in two lists of names; change the files in conf/party or conf/society.",
    ("model=gguf", "engine=planted"): "model.path: this setting has no value yet; set model.path=… on the command "
    "line.",
    ("model.source=local",): "model.path: source local needs a path; set model.path=….",
    ("model.source=hub",): "model.id: source hub needs an id; set model.id=organisation/name.",
    ("topology=ring", "topology.name='A B'"): "topology.name='A B': must match pattern",
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
    ("mitigation=reminder", "treatments.reminder.kind=magic"): "treatments.….kind='magic': must be one of 'prompt'",
    ("mitigation=reminder", "treatments.reminder.scope=all"): "treatments.reminder.scope='all': must be 'replies', "
    "'survey' or 'both'.",
    ("mitigation=reminder", "treatments.reminder.roles=[green]"): "treatments.reminder.roles: nobody of the role "
    "'green' takes part in composition rep_dem_default; it has republican, democrat, default.",
    ("seed=${nothing}",): "seed: the reference in this setting cannot be resolved (Interpolation key "
    "'nothing' not found); correct it.",
}


@pytest.mark.parametrize(("overrides", "text"), REFUSED.items(), ids=[" ".join(words) for words in REFUSED])
def test_a_wrong_setting_is_refused_with_key_value_and_what_is_allowed(overrides: tuple[str, ...], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(*overrides)
    assert str(refused.value)[: len(text)] == text
    assert "\n" not in str(refused.value)


def test_a_party_without_a_stance_on_the_topic_is_refused_with_the_stances_that_it_has() -> None:
    with pytest.raises(SettingsError, match=r"no stance on the topic 'wealth_tax'; it has one on .*racism.*conf/party"):
        settings("topic=wealth_tax")


def test_plain_dictionaries_load_like_a_composed_config() -> None:
    composed = config("engine=planted")
    plain: Any = OmegaConf.to_container(composed, resolve=True)
    assert load(SimulateSettings, plain) == load(SimulateSettings, composed)
