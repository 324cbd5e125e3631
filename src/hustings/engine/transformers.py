"""Hugging Face transformers in this process: any architecture, bitsandbytes quantization, CPU or one GPU.

It does not know about debates or prefixes in common: requests are answered in batches, one after the other.
"""

import logging
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from hustings.engine.base import Answer, Chat, Completion, Engine, Request, Score, check_length, disjoint
from hustings.errors import EngineError, ModelError, first_line
from hustings.models import Weights, as_folder
from hustings.progress import say
from hustings.settings import TransformersSettings

Tokens = tuple[int, ...]

_PROMISES = {
    "fast": "two uninterrupted runs on the same machine give the same log; "
    "another batch size, order or a resume can change replies through rounding",
    "exact": "float32 throughout; at least 99 % of replies are the same letter for letter in another batch, "
    "order or after a resume",
    "8bit": "LLM.int8() looks at all rows of a batch together, so replies can change with the batch size, "
    "the order or a resume",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A request with its prompt as tokens."""

    request: Request
    prompt: list[int]


class TransformersEngine(Engine):
    """A model in safetensors files, run by Hugging Face transformers.

    Args:
        weights: the model; a GGUF file is converted once.
        settings: precision, quantization, device and batch size.
        context: longest prompt and answer together, tokens.
        adapter: folder of a PEFT adapter for this model.

    Raises:
        ModelError: transformers cannot load the model.
        EngineError: the device is not there.
    """

    def __init__(
        self, weights: Weights, settings: TransformersSettings, context: int, adapter: Path | None = None
    ) -> None:
        import torch

        self._torch: Any = torch
        self._context = context
        self._batch_size = settings.batch_size
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise EngineError("engine.device=cuda: PyTorch finds no GPU here; set engine.device=auto or cpu.")
        self._device = "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"
        dtype = dtype_of(settings.precision, self._device)
        folder = as_folder(weights, say)
        self._tokenizer, model = load(folder, dtype, self._device, settings.quantization)
        self._model: Any = model.eval()
        if adapter is not None:
            self._model = with_adapter(self._model, adapter).eval()
        self._chat = chat_of(self._tokenizer)
        self._end = ends_of(self._model.generation_config.eos_token_id, self._tokenizer)
        promise = "8bit" if settings.quantization == "8bit" else settings.precision
        self.promise = f"{settings.precision}: {_PROMISES[promise]}"

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer all that is in the queue, in batches of similar length, and then what has been put there meanwhile."""
        while queue:
            rows = [self._row(queue.popleft()) for _ in range(len(queue))]
            rows.sort(key=lambda row: (row.request.options, len(row.prompt)))
            for options, alike in groupby(rows, key=lambda row: row.request.options):
                group = list(alike)
                for first in range(0, len(group), self._batch_size):
                    batch = group[first : first + self._batch_size]
                    answers = self._score(batch, options) if options else self._complete(batch)
                    for row, answer in zip(batch, answers, strict=True):
                        yield row.request, answer

    def _row(self, request: Request) -> _Row:
        prompt = prompt_tokens(self._tokenizer, self._chat, request)
        longest = max(map(len, self._sequences(request.options)), default=request.sampling.max_tokens)
        check_length(request, len(prompt), longest, self._context)
        return _Row(request, prompt)

    def _sequences(self, options: Sequence[str]) -> list[Tokens]:
        return sequences_of(self._tokenizer, options)

    def _complete(self, batch: list[_Row]) -> list[Completion]:
        """Draw a text for each row; a row that has ended leaves the batch."""
        torch = self._torch
        samplings = [row.request.sampling for row in batch]
        longest = max(sampling.max_tokens for sampling in samplings)
        generators = [torch.Generator(self._device).manual_seed(row.request.seed) for row in batch]
        temperatures = torch.tensor([sampling.temperature for sampling in samplings], device=self._device)
        written: list[list[int]] = [[] for _ in batch]
        stopped = [False] * len(batch)
        alive = list(range(len(batch)))
        with torch.inference_mode():
            state = _State(self._model, [row.prompt for row in batch], self._device)
            for _ in range(longest):
                noise = self._noise([generators[row] for row in alive], state.logits.shape[-1])
                tokens = _draw(state.logits, temperatures[alive], noise)
                staying: list[int] = []
                for place, (row, token) in enumerate(zip(alive, tokens.tolist(), strict=True)):
                    stopped[row] = token in self._end and not samplings[row].ignore_end
                    if not stopped[row]:
                        written[row].append(token)
                        if len(written[row]) < samplings[row].max_tokens:
                            staying.append(place)
                if not staying:
                    break
                alive = [alive[place] for place in staying]
                state.keep(staying)
                state.feed(tokens[staying, None])
        return [
            Completion(
                row.request.start + continuation(self._tokenizer, row.prompt, tokens),
                len(row.prompt),
                len(tokens),
                "stop" if stop else "length",
            )
            for row, tokens, stop in zip(batch, written, stopped, strict=True)
        ]

    def _noise(self, generators: list[Any], size: int) -> Any:
        """Exponential noise, (rows, size): each row's is a function of its own seed and step alone."""
        torch = self._torch
        return torch.stack([torch.empty(size, device=self._device).exponential_(generator=g) for g in generators])

    def _score(self, batch: list[_Row], options: tuple[str, ...]) -> list[Score]:
        """Log-probabilities of all options: one pass over the prompts, one more for each beginning."""
        torch = self._torch
        sequences = self._sequences(options)
        prefixes = prefixes_of(sequences)
        after: dict[Tokens, Any] = {}
        with torch.inference_mode():
            state = _State(self._model, [row.prompt for row in batch], self._device, rewinds=True)
            after[()] = state.logits.log_softmax(-1).cpu()
            for prefix in prefixes[1:]:
                state.feed(torch.tensor([prefix], device=self._device).expand(len(batch), -1))
                after[prefix] = state.logits.log_softmax(-1).cpu()
                state.rewind(len(prefix))
        return [
            score_of(options, sequences, {prefix: rows[place] for prefix, rows in after.items()}, len(row.prompt))
            for place, row in enumerate(batch)
        ]

    def close(self) -> None:
        """Free the weights."""
        del self._model
        if self._device == "cuda":
            self._torch.cuda.empty_cache()


class _State:
    """What a batch of prompts has led to: the key-value cache, and the logits of the next token.

    Args:
        model: a causal language model of transformers.
        prompts: token ids of each row.
        device: where the model is.
        rewinds: tokens will be taken back.
    """

    def __init__(self, model: Any, prompts: list[list[int]], device: str, *, rewinds: bool = False) -> None:
        import torch
        from transformers import DynamicCache

        self._torch: Any = torch
        self._model = model
        self._cache: Any = DynamicCache(config=model.config)
        if rewinds:
            self._cache.activate_past_recording()
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        lengths = torch.tensor([[len(prompt)] for prompt in prompts], device=device)
        self._mask: Any = torch.arange(width, device=device).expand(len(prompts), -1) >= width - lengths
        self.logits: Any = self._next(ids)
        """(rows, vocabulary), float32."""

    def _next(self, ids: Any) -> Any:
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask.long(),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def feed(self, ids: Any) -> None:
        """Append tokens, (rows, count)."""
        self._mask = self._torch.cat([self._mask, self._torch.ones_like(ids, dtype=self._torch.bool)], dim=-1)
        self.logits = self._next(ids)

    def rewind(self, count: int) -> None:
        """Forget the last tokens."""
        self._cache.crop(-count)
        self._mask = self._mask[:, :-count]

    def keep(self, places: list[int]) -> None:
        """Go on with these rows alone."""
        if len(places) < len(self._mask):
            self._cache.batch_select_indices(self._torch.tensor(places, device=self._mask.device))
            self._mask = self._mask[places]


def chat_of(tokenizer: Any) -> Chat:
    """The chat template of a tokenizer."""

    def rendered(turns: list[dict[str, str]], opening: bool) -> str:
        return tokenizer.apply_chat_template(
            turns, add_generation_prompt=opening, tokenize=False, enable_thinking=False
        )

    return Chat(rendered if tokenizer.chat_template else None, tokenizer.bos_token or "")


def prompt_tokens(tokenizer: Any, chat: Chat, request: Request) -> list[int]:
    """A request as the model sees it: through the chat template, with the beginning of the answer after it."""
    text = chat.text(request.prompt, request.start)
    return tokenizer(text, add_special_tokens=not chat.begun(text)).input_ids


def sequences_of(tokenizer: Any, options: Sequence[str]) -> list[Tokens]:
    """The tokens of each option."""
    return [tuple(tokenizer(option, add_special_tokens=False).input_ids) for option in options]


def prefixes_of(sequences: Sequence[Tokens]) -> list[Tokens]:
    """Everything after which the next token of an option is asked for, the shortest, (), first."""
    return sorted({sequence[:length] for sequence in sequences for length in range(len(sequence))}, key=len)


def score_of(options: Sequence[str], sequences: Sequence[Tokens], after: Mapping[Tokens, Any], prompt: int) -> Score:
    """The score of options from the log-probabilities of their tokens.

    Args:
        options: what could be answered.
        sequences: the tokens of each.
        after: for every prefix of theirs, the log-probability of the next token, by token.
        prompt: length of the prompt, tokens.
    """
    whole = {
        sequence: sum(float(after[sequence[:place]][token]) for place, token in enumerate(sequence))
        for sequence in sequences
    }
    logprobs = disjoint(whole, sequences)
    best = max(range(len(options)), key=logprobs.__getitem__)
    return Score(logprobs, options[best], prompt, len(sequences[best]))


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


def _draw(logits: Any, temperatures: Any, noise: Any) -> Any:
    """The next token of each row, as the winner of a race: the smallest of noise / probability.

    Rounding of the logits changes the winner only when two tokens arrive at all but the same time. (Looking a
    uniform number up in the cumulative distribution would draw from the same distribution, but there a shift of
    10⁻⁶ changes the token whenever one of the many improbable tokens is drawn.)

    Args:
        logits: (rows, vocabulary).
        temperatures: (rows,); 0 takes the most probable token.
        noise: (rows, vocabulary), exponentially distributed.
    """
    greedy = temperatures == 0
    scaled = logits / temperatures.masked_fill(greedy, 1.0)[:, None]
    race = scaled.log_softmax(-1) - noise.log()
    return logits.argmax(-1).where(greedy, race.argmax(-1))


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


def with_adapter(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """The model with a PEFT adapter on it."""
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # PEFT imports it, and it misses kernels that are optional
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses a name of transformers that is about to change
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)


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
