"""nwp() and dpo(): two plain functions around TRL's SFTTrainer and DPOTrainer.

It does not know where rows come from or where adapters are kept. A training that was killed resumes from its last
checkpoint; checkpoints contain the adapter and the optimizer, never the base model.
"""

import contextlib
import json
import logging
import math
import os
import random
import shutil
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.errors import TrainingError, first_line
from hustings.huggingface import device_of, load, with_adapter
from hustings.identity import seed_of
from hustings.progress import Progress, say, showing
from hustings.settings import DpoSettings, NwpSettings, TrainSettings
from hustings.training.data import Row
from hustings.training.loss import answers_only, columns, held_out_losses, padding_of, use_cheaper_dropout
from hustings.training.memory import dtype_in

if TYPE_CHECKING:
    from transformers import TrainerCallback

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class Task:
    """What both methods need."""

    base: Path
    """Folder of the base model, in the format of transformers."""
    name: str
    """Name or id of the base model, for the adapter's config."""
    out: Path
    """Folder for the adapter and, until it is finished, its checkpoints."""
    settings: TrainSettings
    held_out: Mapping[str, Sequence[Row]]
    """Rows that are not trained on, by party."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a training."""

    history: list[dict[str, float]]
    """One row per step: loss, learning rate, gradient norm, and DPO's rewards."""
    held_out: dict[str, dict[str, float]]
    """Mean loss on a party's held-out answers, nats per token: `base`, `nwp` (with DPO), `adapter`, each by party."""
    seconds: float
    """Duration of the training alone, without loading."""


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Silences library warnings about names that will change and about optional kernels that are missing."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@_quiet()
def nwp(task: Task, rows: Sequence[Row]) -> Trained:
    """Next-word prediction on the answers; questions are context (Source: protocol.md, fine-tuning).

    Args:
        rows: `prompt` and `completion` as messages.

    Raises:
        TrainingError: the loss became NaN or infinite, or the GPU ran out of memory.
    """
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    settings = task.settings
    method = settings.method if isinstance(settings.method, NwpSettings) else settings.method.nwp
    tokenizer, model = _loaded(task)
    lora = LoraConfig(
        r=settings.lora.r,
        lora_alpha=settings.lora.substance()["alpha"],
        lora_dropout=settings.lora.dropout,
        target_modules=list(settings.lora.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    rows_in_order = ordered([columns(row, tokenizer) for row in rows], method.batch, settings.seed)
    arguments = SFTConfig(**_arguments(task, method, len(rows_in_order)), max_length=None, completion_only_loss=True)
    trainer_class = answers_only() if arguments.use_cpu else SFTTrainer
    trainer = trainer_class(
        model=model,
        args=arguments,
        train_dataset=dataset_of(rows_in_order),
        processing_class=tokenizer,
        peft_config=lora,
    )
    use_cheaper_dropout(trainer.model)
    return _train(trainer, task, tokenizer)


@_quiet()
def dpo(task: Task, rows: Sequence[Row], start: Path) -> Trained:
    """Direct preference optimization, starting from the nwp adapter, which stays in place as the reference.

    TRL copies the adapter into a second, frozen one; both are on the same base model.

    Args:
        rows: `prompt`, `chosen` and `rejected` as messages.
        start: folder of the nwp adapter.

    Raises:
        TrainingError: the loss became NaN or infinite, or the GPU ran out of memory.
    """
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    settings, method = task.settings, task.settings.method
    assert isinstance(method, DpoSettings)
    tokenizer, base = _loaded(task)
    model = with_adapter(base, start, trainable=True)
    model.peft_config["default"].base_model_name_or_path = str(task.base)  # where PEFT looks for its size
    rows_in_order = ordered([columns(row, tokenizer) for row in rows], method.batch, settings.seed)
    arguments = DPOConfig(**_arguments(task, method, len(rows_in_order)), max_length=None, beta=method.beta)
    trainer = DPOTrainer(
        model=model, args=arguments, train_dataset=dataset_of(rows_in_order), processing_class=tokenizer
    )
    return _train(trainer, task, tokenizer)


def main_process() -> bool:
    """Whether this is the only or the first of the processes that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def _loaded(task: Task) -> tuple[Any, Any]:
    """Tokenizer and base model."""
    import datasets

    datasets.disable_progress_bars()
    settings = task.settings
    device = device_of(settings.device, "device")
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    say(f"loading {task.name} to train on {device} …")
    attention = "sdpa" if device != "cpu" else "eager"  # rows are short: eager is faster there
    tokenizer, model = load(task.base, dtype_in(settings), device, settings.quantization, attn_implementation=attention)
    tokenizer.pad_token = padding_of(tokenizer, model.get_input_embeddings().num_embeddings)
    return tokenizer, model


def _arguments(task: Task, method: NwpSettings | DpoSettings, rows: int) -> dict[str, Any]:
    """The arguments of TRL's trainers that both methods share."""
    settings = task.settings
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    together = min(settings.batch_size, method.batch) * processes
    if method.batch % together:
        raise TrainingError(
            f"batch_size={settings.batch_size} on {processes} processes: method.batch={method.batch} must be a "
            "multiple of their product; set a smaller batch_size."
        )
    cpu = device_of(settings.device, "device") == "cpu"
    return {
        "output_dir": str(task.out / CHECKPOINTS),
        "per_device_train_batch_size": min(settings.batch_size, method.batch),
        "gradient_accumulation_steps": method.batch // together,
        "num_train_epochs": method.epochs,
        "learning_rate": method.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": int(method.warmup * math.ceil(rows / method.batch) * method.epochs),
        "train_sampling_strategy": "sequential",
        "activation_checkpointing": settings.recompute,
        "bf16": dtype_in(settings).itemsize == 2,
        "use_cpu": cpu,
        "dataloader_pin_memory": not cpu,
        "logging_steps": 1,
        "save_steps": settings.checkpoint,
        "save_total_limit": 1,
        "seed": settings.seed,
        "report_to": "none",
        "disable_tqdm": True,
    }


def ordered(rows: list[dict[str, Any]], batch: int, seed: int) -> list[dict[str, Any]]:
    """Rows in training order: shuffled with the seed, then sorted by length within each batch.

    A step's gradient does not depend on the order within its batch, and rows of equal length need no padding.
    """
    shuffled = random.Random(seed_of(seed, "order")).sample(rows, len(rows))

    def length(row: dict[str, Any]) -> int:
        return sum(len(str(text)) for text in row.values())

    return [
        row
        for first in range(0, len(shuffled), batch)
        for row in sorted(shuffled[first : first + batch], key=length, reverse=True)
    ]


def dataset_of(rows: list[dict[str, Any]]) -> Any:
    """Rows as a datasets.Dataset."""
    from datasets import Dataset

    return Dataset.from_list(rows)


def _train(trainer: Any, task: Task, tokenizer: Any) -> Trained:
    """Train to the end, from the last checkpoint if there is one, and save the adapter."""
    import torch
    from transformers import PrinterCallback

    folder = task.out / CHECKPOINTS
    last = _last(folder)
    steps = math.ceil(len(trainer.train_dataset) / trainer.args.train_batch_size / trainer.args.world_size)
    steps = math.ceil(steps / trainer.args.gradient_accumulation_steps) * int(trainer.args.num_train_epochs)
    done = _step(last) if last else 0
    if last:
        say(f"resuming from step {done} of {steps}")
    with showing("steps", steps, done, steps - done) as progress:
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_shown(progress))
        try:
            trainer.train(resume_from_checkpoint=last and str(last))
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"The GPU ran out of memory ({first_line(error)}); set a smaller batch_size, recompute=true or "
                "quantization=4bit."
            ) from error
        seconds = progress.seconds
    history = [
        {str(key): float(value) for key, value in row.items() if isinstance(value, int | float)}
        for row in trainer.state.log_history
        if "loss" in row
    ]
    if not all(math.isfinite(row["loss"]) for row in history):
        raise TrainingError(
            "The loss became NaN or infinite; the adapter is unusable. Set a smaller method.learning_rate, or "
            "precision=exact."
        )
    model = trainer.accelerator.unwrap_model(trainer.model)
    losses: dict[str, dict[str, float]] = {}
    if main_process():
        losses = held_out_losses(model, tokenizer, task.held_out, task.settings)
        model.peft_config["default"].base_model_name_or_path = task.name
        model.save_pretrained(str(task.out), selected_adapters=["default"], save_embedding_layers=False)
    trainer.accelerator.wait_for_everyone()
    if main_process():
        _discard(folder)
    return Trained(history, losses, seconds)


def _discard(folder: Path) -> None:
    """Remove the checkpoints in one step: a kill must not leave half of one, which would pass for a complete one."""
    gone = folder.with_name(f".{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _last(folder: Path) -> Path | None:
    """The newest complete checkpoint: the trainer's state is written last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _complete(path)]
    return max(whole, key=_step, default=None)


def _complete(state: Path) -> bool:
    """Whether a JSON file was written completely."""
    with contextlib.suppress(ValueError):
        return bool(json.loads(state.read_text(encoding="utf-8")))
    return False


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _shown(progress: Progress) -> "TrainerCallback":
    from transformers import TrainerCallback

    class Shown(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress.done = state.global_step
            progress.answers += 1
            progress.show()

    return Shown()
