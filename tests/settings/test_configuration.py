"""Configs composed in this process: names that are resolved, the user's own options, errors in one paragraph."""

from pathlib import Path
from typing import Literal

import pytest
from helpers import CONF
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from hustings.configuration import as_typed, compose, conf_folder, settable
from hustings.errors import SettingsError
from hustings.settings import EvaluateSettings, SimulateSettings, TrainSettings


def test_each_job_composes_its_own_settings() -> None:
    assert isinstance(compose("engine=planted"), SimulateSettings)
    assert isinstance(compose("party=democrat", job="train"), TrainSettings)
    assert isinstance(compose(job="evaluate"), EvaluateSettings)
    assert compose("experiment=figure3", "engine=planted", "repetitions=3").repetitions == 3


def test_the_checkout_has_the_configs_that_are_composed() -> None:
    assert conf_folder() == CONF


def test_a_model_to_compare_with_is_named_by_its_option() -> None:
    made = compose("comparison=llama2", "row=comparison", job="evaluate")
    assert made.comparison is not None and made.comparison.name == "llama2"


def test_a_role_runs_on_a_model_of_its_own_with_the_engine_that_suits_it() -> None:
    made = compose("engine=planted", "cast.republican.model=mistral")
    part = made.cast["republican"]
    assert (part.model.name, part.engine.kind, part.adapter) == ("mistral", "transformers", None)
    assert {role: engine.kind for role, engine in made.engines().items()} == {
        "republican": "transformers",
        "democrat": "planted",
        "default": "planted",
        "shadow": "planted",
    }


def test_a_role_that_names_only_an_adapter_runs_on_the_model_and_engine_of_the_run() -> None:
    made = compose("model=qwen25_05b", "engine.cache_gb=3", "cast.republican.adapter=republican_nwp_r16")
    part = made.cast["republican"]
    assert (part.model, part.engine, part.adapter) == (made.model, made.engine, "republican_nwp_r16")


def test_a_role_that_names_only_an_engine_runs_on_the_model_of_the_run() -> None:
    made = compose("model=mistral", "cast.democrat.engine=transformers_4bit")
    part = made.cast["democrat"]
    assert (part.model, part.engine.substance()["quantization"]) == (made.model, "4bit")


def test_further_overrides_of_a_role_change_its_model_and_engine_only() -> None:
    words = ("cast.republican.model=gguf", "cast.republican.overrides=['model.path=a.gguf','engine.cache_gb=3']")
    made = compose(*words)
    part = made.cast["republican"]
    assert (part.model.path, part.engine.model_dump()["cache_gb"]) == ("a.gguf", 3)
    assert (made.model.path, made.engine.model_dump()["cache_gb"]) != ("a.gguf", 3)


def test_a_run_without_a_cast_has_the_same_identity_as_before_there_was_one() -> None:
    assert "cast" not in compose("engine=planted").substance()


REFUSED = {
    ("cast.republican.model=mistrall",): "cast.republican: model=mistrall: there is no such option; did you mean",
    ("cast.republican.engine=vlm",): "cast.republican: engine=vlm: there is no such option; did you mean vllm?",
    ("cast.republican.modl=mistral",): "cast.republican.modl: there is no such setting; there is model, engine, "
    "adapter, scope, overrides.",
    ("cast.republican=mistral",): "cast.republican=mistral: name what the role runs on in one of its settings",
    ("cast.republican.overrides=['engine.bias=3']",): "cast.republican: nothing says what this role runs on; set ",
    ("cast.republican.adapter=x", "cast.republican.overrides=['seed=3']"): "cast.republican.overrides: they change a ",
    ("cast.republican.model=mistral", "cast.republican.overrides=seed"): "cast.republican.overrides=seed: must be "
    "a list",
    ("cast.republican.model=mistral", "cast.republican.overrides=['engine.bais=3']"): "cast.republican: engine.bais: "
    "there is no such setting",
    ("cast.republican.model=gguf",): "cast.republican: model.path has no value yet; set \"cast.republican.overrides="
    "['model.path=…']\".",
    ("cast.green.engine=planted",): "cast.green: nobody of the role 'green' takes part in composition",
    ("cast.republican.adapter=x", "engine=planted"): "adapter=x: engine=planted cannot run adapters",
    ("comparison=llama",): "comparison: model=llama: there is no such option; did you mean llama2?",
}  # fmt: skip


@pytest.mark.parametrize(("overrides", "text"), REFUSED.items(), ids=[" ".join(words) for words in REFUSED])
def test_names_that_cannot_be_resolved_are_refused_in_one_paragraph(overrides: tuple[str, ...], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        compose(*overrides, job="evaluate" if overrides[0].startswith("comparison") else "simulate")
    assert str(refused.value)[: len(text)] == text
    assert "\n" not in str(refused.value)


UNKNOWN = {
    ("topic=racism,gun_violence",): "topic=racism,gun_violence: these are several values; write "
    '"topic=[racism,gun_violence]" for one run with all of them, where it takes a list, or add -m for a run with each.',
    ("composition=[rep_dem, echo_rep]",): "composition=[rep_dem, echo_rep]: composition takes one option; to run each "
    "of them, write -m composition=rep_dem,echo_rep. Only topic and mitigation take several in one run.",
    ("repetitons=3",): "repetitons: there is no such setting; did you mean repetitions?",
    ("topic=racsm",): "topic=racsm: there is no such option; did you mean racism?",
    ("topic=[racism",): "topic=[racism: this setting cannot be read (",
    ("instrument.items.severity.wordings={racism:[a]}",): "instrument.items.severity.wordings: the value has a key "
    "that this setting lacks; add it with ++",
}


@pytest.mark.parametrize(("overrides", "text"), UNKNOWN.items(), ids=[" ".join(words) for words in UNKNOWN])
def test_a_config_that_hydra_cannot_compose_is_refused_in_one_paragraph(overrides: tuple[str, ...], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        compose(*overrides)
    assert str(refused.value)[: len(text)] == text
    assert "\n" not in str(refused.value)


def test_one_option_and_a_list_of_one_are_the_same() -> None:
    assert compose("topic=[racism]", "society=[us]", "engine=planted") == compose("topic=racism", "engine=planted")


@pytest.mark.parametrize("job", ["train", "evaluate"])
def test_a_society_without_an_interview_is_refused_before_anything_is_done(
    job: Literal["train", "evaluate"], tmp_path: Path
) -> None:
    (tmp_path / "society").mkdir()
    (tmp_path / "society" / "canada.yaml").write_text((CONF / "society" / "us.yaml").read_text())
    with pytest.raises(SettingsError, match=r"^interview=canada: .*add conf/interview/canada\.yaml, or .*\(uk, us\)\."):
        compose("society=canada", job=job, config_dir=tmp_path)


def test_options_in_a_folder_of_the_users_are_found_for_the_run_and_for_each_role(tmp_path: Path) -> None:
    for own, source in (("topic/vaccines", "topic/racism"), ("model/own", "model/smollm2")):
        (tmp_path / own).parent.mkdir()
        text = (CONF / f"{source}.yaml").read_text().replace("name: smollm2", "name: own")
        (tmp_path / f"{own}.yaml").write_text(text)
    words = ("topic=vaccines", "model=own", "cast.republican.model=own")
    made = compose(*words, config_dir=tmp_path)
    assert (made.model.name, made.cast["republican"].model.name) == ("own", "own")
    with pytest.raises(SettingsError, match="topic=vaccines: there is no such option"):
        compose(*words)


def test_a_folder_of_configs_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"config_dir=.*no: there is no such folder\."):
        compose(config_dir=tmp_path / "no")


def test_a_file_that_is_not_yaml_is_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "topic").mkdir()
    (tmp_path / "topic" / "tea.yaml").write_text("topics:\n  tea: {question: How big is it?, low: small}\n")
    with pytest.raises(SettingsError, match=r"topic/tea\.yaml, line 2, column 32: this file is not valid YAML \(exp"):
        compose("topic=tea", config_dir=tmp_path)


def test_composing_leaves_hydra_as_it_was() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        compose("engine=planted")
        assert GlobalHydra.instance().hydra is before
    assert not GlobalHydra.instance().is_initialized()


def test_roles_are_set_without_a_plus_and_shown_as_they_were_typed() -> None:
    words = ["cast.republican.model=mistral", "topic=racism", "+cast.x.y=1"]
    assert settable(words) == ["++cast.republican.model=mistral", "topic=racism", "+cast.x.y=1"]
    assert as_typed(settable(words)) == words
