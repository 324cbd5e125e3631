"""Settings of fine-tuning: the interview, the adapter, the method, and everything else that `train.py` needs."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hustings.settings.base import Many, Name, PathText, Positive, Settings, Text, knob
from hustings.settings.debate import PersonaSettings, PromptSettings, TrackerSettings, check_model
from hustings.settings.model import AnyEngine, ModelSettings
from hustings.settings.society import PartySettings, SocietySettings


class InterviewSettings(Settings):
    """The questions that elicit agents' views."""

    name: Name
    """Name of this interview in results."""
    politics: Text
    """What the questions are about: 'US politics'."""
    questions: Many[Text] = Field(min_length=1)
    """The first questions, which also serve as examples for the questions that the model writes."""
    more: Text
    """Prompt that asks for more questions."""
    agents: Literal["positions", "stories"]
    """Who answers: agents with bare positions and many names (`answer`), or the debating personas (`answer_story`)."""
    answer: Text
    """Prompt that asks a partisan with bare positions one of the questions."""
    answer_story: Text
    """Prompt that asks a persona with its life story one of the questions."""
    similarity: float = Field(gt=0, le=100)
    """Questions at least this similar count as duplicates, 0 … 100."""
    rounds: int = Field(ge=1)
    """How many times each question may serve as an example before the search for more is given up."""
    question_temperature: float = Field(ge=0)
    """Temperature at which the model writes questions; answers are always drawn at 1."""
    question_tokens: int = Field(ge=16)
    """Longest list of questions, tokens."""
    answer_tokens: int = Field(ge=1)
    """Longest answer, tokens."""
    attempts: int = Field(ge=1)
    """How many times an agent is asked a question before an empty answer counts as a failure."""
    seed: int = Field(ge=0, lt=2**63)
    """Seed of questions and answers. It is separate from the training seed, so that trainings with different seeds
    share their data."""


class LoraSettings(Settings):
    """The low-rank weights that are trained."""

    r: int = Field(ge=1)
    """Rank of the adapter."""
    alpha: int | None = Field(ge=1)
    """Sets the scale of the weights, alpha / r; None means twice the rank."""
    dropout: float = Field(ge=0, lt=1)
    """Share of the adapter's inputs that are dropped in each training step."""
    targets: Many[Text] = Field(min_length=1)
    """Linear layers that get low-rank weights, by the last part of their names."""

    def substance(self) -> dict[str, Any]:
        """Settings with alpha filled in: null and twice the rank give the same adapter."""
        return {**super().substance(), "alpha": self.alpha or 2 * self.r}


class _StepSettings(Settings):
    learning_rate: Positive
    """Peak learning rate; it decays linearly to 0."""
    warmup: float = Field(ge=0, lt=1)
    """Share of the steps during which the learning rate rises."""
    epochs: int = Field(ge=1)
    """Number of passes through all examples."""
    batch: int = Field(ge=1)
    """Examples per step."""


class NwpSettings(_StepSettings):
    """Next-word prediction on the party's answers."""

    kind: Literal["nwp"]


class DpoSettings(_StepSettings):
    """Direct preference optimization on top of the nwp adapter of the same rank."""

    kind: Literal["dpo"]
    beta: Positive
    """Strength of the penalty for moving away from the reference model."""
    nwp: NwpSettings
    """Settings of the nwp adapter that DPO starts from."""


class FineTuningSettings(Settings):
    """How a model is fine-tuned, and on what data."""

    interview: InterviewSettings
    party: PartySettings
    """The party that the model is fine-tuned towards."""
    method: Annotated[NwpSettings | DpoSettings, Field(discriminator="kind")]
    lora: LoraSettings
    questions: int = Field(ge=1)
    """Number of questions to train on."""
    answers_per_question: int = Field(ge=1)
    """Answers to each question; 100 questions with 20 answers each give the paper's 2,000 examples."""
    held_out: int = Field(ge=1)
    """Additional questions that are never trained on; the loss is measured on their answers."""
    quantization: Literal["none", "8bit", "4bit"]
    """Quantization of the base model during training; `4bit` is nf4, the paper's QLoRA."""
    precision: Literal["fast", "exact"]
    """Numeric precision. `fast`: bfloat16 if the device supports it, with float32 adapters; `exact`:
    float32."""
    batch_size: int = knob(ge=1)
    """Examples in memory at a time; gradients are accumulated until there are method.batch examples."""
    checkpoint: int = knob(ge=1)
    """Steps between checkpoints."""
    recompute: bool = knob()
    """Gradient checkpointing: discard activations and recompute them; needs less memory and about a third more time."""
    device: Literal["auto", "cpu", "cuda"] = knob()
    """The device for training; `auto` uses a GPU if there is one."""


class TrainSettings(FineTuningSettings):
    """Everything that `train.py` needs."""

    model: ModelSettings
    engine: AnyEngine
    """The engine that writes questions and answers."""
    society: SocietySettings
    prompt: PromptSettings
    """How the answering personas are written if `interview.agents` is `stories`."""
    personas: PersonaSettings
    tracker: TrackerSettings = knob()
    seed: int = Field(ge=0, lt=2**63)
    """Seed of the training: example order, initial weights, dropout."""
    artifacts: PathText = knob(min_length=1)
    """The artifact store: the folder that keeps debates, life stories and adapters, so that nothing is computed
    twice."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if "adapters" not in self.engine.can:
            raise ValueError(
                f"engine.kind={self.engine.kind!r}: there are no weights to fine-tune behind this engine; choose a "
                "model on this machine or of the hub, and an engine that runs it"
            )
        check_model(self.model, self.engine, None)
        if self.party.name not in self.society.parties:
            known = ", ".join(self.society.parties)
            raise ValueError(f"party={self.party.name}: society {self.society.name} has no such party; it has {known}")
        if len(self.society.parties) < 2:
            raise ValueError(
                f"society.parties: society {self.society.name} has one party, and fine-tuning towards it needs another "
                "to compare with; add one to conf/society"
            )
        if self.method.batch % self.batch_size and self.method.batch > self.batch_size:
            raise ValueError(
                f"batch_size={self.batch_size}: method.batch={self.method.batch} must be a multiple of it, so that "
                "gradients can be accumulated"
            )
        return self
