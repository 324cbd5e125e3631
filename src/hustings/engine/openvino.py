"""OpenVINO GenAI on the CPU: continuous batching, a prefix cache, and GGUF files read directly.

It does not know how texts are compared; with precision=exact, their numbers do not depend on the batch.
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from hustings.engine.base import PROMISES, Answer, Completion, Engine, Order, Request, check_length
from hustings.engine.options import score_of
from hustings.errors import EngineError, HustingsError, ModelError, first_line
from hustings.gguf.header import gguf_header
from hustings.huggingface import Chat, Tokens, check_taken
from hustings.merging import merged
from hustings.models import Weights, as_gguf, cached, check_memory, once
from hustings.progress import say
from hustings.settings import Capability, EngineSettings
from hustings.settings.base import knob, neutral

_EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}
_PROMISES = {
    **PROMISES,
    "exact": "f32 throughout; at least 99 % of replies are identical in another batch or order, or after a resume",
}
_MIN_ROWS = 4
"""With fewer rows in a step, CPU kernels round differently; precision=exact keeps at least this many."""
_MAX_ROWS = 32
"""With more rows in a step, kernels without AVX-512 round differently; precision=exact keeps at most this many."""
_BEGINNING = 200
"""Characters that prompts must share to count as beginning alike: two cache blocks, less than a life story."""
_SPECIAL = re.compile(r"[\\.^$*+?{}()|\[\]]")
"""Characters with a meaning in OpenVINO's regular expressions; escaping any other causes a warning."""
_DRAWS = 128
"""Draws of one token at once, which cost no more than one draw; one of 20 candidates is missed in 0.1 % of cases."""
_TRIES = 8
"""Rounds of draws before giving up on an option; the first round nearly always suffices."""


class OpenvinoSettings(EngineSettings):
    """OpenVINO GenAI on the CPU."""

    kind: Literal["openvino"]
    precision: Literal["fast", "exact"]
    """Numerical precision. `fast`: the device's own precision; `exact`: f32 throughout, so that texts do not depend
    on the batch."""
    faithful: bool
    """Convert quantized GGUF files first: OpenVINO's own reading of them is inexact (see docs)."""
    quantization: Literal["none", "8bit", "auto"] = neutral("none")
    """Format that weights are converted to: `none` is F16, `8bit` is Q8_0, and `auto` is whichever is faster here."""
    device: str = knob()
    """OpenVINO's name for the device that runs the model: CPU or GPU."""
    cache_gb: int = knob(ge=1)
    """Memory for the key-value cache, GB."""
    threads: int | None = knob(ge=1)
    """CPU threads; None uses one per core."""

    @property
    def eight_bits(self) -> bool:
        """Whether weights are converted to Q8_0 instead of F16.

        F16 is faster on processors with AMX, which multiply matrices in bfloat16, and Q8_0 on all others
        (docs/benchmarks.md).
        """
        import psutil

        if self.quantization == "auto":
            return not (_has("amx_tile") and psutil.virtual_memory().total >= _ROOMY)
        return self.quantization == "8bit"

    @property
    def can(self) -> frozenset[Capability]:
        """Adapters are merged into a copy of the model."""
        return frozenset({"log-probabilities", "adapters"})


_ROOMY = 20e9
"""Bytes of memory that make it safe to load F16 weights of a few billion bytes, which takes four times their size."""


@cache
def _has(flag: str) -> bool:
    """Whether the processor has these instructions, by Linux's name for them; False if that cannot be determined."""
    try:
        return flag in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False


def build(settings: OpenvinoSettings, order: Order) -> "OpenvinoEngine":
    """The model, with the adapter merged into it if there is one."""
    check_memory(order.model)
    weights = order.weights
    if order.adapter is not None:
        weights = merged(weights, order.adapter, eight_bits=settings.eight_bits)
    return OpenvinoEngine(weights, settings, order.model.context)


def _tokenizer(gguf: Path, fingerprint: str) -> Path:
    """The folder of OpenVINO's own tokenizer, kept in the cache: making it takes longer than loading small weights.

    Raises:
        RuntimeError: OpenVINO cannot read the file.
    """
    import openvino_genai as genai

    def build(part: Path) -> None:
        part.mkdir()
        link = part / "model.gguf"
        link.symlink_to(gguf.resolve())
        genai.Tokenizer(str(link), enable_save_ov_model=True)
        link.unlink()

    return once(cached(fingerprint, f".tokenizer-{version('openvino-genai')}"), build)


@dataclass(slots=True)
class _Job:
    """A request in progress."""

    request: Request
    prompt: Any
    """Token ids, a tensor of (1, tokens)."""
    sequences: tuple[Tokens, ...]
    """The tokens of each option."""
    handles: list[tuple[Tokens, Any]] = field(default_factory=list[tuple[Tokens, Any]])
    """OpenVINO's generations, each with the prefix of an option that follows the prompt."""
    after: dict[Tokens, dict[int, float]] = field(default_factory=lambda: defaultdict[Tokens, dict[int, float]](dict))
    """Log-probabilities of the next token after a prefix of an option, as far as they are known."""
    draws: Counter[Tokens] = field(default_factory=Counter[Tokens])
    """How often tokens were drawn after each prefix."""

    @property
    def length(self) -> int:
        """Tokens of the prompt."""
        return int(self.prompt.shape[1])


class _Waiting:
    """Holds requests back until the prefix that they share with a running one is in the cache.

    Requests of one lane are started one after the other. Of requests that begin alike, such as those with the same life
    story in several debates, one is started first, and the others once its prompt is in the cache.
    """

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, int], deque[Request]] = {}
        self._behind: dict[str, list[Request]] = {}
        self._cached: set[str] = set()

    def admits(self, request: Request) -> bool:
        """Whether the request may start now; it is held back otherwise."""
        beginning = request.prompt[:_BEGINNING]
        if request.lane in self._lanes:
            self._lanes[request.lane].append(request)
            return False
        if beginning in self._behind:
            self._behind[beginning].append(request)
            return False
        self._lanes[request.lane] = deque()
        if beginning not in self._cached:
            self._behind[beginning] = []
        return True

    def behind(self, request: Request) -> list[Request]:
        """The requests that were waiting for this one's prompt to be in the cache, where it is now."""
        beginning = request.prompt[:_BEGINNING]
        self._cached.add(beginning)
        return self._behind.pop(beginning, [])

    def after(self, request: Request) -> Request | None:
        """The request that was waiting for the answer to this one."""
        lane = self._lanes.pop(request.lane)
        if not lane:
            return None
        self._lanes[request.lane] = lane
        return lane.popleft()


class OpenvinoEngine(Engine):
    """A model on the CPU, from a GGUF file; other weights are converted to one first.

    Args:
        weights: the model, as models.resolve found it.
        settings: precision, memory and threads.
        context: longest prompt and answer together, in tokens.

    Raises:
        ModelError: GGUF cannot express the model, OpenVINO cannot read it, or the cache cannot be written.
    """

    def __init__(self, weights: Weights, settings: OpenvinoSettings, context: int) -> None:
        import openvino_genai as genai

        gguf = as_gguf(weights, say, faithful=settings.faithful, eight_bits=settings.eight_bits)
        self._genai = genai
        self._exact = settings.precision == "exact"
        self._concurrency = settings.concurrency
        self._context = context
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = settings.cache_gb
        scheduler.enable_prefix_caching = True
        scheduler.max_num_seqs = max(256, settings.concurrency * 2)
        scheduler.max_num_batched_tokens = _MAX_ROWS if self._exact else 1024
        properties: dict[str, Any] = dict(_EXACT) if self._exact else {}
        if settings.eight_bits and _has("avx512_bf16"):  # OpenVINO's bfloat16 path for Q8_0 is several times slower
            properties["INFERENCE_PRECISION_HINT"] = "f32"
        if settings.threads:
            properties["INFERENCE_NUM_THREADS"] = settings.threads
        try:
            tokenizer = genai.Tokenizer(str(_tokenizer(gguf, weights.fingerprint)))
            self._pipeline = genai.ContinuousBatchingPipeline(
                str(gguf), tokenizer, scheduler, settings.device, **properties
            )
        except HustingsError:
            raise
        except Exception as error:  # whatever a part of OpenVINO raises
            raise ModelError(
                f"{gguf}: OpenVINO could not read this model ({first_line(error)}). "
                "It reads GGUF files of the Llama, Qwen2 and Qwen3 families; set engine=transformers for others."
            ) from error
        self._tokenizer = self._pipeline.get_tokenizer()
        self._chat = Chat(self._rendered if self._tokenizer.chat_template else None, self._tokenizer.get_bos_token())
        self.preamble = self._chat.preamble
        header = gguf_header(gguf)
        llama = "llama" in (header.get("tokenizer.ggml.model"), str(header.get("tokenizer.ggml.pre"))[:5])
        self._adds_bos = bool(header.get("tokenizer.ggml.add_bos_token", llama))  # OpenVINO leaves that to us
        self._end = {token for token in self._pipeline.get_config().stop_token_ids if token >= 0}
        self._known_options: dict[tuple[str, ...], tuple[Tokens, ...]] = {}
        self._owners: dict[str, _Job] = {}
        self._fillers: list[Any] = []
        self._count = 0
        form = "Q8_0" if settings.eight_bits else "F16"
        weight = f"; weights in {form}" if settings.quantization != "none" else ""
        self.promise = f"{settings.precision}: {_PROMISES[settings.precision]}{weight}"

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer requests as they finish, in an order that computes shared prefixes only once."""
        running: list[_Job] = []
        try:
            yield from self._stream(queue, running)
        finally:
            self._drop(running)

    def _stream(self, queue: deque[Request], running: list[_Job]) -> Iterator[tuple[Request, Answer]]:
        """Like `stream`, keeping the jobs in progress in `running`."""
        waiting = _Waiting()
        while queue or running:
            while queue and len(running) < self._concurrency:
                request = queue.popleft()
                if waiting.admits(request):
                    running.append(self._start(request))
            self._fill_rows(running)
            self._pipeline.step()
            for job in list(running):
                answer = self._progress(job, waiting, queue)
                if answer is not None:
                    running.remove(job)
                    yield job.request, answer
                    following = waiting.after(job.request)
                    running.extend([self._start(following)] if following else [])

    def _progress(self, job: _Job, waiting: _Waiting, queue: deque[Request]) -> Answer | None:
        """The answer to a job if it is complete; requests that can now reuse its prompt go back into the queue."""
        states = [handle.get_status() for _, handle in job.handles]
        if self._genai.GenerationStatus.IGNORED in states:
            raise EngineError(
                f"{job.request.turn}: OpenVINO did not take this prompt of {job.length} tokens, as its cache has no "
                "room for it; raise engine.cache_gb, or use fewer rounds or agents."
            )
        live = self._genai.GenerationStatus.RUNNING in states
        if not live or job.handles[0][1].can_read():
            queue.extendleft(reversed(waiting.behind(job.request)))
        return None if live else self._answer(job)

    def _rendered(self, turns: list[dict[str, str]], opening: bool) -> str:
        return self._tokenizer.apply_chat_template(turns, opening, extra_context={"enable_thinking": False})

    def _tokens(self, text: str) -> Any:
        return self._tokenizer.encode(text, add_special_tokens=False).input_ids

    def _read(self, tokens: list[int]) -> str:
        """The text of tokens, including special ones."""
        return self._tokenizer.decode(tokens, skip_special_tokens=False)

    def _start(self, request: Request) -> _Job:
        text = self._chat.text(request.prompt, request.start, request.system)
        if self._adds_bos and not self._chat.begins(text):
            text = self._tokenizer.get_bos_token() + text
        job = _Job(request, self._tokens(text), self._sequences(request.options))
        check_taken(text, [*map(int, job.prompt.data[0])], self._read)
        longest = max(map(len, job.sequences), default=request.sampling.max_tokens)
        check_length(request, job.length, longest, self._context)
        if request.options:
            self._draw(job)
        else:
            job.handles = [((), self._generate(job.prompt, self._sampled(request)))]
        return job

    def _generate(self, prompt: Any, config: Any) -> Any:
        self._count += 1
        return self._pipeline.add_request(self._count, prompt, config)

    def _config(self, **values: Any) -> Any:
        return self._genai.GenerationConfig(**{"stop_token_ids": self._end, **values})

    def _sampled(self, request: Request) -> Any:
        sampling = request.sampling
        drawn = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "rng_seed": request.seed,
        }
        return self._config(
            max_new_tokens=sampling.max_tokens,
            ignore_eos=sampling.ignore_end,
            **(drawn if sampling.temperature > 0 else {}),
        )

    def _answer(self, job: _Job) -> Answer | None:
        """The answer to a job whose generations have finished, or None if more have just been started for it."""
        if not job.sequences:
            [(_, handle)] = job.handles
            return self._completion(job, handle.read_all()[0])
        for prefix, handle in job.handles:
            for output in handle.read_all():
                job.after[prefix][output.generated_ids[0]] = output.generated_log_probs[0]
        return None if self._draw(job) else score_of(job.request.options, job.sequences, job.after, job.length)

    def _completion(self, job: _Job, output: Any) -> Completion:
        tokens: list[int] = list(output.generated_ids)
        stopped = output.finish_reason == self._genai.GenerationFinishReason.STOP
        if stopped and tokens and tokens[-1] in self._end:
            tokens.pop()
        text = job.request.start + self._tokenizer.decode(tokens)
        return Completion(text, job.length, len(tokens), "stop" if stopped else "length")

    def _sequences(self, options: tuple[str, ...]) -> tuple[Tokens, ...]:
        """The tokens of each option."""
        if options not in self._known_options:
            self._known_options[options] = tuple(tuple(map(int, self._tokens(option).data[0])) for option in options)
        return self._known_options[options]

    def _draw(self, job: _Job) -> bool:
        """Start the draws that the options of a job still need; False if there are none.

        OpenVINO reports the log-probability of a token only if it generated it, and can be constrained to a text but
        not to the tokens that spell it: "Agree" may come as "A", "g", "ree". So after each prefix of an option, one
        token is drawn many times, almost uniformly from those that can continue the text of an option, until the
        option's own token has come up. (Beam search ignores the constraint, greedy search takes the same token every
        time, and only the first token of several draws is constrained.) Prefixes take turns, even across jobs with the
        same prompt: OpenVINO corrupts the cache when generations extend one prompt in different ways at once.

        Raises:
            EngineError: a token never comes up.
        """
        prompt = job.request.prompt
        missing: dict[Tokens, list[Tokens]] = defaultdict(list)
        for sequence in job.sequences:
            for size, token in enumerate(sequence):
                if token not in job.after[sequence[:size]]:
                    missing[sequence[:size]].append(sequence[size:])
        if not missing:
            if self._owners.get(prompt) is job:
                del self._owners[prompt]
            return False
        prefix = min(missing, key=len)
        job.handles = []
        if not prefix or self._owners.setdefault(prompt, job) is job:
            job.handles.append((prefix, self._drawn(job, prefix, missing[prefix])))
        return True

    def _drawn(self, job: _Job, prefix: Tokens, rests: list[Tokens]) -> Any:
        """Start drawing the next token after a prefix, from the tokens that can begin these remainders of options.

        Raises:
            EngineError: the prefix ends within a character, or was tried too often.
        """
        import numpy as np

        job.draws[prefix] += 1
        if job.draws[prefix] > _TRIES:
            raise self._unspellable(job)
        try:
            texts = [_SPECIAL.sub(r"\\\g<0>", self._spelled(rest)) for rest in rests]
        except UnicodeDecodeError as error:  # the prefix ends within a character
            raise self._unspellable(job) from error
        config = self._config(
            max_new_tokens=1,
            do_sample=True,
            temperature=1e4,
            rng_seed=job.draws[prefix],
            num_return_sequences=_DRAWS,
            logprobs=1,
            structured_output_config=self._genai.StructuredOutputConfig(regex=f"({'|'.join(texts)})"),
        )
        prompt = type(job.prompt)(np.append(job.prompt.data, [prefix], axis=1)) if prefix else job.prompt
        return self._generate(prompt, config)

    def _spelled(self, tokens: Tokens) -> str:
        """The text of tokens as a constraint reads it."""
        return b"".join(self._bytes[token] for token in tokens).decode()

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        return {token: text for text, token in self._tokenizer.get_vocab().items()}

    def _unspellable(self, job: _Job) -> EngineError:
        return EngineError(
            f"{job.request.turn.debate}: OpenVINO cannot be made to generate the tokens of the options "
            f"{', '.join(job.request.options)}; set engine=transformers."
        )

    def _fill_rows(self, running: list[_Job]) -> None:
        """With precision=exact, let idle generations fill a step that would have too few rows."""
        if not self._exact:
            return
        live = self._genai.GenerationStatus.RUNNING
        self._fillers = [handle for handle in self._fillers if handle.get_status() == live]
        busy = sum(bool(job.handles) for job in running)
        while busy + len(self._fillers) < _MIN_ROWS:
            config = self._config(max_new_tokens=256, ignore_eos=True)
            self._fillers.append(self._generate(self._tokens(f"{len(self._fillers)}"), config))

    def _drop(self, running: list[_Job]) -> None:
        """Stop the fillers, and jobs whose answers are no longer needed."""
        for handle in (*self._fillers, *(handle for job in running for _, handle in job.handles)):
            handle.stop()
        self._fillers = []
        self._owners.clear()
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()

    def close(self) -> None:
        """Free the weights and the cache."""
        del self._pipeline, self._tokenizer
