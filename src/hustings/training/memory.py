"""Checks, from the model's config alone, whether a training is possible: layers, rank, quantization, memory.

It loads no weights, and does not know how a model is trained.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings.debate.estimate import CHARACTERS
from hustings.errors import ModelError, TrainingError, quoting
from hustings.files import check_room
from hustings.huggingface import device_of, dtype_of
from hustings.pretrained import config_of
from hustings.settings import TrainSettings

_PROMPT_TOKENS = 150
"""Tokens of a question in its chat template, at most."""
_ROW = 500
"""Bytes of an answer in the store besides its text."""
_BESIDE = 20e6
"""Bytes of the tokenizers, configs and pictures beside an adapter and in its checkpoints."""


def dtype_in(settings: TrainSettings) -> Any:
    """The data type in which the base model computes while it is trained.

    Raises:
        EngineError: device=cuda, but there is no GPU.
    """
    return dtype_of(settings.precision, device_of(settings.device, "device"))


def check(base: Path, name: str, settings: TrainSettings) -> None:
    """Refuse a training that is not possible.

    Args:
        base: folder of the model.
        name: its name, for messages.

    Raises:
        TrainingError: the model has no such layers, the rank is too high, the model cannot be quantized this way, or
            there is too little memory.
        EngineError: device=cuda, but there is no GPU.
    """
    import torch
    from transformers import AutoModelForCausalLM

    device = device_of(settings.device, "device")
    config = config_of(base)
    with torch.device("meta"), quoting(ModelError, f"{base}: transformers cannot build this model ({{}})."):
        model: Any = AutoModelForCausalLM.from_config(config)
    layers = {path: module for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    kinds = sorted({path.rpartition(".")[2] for path in layers} - {"lm_head"})
    missing = [target for target in settings.lora.targets if target not in kinds]
    if missing:
        raise TrainingError(
            f"lora.targets: {name} has no layer called {', '.join(missing)}; it has {', '.join(kinds)}."
        )
    chosen = [layer for path, layer in layers.items() if path.rpartition(".")[2] in settings.lora.targets]
    most = max(min(layer.in_features, layer.out_features) for layer in chosen)
    if settings.lora.r > most:
        raise TrainingError(
            f"lora.r={settings.lora.r}: no layer of {name} has a rank above {most}; set lora.r to at most that."
        )
    if settings.quantization != "none" and config.hidden_size % 64:
        raise TrainingError(
            f"quantization={settings.quantization}: bitsandbytes cannot quantize rows of {config.hidden_size} numbers; "
            "set quantization=none."
        )
    size = _Size(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        embeddings=model.get_input_embeddings().weight.numel(),
        trained=sum(settings.lora.r * (layer.in_features + layer.out_features) for layer in chosen),
        config=config,
    )
    _check_memory(size, settings, device)
    check_room([(Path(settings.artifacts), size.written(settings))], "choose a smaller lora.r")


@dataclass(frozen=True, slots=True)
class _Size:
    """How large a model and its adapter are."""

    parameters: int
    embeddings: int
    """Parameters in the input embeddings, which are never quantized."""
    trained: int
    """Parameters of the adapter."""
    config: Any
    """The transformers config."""

    def needed(self, settings: TrainSettings, quantization: str, batch: int, recompute: bool) -> int:
        """Bytes needed: weights; adapter, gradient and Adam's two moments; activations; logits and their gradient."""
        config = self.config
        width = dtype_in(settings).itemsize
        per_weight = {"none": width, "8bit": 1.1, "4bit": 0.6}[quantization]
        weights = per_weight * (self.parameters - self.embeddings) + width * self.embeddings
        sequences = batch * (2 if settings.method.kind == "dpo" else 1)
        tokens = sequences * (_PROMPT_TOKENS + settings.interview.answer_tokens)
        kept = 2 if recompute else 24 + 8 * config.intermediate_size // config.hidden_size
        activations = width * tokens * config.hidden_size * config.num_hidden_layers * kept
        logits = 10 * sequences * settings.interview.answer_tokens * config.vocab_size
        return int(weights + 20 * self.trained + activations + logits + 5e8)

    def written(self, settings: TrainSettings) -> float:
        """Bytes on disk: adapters, two checkpoints with Adam's moments, and questions with their answers."""
        dpo = settings.method.kind == "dpo"
        answers = (settings.questions + settings.held_out) * settings.answers_per_question * 2
        rows = answers * (_ROW + CHARACTERS * settings.interview.answer_tokens)
        return 4 * self.trained * (1 + dpo + 2 * 3 * (1 + dpo)) + rows + _BESIDE


def _check_memory(size: _Size, settings: TrainSettings, device: str) -> None:
    """Refuse a training that does not fit into the free memory, and say what would fit."""
    import psutil
    import torch

    free = torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
    wanted = size.needed(settings, settings.quantization, settings.batch_size, settings.recompute)
    if wanted <= free:
        return
    divisors = [batch for batch in range(settings.batch_size, 0, -1) if settings.method.batch % batch == 0]
    options = [(settings.quantization, batch, False) for batch in divisors]
    options += [(settings.quantization, 1, True), ("4bit", 1, True)]
    fits = next((option for option in options if size.needed(settings, *option) <= free), None)
    advice = (
        f"quantization={fits[0]} batch_size={fits[1]} recompute={str(fits[2]).lower()} would fit"
        if fits
        else "choose a smaller model or a larger machine"
    )
    raise TrainingError(
        f"This training needs about {wanted / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; {advice}."
    )
