"""Hugging Face models as engine, training and evaluation share them: loading, quantizing, devices, chat templates, tokens.

It does not know what is done with a model.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hustings.errors import EngineError, ModelError, first_line

Tokens = tuple[int, ...]


def device_of(wanted: str, key: str) -> str:
    """`cuda` or `cpu`, whichever the setting asks for or this machine has.

    Args:
        wanted: `auto`, `cpu` or `cuda`.
        key: dotted key of the setting, for the error.

    Raises:
        EngineError: `cuda`, and there is no GPU.
    """
    import torch

    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise EngineError(f"{key}=cuda: PyTorch finds no GPU here; set {key}=auto or cpu.")
    return "cuda" if wanted != "cpu" and there else "cpu"


def load(folder: Path, dtype: Any, device: str, quantized: str, **options: Any) -> tuple[Any, Any]:
    """Tokenizer and model of a folder, from safetensors and without code that comes with it.

    Args:
        dtype: of the weights that are not quantized.
        device: `cpu`, `cuda` or `cuda:1`.
        quantized: `none`, `8bit` or `4bit`.
        options: of `from_pretrained`.

    Raises:
        ModelError: transformers cannot load the model.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    disable_progress_bar()
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **safe)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            device_map={"": device},
            quantization_config=quantization(quantized, dtype),
            use_safetensors=True,
            **options,
            **safe,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(
            f"{folder}: transformers could not load this model ({first_line(error)}). It loads "
            "models that it has code for, from safetensors, and never code that comes with a model."
        ) from error
    return tokenizer, model


def dtype_of(precision: str, device: str) -> Any:
    """The numbers that a model computes in: `exact` is float32; `fast` is bfloat16 where the device computes in it.

    A CPU without such instructions emulates them, far more slowly than it computes in float32.
    """
    import torch

    native = device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if precision == "fast" and native else torch.float32


def quantization(kind: str, dtype: Any) -> Any:
    """How bitsandbytes is to load the weights: 8bit, 4bit (nf4), or None for neither."""
    from transformers import BitsAndBytesConfig

    # It would say for every layer and token that LLM.int8() computes in float16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    match kind:
        case "8bit":
            return BitsAndBytesConfig(load_in_8bit=True)
        case "4bit":
            return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        case _:
            return None


def with_adapter(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """The model with a PEFT adapter on it."""
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # PEFT imports it, and it misses kernels that are optional
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses a name of transformers that is about to change
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)


class Chat:
    """One user turn, as the chat template of a model writes it; a model without one reads it and a blank line.

    Templates differ: some refuse a system's or a second user's turn, so there is neither; some write the token that
    begins a text, some leave it to the tokenizer; some set a space before the answer, some do not.

    Args:
        render: puts turns (role, content) through the template, with or without the opening of the answer; None when
            the model has no template.
        bos: the token that begins a text, as it is written; empty when there is none.

    Raises:
        ModelError: the template does not take a single user's turn.
    """

    def __init__(self, render: Callable[[list[dict[str, str]], bool], str] | None, bos: str) -> None:
        self._render, self._bos = render, bos
        self._gap = ""
        if render is None:
            return
        user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
        try:
            opened = render([user], True)
        except Exception as error:  # a template raises what it likes
            raise ModelError(
                f"The model's chat template refuses a single turn of the user ({first_line(error)}); take another "
                "model, or correct the template that is in its folder or file."
            ) from error
        try:
            if render([user, assistant], False).startswith(f"{opened} b"):
                self._gap = " "
        except Exception:  # it is not made for conversations
            pass

    def text(self, prompt: str, start: str = "") -> str:
        """What the model reads: the user's turn, and the words that the answer begins with."""
        if self._render is None:
            return f"{prompt}\n\n{start}"
        opened = self._render([{"role": "user", "content": prompt}], True)
        return f"{opened}{self._gap}{start}" if start else opened

    def begun(self, text: str) -> bool:
        """Whether a text has the token that begins it, so that the tokenizer must not add another."""
        return bool(self._bos) and text.startswith(self._bos)


def chat_of(tokenizer: Any) -> Chat:
    """The chat template of a tokenizer."""

    def rendered(turns: list[dict[str, str]], opening: bool) -> str:
        return tokenizer.apply_chat_template(
            turns, add_generation_prompt=opening, tokenize=False, enable_thinking=False
        )

    return Chat(rendered if tokenizer.chat_template else None, tokenizer.bos_token or "")


def prompt_tokens(tokenizer: Any, chat: Chat, prompt: str, start: str) -> list[int]:
    """A user's turn as the model sees it: through the chat template, with the prefilled beginning of the answer."""
    text = chat.text(prompt, start)
    return tokenizer(text, add_special_tokens=not chat.begun(text)).input_ids


def sequences_of(tokenizer: Any, options: Sequence[str]) -> list[Tokens]:
    """The tokens of each option."""
    return [tuple(tokenizer(option, add_special_tokens=False).input_ids) for option in options]


def continuation(tokenizer: Any, prompt: list[int], tokens: list[int]) -> str:
    """The text that `tokens` add. SentencePiece drops a leading space unless there is a token before it."""
    before: str = tokenizer.decode(prompt[-1:], skip_special_tokens=True)
    both: str = tokenizer.decode(prompt[-1:] + tokens, skip_special_tokens=True)
    if both.startswith(before):
        return both[len(before) :]
    return tokenizer.decode(tokens, skip_special_tokens=True)


def ends_of(named: int | list[int] | None, tokenizer: Any) -> set[int]:
    """The tokens that end an answer: those that the model's generation config names, and the tokenizer's own."""
    ends = named if isinstance(named, list) else [named]
    return {end for end in (*ends, tokenizer.eos_token_id) if end is not None}
