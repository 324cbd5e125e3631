"""Hugging Face transformers in this process: any architecture, bitsandbytes quantization, CPU or one GPU.

It does not know about debates or shared prefixes: requests are answered in batches, one batch after the other.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

from hustings.engine.base import (
    PROMISES,
    Answer,
    Completion,
    Engine,
    Likelihood,
    Order,
    Request,
    Sampling,
    Score,
    check_length,
)
from hustings.engine.options import prefixes_of, score_of
from hustings.engine.steering import load_vector
from hustings.engine.transformers_fixed import Fixed
from hustings.engine.transformers_state import Prefixes, State, Steered, contrasted, draw, nucleus, recorded, reusable
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

_BEGINNING = 80
"""Leading characters that distinguish an agent's kinds of prompts: with its story, without it, or with another's."""
_AHEAD = 8
"""Tokens that a GPU draws before we check which rows have ended: each check makes it wait."""
_PROMISES = {
    **PROMISES,
    "8bit": "LLM.int8() quantizes all rows of a batch together, so replies can change with the batch size or order, "
    "or after a resume",
}


class TransformersSettings(EngineSettings):
    """Hugging Face transformers in this process."""

    kind: Literal["transformers"]
    precision: Literal["fast", "exact"]
    """Numerical precision. `fast`: bfloat16 where the device supports it; `exact`: float32."""
    quantization: Literal["none", "8bit", "4bit"]
    """How weights are quantized, by bitsandbytes: LLM.int8() or nf4."""
    device: Literal["auto", "cpu", "cuda"] = knob()
    """What runs the model; `auto` takes a GPU if there is one."""
    batch_size: int = knob(ge=1)
    """Rows per batch."""
    cache_gb: float = knob(ge=0)
    """Memory for prompts of debates in progress, GB, so that each reply is read only once. 0 rereads everything."""

    @property
    def can(self) -> frozenset[Capability]:
        """It supports everything."""
        return frozenset(
            {"log-probabilities", "adapters", "shared by processes", "text scores", "contrast", "steering"}
        )

    @property
    def hardware(self) -> str:
        """The device that runs the model."""
        return self.device


def build(settings: TransformersSettings, order: Order) -> "TransformersEngine":
    """The model, with the adapter loaded onto it if there is one."""
    return TransformersEngine(order.weights, settings, order.model.context, order.adapter)


@dataclass(frozen=True, slots=True)
class _Row:
    """A request with its prompt as tokens."""

    request: Request
    prompt: list[int]
    rival: list[int]
    """The rival context of a contrast; empty without one."""
    text: tuple[int, ...]
    """The text whose probability is wanted; empty if an answer is wanted instead."""


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
        whole = reusable(self._model)
        self._prefixes = Prefixes(settings.cache_gb * 1e9) if whole and settings.cache_gb else None
        fixed = whole and self._device == "cuda" and settings.quantization != "8bit"  # its kernels wait for the GPU
        self._fixed = Fixed(self._model, self._device) if fixed else None
        self._ahead = 1 if self._device == "cpu" else _AHEAD
        self._steered: Steered | None = None
        self._known: dict[tuple[str, ...], list[Tokens]] = {}
        self._end = ends_of(self._model.generation_config.eos_token_id, self._tokenizer)
        promise = "8bit" if settings.quantization == "8bit" else settings.precision
        self.promise = f"{settings.precision}: {_PROMISES[promise]}"

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer everything in the queue, in batches of similar length, and then what was added meanwhile."""
        while queue:
            rows = [self._row(queue.popleft()) for _ in range(len(queue))]
            rows.sort(key=lambda row: (*_alike(row), len(row.prompt)))
            for batch in self._batches(rows):
                answers: Sequence[Answer]
                if options := batch[0].request.options:
                    answers = self._score(batch, options)
                else:
                    answers = self._likelihoods(batch) if batch[0].text else self._complete(batch)
                for row, answer in zip(batch, answers, strict=True):
                    yield row.request, answer

    def _batches(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Rows that are answered in the same way, `batch_size` at a time."""
        for _, alike in groupby(rows, key=_alike):
            while batch := list(islice(alike, self._batch_size)):
                yield batch

    def _row(self, request: Request) -> _Row:
        prompt = prompt_tokens(self._tokenizer, self._chat, request.prompt, request.start, request.system)
        (text,) = sequences_of(self._tokenizer, [request.text]) if request.text else ((),)
        longest = len(text) or max(map(len, self._sequences(request.options)), default=request.sampling.max_tokens)
        check_length(request, len(prompt), longest, self._context)
        rival: list[int] = []
        if request.contrast is not None:
            other = request.contrast
            rival = prompt_tokens(self._tokenizer, self._chat, other.prompt, request.start, other.system)
            check_length(request, len(rival), longest, self._context)
        return _Row(request, prompt, rival, text)

    def _state(self, batch: Sequence[_Row], rows: Sequence[int], *, rewinds: bool = False) -> State:
        """The state after reading the batch's prompts, followed by the rival contexts of these rows."""
        prompts = [row.prompt for row in batch] + [batch[row].rival for row in rows]
        lanes = [row.request.lane for row in batch] + [(batch[row].request.lane, "rival") for row in rows]
        asked = [batch[place].request for place in (*range(len(batch)), *rows)]
        kinds = [f"{request.turn.purpose} {request.prompt[:_BEGINNING]}" for request in asked]
        if self._prefixes is None:
            return State(self._model, prompts, self._device, rewinds=rewinds)
        known = [self._prefixes.longest(lane, prompt) for lane, prompt in zip(lanes, prompts, strict=True)]
        state = State(self._model, prompts, self._device, known, rewinds=rewinds)
        for lane, kind, kept in zip(lanes, kinds, state.kept(prompts), strict=True):
            self._prefixes.keep(lane, kind, kept)
        return state

    def _sequences(self, options: tuple[str, ...]) -> list[Tokens]:
        if options not in self._known:
            self._known[options] = sequences_of(self._tokenizer, options)
        return self._known[options]

    def _complete(self, batch: list[_Row]) -> list[Completion]:
        """Sample a text for each row; a row that has ended leaves the batch."""
        torch = self._torch
        samplings = [row.request.sampling for row in batch]
        generators = [torch.Generator(self._device).manual_seed(row.request.seed) for row in batch]
        temperatures = torch.tensor([sampling.temperature for sampling in samplings], device=self._device)
        nuclei = torch.tensor([sampling.top_p for sampling in samplings], device=self._device)
        cut = any(sampling.top_p < 1 for sampling in samplings)
        written: list[list[int]] = [[] for _ in batch]
        stopped = [False] * len(batch)
        alive = list(range(len(batch)))
        against = [place for place, row in enumerate(batch) if row.rival]
        steering = self._steering([row.request for row in batch])
        most = max(sampling.max_tokens for sampling in samplings)
        drawn: list[Any] = []
        noise: Any = None
        with torch.inference_mode():
            state = self._state(batch, against)
            if self._fixed is not None and steering is None:
                state.fix(self._fixed, most)
            for step in range(most):
                if step % self._ahead == 0:
                    noise = self._noise([generators[row] for row in alive], state.logits.shape[-1])
                logits = self._contrasted(state.logits, batch, alive, against)
                logits = nucleus(logits, temperatures, nuclei) if cut else logits
                tokens = draw(logits, temperatures, noise[step % self._ahead])
                drawn.append(tokens)
                if len(drawn) == self._ahead or step == most - 1:
                    for row, fresh in zip(alive, torch.stack(drawn, 1).tolist(), strict=True):
                        stopped[row] = self._write(written[row], fresh, samplings[row])
                    drawn.clear()
                    on = {row for row in alive if not stopped[row] and len(written[row]) < samplings[row].max_tokens}
                    if not on:
                        break
                    if len(on) < len(alive):
                        stay = torch.tensor(
                            [place for place, row in enumerate(alive) if row in on], device=self._device
                        )
                        tokens, temperatures, nuclei = tokens[stay], temperatures[stay], nuclei[stay]
                        state.keep([place for place, row in enumerate([*alive, *against]) if row in on])
                        alive, against = ([row for row in rows if row in on] for rows in (alive, against))
                fed = torch.cat([tokens, tokens[[alive.index(row) for row in against]]]) if against else tokens
                with steering([*alive, *against]) if steering else nullcontext():
                    state.feed(fed[:, None])
        return [self._completion(*it) for it in zip(batch, written, stopped, strict=True)]

    def _completion(self, row: _Row, tokens: list[int], stopped: bool) -> Completion:
        text = row.request.start + continuation(self._tokenizer, row.prompt, tokens)
        return Completion(text, len(row.prompt) + len(row.rival), len(tokens), "stop" if stopped else "length")

    def _write(self, written: list[int], fresh: list[int], sampling: Sampling) -> bool:
        """Append the tokens drawn for a row, up to its end; returns whether the end was reached."""
        for token in fresh[: sampling.max_tokens - len(written)]:
            if token in self._end and not sampling.ignore_end:
                return True
            written.append(token)
        return False

    def _contrasted(self, logits: Any, batch: Sequence[_Row], alive: Sequence[int], against: Sequence[int]) -> Any:
        """The logits of the rows that are alive, contrasted with those of their rival contexts, which follow them."""
        torch = self._torch
        mine, rival = logits[: len(alive)], logits[len(alive) :]
        if not against:
            return mine
        places = [alive.index(row) for row in against]
        contrasts = [it for row in against if (it := batch[row].request.contrast)]
        gammas = torch.tensor([it.gamma for it in contrasts], device=self._device)
        floors = torch.tensor([it.floor for it in contrasts], device=self._device)
        pushed = mine.clone()
        pushed[places] = contrasted(mine[places], rival, gammas, floors)
        return pushed

    def _steering(self, requests: Sequence[Request]) -> Callable[[Sequence[int]], AbstractContextManager[None]] | None:
        """What steers these rows while tokens are fed, or None; a rival context gets the vector of its row."""
        asked = [request.steering for request in requests]
        layers = sorted({it.layer for it in asked if it is not None})
        if not layers:
            return None
        self._steered = steered = self._steered or Steered(self._model)
        width = self._model.config.get_text_config().hidden_size
        moves = {layer: self._torch.zeros((len(asked), width), device=self._device) for layer in layers}
        for row, it in enumerate(asked):
            if it is not None:
                moves[it.layer][row] = it.strength * load_vector(it.file, it.layer).to(self._device)

        @contextmanager
        def on(rows: Sequence[int]) -> Generator[None]:
            steered.rows = {layer: move[list(rows)] for layer, move in moves.items()}
            with steered.on(layers):
                yield

        return on

    def _noise(self, generators: list[Any], size: int) -> Any:
        """Exponential noise, (steps ahead, rows, size): each row's is a function of its own seed and step alone."""
        torch, shape = self._torch, (self._ahead, size)
        return torch.stack([torch.empty(shape, device=self._device).exponential_(generator=g) for g in generators], 1)

    def _score(self, batch: list[_Row], options: tuple[str, ...]) -> list[Score]:
        """Score all options: one pass over the prompts, and one more for each prefix of an option."""
        torch = self._torch
        sequences = self._sequences(options)
        prefixes = prefixes_of(sequences)
        after: dict[Tokens, Any] = {}
        with torch.inference_mode():
            state = self._state(batch, (), rewinds=True)
            after[()] = state.logits.log_softmax(-1).cpu()
            for prefix in prefixes[1:]:
                state.feed(torch.tensor([prefix], device=self._device).expand(len(batch), -1))
                after[prefix] = state.logits.log_softmax(-1).cpu()
                state.rewind(len(prefix))
        return [
            score_of(options, sequences, {prefix: rows[place] for prefix, rows in after.items()}, len(row.prompt))
            for place, row in enumerate(batch)
        ]

    def _likelihoods(self, batch: list[_Row]) -> list[Likelihood]:
        """How probable each row's text is after its prompt."""
        steering = self._steering([row.request for row in batch])
        with self._torch.inference_mode():
            state = self._state(batch, ())
            with steering(range(len(batch))) if steering else nullcontext():
                sums = state.likelihoods([row.text for row in batch])
        return [
            Likelihood(total, len(row.text), len(row.prompt) + len(row.text))
            for row, total in zip(batch, sums, strict=True)
        ]

    def hidden(self, said: Sequence[tuple[str, str]]) -> Any:
        """Hidden states of answers as they leave each layer, averaged over each answer's tokens and then over answers.

        Args:
            said: prompts and answers, at least one.

        Returns:
            Shape (layers, width), float32.
        """
        torch = self._torch
        total: Any = 0.0
        for prompt, text in said:
            before = prompt_tokens(self._tokenizer, self._chat, prompt, "", None)
            (after,) = sequences_of(self._tokenizer, [text])
            with torch.inference_mode(), recorded(self._model) as layers:
                self._model(input_ids=torch.tensor([[*before, *after]], device=self._device), logits_to_keep=1)
            total = total + torch.stack([it[0, len(before) :].float().mean(0).cpu() for it in layers])
        return total / len(said)

    def close(self) -> None:
        """Free the weights and everything computed with them."""
        self._prefixes = self._steered = self._fixed = None
        del self._model
        if self._device == "cuda":
            self._torch.cuda.empty_cache()


def _alike(row: _Row) -> tuple[bool, tuple[str, ...]]:
    """What rows of one batch have in common: whether they are sampled, scored by options, or have a text scored."""
    return bool(row.text), row.request.options
