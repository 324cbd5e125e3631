"""Settings of a model and its engine. Each kind of engine adds settings of its own, in its module in `engine/`."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from hustings.settings.base import Name, PathText, Settings, Text, Variant, knob
from hustings.settings.instrument import InstrumentSettings

Capability = Literal["log-probabilities", "adapters", "shared by processes", "text scores", "contrast", "steering"]
"""Capabilities that an engine may have beyond plain text:

- `log-probabilities`: how probable each option of a survey is
- `adapters`: running a model with a LoRA adapter
- `text scores`: how probable a given text is as the answer
- `contrast`: sampling from the difference between two contexts
- `steering`: adding a vector to the model's activations
- `shared by processes`: several processes can play the debates of one run, each with its own engine
"""


class PriceSettings(Settings):
    """What an API charges for a model."""

    input: float = Field(ge=0)
    """Dollars for a million tokens of prompts."""
    output: float = Field(ge=0)
    """Dollars for a million generated tokens."""
    date: Text
    """Date when these prices were looked up, YYYY-MM-DD."""

    def dollars(self, prompt_tokens: float, tokens: float) -> float:
        """Price of so many prompt tokens and generated tokens."""
        return (prompt_tokens * self.input + tokens * self.output) / 1e6


class ModelSettings(Settings):
    """Where the weights come from."""

    name: Name | None
    """Name in folders, columns and captions; None derives it from the path or the id."""
    source: Literal["embedded", "hub", "local", "gguf", "api"]
    """Where the weights are. `embedded`: downloaded by `hustings fetch`; `hub`: Hugging Face; `local`: a folder;
    `gguf`: a file; `api`: behind an API."""
    path: PathText | None
    """Folder (`local`) or file (`gguf`)."""
    id: str | None
    """Hugging Face id (`hub`), the endpoint's name for the model (`api`), or that of `hustings fetch` (`embedded`)."""
    revision: str | None
    """Commit or tag (`hub`); None uses the newest."""
    context: int = Field(ge=256)
    """Longest prompt and answer together, in tokens."""
    licence: str | None = knob()
    """Licence of the weights, for information only."""
    memory_gb: float | None = knob(gt=0)
    """Memory that the engine named in the model's config needs, GB; None if unknown or if it runs elsewhere."""
    holds_persona: Literal["yes", "barely", "no"] | None = knob()
    """Whether its partisans start on their own side of the scale in the persona check (racism, figure3): `yes` if 80 %
    or more do, `barely` if half or more do, `no` if fewer do; None if not measured."""
    price: PriceSettings | None = knob()
    """Price of an API; None if it is free or the price is unknown."""
    retired: str | None = knob()
    """Why the model is no longer available, and the closest replacement; None if it is available."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.source in ("local", "gguf") and not self.path:
            raise ValueError(f"model.path: source {self.source} needs a path; set model.path=…")
        if self.source == "embedded" and not self.id:
            raise ValueError("model.id: source embedded needs the name of a model; set model.id=qwen or smollm2")
        if self.source == "hub" and not self.id:
            raise ValueError("model.id: source hub needs an id; set model.id=organisation/name")
        if self.source == "api" and not self.id:
            raise ValueError("model.id: source api needs the name that the endpoint knows; set model.id=…")
        return self


class EngineSettings(Variant):
    """What runs a model. Each kind of engine has its own class, in the module of that name in `engine/`."""

    concurrency: int = knob(ge=1)
    """Debates that are played at the same time; for an endpoint, also the number of parallel requests."""

    kind_package: ClassVar[str] = "engine"
    kind_key: ClassVar[str] = "engine.kind"
    kinds: ClassVar[dict[str, Any]] = {}

    @property
    def can(self) -> frozenset[Capability]:
        """What this engine can do beyond answering with text."""
        return frozenset()

    @property
    def needs_weights(self) -> bool:
        """Whether the engine runs a model; otherwise `model` is ignored and nothing is downloaded."""
        return True

    @property
    def hardware(self) -> str:
        """Hardware that it computes on: `cpu`, `cuda` or `auto`."""
        return "cpu"

    def check_model(self, model: ModelSettings) -> None:
        """Refuse a model that this engine cannot run.

        Raises:
            ValueError: says why, and what to set instead.
        """
        if model.source == "api":
            raise ValueError(
                f"model.source='api': engine={self.kind} needs weights, and these are elsewhere; set engine=openai"
            )

    def check_instrument(self, instrument: InstrumentSettings) -> None:
        """Refuse an instrument that this engine cannot answer.

        Raises:
            ValueError: says why, and what to set instead.
        """

    def calls(self, generated: int) -> tuple[int, float]:
        """Cost of one survey answer, for estimates: generated tokens, and calls on average.

        Args:
            generated: length limit of an answer in words, tokens.
        """
        return 1, 1.0


AnyEngine = Annotated[SerializeAsAny[EngineSettings], BeforeValidator(EngineSettings.of_kind)]
"""An engine's settings, validated by the class of its kind."""
