"""Every config that ships composes and validates."""

import itertools

import pytest
from helpers import CONF, config
from omegaconf import OmegaConf

from hustings import compose
from hustings.errors import SettingsError
from hustings.settings import SimulateSettings, TrainSettings, load


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


EXPERIMENTS = [name for name in options("experiment") if name != "table1"]
"""Of simulate.py; table1 is evaluate.py's."""
NEEDS = {"gguf": ["model.path=a.gguf"], "hf": ["model.id=a/b"], "api": ["model.id=a/b"]}
ELSEWHERE = {"api", "openai_chat", "gpt35_instruct"}
NEED_WEIGHTS = {"contrast", "rerank", "steer", "own_adapter"}
"""Mitigations that planted debaters cannot have; other tests compose them."""
UNNAMED = {*NEEDS, "openai_chat"}
"""Models that take their name from where they are."""


def together(model: str, engine: str) -> bool:
    """Whether there is such a pair: what is behind an endpoint has no weights here."""
    return engine == "planted" or (model in ELSEWHERE) == engine.startswith("openai")


@pytest.mark.parametrize(
    ("experiment", "model", "engine"),
    [
        (*pair, engine)
        for pair, engine in zip(
            itertools.product(EXPERIMENTS, options("model")),
            itertools.cycle(options("engine")),
            strict=False,
        )
        if together(pair[1], engine)
    ],
)
def test_every_experiment_runs_on_every_model_and_engine(experiment: str, model: str, engine: str) -> None:
    made = load(
        SimulateSettings,
        config(f"experiment={experiment}", f"model={model}", f"engine={engine}", *NEEDS.get(model, [])),
    )
    name = None if model in UNNAMED else model
    assert (made.model.name, made.engine.kind) == (name, engine.split("_")[0])


def test_every_option_of_a_debates_groups_is_valid_somewhere() -> None:
    groups = ("topic", "composition", "prompt", "society", "party", "tracker", "instrument", "topology", "mitigation",
              "control")  # fmt: skip
    for group in groups:
        for option in options(group):
            if option == "weekend":  # neutral: no party has a stance on it, and control=off_topic debates it
                continue
            if option in NEED_WEIGHTS:
                continue
            british = option in ("uk", "wealth_tax", "immigration_cap", "conservative", "labour") or option[:2] == "uk"
            words = [f"{group}={option}"] if group != "party" else []
            if british:
                words += [
                    word for word in ("society=uk", "topic=uk", "composition=uk_mixed") if f"{group}=" not in word
                ]
            assert load(SimulateSettings, config("engine=planted", *words)).seed == 1


@pytest.mark.parametrize("model", sorted(ELSEWHERE))
def test_a_model_behind_an_endpoint_cannot_be_fine_tuned(model: str) -> None:
    with pytest.raises(SettingsError, match=r"engine\.kind='openai'"):
        load(TrainSettings, config(f"model={model}", *NEEDS.get(model, []), name="train"))


@pytest.mark.parametrize("model", options("model"))
def test_every_model_names_its_natural_engine(model: str) -> None:
    natural = {
        "smollm2": "openvino",
        "gguf": "openvino",
        "qwen": "openvino",
        "qwen25_05b": "openvino",
        **dict.fromkeys(ELSEWHERE, "openai"),
    }
    made = load(SimulateSettings, config(f"model={model}", *NEEDS.get(model, [])))
    assert made.engine.kind == natural.get(model, "transformers")


@pytest.mark.parametrize("model", ["mistral", "solar", "llama2"])
def test_the_papers_open_models_are_run_in_8_bits(model: str) -> None:
    made = load(SimulateSettings, config(f"model={model}"))
    assert made.engine.kind == "transformers" and made.engine.quantization == "8bit"


@pytest.mark.parametrize("model", sorted({*options("model")} - {*NEEDS}))
def test_every_model_states_its_licence_and_memory(model: str) -> None:
    made = load(SimulateSettings, config(f"model={model}")).model
    assert made.source == "api" or (made.licence and made.memory_gb)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_option_of_a_group_stands_on_the_command_line_over_its_experiment(experiment: str) -> None:
    british = experiment.startswith("uk")
    topic = "wealth_tax" if british else "racism"
    composition = "uk_echo_labour" if british else "echo_dem_pair"
    made = load(
        SimulateSettings,
        config(f"experiment={experiment}", f"topic={topic}", f"composition={composition}", "repetitions=3", "rounds=2"),
    )
    assert (list(made.topics), made.composition.name, made.repetitions, made.rounds) == ([topic], composition, 3, 2)


SHOWN = {
    "quickstart": (4, 3, ("republican", "democrat", "default"), ()),
    "figure3": (40, 5, ("republican", "democrat", "default"), ()),
    "figure4": (40, 5, ("republican", "democrat"), ("default",)),
    "figure5": (40, 3, ("republican", "republican", "default"), ()),
    "figure7": (40, 3, ("republican", "democrat", "default"), ()),
    "figure8": (40, 5, ("republican", "republican"), ("default",)),
    "figure6": (40, 3, ("republican", "democrat", "default"), ()),
    "figure11": (40, 3, ("republican", "democrat", "default"), ()),
    "figure12": (40, 3, ("republican", "democrat", "default"), ()),
    "figure9": (40, 3, ("democrat", "democrat", "default"), ()),
    "mitigations": (40, 3, ("republican", "democrat"), ("default",)),
    "multiverse": (4, 3, ("republican", "democrat", "default"), ()),
    "mixed_models": (40, 3, ("republican", "democrat"), ("default",)),
    "uk_echo": (40, 3, ("labour", "conservative", "labour", "conservative"), ("default",)),
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_is_the_debates_of_the_protocol(experiment: str) -> None:
    made = load(SimulateSettings, config(f"experiment={experiment}"))
    repetitions, rounds, roles, observers = SHOWN[experiment]
    assert (made.repetitions, made.rounds) == (repetitions, rounds)
    assert (made.composition.roles, made.composition.observers) == (roles, observers)


@pytest.mark.parametrize("composition", ["uk_mixed", "uk_echo_labour", "uk_echo_conservative"])
def test_british_groups_seat_four_speakers(composition: str) -> None:
    made = load(SimulateSettings, config("experiment=uk_echo", f"composition={composition}"))
    assert len(made.composition.roles) == 4
    assert list(made.topics) == ["immigration_cap", "wealth_tax"]


@pytest.mark.parametrize("experiment", ["figure6", "figure11", "figure12"])
def test_before_and_after_is_the_base_and_three_trainings_towards_one_party(experiment: str) -> None:
    adapters = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").hydra.sweeper.params.adapter.split(",")
    party = "democrat" if experiment == "figure12" else "republican"
    assert adapters == ["null", *(f"{party}_nwp_r256_s{seed}" for seed in (1, 2, 3))]
    assert load(SimulateSettings, config(f"experiment={experiment}", "adapter=x", "model=mistral")).adapter == "x"


@pytest.mark.parametrize(
    ("method", "lora", "model"),
    [
        (*tuned, model)
        for tuned, model in zip(
            itertools.product(options("method"), options("lora")),
            itertools.cycle(model for model in options("model") if model not in ELSEWHERE),
            strict=False,
        )
    ],
)
def test_models_can_be_fine_tuned_by_every_method_at_every_rank(method: str, lora: str, model: str) -> None:
    made = load(
        TrainSettings,
        config(f"method={method}", f"lora={lora}", f"model={model}", *NEEDS.get(model, []), name="train"),
    )
    assert (made.method.kind, made.party.name, made.interview.name) == (method, "republican", "us")
    assert made.lora.substance()["alpha"] == 2 * made.lora.r


def test_a_british_model_is_asked_british_questions() -> None:
    made = load(TrainSettings, config("society=uk", "party=labour", name="train"))
    assert made.interview.politics == "UK politics"
    assert made.party == made.society.parties["labour"]


def test_training_has_the_papers_numbers() -> None:
    made = load(TrainSettings, config("lora=paper", "method=dpo", name="train"))
    assert (made.lora.r, made.lora.alpha, made.lora.dropout) == (256, 512, 0.05)
    assert (made.questions, made.answers_per_question, len(made.interview.questions)) == (100, 20, 10)
    assert made.method.kind == "dpo" and made.method.beta == 0.5
    assert made.method.batch == made.method.nwp.batch == 32
    assert made.method.epochs == made.method.nwp.epochs == 1


@pytest.mark.parametrize(
    "folder", ["composition", "instrument", "interview", "model", "party", "prompt", "society", "topology"]
)
def test_a_named_config_is_named_like_its_file(folder: str) -> None:
    names = {path.stem: OmegaConf.load(path).name for path in (CONF / folder).glob("*.yaml")}
    assert names == {stem: None if stem in UNNAMED else stem for stem in names}


def test_all_is_the_four_topics_of_the_paper() -> None:
    made = load(SimulateSettings, config("topic=all"))
    assert list(made.topics) == ["climate_change", "gun_violence", "illegal_immigration", "racism"]


def test_a_party_stands_at_the_pole_that_its_position_says() -> None:
    for society in options("society"):
        words = ["topic=uk", "composition=uk_mixed"] if society == "uk" else ["topic=all"]
        made = load(SimulateSettings, config(f"society={society}", *words))
        for party in made.society.parties.values():
            for topic, stance in party.stances.items():
                of = made.topics[topic]
                assert stance.position.endswith(of.low if stance.pole == "low" else of.high)
                assert of.label in stance.position


@pytest.mark.parametrize("mitigation", sorted({*options("mitigation")} - {"none", "own_adapter"}))
def test_a_mitigation_is_a_treatment_of_its_own_name(mitigation: str) -> None:
    made = load(SimulateSettings, config("model=smollm2", "engine=transformers", f"mitigation={mitigation}"))
    assert list(made.treatments) == [mitigation]
    assert hasattr(made.treatments[mitigation], "dose")


def test_own_adapters_are_cast_for_replies_alone() -> None:
    made = compose("model=smollm2", "mitigation=own_adapter", "adapter_scale=0.5")
    assert isinstance(made, SimulateSettings)
    assert {role: (it.adapter, it.scope) for role, it in made.cast.items()} == {
        "republican": ("republican_nwp_r16", "replies"),
        "democrat": ("democrat_nwp_r16", "replies"),
    }
    assert (made.adapter_scale, made.treatments) == (0.5, {})


def test_without_a_mitigation_nothing_is_treated() -> None:
    assert load(SimulateSettings, config("engine=planted")).treatments == {}
