"""Converts between a GGUF file's quantized blocks and float16, in parts on all cores.

It does not know what a tensor means or where it is kept.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Q8_BLOCK, Q8_BYTES = 32, 34
"""Numbers in a block of Q8_0, and the bytes that they take up."""
_WIDE = 1 << 18
"""How many numbers are converted at once: as many as fit into a core's cache."""


def dequantize(raw: "NDArray[np.uint8]", shape: tuple[int, ...], kind: int) -> "NDArray[np.float16]":
    """The numbers of a quantized tensor.

    Args:
        raw: its bytes, (bytes,).
        shape: the result's shape.
        kind: ggml's number for the quantization.

    Raises:
        NotImplementedError: the gguf library cannot read this quantization.
    """
    import numpy as np
    from gguf import quants
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    blocks = raw.reshape(-1, size)
    out = np.empty((len(blocks), block), np.float16)

    def part(start: int, end: int) -> None:
        out[start:end] = quants.dequantize(blocks[start:end].reshape(1, -1), GGMLQuantizationType(kind)).reshape(
            -1, block
        )

    _in_parts(part, len(blocks), _WIDE // block)
    return out.reshape(shape)


def quantize_q8(numbers: "NDArray[np.float16]") -> "NDArray[np.uint8]":
    """A matrix in Q8_0: one scale for every 32 numbers, and a byte for each number.

    Args:
        numbers: (rows, columns); columns is a multiple of 32.

    Returns:
        (rows, columns · 34 / 32)
    """
    import numpy as np
    from gguf import quants
    from gguf.constants import GGMLQuantizationType

    blocks = numbers.reshape(-1, Q8_BLOCK)
    out = np.empty((len(blocks), Q8_BYTES), np.uint8)

    def part(start: int, end: int) -> None:
        wide = blocks[start:end].astype(np.float32).reshape(1, -1)
        out[start:end] = quants.quantize(wide, GGMLQuantizationType.Q8_0).reshape(-1, Q8_BYTES)

    _in_parts(part, len(blocks), _WIDE // Q8_BLOCK)
    return out.reshape(len(numbers), -1)


def _in_parts(function: Callable[[int, int], Any], total: int, size: int) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(function, start, min(start + size, total)) for start in range(0, total, size)]:
            done.result()
