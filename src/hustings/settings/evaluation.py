"""Settings for measuring the cost of fine-tuning, and everything else that `evaluate.py` needs."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hustings.settings.base import Many, Name, PathText, Settings, Text, explained, knob
from hustings.settings.debate import SimulateSettings
from hustings.settings.model import ModelSettings
from hustings.settings.training import DpoSettings, FineTuningSettings, LoraSettings, TrainSettings


def _listed(value: Any) -> Any:
    """Tasks in the notation of lm-eval: `hellaswag,mmlu`."""
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _documents(value: Any) -> Any:
    """A number of documents, or a share of them, as in lm-eval's `--limit`."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    if isinstance(value, float) and (0 < value < 1 or (value > 1 and value.is_integer())):
        return value if value < 1 else int(value)
    raise ValueError(
        "must be a number of documents, such as 100, a share of them below 1, such as 0.1, or null for all"
    )


class BenchmarkSettings(Settings):
    """Benchmarks that are run on a model and its adapters, in addition to their debates."""

    name: Name = knob()
    """Name of this set of benchmarks in results."""
    tasks: Annotated[Many[Text], BeforeValidator(_listed)]
    """Tasks or groups of lm-eval: hellaswag, mmlu, mmlu_stem, mmlu_anatomy, …"""
    num_fewshot: int | None = Field(ge=0)
    """Examples in each prompt; None uses the task's own number, which is 0 for hellaswag and mmlu."""
    limit: Annotated[int | float | None, BeforeValidator(_documents)]
    """Documents of each task, drawn at random with `seed`; below 1, a share of them; None uses all.

    For a group of tasks, a share is drawn from each task, as in lm-eval; a number is drawn from all of its tasks
    together.
    """
    seed: int = Field(ge=0, lt=2**63)
    """Seed for drawing documents and few-shot examples."""
    data_dir: PathText | None
    """Folder that `hustings fetch benchmarks` filled; None downloads the data from the Hugging Face hub."""
    engine: Literal["transformers", "vllm"]
    """The engine on which lm-eval runs the model; vllm needs a model from the hub or in a folder."""
    quantization: Literal["none", "8bit", "4bit"]
    """Quantization of the weights, by bitsandbytes."""
    precision: Literal["fast", "exact"]
    """Numeric precision. `fast`: bfloat16 if the device supports it; `exact`: float32."""
    batch_size: int = knob(ge=1)
    """Rows per batch."""
    device: Literal["auto", "cpu", "cuda"] = knob()
    """The device for the benchmarks; `auto` uses a GPU if there is one."""
    attitude: Name | None = knob()
    """Role whose mean attitude after the last round is reported, from debates on the topic; None plays no debates."""


_ROW = explained(
    r"^(base|comparison|(nwp|dpo)_r[1-9][0-9]*)$",
    "must be base, comparison, or a method with a rank, such as nwp_r16 or dpo_r8",
)


class EvaluateSettings(SimulateSettings, FineTuningSettings):
    """Everything that `evaluate.py` needs: the debates of simulate.py, the adapters of train.py, the benchmarks."""

    benchmark: BenchmarkSettings
    row: Annotated[str, Field(pattern=_ROW)] | None
    """A row of Table 1: base, nwp_r16, dpo_r8, comparison; None evaluates `adapter`, whatever it is."""
    seeds: Many[Annotated[int, Field(ge=0, lt=2**63)]] = Field(min_length=1)
    """Seeds of the trainings in a row; its scores are means over them."""
    train_missing: bool = knob()
    """Whether to train adapters that a row needs but that are not in the store."""
    comparison: ModelSettings | None = knob()
    """Model for the row `comparison`."""

    @model_validator(mode="after")
    def _measurable(self) -> Self:
        if not self.engine.needs_weights:
            raise ValueError(f"engine={self.engine.kind} has no model to measure; choose another engine")
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
        """The settings of the debates that measure the attitude of the model, fine-tuned by `adapter`."""
        fields = {name: getattr(self, name) for name in SimulateSettings.model_fields}
        return SimulateSettings.model_validate({**fields, "adapter": adapter})

    def training(self, seed: int) -> TrainSettings:
        """The settings of the training that a row needs.

        Raises:
            ValueError: the settings are impossible.
        """
        method, rank = str(self.row).split("_r")
        fields = {name: getattr(self, name) for name in TrainSettings.model_fields}
        if method == "nwp" and isinstance(self.method, DpoSettings):
            fields["method"] = self.method.nwp
        lora = LoraSettings.model_validate({**dict(self.lora), "r": int(rank), "alpha": None})
        return TrainSettings.model_validate({**fields, "lora": lora, "seed": seed})
