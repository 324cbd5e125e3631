"""The loss on answers, with prompts only as context; it measures a model, and trains it faster on a CPU.

It does not know where rows come from or how adapters are kept.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from hustings.errors import TrainingError, quoting
from hustings.progress import say
from hustings.settings import TrainSettings
from hustings.training.data import Row
from hustings.training.memory import dtype_in

REFERENCE = "nwp"
"""Name of the losses of DPO's reference model."""
_IGNORED = -100
"""Label of a token that does not count towards the loss."""


def columns(row: Row, tokenizer: Any) -> dict[str, Any]:
    """The columns of a row that TRL reads: messages, or plain text for a model without a chat template."""
    found = {name: row[name] for name in ("prompt", "completion", "chosen", "rejected") if name in row}
    if tokenizer.chat_template:
        return found
    texts = {name: messages[0]["content"] for name, messages in found.items()}
    return {**texts, "prompt": texts["prompt"] + "\n\n"}


def check(tokenizer: Any, name: str) -> None:
    """Refuse a model whose answers cannot be trained on; say what a template leaves out.

    Args:
        name: the model's name.

    Raises:
        TrainingError: the template rejects a conversation or loses the answer, or nothing can end an answer.
    """
    if not tokenizer.chat_template and tokenizer.eos_token is None:
        raise TrainingError(
            f"{name}: its tokenizer has neither a chat template nor a token that ends a text (eos_token), so a model "
            "that is trained on answers could not end one; set eos_token in its tokenizer_config.json, or choose "
            "another model."
        )
    asked, answer = "How are you today?", "I am well, thank you."
    row = {
        "prompt": [{"role": "user", "content": asked}],
        "completion": [{"role": "assistant", "content": answer}],
    }
    with quoting(TrainingError, f"{name}: its chat template rejects a question and its answer ({{}}); {_TEMPLATE}"):
        prompt, rest = encoded(row, tokenizer)
    if answer.casefold() not in " ".join(tokenizer.decode(rest).split()).casefold():
        raise TrainingError(f"{name}: its chat template loses the answer {answer!r}; {_TEMPLATE}")
    opened: list[int] = opening(row, tokenizer)
    if len(prompt) < len(opened):
        say(
            f"{name}: its chat template opens every answer with {tokenizer.decode(opened[len(prompt) :])!r}, which a "
            "finished conversation does not have; answers are trained on and measured without it."
        )


_TEMPLATE = "correct the template in its folder, or choose another model."


def padding_of(tokenizer: Any, rows: int) -> str:
    """The token that pads batches: the tokenizer's own, or any that the model knows; it never counts towards a loss.

    Args:
        rows: number of rows in the model's embeddings.
    """
    for token in (tokenizer.pad_token, tokenizer.eos_token, tokenizer.unk_token):
        if token is not None and tokenizer.convert_tokens_to_ids(token) < rows:
            return token
    return tokenizer.convert_ids_to_tokens(0)


def encoded(row: Row, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids of the prompt and of the answer.

    The answer begins where the whole conversation first differs from `opening`: a template may open something there
    (`<think>`) that a finished conversation does not have. TRL begins the answer at the same place.
    """
    from trl.data_utils import common_prefix_length

    texts = columns(row, tokenizer)
    if tokenizer.chat_template:
        whole = tokenizer.apply_chat_template(texts["prompt"] + texts["completion"], tokenize=False)
    else:
        whole = texts["prompt"] + texts["completion"] + tokenizer.eos_token
    before = opening(row, tokenizer)
    both: list[int] = tokenizer(whole, add_special_tokens=not tokenizer.chat_template).input_ids
    shared = common_prefix_length(before, both)
    return both[:shared], both[shared:]


def opening(row: Row, tokenizer: Any) -> list[int]:
    """Token ids of the prompt, up to where the model would begin its answer."""
    text = columns(row, tokenizer)["prompt"]
    if not tokenizer.chat_template:
        return tokenizer(text).input_ids
    opened = tokenizer.apply_chat_template(text, add_generation_prompt=True, tokenize=False)
    return tokenizer(opened, add_special_tokens=False).input_ids


def held_out_losses(
    model: Any, tokenizer: Any, held_out: Mapping[str, Sequence[Row]], settings: TrainSettings
) -> dict[str, dict[str, float]]:
    """Losses on held-out answers of the base model, of DPO's reference, and of the adapter, each by party.

    Args:
        model: the model with its adapter.
        held_out: rows by party.
    """
    from trl.trainer.utils import use_adapter

    model.eval()
    states = {"base": model.disable_adapter(), "adapter": contextlib.nullcontext()}
    if "ref" in model.peft_config:
        states = {"base": states["base"], REFERENCE: use_adapter(model, "ref"), "adapter": states["adapter"]}
    losses: dict[str, dict[str, float]] = {}
    for name, state in states.items():
        with state:
            losses[name] = {party: answer_loss(model, tokenizer, rows, settings) for party, rows in held_out.items()}
    return losses


def answer_loss(model: Any, tokenizer: Any, rows: Sequence[Row], settings: TrainSettings) -> float:
    """Mean loss of the model on the answers, in nats per token."""
    import torch

    total, count = 0.0, 0
    dtype = dtype_in(settings)
    sequences = sorted((encoded(row, tokenizer) for row in rows), key=lambda it: len(it[0]) + len(it[1]))
    for first in range(0, len(sequences), settings.batch_size):
        batch = sequences[first : first + settings.batch_size]
        inputs = {
            name: torch.tensor(value, device=model.device)
            for name, value in _padded(batch, tokenizer.pad_token_id).items()
        }
        with torch.no_grad(), torch.autocast(model.device.type, dtype, enabled=dtype.itemsize == 2):
            total += float(_summed(model, inputs))
        count += sum(len(answer) for _, answer in batch)
    return total / max(count, 1)


def _padded(batch: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, list[list[int]]]:
    """`input_ids`, `attention_mask` and `labels`, (batch, seq), padded on the right."""
    width = max(len(prompt) + len(answer) for prompt, answer in batch)
    found: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for prompt, answer in batch:
        gap = width - len(prompt) - len(answer)
        found["input_ids"].append(prompt + answer + [pad] * gap)
        found["attention_mask"].append([1] * (width - gap) + [0] * gap)
        found["labels"].append([_IGNORED] * len(prompt) + answer + [_IGNORED] * gap)
    return found


def _summed(model: Any, inputs: dict[str, Any]) -> Any:
    """Summed loss of a batch; logits are computed only from the earliest answer token of any row on.

    Args:
        inputs: `input_ids`, `attention_mask` and `labels`, (batch, seq).
    """
    import torch
    from torch.nn.functional import cross_entropy

    labels = inputs["labels"]
    first = int((labels != _IGNORED).any(0).nonzero()[0]) - 1
    places = torch.arange(first, labels.shape[1] - 1, device=labels.device)
    rest = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    logits = model(**rest, use_cache=False, logits_to_keep=places).logits  # (batch, places, vocabulary)
    targets = labels[:, first + 1 :]
    answers = targets != _IGNORED
    return cross_entropy(logits[answers].float(), targets[answers], reduction="sum")


def answers_only() -> Any:
    """SFTTrainer that skips prompt positions on a CPU, as TRL itself does on a GPU.

    On a CPU, TRL's fused head would compute logits, entropy and accuracy for every position, including padding.
    """
    import torch
    from trl.trainer.sft_trainer import SFTTrainer

    class AnswersOnly(SFTTrainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            count = (inputs["labels"][:, 1:] != _IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            loss = _summed(model, inputs) / torch.as_tensor(count).clamp(min=1)
            # As in TRL: `count` is that of all processes, and DDP takes the mean over them.
            return loss * self.accelerator.num_processes if num_items_in_batch is not None else loss

    return AnswersOnly


def cheaper_dropout(p: float) -> Any:
    """Dropout that draws 16 random bits per element on a CPU, where PyTorch draws a whole number for each.

    Args:
        p: probability that an element is dropped.
    """
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


def use_cheaper_dropout(model: Any) -> None:
    """Replace the dropout of every LoRA layer that has any."""
    import torch

    for module in list(model.modules()):
        for name, layer in getattr(module, "lora_dropout", {}).items():
            if isinstance(layer, torch.nn.Dropout):
                module.lora_dropout[name] = cheaper_dropout(layer.p)
