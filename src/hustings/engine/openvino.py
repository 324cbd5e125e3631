"""OpenVINO GenAI on the CPU: continuous batching, a prefix cache, and GGUF files read as they are.

It does not know how texts are compared; precision=exact keeps their numbers independent of the batch.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from hustings.engine.base import Answer, Completion, Engine, Order, Request, Score, check_length
from hustings.engine.options import disjoint
from hustings.errors import EngineError, ModelError, first_line
from hustings.gguf import gguf_header
from hustings.huggingface import Chat, Tokens
from hustings.merging import merged
from hustings.models import Weights, as_gguf, cached, once
from hustings.progress import say
from hustings.settings import Capability, EngineSettings
from hustings.settings.base import knob

_EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}
_COMPANY = 4
"""At fewer rows than this, CPU kernels round differently; precision=exact keeps that many in a step."""
_CROWD = 32
"""At more rows than this in a step, kernels without AVX-512 round differently; precision=exact keeps below it."""
_BEGINNING = 200
"""Characters: two blocks of the prefix cache, and less than a life story."""
_DRAWS = 24
"""Draws of a nearly uniform choice that see each of ten digits; one that is missed is asked for by itself."""

class OpenvinoSettings(EngineSettings):
    """OpenVINO GenAI on the CPU."""

    kind: Literal["openvino"]
    precision: Literal["fast", "exact"]
    """`fast`: the device's own precision; `exact`: f32 throughout, so that text does not depend on the batch."""
    faithful: bool
    """Read GGUF files as the F16 they stand for: OpenVINO's own reading of quantized files is off (see docs)."""
    device: str = knob()
    cache_gb: int = knob(ge=1)
    """Memory for the key-value cache."""
    threads: int | None = knob(ge=1)
    """CPU threads; None is one for each core."""

    @property
    def can(self) -> frozenset[Capability]:
        """Adapters are merged into a copy of the model."""
        return frozenset({"log-probabilities", "adapters"})


def build(settings: OpenvinoSettings, order: Order) -> "OpenvinoEngine":
    """The model, with the adapter merged into it if there is one."""
    weights = order.weights if order.adapter is None else merged(order.weights, order.adapter)
    return OpenvinoEngine(weights, settings, order.model.context)


def _tokenizer(gguf: Path, fingerprint: str) -> Path:
    """The folder of OpenVINO's own tokenizer, made from the file once: that takes longer than loading small weights.

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
    """A request on its way: its live generation handles, and for options the log-probabilities found so far."""

    request: Request
    prompt: Any
    prompt_tokens: int
    handles: list[Any]
    missing: list[str] = field(default_factory=list[str])
    found: dict[str, tuple[Tokens, float]] = field(default_factory=dict[str, tuple[Tokens, float]])


class OpenvinoEngine(Engine):
    """A model on the CPU, from a GGUF file that is written once where the weights are no such file.

    Args:
        weights: what models.resolve found.
        settings: precision, memory and threads.
        context: longest prompt and answer together, tokens.

    Raises:
        ModelError: GGUF cannot express the model, OpenVINO cannot read it, or the cache cannot be written.
    """

    def __init__(self, weights: Weights, settings: OpenvinoSettings, context: int) -> None:
        import openvino_genai as genai

        gguf = as_gguf(weights, say, faithful=settings.faithful)
        self._genai = genai
        self._exact = settings.precision == "exact"
        self._concurrency = settings.concurrency
        self._context = context
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = settings.cache_gb
        scheduler.enable_prefix_caching = True
        scheduler.max_num_seqs = max(256, settings.concurrency * 2)
        scheduler.max_num_batched_tokens = _CROWD if self._exact else 1024
        properties: dict[str, Any] = dict(_EXACT) if self._exact else {}
        if settings.threads:
            properties["INFERENCE_NUM_THREADS"] = settings.threads
        try:
            tokenizer = genai.Tokenizer(str(_tokenizer(gguf, weights.fingerprint)))
            self._pipeline = genai.ContinuousBatchingPipeline(
                str(gguf), tokenizer, scheduler, settings.device, **properties
            )
        except RuntimeError as error:
            raise ModelError(
                f"{gguf}: OpenVINO could not read this model ({first_line(error)}). "
                "It reads GGUF files of the Llama, Qwen2 and Qwen3 families; for others set engine=transformers."
            ) from error
        self._tokenizer = self._pipeline.get_tokenizer()
        self._chat = Chat(self._rendered if self._tokenizer.chat_template else None, self._tokenizer.get_bos_token())
        header = gguf_header(gguf)
        llama = "llama" in (header.get("tokenizer.ggml.model"), str(header.get("tokenizer.ggml.pre"))[:5])
        self._begins = bool(header.get("tokenizer.ggml.add_bos_token", llama))  # OpenVINO leaves that to us
        self._end: set[int] = set(self._pipeline.get_config().stop_token_ids)
        self._company: list[Any] = []
        self._count = 0
        self.promise = (
            "exact: f32 throughout; at least 99 % of replies are the same letter for letter in another batch, "
            "order or after a resume"
            if self._exact
            else "fast: two uninterrupted runs on the same machine give the same log; "
            "another batch size, order or a resume can change replies through rounding"
        )

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer requests as they finish, so that what they share is computed once.

        Those of one lane are started one after the other. Of those that begin alike, as one story in several debates
        does, one is started first, and the others when its prompt is in the cache.
        """
        running: list[_Job] = []
        parked: dict[tuple[str, int], deque[Request]] = {}
        behind: dict[str, list[Request]] = {}
        cached_beginnings: set[str] = set()
        while queue or running:
            while queue and len(running) < self._concurrency:
                request = queue.popleft()
                beginning = request.prompt[:_BEGINNING]
                if request.lane in parked:
                    parked[request.lane].append(request)
                elif beginning in behind:
                    behind[beginning].append(request)
                else:
                    parked[request.lane] = deque()
                    if beginning not in cached_beginnings:
                        behind[beginning] = []
                    running.append(self._start(request))
            self._keep_company(running)
            self._pipeline.step()
            still: list[_Job] = []
            for job in running:
                live = any(handle.get_status() == self._genai.GenerationStatus.RUNNING for handle in job.handles)
                beginning = job.request.prompt[:_BEGINNING]
                if beginning in behind and (not live or job.handles[0].can_read()):
                    queue.extendleft(reversed(behind.pop(beginning)))
                    cached_beginnings.add(beginning)
                answer = None if live else self._answer(job)
                if answer is None:
                    still.append(job)
                    continue
                yield job.request, answer
                waiting = parked.pop(job.request.lane)
                if waiting:
                    parked[job.request.lane] = waiting
                    still.append(self._start(waiting.popleft()))
            running = still
        self._dismiss()

    def _rendered(self, turns: list[dict[str, str]], opening: bool) -> str:
        return self._tokenizer.apply_chat_template(turns, opening, extra_context={"enable_thinking": False})

    def _start(self, request: Request) -> _Job:
        text = self._chat.text(request.prompt, request.start)
        if self._begins and not self._chat.begun(text):
            text = self._tokenizer.get_bos_token() + text
        prompt = self._tokenizer.encode(text, add_special_tokens=False).input_ids
        length = int(prompt.shape[1])
        check_length(request, length, request.sampling.max_tokens, self._context)
        config = self._drawn(request.options) if request.options else self._sampled(request)
        return _Job(request, prompt, length, [self._generate(prompt, config)], list(request.options))

    def _generate(self, prompt: Any, config: Any) -> Any:
        self._count += 1
        return self._pipeline.add_request(self._count, prompt, config)

    def _config(self, **values: Any) -> Any:
        return self._genai.GenerationConfig(stop_token_ids=self._end, **values)

    def _sampled(self, request: Request) -> Any:
        sampling = request.sampling
        drawn = {"do_sample": True, "temperature": sampling.temperature, "rng_seed": request.seed}
        return self._config(
            max_new_tokens=sampling.max_tokens,
            ignore_eos=sampling.ignore_end,
            **(drawn if sampling.temperature > 0 else {}),
        )

    def _drawn(self, options: tuple[str, ...]) -> Any:
        """An option, many times over and all but uniformly; each draw comes with its tokens' log-probabilities.

        One forward pass shows all options of one token. One that begins another ("1" and "10") is seen on the way to
        the longer one; the others end at once, as their tokens are made to end an answer. (Beam search would do the
        same, but leaves the constraint aside.)
        """
        ends = [option for option in options if not any(o != option and o.startswith(option) for o in options)]
        tokens = [self._tokenizer.encode(option, add_special_tokens=False).input_ids.data[0] for option in ends]
        regex = "|".join(map(re.escape, ends))
        return self._genai.GenerationConfig(
            max_new_tokens=max(map(len, tokens)),
            do_sample=True,
            temperature=1e4,
            rng_seed=1,
            num_return_sequences=_DRAWS,
            logprobs=1,
            stop_token_ids=self._end | {int(option[0]) for option in tokens if len(option) == 1},
            structured_output_config=self._genai.StructuredOutputConfig(regex=f"({regex})"),
        )

    def _forced(self, option: str) -> Any:
        """The option and nothing else, with its tokens' log-probabilities."""
        length = int(self._tokenizer.encode(option, add_special_tokens=False).input_ids.shape[1])
        return self._config(
            max_new_tokens=length,
            logprobs=1,
            structured_output_config=self._genai.StructuredOutputConfig(regex=re.escape(option)),
        )

    def _answer(self, job: _Job) -> Answer | None:
        """The answer of a job whose handles have finished, or None when it has just been given more to do."""
        outputs = [output for handle in job.handles for output in handle.read_all()]
        if not job.request.options:
            return self._completion(job, outputs[0])
        for output in outputs:
            tokens = tuple(token for token in output.generated_ids if token not in self._end)
            for length in range(1, len(tokens) + 1):
                text = self._tokenizer.decode(list(tokens[:length])).strip()
                if text in job.missing:
                    job.found[text] = tokens[:length], sum(output.generated_log_probs[:length])
        forced = len(outputs) == len(job.missing) and len(job.handles) == len(outputs)
        job.missing = [option for option in job.request.options if option not in job.found]
        if job.missing:
            if forced:
                raise EngineError(
                    f"{job.request.turn.debate}: the model's tokens cannot spell {', '.join(job.missing)}; "
                    "set engine=transformers."
                )
            job.handles = [self._generate(job.prompt, self._forced(option)) for option in job.missing]
            return None
        sequences = [job.found[option][0] for option in job.request.options]
        logprobs = disjoint({job.found[o][0]: job.found[o][1] for o in job.request.options}, sequences)
        best = max(range(len(logprobs)), key=logprobs.__getitem__)
        return Score(logprobs, job.request.options[best], job.prompt_tokens, 1)

    def _completion(self, job: _Job, output: Any) -> Completion:
        tokens: list[int] = list(output.generated_ids)
        stopped = output.finish_reason == self._genai.GenerationFinishReason.STOP
        if stopped and tokens and tokens[-1] in self._end:
            tokens.pop()
        text = job.request.start + self._tokenizer.decode(tokens)
        return Completion(text, job.prompt_tokens, len(tokens), "stop" if stopped else "length")

    def _keep_company(self, running: list[_Job]) -> None:
        """With precision=exact, let idle generations fill a step that would have too few rows."""
        if not self._exact:
            return
        running_status = self._genai.GenerationStatus.RUNNING
        self._company = [handle for handle in self._company if handle.get_status() == running_status]
        while len(running) + len(self._company) < _COMPANY:
            prompt = self._tokenizer.encode(f"{len(self._company)}", add_special_tokens=False).input_ids
            config = self._config(max_new_tokens=256, ignore_eos=True)
            self._company.append(self._generate(prompt, config))

    def _dismiss(self) -> None:
        for handle in self._company:
            handle.stop()
        self._company = []
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()

    def close(self) -> None:
        """Free the weights and the cache."""
        del self._pipeline, self._tokenizer
