"""Hugging Face transformers in this process: any architecture, bitsandbytes quantization, CPU or one GPU.

It does not know about debates or shared prefixes: requests are answered in batches, one batch after the other.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

from hustings.engine.base import PROMISES, Answer, Completion, Engine, Order, Request, Score, check_length
from hustings.engine.options import prefixes_of, score_of
from hustings.huggingface import (
    Tokens,
    chat_of,
    continuation,
    device_of,
    dtype_of,
    ends_of,
    load,
    prompt_tokens,
    sequences_of,
    with_adapter,
)
from hustings.models import Weights, as_folder
from hustings.progress import say
from hustings.settings import Capability, EngineSettings
from hustings.settings.base import knob

_PROMISES = {
    **PROMISES,
    "8bit": "LLM.int8() quantizes all rows of a batch together, so replies can change with the batch size or order, "
    "or after a resume",
}


class TransformersSettings(EngineSettings):
    """Hugging Face transformers in this process."""

    kind: Literal["transformers"]
    precision: Literal["fast", "exact"]
    """Numbers to compute with. `fast`: bfloat16 where the device supports it; `exact`: float32."""
    quantization: Literal["none", "8bit", "4bit"]
    """How weights are quantized, by bitsandbytes: LLM.int8() or nf4."""
    device: Literal["auto", "cpu", "cuda"] = knob()
    """What runs the model; `auto` takes a GPU if there is one."""
    batch_size: int = knob(ge=1)
    """Rows per batch."""

    @property
    def can(self) -> frozenset[Capability]:
        """It can do everything."""
        return frozenset({"log-probabilities", "adapters", "shared by processes"})

    @property
    def hardware(self) -> str:
        """What it computes on."""
        return self.device


def build(settings: TransformersSettings, order: Order) -> "TransformersEngine":
    """The model, with the adapter loaded onto it if there is one."""
    return TransformersEngine(order.weights, settings, order.model.context, order.adapter)


@dataclass(frozen=True, slots=True)
class _Row:
    """A request with its prompt as tokens."""

    request: Request
    prompt: list[int]


class TransformersEngine(Engine):
    """A model in safetensors files, run by Hugging Face transformers.

    Args:
        weights: the model; a GGUF file is converted first.
        settings: precision, quantization, device and batch size.
        context: longest prompt and answer together, in tokens.
        adapter: folder of a PEFT adapter for this model.

    Raises:
        ModelError: transformers cannot load the model.
        EngineError: the device is missing.
    """

    def __init__(
        self, weights: Weights, settings: TransformersSettings, context: int, adapter: Path | None = None
    ) -> None:
        import torch

        self._torch: Any = torch
        self._context = context
        self._batch_size = settings.batch_size
        self._device = device_of(settings.device, "engine.device")
        dtype = dtype_of(settings.precision, self._device)
        folder = as_folder(weights, say)
        self._tokenizer, model = load(folder, dtype, self._device, settings.quantization)
        self._model: Any = model.eval()
        if adapter is not None:
            self._model = with_adapter(self._model, adapter).eval()
        self._chat = chat_of(self._tokenizer)
        self.preamble = self._chat.preamble
        self._end = ends_of(self._model.generation_config.eos_token_id, self._tokenizer)
        promise = "8bit" if settings.quantization == "8bit" else settings.precision
        self.promise = f"{settings.precision}: {_PROMISES[promise]}"

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer everything in the queue, in batches of similar length, and then what was added meanwhile."""
        while queue:
            rows = [self._row(queue.popleft()) for _ in range(len(queue))]
            rows.sort(key=lambda row: (row.request.options, len(row.prompt)))
            for batch in self._batches(rows):
                options = batch[0].request.options
                answers = self._score(batch, options) if options else self._complete(batch)
                for row, answer in zip(batch, answers, strict=True):
                    yield row.request, answer

    def _batches(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Rows with the same options, `batch_size` at a time."""
        for _, alike in groupby(rows, key=lambda row: row.request.options):
            while batch := list(islice(alike, self._batch_size)):
                yield batch

    def _row(self, request: Request) -> _Row:
        prompt = prompt_tokens(self._tokenizer, self._chat, request.prompt, request.start, request.system)
        longest = max(map(len, self._sequences(request.options)), default=request.sampling.max_tokens)
        check_length(request, len(prompt), longest, self._context)
        return _Row(request, prompt)

    def _sequences(self, options: Sequence[str]) -> list[Tokens]:
        return sequences_of(self._tokenizer, options)

    def _complete(self, batch: list[_Row]) -> list[Completion]:
        """Sample a text for each row; a row that has ended leaves the batch."""
        torch = self._torch
        samplings = [row.request.sampling for row in batch]
        generators = [torch.Generator(self._device).manual_seed(row.request.seed) for row in batch]
        temperatures = torch.tensor([sampling.temperature for sampling in samplings], device=self._device)
        nuclei = torch.tensor([sampling.top_p for sampling in samplings], device=self._device)
        written: list[list[int]] = [[] for _ in batch]
        stopped = [False] * len(batch)
        alive = list(range(len(batch)))
        with torch.inference_mode():
            state = _State(self._model, [row.prompt for row in batch], self._device)
            while True:
                noise = self._noise([generators[row] for row in alive], state.logits.shape[-1])
                logits = _nucleus(state.logits, temperatures[alive], nuclei[alive])
                tokens = _draw(logits, temperatures[alive], noise)
                for row, token in zip(alive, tokens.tolist(), strict=True):
                    stopped[row] = token in self._end and not samplings[row].ignore_end
                    written[row].extend([] if stopped[row] else [token])
                staying = [
                    place
                    for place, row in enumerate(alive)
                    if not stopped[row] and len(written[row]) < samplings[row].max_tokens
                ]
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
        """Score all options: one pass over the prompts, and one more for each prefix of an option."""
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
    """The state of a batch: the key-value cache, and the logits of the next token.

    Args:
        model: a causal language model of transformers.
        prompts: token ids of each row.
        device: where the model is.
        rewinds: `rewind` will be called.
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
        """Remove the last `count` tokens of every row."""
        self._cache.crop(-count)
        self._mask = self._mask[:, :-count]

    def keep(self, places: list[int]) -> None:
        """Keep only these rows."""
        if len(places) < len(self._mask):
            self._cache.batch_select_indices(self._torch.tensor(places, device=self._mask.device))
            self._mask = self._mask[places]


def _nucleus(logits: Any, temperatures: Any, shares: Any) -> Any:
    """Logits without the tokens that are drawn from never: those outside the most probable that make up the share.

    Args:
        logits: (rows, vocabulary).
        temperatures: (rows,).
        shares: (rows,); 1 keeps every token.
    """
    if bool((shares == 1).all()):
        return logits
    scaled = logits / temperatures.masked_fill(temperatures == 0, 1.0)[:, None]
    ordered, places = scaled.softmax(-1).sort(dim=-1, descending=True)
    outside = (ordered.cumsum(-1) - ordered >= shares[:, None]) & (shares[:, None] < 1)
    return logits.masked_fill(outside.scatter(-1, places, outside), float("-inf"))


def _draw(logits: Any, temperatures: Any, noise: Any) -> Any:
    """Draw the next token of each row as the winner of a race: the token with the smallest noise / probability.

    Rounding of the logits only changes the winner when two tokens finish at nearly the same time. (Inverting the
    cumulative distribution at a uniform number samples the same distribution, but there a shift of 10⁻⁶ changes the
    token whenever one of the many improbable tokens is drawn.)

    Args:
        logits: (rows, vocabulary).
        temperatures: (rows,); 0 takes the most probable token.
        noise: (rows, vocabulary), exponentially distributed.
    """
    greedy = temperatures == 0
    scaled = logits / temperatures.masked_fill(greedy, 1.0)[:, None]
    race = scaled.log_softmax(-1) - noise.log()
    return logits.argmax(-1).where(greedy, race.argmax(-1))
