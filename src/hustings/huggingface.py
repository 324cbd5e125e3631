"""Hugging Face code shared by engines, training and evaluation: loading, quantizing, devices, chat templates, tokens.

It does not know what models are used for.
"""

import logging
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hustings.errors import AdapterError, EngineError, ModelError, first_line, quoting
from hustings.pretrained import check_tensors, config_of, read_object, tokenizer_of

Tokens = tuple[int, ...]


def device_of(wanted: str, key: str) -> str:
    """The device that a setting selects, `cuda` or `cpu`; `auto` is `cuda` if there is a GPU.

    Args:
        wanted: `auto`, `cpu` or `cuda`.
        key: dotted key of the setting, for the error message.

    Raises:
        EngineError: the setting is `cuda` and there is no GPU.
    """
    import torch

    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise EngineError(f"{key}=cuda: PyTorch finds no GPU on this machine; set {key}=auto or {key}=cpu.")
    return "cuda" if wanted != "cpu" and available else "cpu"


def load(folder: Path, dtype: Any, device: str, quantized: str, **options: Any) -> tuple[Any, Any]:
    """Load the tokenizer and model in a folder, from safetensors and without running any code that comes with them.

    Args:
        dtype: type of the unquantized weights.
        device: `cpu`, `cuda` or `cuda:1`.
        quantized: `none`, `8bit` or `4bit`.
        options: passed to `from_pretrained`.

    Raises:
        ModelError: transformers cannot load the model.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    config_of(folder)
    tokenizer = tokenizer_of(folder)
    said = (
        f"{folder}: transformers could not load this model ({{}}). The model must be of an architecture that "
        "transformers supports, in safetensors files, without code of its own."
    )
    with quoting(ModelError, said):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            device_map={"": device},
            quantization_config=quantization(quantized, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would initialise them randomly
        raise ModelError(
            f"{folder}: {len(missing)} weights of this model are in none of its files ({', '.join(missing[:3])}, …); "
            "download the model again."
        )
    return tokenizer, model


def dtype_of(precision: str, device: str) -> Any:
    """The torch type for computation: `exact` is float32; `fast` is bfloat16 if the device supports it.

    A CPU without bfloat16 instructions emulates them, which is far slower than computing in float32.
    """
    import torch

    native = device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if precision == "fast" and native else torch.float32


def quantization(kind: str, dtype: Any) -> Any:
    """The bitsandbytes configuration for `8bit` or `4bit` (nf4) weights; None for `none`."""
    from transformers import BitsAndBytesConfig

    # It warns about every layer and token that LLM.int8() computes in float16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    match kind:
        case "8bit":
            return BitsAndBytesConfig(load_in_8bit=True)
        case "4bit":
            return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        case _:
            return None


def with_adapter(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """The model with a PEFT adapter loaded onto it.

    Raises:
        AdapterError: the adapter's files are damaged or missing, or it does not fit the model.
    """
    read_object(folder / "adapter_config.json", AdapterError)
    check_tensors(folder / "adapter_model.safetensors", AdapterError)
    # PEFT imports bitsandbytes, which warns about missing optional kernels.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from peft import PeftModel

    said = f"{folder}: PEFT could not load this adapter ({{}}); train it again, or choose another."
    with quoting(AdapterError, said), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses a deprecated name from transformers
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)


_MARK = "\u2042"


class Chat:
    """Formats a single user turn with a model's chat template; without one, the turn is followed by a blank line.

    Templates differ: some fill the system slot themselves, others reject a system turn; some write the token that
    begins a text, others leave it to the tokenizer; some put a space before the answer, others do not.

    Args:
        render: formats turns (role, content) with the template, with or without the opening of the answer; None if the
            model has no template.
        bos: text of the token that begins a text; empty if there is none.
        opening: tokens that the tokenizer itself puts before a text.

    Raises:
        ModelError: the template rejects a single user turn.
    """

    def __init__(
        self, render: Callable[[list[dict[str, str]], bool], str] | None, bos: str, opening: Sequence[int] = ()
    ) -> None:
        self._render, self._bos, self.opening = render, bos, list(opening)
        self._gap = ""
        self.preamble = ""
        """What the template itself writes before a user turn, including the text of its system slot."""
        if render is None:
            return
        user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
        try:
            opened = render([user], True)
        except Exception as error:  # templates can raise anything
            raise ModelError(
                f"The model's chat template rejects a single user turn ({first_line(error)}); use another model, or "
                "correct the template in its folder or file."
            ) from error
        self.preamble = render([{"role": "user", "content": _MARK}], True).partition(_MARK)[0]
        try:
            if render([user, assistant], False).startswith(f"{opened} b"):
                self._gap = " "
        except Exception:  # the template does not support conversations
            pass

    def text(self, prompt: str, start: str = "", system: str | None = None) -> str:
        """The text that the model reads: the user turn, and the prefilled start of the answer.

        Args:
            system: the system turn; None leaves the slot to the template.

        Raises:
            ModelError: the template accepts no system turn.
        """
        if self._render is None:
            return "\n\n".join([*filter(None, [system]), prompt, start])
        turns = [] if system is None else [{"role": "system", "content": system}]
        try:
            opened = self._render([*turns, {"role": "user", "content": prompt}], True)
        except Exception as error:
            raise ModelError(
                f"The model's chat template takes no system turn ({first_line(error)}); set prompt.system=template."
            ) from error
        return f"{opened}{self._gap}{start}" if start else opened

    def begins(self, text: str) -> bool:
        """Whether a text already starts with the token that begins a text, so that the tokenizer must not add another.

        Some templates put line breaks or spaces before it.
        """
        return bool(self._bos) and text.lstrip().startswith(self._bos)


def chat_of(tokenizer: Any) -> Chat:
    """The chat template of a tokenizer."""

    def rendered(turns: list[dict[str, str]], opening: bool) -> str:
        return tokenizer.apply_chat_template(
            turns, add_generation_prompt=opening, tokenize=False, enable_thinking=False
        )

    return Chat(rendered if tokenizer.chat_template else None, tokenizer.bos_token or "", _opening(tokenizer))


def _opening(tokenizer: Any) -> list[int]:
    """The tokens that a tokenizer itself puts before a text. Prompts do not get those that it would add after it."""
    alone: list[int] = tokenizer("a", add_special_tokens=False).input_ids
    whole: list[int] = tokenizer("a").input_ids
    places = (place for place in range(len(whole)) if whole[place : place + len(alone)] == alone)
    return whole[: next(places, 0)]


def prompt_tokens(tokenizer: Any, chat: Chat, prompt: str, start: str, system: str | None = None) -> list[int]:
    """The tokens of a user turn, formatted with the chat template, and of the prefilled start of the answer.

    Raises:
        EngineError: the tokenizer truncated or changed the text.
    """
    text = chat.text(prompt, start, system)
    tokens: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    check_taken(text, tokens, tokenizer.decode)
    return tokens if chat.begins(text) else [*chat.opening, *tokens]


_EDGE = 16
"""Tokens at each end of a prompt that are decoded and compared."""
_NO_CHARACTER = "\ufffd"
"""The result of decoding a character whose tokens are incomplete."""


def check_taken(text: str, tokens: Sequence[int], decode: Callable[[list[int]], str]) -> None:
    """Compare both ends of a prompt with its decoded tokens, ignoring spaces, case and variants of letters.

    Args:
        text: the text given to the tokenizer.
        tokens: the tokens it produced.
        decode: returns the text of tokens.

    Raises:
        EngineError: something was truncated, added or changed.
    """
    given = _squeezed(text)
    first = _squeezed(decode(list(tokens[:_EDGE]))).partition(_NO_CHARACTER)[0]
    last = _squeezed(decode(list(tokens[-_EDGE:]))).rpartition(_NO_CHARACTER)[2]
    if given.startswith(first) and given.endswith(last) and (tokens or not given):
        return
    wrong = "begins" if not given.startswith(first) else "ends"
    was, became = (given[: len(first)], first) if wrong == "begins" else (given[-max(len(last), 40) :], last)
    raise EngineError(
        f"The model's tokenizer changes prompts: one that {wrong} with {was!r} became {len(tokens)} tokens that "
        f"{wrong[:-1]} with {became!r}. Nothing may be cut or added: correct the tokenizer in the model's folder (its "
        "normalizer, truncation or unknown characters), or use another model."
    )


def _squeezed(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def sequences_of(tokenizer: Any, options: Sequence[str]) -> list[Tokens]:
    """The tokens of each option, as the tokenizer itself produces them."""
    return [tuple(tokenizer(option, add_special_tokens=False).input_ids) for option in options]


def continuation(tokenizer: Any, prompt: list[int], tokens: list[int]) -> str:
    """The text that `tokens` add to a prompt.

    Both are decoded together, because SentencePiece drops the leading space of the first token.
    """
    before: str = tokenizer.decode(prompt[-1:], skip_special_tokens=True)
    both: str = tokenizer.decode(prompt[-1:] + tokens, skip_special_tokens=True)
    if both.startswith(before):
        return both[len(before) :]
    return tokenizer.decode(tokens, skip_special_tokens=True)


def ends_of(named: int | list[int] | None, tokenizer: Any) -> set[int]:
    """The tokens that end an answer: those in the model's generation config, and the tokenizer's own."""
    ends = named if isinstance(named, list) else [named]
    return {end for end in (*ends, tokenizer.eos_token_id) if end is not None}
