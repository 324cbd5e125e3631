"""What is refused before anything is loaded, and in which words."""

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
    ("silent=maybe",): "silent='maybe': must be a valid boolean.",
    ("sampling.temperature=hot",): "sampling.temperature='hot': must be a valid number.",
    ("engine.bias=11",): "engine.bias=11: must be less than or equal to 10.",
    ("engine.kind=gpu",): "engine.kind='gpu': must be one of 'openvino', 'transformers', 'vllm', 'openai', 'planted'.",
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
    ("society.default.names=[Alex]", "composition.roles=[default,default]"): "society.default.names: the composition "
    "has 2 default agents and 1 names for them; add names to conf/society.",
    ("society.parties.democrat.names=[Zoe,Zoe]",): "names: each first name may appear only once.",
    ("society.parties.democrat.names=[James,Zoe]",): "society.parties: in one debate every name must be somebody "
    "else's, and James is in two lists of names; change the files in conf/party or conf/society.",
    ("model=gguf", "engine=planted"): "model.path: this setting has no value yet; set model.path=… on the command "
    "line.",
    ("model.source=local",): "model.path: source local needs a path; set model.path=….",
    ("model.source=hub",): "model.id: source hub needs an id; set model.id=organisation/name.",
    ("seed=${nothing}",): "seed: the reference in this setting cannot be followed (Interpolation key "
    "'nothing' not found); correct it.",
}


@pytest.mark.parametrize(("overrides", "said"), REFUSED.items(), ids=[" ".join(words) for words in REFUSED])
def test_a_wrong_setting_is_refused_with_key_value_and_what_is_allowed(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(*overrides)
    assert str(refused.value)[: len(said)] == said
    assert "\n" not in str(refused.value)


def test_a_party_without_a_stance_on_the_topic_is_told_which_it_has() -> None:
    with pytest.raises(SettingsError, match=r"no stance on the topic 'wealth_tax'; it has one on .*racism.*conf/party"):
        settings("topic=wealth_tax")


def test_plain_dictionaries_load_like_a_composed_config() -> None:
    composed = config("engine=planted")
    plain: Any = OmegaConf.to_container(composed, resolve=True)
    assert load(SimulateSettings, plain) == load(SimulateSettings, composed)
