"""What GGUF and transformers call the same tensors, and how each orders the rows of attention heads.

It does not read or write files.
"""

from typing import Any

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


def hf_name(name: str) -> str:
    """`blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`; KeyError for a tensor without a counterpart."""
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("blk."):
        _, layer, part = stem.split(".", 2)
        return f"model.layers.{layer}.{_LAYER[part]}.{kind}"
    return f"{_OUTSIDE[stem]}.{kind}"


def gguf_name(name: str) -> str:
    """The inverse of `hf_name`."""
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{_LAYER_BACK[part]}.{kind}"
    return f"{_OUTSIDE_BACK[stem]}.{kind}"


def interleaved(tensor: Any, heads: int) -> Any:
    """Rows of a Llama q or k projection, (heads · size, …), as GGUF orders them: the halves of a head interleaved."""
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def halved(tensor: Any, heads: int) -> Any:
    """The inverse of `interleaved`."""
    return tensor.reshape(heads, -1, 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def rotated_heads(name: str, architecture: str, heads: int, key_heads: int) -> int | None:
    """Number of heads by which the rows of a tensor are reordered; None for most tensors."""
    if architecture != "llama":
        return None
    return heads if ".attn_q." in name else key_heads if ".attn_k." in name else None
