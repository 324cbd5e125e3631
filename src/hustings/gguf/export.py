"""Converts a transformers folder, or a quantized GGUF file, to a GGUF file with matrices in F16 or Q8_0.

It does not know where files come from (models.py) or how models are run.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hustings.errors import ModelError, quoting
from hustings.gguf.convert import convertible, tensor_of, unscaled
from hustings.gguf.header import ARRAY, STRING, GgufValue, gguf_header
from hustings.gguf.names import gguf_name, interleaved, rotated_heads
from hustings.gguf.quants import Q8_BLOCK, quantize_q8
from hustings.pretrained import config_of, tokenizer_of, weight_files


def rewrite_gguf(file: Path, out: Path, *, eight_bits: bool = False) -> None:
    """Write a copy of a quantized GGUF file with its matrices in F16 or Q8_0 and the same metadata.

    Args:
        file: any quantization that the gguf library reads.
        out: the file to write.
        eight_bits: use Q8_0 instead of F16.

    Raises:
        ModelError: the file cannot be converted faithfully.
    """
    header = unscaled(file)
    tensors = [_Written(place.name, place.shape, partial(tensor_of, file, place)) for place in header.tensors]
    with convertible(file):
        _write(out, _Source(file, header.architecture, header.metadata, eight_bits), tensors)


class _Written(NamedTuple):
    """A tensor to be written: its name and shape in GGUF, and a function that reads its numbers."""

    name: str
    shape: Sequence[int]
    numbers: Callable[[], Any]


class _Source(NamedTuple):
    """What a GGUF file is written from, and in which format."""

    path: Path
    """For messages."""
    architecture: str
    metadata: dict[str, GgufValue]
    eight_bits: bool
    """Whether to write matrices in Q8_0 instead of F16."""


def _write(out: Path, source: _Source, tensors: Sequence[_Written]) -> None:
    """Write a GGUF file with matrices in F16 or Q8_0 and norms and biases in F32, one tensor at a time."""
    import numpy as np
    from gguf import GGUFWriter
    from gguf.constants import GGML_QUANT_SIZES, GGUFValueType, LlamaFileType

    with closing(GGUFWriter(out, source.architecture)) as writer:
        own = ("general.architecture", "general.quantization_version", "general.alignment")
        for key, (kind, of, value) in source.metadata.items():
            if key not in own:
                writer.add_key_value(key, value, GGUFValueType(kind), None if of is None else GGUFValueType(of))
        writer.kv_data[0].pop("general.file_type", None)
        writer.add_file_type(LlamaFileType.MOSTLY_Q8_0 if source.eight_bits else LlamaFileType.MOSTLY_F16)
        for name, shape, _ in tensors:
            kind = _kind(shape, source)
            block, width = GGML_QUANT_SIZES[kind]
            size = int(np.prod(shape)) // block * width
            writer.add_tensor_info(name, shape, np.dtype(np.float16), size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(_stored(tensor, source))


def _kind(shape: Sequence[int], source: _Source) -> Any:
    """The type in which a tensor of this shape is written."""
    from gguf.constants import GGMLQuantizationType

    if len(shape) == 1:
        return GGMLQuantizationType.F32
    eight_bits = source.eight_bits and shape[-1] % Q8_BLOCK == 0
    return GGMLQuantizationType.Q8_0 if eight_bits else GGMLQuantizationType.F16


def _stored(tensor: _Written, source: _Source) -> Any:
    """An array with a tensor's bytes as they are written to the file."""
    import numpy as np
    import torch
    from gguf.constants import GGMLQuantizationType

    kind = _kind(tensor.shape, source)
    wanted = torch.float32 if kind == GGMLQuantizationType.F32 else torch.float16
    numbers = tensor.numbers().to(wanted).contiguous().numpy()
    if not np.isfinite(numbers).all():
        raise ModelError(
            f"{source.path}: the tensor {tensor.name} has values beyond F16's range; set engine=transformers."
        )
    return quantize_q8(numbers) if kind == GGMLQuantizationType.Q8_0 else numbers


def export_gguf(folder: Path, like: Path | None, out: Path, *, eight_bits: bool = False) -> None:
    """Write the weights of a transformers folder as a GGUF file: matrices in F16 or Q8_0, norms and biases in F32.

    Args:
        folder: config, tokenizer and safetensors of a Llama, Mistral, Qwen2 or Qwen3 model.
        like: a GGUF file of the same model, whose metadata (tokenizer, chat template, …) is copied; None builds
            the metadata from the folder.
        out: the file to write.
        eight_bits: use Q8_0 instead of F16.

    Raises:
        ModelError: GGUF, or this export, cannot express the model.
    """
    from safetensors import safe_open

    architecture = exportable(folder)
    config = config_of(folder)
    if like is None:
        with quoting(ModelError, f"{folder}: GGUF cannot express this model ({{}}); set engine=transformers."):
            metadata = {**_model_metadata(config, architecture), **_tokenizer_metadata(folder, config)}
    else:
        header = gguf_header(like)
        if header.architecture != architecture:
            raise ModelError(
                f"{like}: this is a {header.architecture} model and {folder} is not; use a GGUF file of the same model."
            )
        metadata = header.metadata
    heads: tuple[int, int] = config.num_attention_heads, config.num_key_value_heads

    def numbers(file: Any, name: str, target: str) -> Any:
        tensor = file.get_tensor(name)
        heads_of = rotated_heads(target, architecture, *heads)
        return interleaved(tensor, heads_of) if heads_of else tensor

    tensors: list[_Written] = []
    for file in [safe_open(path, "pt") for path in weight_files(folder)]:
        for name in file.keys():  # noqa: SIM118 (a safe_open is not a dictionary)
            if name.endswith(".rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings):
                continue
            try:
                target = gguf_name(name)
            except (KeyError, ValueError) as error:
                raise ModelError(
                    f"{folder}: GGUF has no name for the tensor {name}; set engine=transformers."
                ) from error
            tensors.append(_Written(target, file.get_slice(name).get_shape(), partial(numbers, file, name, target)))
    _write(out, _Source(folder, architecture, metadata, eight_bits), tensors)


def exportable(folder: Path) -> str:
    """GGUF's name for the architecture of a transformers folder.

    Raises:
        ModelError: GGUF, or this export, cannot express the model.
    """
    config = config_of(folder)
    names = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
    architecture = names.get(config.model_type)
    if architecture is None:
        raise ModelError(
            f"{folder}: models of the type {config.model_type!r} cannot be exported to GGUF; only "
            f"{', '.join(names)} can. Set engine=transformers."
        )
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    sliding = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if rope.get("rope_type", "default") != "default" or sliding:
        raise ModelError(
            f"{folder}: models with RoPE scaling or a sliding window cannot be exported to GGUF; "
            "set engine=transformers."
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
    tokenizer = tokenizer_of(folder)
    described: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    split = _split_name(described["pre_tokenizer"])
    if described["model"]["type"] != "BPE" or described["model"].get("byte_fallback") or split is None:
        raise ModelError(
            f"{folder}: this tokenizer cannot be exported to GGUF in a form that OpenVINO reads correctly; only the "
            "byte-level BPE of Qwen and SmolLM can. Set engine=transformers."
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
        "model": GgufValue(STRING, None, "gpt2"),
        "pre": GgufValue(STRING, None, split),
        "tokens": GgufValue(ARRAY, STRING, tokens),
        "token_type": GgufValue(ARRAY, 5, kinds),
        "merges": GgufValue(ARRAY, STRING, merges),
        "add_bos_token": GgufValue(7, None, tokenizer("a").input_ids[0] == tokenizer.bos_token_id),
        **{f"{name}_token_id": GgufValue(4, None, place) for name, place in ids.items() if place is not None},
    }
    metadata = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    if tokenizer.chat_template:
        metadata["tokenizer.chat_template"] = GgufValue(STRING, None, tokenizer.chat_template)
    return metadata


def _split_name(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """llama.cpp's name for how a tokenizer splits text before merging; None if OpenVINO splits differently."""
    steps: list[dict[str, Any]] = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    kinds = [step.get("type") for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        return "qwen2" if steps[0]["pattern"].get("Regex") == _QWEN_SPLIT else None
    return None
