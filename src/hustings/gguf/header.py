"""Reads what comes before the weights in a GGUF file: metadata, and where each tensor is.

It does not read the weights.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hustings.errors import ModelError
from hustings.pretrained import refuse_pointer

# gguf.GGUFReader takes 2 s for a small file and 7 s for one of 1 GB, because it makes numpy views of every string.
# Source of the layout: ggml's docs/gguf.md, versions 2 and 3, little endian.

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
F32, F16, BF16 = 0, 1, 30
UNQUANTIZED = (F32, F16, BF16)
"""ggml's numbers for the types that are not quantized."""


class GgufValue(NamedTuple):
    """A value of a GGUF file's metadata, with its type numbers, so that it can be written back unchanged."""

    kind: int
    of: int | None
    """Type of an array's items."""
    value: Any


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where a tensor is in a GGUF file."""

    name: str
    shape: tuple[int, ...]
    """Rows first, as in PyTorch."""
    kind: int
    """ggml's number for the quantization."""
    start: int
    """First byte in the file."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What comes before the weights in a GGUF file."""

    architecture: str
    metadata: dict[str, GgufValue]
    tensors: tuple[GgufTensor, ...]

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value; `*` at the start of `key` stands for the architecture."""
        found = self.metadata.get(key.replace("*", self.architecture))
        return default if found is None else found.value

    @property
    def context(self) -> int | None:
        """Longest text that the model was trained for, in tokens."""
        return self.get("*.context_length")


class _Cursor:
    """Reads values one after the other, moving its position forward."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        return self.strings(1)[0]

    def strings(self, count: int) -> list[str]:
        data, at, length = self.data, self.at, struct.Struct("<Q").unpack_from
        found: list[str] = []
        for _ in range(count):
            end = at + 8 + length(data, at)[0]
            if end > len(data):
                raise EOFError
            found.append(data[at + 8 : end].decode())
            at = end
        self.at = at
        return found

    def value(self) -> GgufValue:
        kind: int = self.scalar("I")
        if kind == STRING:
            return GgufValue(kind, None, self.string())
        if kind != ARRAY:
            return GgufValue(kind, None, self.scalar(_SCALARS[kind]))
        of, count = self.scalar("I"), self.scalar("Q")
        if of == STRING:
            return GgufValue(kind, of, self.strings(count))
        values = struct.unpack_from(f"<{count}{_SCALARS[of]}", self.data, self.at)
        self.at += struct.calcsize(f"<{count}{_SCALARS[of]}")
        return GgufValue(kind, of, list(values))


def gguf_header(path: Path) -> GgufHeader:
    """Read a GGUF file up to its weights, and check that no weights are missing.

    Raises:
        ModelError: the file does not exist, has another format, is damaged or truncated, or holds an architecture that
            no engine runs from GGUF.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != b"GGUF":
                refuse_pointer(path, ModelError)
                raise ModelError(
                    f"{path}: this is not a GGUF file (its first four bytes are not GGUF); set model.path to one."
                )
            header, end = _parse(_Cursor(data)), len(data)
    except (EOFError, struct.error, KeyError, UnicodeDecodeError, ArithmeticError, MemoryError) as error:
        raise ModelError(
            f"{path}: this GGUF file is damaged or cut off within its header; download it again."
        ) from error
    except ValueError as error:
        raise ModelError(f"{path}: this file is empty; download it again.") from error
    except OSError as error:
        raise ModelError(f"{path}: this GGUF file cannot be read ({error.strerror}); set model.path.") from error
    if header.architecture not in _ARCHITECTURES:
        raise ModelError(
            f"{path}: the architecture {header.architecture!r} cannot be run from a GGUF file; only "
            f"{', '.join(_ARCHITECTURES)} can. Use the original model with model=hf model.id=…"
        )
    if header.get("split.count", 1) > 1:
        raise ModelError(f"{path}: this file is one of several parts; merge them with llama-gguf-split --merge.")
    missing = max((tensor.start + tensor.size for tensor in header.tensors), default=0) - end
    if missing > 0:
        raise ModelError(f"{path}: the last {missing} bytes of this GGUF file are missing; download it again.")
    return header


def _parse(cursor: _Cursor) -> GgufHeader:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    cursor.at = 4
    if cursor.scalar("I") not in (2, 3):
        raise KeyError
    count, pairs = cursor.scalar("Q"), cursor.scalar("Q")
    metadata: dict[str, GgufValue] = {}
    for _ in range(pairs):
        key = cursor.string()
        metadata[key] = cursor.value()
    places: list[tuple[str, tuple[int, ...], int, int]] = []
    for _ in range(count):
        name = cursor.string()
        shape = tuple(cursor.scalar("Q") for _ in range(cursor.scalar("I")))[::-1]
        places.append((name, shape, cursor.scalar("I"), cursor.scalar("Q")))
    alignment = metadata["general.alignment"].value if "general.alignment" in metadata else 32
    base = -(-cursor.at // alignment) * alignment
    tensors: list[GgufTensor] = []
    for name, shape, kind, offset in places:
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except ValueError as error:
            raise KeyError from error
        if shape and shape[-1] % block:
            raise KeyError
        tensors.append(GgufTensor(name, shape, kind, base + offset, math.prod(shape) // block * size))
    return GgufHeader(metadata["general.architecture"].value, metadata, tuple(tensors))


def quantized(file: Path) -> bool:
    """Whether any tensor of the file is stored in fewer than 16 bits."""
    return any(tensor.kind not in UNQUANTIZED for tensor in gguf_header(file).tensors)
