"""nwp() and dpo(): two plain functions around TRL's SFTTrainer and DPOTrainer.

It does not know where rows come from nor where adapters are kept. A training that was killed goes on from its last
checkpoint; checkpoints hold the adapter and the optimizer, never the base model.
"""

import contextlib
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

from hustings.dataset import Row
from hustings.engine.transformers import dtype_of, load, with_adapter
from hustings.errors import TrainingError, first_line
from hustings.identity import seed_of
from hustings.progress import Progress, say, showing
from hustings.settings import DpoSettings, NwpSettings, TrainSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback

CHECKPOINTS = "checkpoints"
REFERENCE = "nwp"


@dataclass(frozen=True, slots=True)
class Task:
    """What both methods need."""

    base: Path
    """Folder of the base model, as transformers has it."""
    name: str
    """Name or id of the base model, for the adapter's config."""
    out: Path
    """Folder that gets the adapter, and holds the checkpoints meanwhile."""
    settings: TrainSettings
    held_out: Mapping[str, Sequence[Row]]
    """Rows that are not trained on, by party."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it."""

    history: list[dict[str, float]]
    """One row a step: loss, learning rate, gradient norm, and DPO's rewards."""
    held_out: dict[str, dict[str, float]]
    """Mean loss on a party's held-out answers, nats a token: `base`, `nwp` (with DPO), `adapter`, each by party."""
    seconds: float
    """Of the training alone, without loading."""


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Without what the libraries tell each other: names that change in the next version, kernels that are not there."""
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
        TrainingError: the loss is no number any more.
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
    rows_in_order = ordered([written(row, tokenizer) for row in rows], method.batch, settings.seed)
    arguments = SFTConfig(**_arguments(task, method, len(rows_in_order)), max_length=None, completion_only_loss=True)
    trainer_class = answers_only() if arguments.use_cpu else SFTTrainer
    trainer = trainer_class(
        model=model,
        args=arguments,
        train_dataset=dataset_of(rows_in_order),
        processing_class=tokenizer,
        peft_config=lora,
    )
    _with_cheaper_dropout(trainer.model)
    return _train(trainer, task, tokenizer)


@_quiet()
def dpo(task: Task, rows: Sequence[Row], start: Path) -> Trained:
    """Direct preference optimization from the nwp adapter on, which stays as the reference.

    TRL copies the adapter that it is given into a second, frozen one; both lie on the same base model.

    Args:
        rows: `prompt`, `chosen` and `rejected` as messages.
        start: folder of the nwp adapter.

    Raises:
        TrainingError: the loss is no number any more.
    """
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    settings, method = task.settings, task.settings.method
    assert isinstance(method, DpoSettings)
    tokenizer, base = _loaded(task)
    model = with_adapter(base, start, trainable=True)
    model.peft_config["default"].base_model_name_or_path = str(task.base)  # where PEFT looks for its size
    rows_in_order = ordered([written(row, tokenizer) for row in rows], method.batch, settings.seed)
    arguments = DPOConfig(**_arguments(task, method, len(rows_in_order)), max_length=None, beta=method.beta)
    trainer = DPOTrainer(
        model=model, args=arguments, train_dataset=dataset_of(rows_in_order), processing_class=tokenizer
    )
    return _train(trainer, task, tokenizer)


def on_gpu(settings: TrainSettings) -> bool:
    """Whether the training runs on a GPU.

    Raises:
        TrainingError: device=cuda and there is none.
    """
    import torch

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device=cuda: PyTorch finds no GPU here; set device=auto or cpu.")
    return settings.device != "cpu" and torch.cuda.is_available()


def dtype_in(settings: TrainSettings) -> Any:
    """The numbers that the base model computes in while it is trained."""
    return dtype_of(settings.precision, "cuda" if on_gpu(settings) else "cpu")


def main_process() -> bool:
    """Whether this is the only or the first of the processes that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def _loaded(task: Task) -> tuple[Any, Any]:
    """Tokenizer and base model."""
    import datasets

    datasets.disable_progress_bars()
    settings = task.settings
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu(settings) else "cpu"
    say(f"loading {task.name} to train on {device} …")
    attention = "sdpa" if device != "cpu" else "eager"  # short rows: eager is quicker there
    tokenizer, model = load(task.base, dtype_in(settings), device, settings.quantization, attn_implementation=attention)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer, model


def _arguments(task: Task, method: NwpSettings | DpoSettings, rows: int) -> dict[str, Any]:
    """What TRL's trainers are told, the same for both methods."""
    settings = task.settings
    together = min(settings.batch_size, method.batch) * int(os.environ.get("WORLD_SIZE", "1"))
    if method.batch % together:
        raise TrainingError(
            f"batch_size={settings.batch_size} on {os.environ.get('WORLD_SIZE', '1')} processes: method.batch="
            f"{method.batch} must be a multiple of their product; set a smaller batch_size."
        )
    cpu = not on_gpu(settings)
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
    """In the order of the training: shuffled by the seed; within each batch by length.

    A step's gradient does not depend on the order within its batch, and rows of one length need no padding.
    """
    shuffled = random.Random(seed_of(seed, "order")).sample(rows, len(rows))

    def length(row: dict[str, Any]) -> int:
        return sum(len(str(text)) for text in row.values())

    return [
        row
        for first in range(0, len(shuffled), batch)
        for row in sorted(shuffled[first : first + batch], key=length, reverse=True)
    ]


def written(row: Row, tokenizer: Any) -> dict[str, Any]:
    """The columns that TRL reads: messages, or plain text for a model without a chat template."""
    found = {name: row[name] for name in ("prompt", "completion", "chosen", "rejected") if name in row}
    if tokenizer.chat_template:
        return found
    texts = {name: messages[0]["content"] for name, messages in found.items()}
    return {**texts, "prompt": texts["prompt"] + "\n\n"}


def dataset_of(rows: list[dict[str, Any]]) -> Any:
    """Rows as a datasets.Dataset."""
    from datasets import Dataset

    return Dataset.from_list(rows)


def _train(trainer: Any, task: Task, tokenizer: Any) -> Trained:
    """Train to the end, from the last checkpoint on if there is one, and save the adapter."""
    import torch
    from transformers import PrinterCallback

    folder = task.out / CHECKPOINTS
    last = _last(folder)
    steps = math.ceil(len(trainer.train_dataset) / trainer.args.train_batch_size / trainer.args.world_size)
    steps = math.ceil(steps / trainer.args.gradient_accumulation_steps) * int(trainer.args.num_train_epochs)
    done = _step(last) if last else 0
    if last:
        say(f"going on from step {done} of {steps}")
    with showing("steps", steps, done, steps - done) as progress:
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_shown(progress))
        try:
            trainer.train(resume_from_checkpoint=last and str(last))
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"The GPU's memory did not suffice ({first_line(error)}); set a smaller batch_size, recompute=true or "
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
            "The loss is no number any more, so this adapter is worth nothing; set a smaller method.learning_rate, or "
            "precision=exact."
        )
    model = trainer.accelerator.unwrap_model(trainer.model)
    losses: dict[str, dict[str, float]] = {}
    if main_process():
        losses = _held_out(model, tokenizer, task)
        model.peft_config["default"].base_model_name_or_path = task.name
        model.save_pretrained(str(task.out), selected_adapters=["default"], save_embedding_layers=False)
    trainer.accelerator.wait_for_everyone()
    if main_process():
        shutil.rmtree(folder, ignore_errors=True)
    return Trained(history, losses, seconds)


def _last(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the trainer's state is what comes last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=_step, default=None)


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


def _held_out(model: Any, tokenizer: Any, task: Task) -> dict[str, dict[str, float]]:
    """Losses on held-out answers, of the base model, of DPO's reference, and of the adapter."""
    from trl.trainer.utils import use_adapter

    model.eval()
    states = {"base": model.disable_adapter(), "adapter": contextlib.nullcontext()}
    if "ref" in model.peft_config:
        states = {"base": states["base"], REFERENCE: use_adapter(model, "ref"), "adapter": states["adapter"]}
    losses: dict[str, dict[str, float]] = {}
    for name, state in states.items():
        with state:
            losses[name] = {
                party: answer_loss(model, tokenizer, rows, task.settings) for party, rows in task.held_out.items()
            }
    return losses


def answer_loss(model: Any, tokenizer: Any, rows: Sequence[Row], settings: TrainSettings) -> float:
    """Mean loss of the model on the answers, nats a token."""
    import torch

    total, count = 0.0, 0
    encoded = sorted((_encoded(row, tokenizer) for row in rows), key=lambda row: len(row[0]) + len(row[1]))
    for first in range(0, len(encoded), settings.batch_size):
        batch = encoded[first : first + settings.batch_size]
        width = max(len(prompt) + len(answer) for prompt, answer in batch)
        gaps = [width - len(prompt) - len(answer) for prompt, answer in batch]
        pad: int = tokenizer.pad_token_id
        ids = [prompt + answer + [pad] * gap for (prompt, answer), gap in zip(batch, gaps, strict=True)]
        labels = [
            [-100] * len(prompt) + answer + [-100] * gap for (prompt, answer), gap in zip(batch, gaps, strict=True)
        ]
        mask = [[1] * (width - gap) + [0] * gap for gap in gaps]
        inputs = {
            name: torch.tensor(value, device=model.device)
            for name, value in (("input_ids", ids), ("attention_mask", mask), ("labels", labels))
        }
        dtype = dtype_in(settings)
        with torch.no_grad(), torch.autocast(model.device.type, dtype, enabled=dtype.itemsize == 2):
            total += float(_answer_losses(model, inputs))
        count += sum(len(answer) for _, answer in batch)
    return total / max(count, 1)


def _encoded(row: Row, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids of the prompt and of the answer."""
    texts = written(row, tokenizer)
    if tokenizer.chat_template:
        prompt = tokenizer.apply_chat_template(texts["prompt"], add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(texts["prompt"] + texts["completion"], tokenize=False)
    else:
        prompt, whole = texts["prompt"], texts["prompt"] + texts["completion"] + tokenizer.eos_token
    special = not tokenizer.chat_template
    before: list[int] = tokenizer(prompt, add_special_tokens=special).input_ids
    both: list[int] = tokenizer(whole, add_special_tokens=special).input_ids
    return before, both[len(before) :]


def _answer_losses(model: Any, inputs: dict[str, Any]) -> Any:
    """Summed loss of a batch, with logits from the first answer token of any row on.

    Args:
        inputs: `input_ids`, `attention_mask` and `labels`, (batch, seq); labels of other tokens than answers are -100.
    """
    import torch
    from torch.nn.functional import cross_entropy

    labels = inputs["labels"]
    first = int((labels != -100).any(0).nonzero()[0]) - 1
    places = torch.arange(first, labels.shape[1] - 1, device=labels.device)
    rest = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    logits = model(**rest, use_cache=False, logits_to_keep=places).logits
    targets = labels[:, first + 1 :]
    answers = targets != -100
    return cross_entropy(logits[answers].float(), targets[answers], reduction="sum")


def answers_only() -> Any:
    """SFTTrainer that leaves prompt positions out on a CPU, as TRL itself does on a GPU.

    There TRL's fused head would compute logits, entropy and accuracy for every position, padding too.
    """
    import torch
    from trl.trainer.sft_trainer import SFTTrainer

    class AnswersOnly(SFTTrainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            count = (inputs["labels"][:, 1:] != -100).sum() if num_items_in_batch is None else num_items_in_batch
            loss = _answer_losses(model, inputs) / torch.as_tensor(count).clamp(min=1)
            # As in TRL: `count` is that of all processes, and DDP takes the mean over them.
            return loss * self.accelerator.num_processes if num_items_in_batch is not None else loss

    return AnswersOnly


def cheaper_dropout(p: float) -> Any:
    """Dropout with masks from 16 random bits each on a CPU, where PyTorch draws a number for every element."""
    import torch

    class Dropout(torch.nn.Dropout):
        def forward(self, input: Any) -> Any:
            if not self.training or input.device.type != "cpu":
                return super().forward(input)
            words = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
            bits = words.view(torch.int16)[: input.numel()].view(input.shape)
            keep = bits >= round(self.p * 2**16) - 2**15
            return input * (keep.to(input.dtype) / (1 - self.p))

    return Dropout(p)


def _with_cheaper_dropout(model: Any) -> None:
    """Put it into every LoRA layer that drops anything."""
    import torch

    for module in list(model.modules()):
        for name, layer in getattr(module, "lora_dropout", {}).items():
            if isinstance(layer, torch.nn.Dropout):
                module.lora_dropout[name] = cheaper_dropout(layer.p)
