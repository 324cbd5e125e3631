"""Converts a GGUF file to a transformers folder.

It does not know where files come from (models.py) or how models are run.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hustings.errors import ModelError, quoting
from hustings.gguf.header import BF16, F16, F32, UNQUANTIZED, GgufHeader, GgufTensor, gguf_header
from hustings.gguf.names import halved, hf_name, rotated_heads
from hustings.gguf.quants import dequantize


def convert(file: Path, folder: Path) -> None:
    """Write the weights of a GGUF file as a transformers folder (see models.as_folder).

    Raises:
        ModelError: the file cannot be converted faithfully.
    """
    from safetensors.torch import save_file

    header = unscaled(file)
    with convertible(file):
        tensors = dict(_tensors(file, header))
        tokenizer = _tokenizer(file, header)
        config = _config(
            header, tied="lm_head.weight" not in tensors, biased="model.layers.0.self_attn.q_proj.bias" in tensors
        )
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def convertible(file: Path) -> Generator[None]:
    """Turn what the libraries raise for an unknown tensor or tokenizer into a ModelError."""
    said = f"{file}: this file has a tensor or tokenizer that cannot be converted ({{}}). "
    with quoting(ModelError, f"{said}Use the original model with model=hf model.id=…"):
        yield


def unscaled(file: Path) -> GgufHeader:
    """The header of a GGUF file that uses no RoPE scaling; raises ModelError for one that does."""
    header = gguf_header(file)
    if header.get("*.rope.scaling.type", "none") != "none" or any("rope_freqs" in t.name for t in header.tensors):
        raise ModelError(
            f"{file}: this file uses RoPE scaling, which GGUF does not describe completely; use the original "
            "model with model=hf model.id=…, or set engine=openvino engine.faithful=false."
        )
    return header


def _tensors(file: Path, header: GgufHeader) -> Iterator[tuple[str, Any]]:
    """Tensors with the names and the row order that transformers uses."""
    heads: int = header.get("*.attention.head_count")
    key_heads: int = header.get("*.attention.head_count_kv", heads)
    for place in header.tensors:
        tensor = tensor_of(file, place)
        heads_of = rotated_heads(place.name, header.architecture, heads, key_heads)
        if heads_of:
            tensor = halved(tensor, heads_of)
        yield hf_name(place.name), tensor.contiguous()


def tensor_of(file: Path, place: GgufTensor) -> Any:
    """A tensor of the file as a PyTorch tensor; quantized ones become float16, the others keep their type."""
    import numpy as np
    import torch

    raw = np.memmap(file, mode="r", dtype=np.uint8, offset=place.start, shape=(place.size,)).view(np.ndarray)
    if place.kind in UNQUANTIZED:
        kind = {F32: torch.float32, F16: torch.float16, BF16: torch.bfloat16}[place.kind]
        return torch.from_numpy(np.array(raw)).view(kind).reshape(place.shape)
    return torch.from_numpy(dequantize(raw, place.shape, place.kind))


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
        # transformers forgets that SmolLM splits digits one by one, which matters in "  1" (two spaces).
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer
