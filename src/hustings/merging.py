"""Merges an adapter into its model and writes a GGUF file, for engines that cannot load adapters.

It does not know about engines.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from hustings.gguf.export import export_gguf, exportable
from hustings.huggingface import load, with_adapter
from hustings.identity import sha256
from hustings.models import Weights, as_folder, cached, once
from hustings.progress import say

ADAPTER_FILE = "adapter_model.safetensors"
"""PEFT's name for the weights of an adapter."""
SCALE_FILE = "scale.txt"
"""File in the folder of a rescaled adapter that holds the factor."""


def merged(weights: Weights, adapter: Path, *, eight_bits: bool = False) -> Weights:
    """The model with the adapter merged into it, as a GGUF file in the cache.

    Args:
        weights: weights of the model.
        adapter: folder of a PEFT adapter.
        eight_bits: write matrices as Q8_0 instead of F16.

    Raises:
        ModelError: GGUF, or our export, does not support the model.
    """
    scale = adapter / SCALE_FILE
    times = f" × {scale.read_text()}" if scale.exists() else ""
    of = f"{weights.fingerprint} {sha256(adapter / ADAPTER_FILE)}{times}"
    fingerprint = hashlib.sha256(of.encode()).hexdigest()

    def export(part: Path) -> None:
        import torch

        base = as_folder(weights, say)
        exportable(base)
        say(f"{weights.name}: merging {adapter.name} and exporting to GGUF for OpenVINO (only once)")
        tokenizer, model = load(base, torch.float32, "cpu", "none")
        whole: Any = with_adapter(model, adapter).merge_and_unload()
        with tempfile.TemporaryDirectory(dir=part.parent) as name:
            whole.to(torch.float16).save_pretrained(name)
            tokenizer.save_pretrained(name)
            export_gguf(Path(name), weights.gguf, part, eight_bits=eight_bits)

    return Weights(
        weights.name, fingerprint, once(cached(fingerprint, ".q8_0.gguf" if eight_bits else ".gguf"), export), None
    )
