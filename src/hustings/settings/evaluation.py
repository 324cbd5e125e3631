"""Settings of measuring what fine-tuning costs, and everything that `evaluate.py` needs."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hustings.settings.base import Many, Name, PathText, Settings, Text, explained, knob
from hustings.settings.debate import SimulateSettings
from hustings.settings.model import ModelSettings
from hustings.settings.training import DpoSettings, FineTuningSettings, LoraSettings, TrainSettings


def _listed(value: Any) -> Any:
    """Tasks as lm-eval's users write them: `hellaswag,mmlu`."""
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _documents(value: Any) -> Any:
    """A number of documents, or a share of them, as for lm-eval's `--limit`."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    if isinstance(value, float) and (0 < value < 1 or (value > 1 and value.is_integer())):
        return value if value < 1 else int(value)
    raise ValueError(
        "must be a number of documents, such as 100, a share of them below 1, such as 0.1, or null for all"
    )


class BenchmarkSettings(Settings):
    """What is measured of a model and its adapters, besides their debates."""

    name: Name = knob()
    """Name of this set of benchmarks, as results show it."""
    tasks: Annotated[Many[Text], BeforeValidator(_listed)]
    """Tasks or groups of lm-eval: hellaswag, mmlu, mmlu_stem, mmlu_anatomy, …"""
    num_fewshot: int | None = Field(ge=0)
    """Examples in each prompt; None is the task's own number, 0 for hellaswag and mmlu."""
    limit: Annotated[int | float | None, BeforeValidator(_documents)]
    """Documents of each task, drawn at random with `seed`; below 1, a share of them; None takes all.

    For a group of tasks, a share is drawn from each of its tasks, as in lm-eval; a number is drawn from all of them
    together.
    """
    seed: int = Field(ge=0)
    """Seed of the draw of documents, and of few-shot examples."""
    data_dir: PathText | None
    """Folder that `hustings fetch benchmarks` filled; None takes the data from the Hugging Face hub."""
    engine: Literal["transformers", "vllm"]
    """What lm-eval runs the model on; vllm needs a model of the hub or in a folder."""
    quantization: Literal["none", "8bit", "4bit"]
    """Quantization of the weights, by bitsandbytes."""
    precision: Literal["fast", "exact"]
    """Numbers to compute with. `fast`: bfloat16 if the device supports it; `exact`: float32."""
    batch_size: int = knob(ge=1)
    """Rows per batch."""
    device: Literal["auto", "cpu", "cuda"] = knob()
    """Where the benchmarks run; `auto` takes a GPU if there is one."""
    attitude: Name | None = knob()
    """Role whose mean attitude after the last round is reported, from debates on the topic; None plays none."""


_ROW = explained(
    r"^(base|comparison|(nwp|dpo)_r[1-9][0-9]*)$",
    "must be base, comparison, or a method with a rank, such as nwp_r16 or dpo_r8",
)


class EvaluateSettings(SimulateSettings, FineTuningSettings):
    """Everything that `evaluate.py` needs: the debates of simulate.py, the adapters of train.py, the benchmarks."""

    benchmark: BenchmarkSettings
    row: Annotated[str, Field(pattern=_ROW)] | None
    """A row of Table 1: base, nwp_r16, dpo_r8, comparison; None evaluates whatever `adapter` names."""
    seeds: Many[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    """Seeds of a row's trainings; its scores are means over them."""
    train_missing: bool = knob()
    """Train the adapters that a row needs but the store does not have."""
    comparison: ModelSettings | None = knob()
    """Model of the row `comparison`."""

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
        """The settings of the debates that give the attitude of the model, fine-tuned by `adapter`."""
        fields = {name: getattr(self, name) for name in SimulateSettings.model_fields}
        return SimulateSettings.model_validate({**fields, "adapter": adapter})

    def training(self, seed: int) -> TrainSettings:
        """The settings of the training that a row needs.

        Raises:
            ValueError: they are impossible.
        """
        method, rank = str(self.row).split("_r")
        fields = {name: getattr(self, name) for name in TrainSettings.model_fields}
        if method == "nwp" and isinstance(self.method, DpoSettings):
            fields["method"] = self.method.nwp
        lora = LoraSettings.model_validate({**dict(self.lora), "r": int(rank), "alpha": None})
        return TrainSettings.model_validate({**fields, "lora": lora, "seed": seed})
