"""GGUF files: reading what stands before the weights, and the way to a transformers folder and back.

It does not know where files come from (models.py) nor how they are run.
"""

import json
import mmap
import struct
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hustings.errors import ModelError, first_line

# gguf.GGUFReader takes 2 s for a small file and 7 s for one of 1 GB, as it makes numpy views of every string.
# Source of the layout: ggml's docs/gguf.md, versions 2 and 3, little endian.

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_F32, _F16, _BF16 = 0, 1, 30
_KEPT = (_F32, _F16, _BF16)
"""What is not quantized."""


class GgufValue(NamedTuple):
    """A value of a GGUF file's metadata, with its type numbers, so that it can be written again as it was."""

    kind: int
    of: int | None
    """Type of an array's items."""
    value: Any


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where a tensor lies in a GGUF file."""

    name: str
    shape: tuple[int, ...]
    """Rows first, as in PyTorch."""
    kind: int
    """ggml's number of the quantization."""
    start: int
    """First byte in the file."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands before the weights of a GGUF file."""

    architecture: str
    metadata: dict[str, GgufValue]
    tensors: tuple[GgufTensor, ...]

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value; `*` at the start of `key` stands for the architecture."""
        found = self.metadata.get(key.replace("*", self.architecture))
        return default if found is None else found.value

    @property
    def context(self) -> int | None:
        """Longest text that the model was made for, tokens."""
        return self.get("*.context_length")

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of a chat model."""
        return self.get("tokenizer.chat_template")


class _Cursor:
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
        if kind == _STRING:
            return GgufValue(kind, None, self.string())
        if kind != _ARRAY:
            return GgufValue(kind, None, self.scalar(_SCALARS[kind]))
        of, count = self.scalar("I"), self.scalar("Q")
        if of == _STRING:
            return GgufValue(kind, of, self.strings(count))
        values = struct.unpack_from(f"<{count}{_SCALARS[of]}", self.data, self.at)
        self.at += struct.calcsize(f"<{count}{_SCALARS[of]}")
        return GgufValue(kind, of, list(values))


def gguf_header(path: Path) -> GgufHeader:
    """Read a GGUF file up to its weights, and check that all of them are there.

    Raises:
        ModelError: no such file, another format, damaged, cut off, or an architecture that no engine runs.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != b"GGUF":
                raise ModelError(f"{path}: this is not a GGUF file (it does not begin with GGUF); set model.path.")
            header, end = _parse(_Cursor(data)), len(data)
    except (EOFError, struct.error, KeyError, UnicodeDecodeError, ArithmeticError, MemoryError) as error:
        raise ModelError(
            f"{path}: this GGUF file is damaged or cut off within its first part; download it again."
        ) from error
    except ValueError as error:
        raise ModelError(f"{path}: this file is empty; download it again.") from error
    except OSError as error:
        raise ModelError(f"{path}: this GGUF file cannot be read ({error.strerror}); set model.path.") from error
    if header.architecture not in _ARCHITECTURES:
        raise ModelError(
            f"{path}: models of the architecture {header.architecture!r} cannot be run from a GGUF file, only "
            f"{', '.join(_ARCHITECTURES)}; take the original model with model=hf model.id=…"
        )
    if header.get("split.count", 1) > 1:
        raise ModelError(f"{path}: this is one of several parts; merge them with llama-gguf-split --merge.")
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
        number = 1
        for length in shape:
            number *= length
        tensors.append(GgufTensor(name, shape, kind, base + offset, number // block * size))
    return GgufHeader(metadata["general.architecture"].value, metadata, tuple(tensors))


# Both directions between GGUF and transformers go through this one table of names.
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER_BACK = {value: key for key, value in _LAYER.items()}
_OUTSIDE_BACK = {value: key for key, value in _OUTSIDE.items()}


def _hf_name(name: str) -> str:
    """`blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`; KeyError for what has no counterpart."""
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("blk."):
        _, layer, part = stem.split(".", 2)
        return f"model.layers.{layer}.{_LAYER[part]}.{kind}"
    return f"{_OUTSIDE[stem]}.{kind}"


def _gguf_name(name: str) -> str:
    """The other way round."""
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{_LAYER_BACK[part]}.{kind}"
    return f"{_OUTSIDE_BACK[stem]}.{kind}"


def _interleaved(tensor: Any, heads: int) -> Any:
    """Rows of a Llama q or k projection, (heads · size, …), as GGUF orders them: the halves of a head interleaved."""
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def _halved(tensor: Any, heads: int) -> Any:
    """The other way round."""
    return tensor.reshape(heads, -1, 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def _rotated_heads(name: str, architecture: str, heads: int, key_heads: int) -> int | None:
    """How many heads the rows of a tensor are to be reordered by; None for most tensors."""
    if architecture != "llama":
        return None
    return heads if ".attn_q." in name else key_heads if ".attn_k." in name else None


def convert(file: Path, folder: Path) -> None:
    """Write the weights of a GGUF file as a transformers folder (see models.as_folder).

    Raises:
        ModelError: the file cannot be converted without loss of meaning.
    """
    from safetensors.torch import save_file

    header = _unstretched(file)
    with _convertible(file):
        tensors = dict(_tensors(file, header))
        tokenizer = _tokenizer(file, header)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = _config(
        header, tied="lm_head.weight" not in tensors, biased="model.layers.0.self_attn.q_proj.bias" in tensors
    )
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _convertible(file: Path) -> Generator[None]:
    """What the libraries raise at a tensor or tokenizer that they do not know becomes one paragraph."""
    try:
        yield
    except (KeyError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"{file}: this file has a tensor or tokenizer that cannot be converted ({first_line(error)}); "
            "take the original model with model=hf model.id=…"
        ) from error


def _unstretched(file: Path) -> GgufHeader:
    header = gguf_header(file)
    if header.get("*.rope.scaling.type", "none") != "none" or any("rope_freqs" in t.name for t in header.tensors):
        raise ModelError(
            f"{file}: this file stretches positions (RoPE scaling) in a way that it does not fully describe; "
            "take the original model with model=hf model.id=…, or set engine=openvino engine.faithful=false."
        )
    return header


def _tensors(file: Path, header: GgufHeader) -> Iterator[tuple[str, Any]]:
    """Names and PyTorch tensors as transformers has them."""
    heads: int = header.get("*.attention.head_count")
    key_heads: int = header.get("*.attention.head_count_kv", heads)
    for place in header.tensors:
        tensor = _tensor(file, place)
        turned = _rotated_heads(place.name, header.architecture, heads, key_heads)
        if turned:
            tensor = _halved(tensor, turned)
        yield _hf_name(place.name), tensor.contiguous()


def _tensor(file: Path, place: GgufTensor) -> Any:
    """A tensor of the file in PyTorch: what was quantized in float16, the others as they are."""
    import numpy as np
    import torch
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    raw = np.memmap(file, mode="r", dtype=np.uint8, offset=place.start, shape=(place.size,))
    if place.kind in _KEPT:
        kind = {_F32: torch.float32, _F16: torch.float16, _BF16: torch.bfloat16}[place.kind]
        return torch.from_numpy(np.array(raw)).view(kind).reshape(place.shape)
    rows = raw.reshape(*place.shape[:-1], -1)
    return torch.from_numpy(dequantize(rows, GGMLQuantizationType(place.kind)).astype(np.float16))


def _config(header: GgufHeader, *, tied: bool, biased: bool) -> Any:
    from transformers import AutoConfig

    heads: int = header.get("*.attention.head_count")
    hidden: int = header.get("*.embedding_length")
    [vocabulary] = [tensor.shape[0] for tensor in header.tensors if tensor.name == "token_embd.weight"]
    size = header.get("*.attention.key_length") or header.get("*.rope.dimension_count") or hidden // heads
    family = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
    return AutoConfig.for_model(
        header.architecture,
        architectures=[family[header.architecture]],
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=header.get("*.feed_forward_length"),
        num_hidden_layers=header.get("*.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=header.get("*.attention.head_count_kv", heads),
        head_dim=size,
        max_position_embeddings=header.context,
        rms_norm_eps=header.get("*.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": header.get("*.rope.freq_base", 10000.0)},
        tie_word_embeddings=tied,
        bos_token_id=header.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=header.get("tokenizer.ggml.eos_token_id"),
        pad_token_id=header.get("tokenizer.ggml.padding_token_id"),
        dtype="float16",
        **({"attention_bias": biased} if header.architecture == "llama" else {}),
    )


def _tokenizer(file: Path, header: GgufHeader) -> Any:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if header.get("tokenizer.ggml.pre") == "smollm":
        # transformers leaves out that SmolLM takes digits one by one, which shows in "  1" (two spaces).
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


def quantized(file: Path) -> bool:
    """Whether any tensor of the file is stored in fewer bits than 16."""
    return any(tensor.kind not in _KEPT for tensor in gguf_header(file).tensors)


def dequantize_gguf(file: Path, out: Path) -> None:
    """Write a quantized GGUF file again with its matrices in F16; its metadata are copied.

    Raises:
        ModelError: the file cannot be converted without loss of meaning.
    """
    header = _unstretched(file)
    tensors = [_Written(place.name, place.shape, partial(_tensor, file, place)) for place in header.tensors]
    with _convertible(file):
        _write(out, file, header.architecture, header.metadata, tensors)


class _Written(NamedTuple):
    """A tensor to be written: its name and shape in GGUF, and how its numbers are had when it is its turn."""

    name: str
    shape: Sequence[int]
    numbers: Callable[[], Any]


def _write(
    out: Path, source: Path, architecture: str, metadata: dict[str, GgufValue], tensors: Sequence[_Written]
) -> None:
    """A GGUF file with matrices in F16, norms and biases in F32; one tensor at a time is in memory."""
    import numpy as np
    import torch
    from gguf import GGUFWriter
    from gguf.constants import GGUFValueType, LlamaFileType

    with closing(GGUFWriter(out, architecture)) as writer:
        own = ("general.architecture", "general.quantization_version", "general.alignment")
        for key, (kind, of, value) in metadata.items():
            if key not in own:
                writer.add_key_value(key, value, GGUFValueType(kind), None if of is None else GGUFValueType(of))
        writer.kv_data[0].pop("general.file_type", None)
        writer.add_file_type(LlamaFileType.MOSTLY_F16)
        for name, shape, _ in tensors:
            size, kind = (2, np.float16) if len(shape) > 1 else (4, np.float32)
            writer.add_tensor_info(name, shape, np.dtype(kind), size * int(np.prod(shape)))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, shape, numbers in tensors:
            tensor = numbers().to(torch.float16 if len(shape) > 1 else torch.float32)
            if not torch.isfinite(tensor).all():
                raise ModelError(
                    f"{source}: the tensor {name} has numbers beyond F16's range; use engine=transformers."
                )
            writer.write_tensor_data(tensor.contiguous().numpy())


def export_gguf(folder: Path, like: Path | None, out: Path) -> None:
    """Write the weights of a transformers folder as a GGUF file: matrices in F16, norms and biases in F32.

    Args:
        folder: config, tokenizer and safetensors of a Llama, Mistral, Qwen2 or Qwen3 model.
        like: a GGUF file of the same model, whose metadata (tokenizer, chat template, …) is copied; None builds
            the metadata from the folder.
        out: the file to write.

    Raises:
        ModelError: GGUF, or we, cannot express this model.
    """
    from safetensors import safe_open
    from transformers import AutoConfig

    architecture = exportable(folder)
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if like is None:
        metadata = {**_model_metadata(config, architecture), **_tokenizer_metadata(folder, config)}
    else:
        header = gguf_header(like)
        if header.architecture != architecture:
            raise ModelError(f"{like}: this is a {header.architecture} model, and {folder} is not; take another file.")
        metadata = header.metadata
    heads: tuple[int, int] = config.num_attention_heads, config.num_key_value_heads

    def numbers(file: Any, name: str, target: str) -> Any:
        tensor = file.get_tensor(name)
        turned = _rotated_heads(target, architecture, *heads)
        return _interleaved(tensor, turned) if turned else tensor

    tensors: list[_Written] = []
    for file in [safe_open(path, "pt") for path in sorted(folder.glob("*.safetensors"))]:
        for name in file.keys():  # noqa: SIM118 (a safe_open is no dictionary)
            if name.endswith(".rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings):
                continue
            try:
                target = _gguf_name(name)
            except (KeyError, ValueError) as error:
                raise ModelError(
                    f"{folder}: GGUF has no place for the tensor {name}; use engine=transformers."
                ) from error
            tensors.append(_Written(target, file.get_slice(name).get_shape(), partial(numbers, file, name, target)))
    _write(out, folder, architecture, metadata, tensors)


def exportable(folder: Path) -> str:
    """GGUF's name of the architecture of a transformers folder.

    Raises:
        ModelError: GGUF, or we, cannot express this model.
    """
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    names = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
    architecture = names.get(config.model_type)
    if architecture is None:
        raise ModelError(
            f"{folder}: models of the type {config.model_type!r} cannot be written as GGUF, only "
            f"{', '.join(names)}; use engine=transformers."
        )
    rope: dict[str, Any] = config.rope_parameters
    sliding = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if rope.get("rope_type", "default") != "default" or sliding:
        raise ModelError(
            f"{folder}: models with RoPE scaling or a sliding window cannot be written as GGUF; "
            "use engine=transformers."
        )
    return architecture


def _model_metadata(config: Any, architecture: str) -> dict[str, GgufValue]:
    size: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": size,
        "attention.value_length": size,
        "rope.dimension_count": size,
        "vocab_size": config.vocab_size,
    }
    fractions = {
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": config.rope_parameters["rope_theta"],
    }
    return {
        **{f"{architecture}.{key}": GgufValue(4, None, value) for key, value in numbers.items()},
        **{f"{architecture}.{key}": GgufValue(6, None, value) for key, value in fractions.items()},
    }


_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NORMAL, _CONTROL, _USER, _UNUSED = 1, 3, 4, 5


def _tokenizer_metadata(folder: Path, config: Any) -> dict[str, GgufValue]:
    """GGUF metadata of a byte-level BPE tokenizer."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    described: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    split = _split_name(described["pre_tokenizer"])
    if described["model"]["type"] != "BPE" or described["model"].get("byte_fallback") or split is None:
        raise ModelError(
            f"{folder}: this kind of tokenizer cannot be written as GGUF so that OpenVINO reads it rightly, only the "
            "byte-level BPE of Qwen and SmolLM; use engine=transformers."
        )
    tokens = [f"[PAD{place}]" for place in range(config.vocab_size)]
    kinds = [_UNUSED] * len(tokens)
    for token, place in described["model"]["vocab"].items():
        tokens[place], kinds[place] = token, _NORMAL
    for added in described["added_tokens"]:
        tokens[added["id"]], kinds[added["id"]] = added["content"], _CONTROL if added["special"] else _USER
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]]
    ids = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "unknown": tokenizer.unk_token_id,
        "padding": tokenizer.pad_token_id,
    }
    values = {
        "model": GgufValue(_STRING, None, "gpt2"),
        "pre": GgufValue(_STRING, None, split),
        "tokens": GgufValue(_ARRAY, _STRING, tokens),
        "token_type": GgufValue(_ARRAY, 5, kinds),
        "merges": GgufValue(_ARRAY, _STRING, merges),
        "add_bos_token": GgufValue(7, None, tokenizer("a").input_ids[0] == tokenizer.bos_token_id),
        **{f"{name}_token_id": GgufValue(4, None, place) for name, place in ids.items() if place is not None},
    }
    metadata = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    if tokenizer.chat_template:
        metadata["tokenizer.chat_template"] = GgufValue(_STRING, None, tokenizer.chat_template)
    return metadata


def _split_name(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """llama.cpp's name for how a tokenizer cuts text before merging; None for those that OpenVINO cuts otherwise."""
    steps: list[dict[str, Any]] = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    kinds = [step.get("type") for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        return "qwen2" if steps[0]["pattern"].get("Regex") == _QWEN_SPLIT else None
    return None
