"""Reads steering vectors: one for each layer of a model, in a safetensors file.

It does not know how they are made.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=64)
def load_vector(file: Path, layer: int) -> Any:
    """The vector of a layer, (width,), float32.

    Args:
        layer: from 0.
    """
    from safetensors import safe_open

    with safe_open(str(file), "pt") as tensors:
        return tensors.get_tensor(f"layer.{layer}").float()
