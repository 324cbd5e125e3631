"""The measurements of gpu.py, each made in a separate process: functions that yield rows.

A row has `way`, `speed` and `unit`, or `way` and a `note` that explains why there is no speed.
"""

import gc
import gzip
import json
import platform
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import takewhile
from typing import Any

from debates import INSTRUCTION, REPLIES, ROUNDS, SPEAKERS, SURVEY
from gpu_scale import Scale, Task

BITS = {"none": 16, "8bit": 8, "4bit": 4}
Rows = Iterator[dict[str, Any]]


def roofline(task: Task) -> Rows:
    """(f): how fast the device multiplies and copies. This also creates the model for the other ways."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from hustings.models import as_folder, embedded

    scale, device = task.scale, device_of()
    tokenizer = AutoTokenizer.from_pretrained(task.tokenizer or as_folder(embedded()))
    config = AutoConfig.for_model(
        "mistral",
        vocab_size=scale.vocabulary,
        hidden_size=scale.hidden,
        intermediate_size=scale.inner,
        num_hidden_layers=scale.layers,
        num_attention_heads=scale.heads,
        num_key_value_heads=scale.key_heads,
        sliding_window=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(task.model)
    tokenizer.save_pretrained(task.model)
    del model
    size = 8192 if device == "cuda" else 512
    one, out = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    long = torch.zeros(2**30 if device == "cuda" else 2**24, device=device, dtype=torch.bfloat16)
    other = torch.empty_like(long)
    card = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    product = 2 * size**3 / seconds_of(lambda: torch.mm(one, one, out=out))
    copied = 2 * long.nbytes / seconds_of(lambda: other.copy_(long))
    yield {
        "way": "product of bfloat16 matrices",
        "speed": product / 1e12,
        "unit": "TFLOP/s",
        "key": "product",
        "card": card,
    }
    yield {"way": "copy in memory", "speed": copied / 1e9, "unit": "GB/s", "key": "copy"}


def paper(task: Task) -> Rows:
    """(a): one call for each reply and survey, with no cache between calls."""
    import torch

    from hustings.huggingface import load

    tokenizer, model = load(task.model, torch.bfloat16, device_of(), "8bit")

    def ask(prompt: str, **config: Any) -> str:
        turn = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        output = model.generate(**inputs.to(model.device), pad_token_id=tokenizer.pad_token_id, **config)
        return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    survey = {"max_new_tokens": 2, "do_sample": False}
    reply = {"min_new_tokens": task.scale.tokens, "max_new_tokens": task.scale.tokens, "do_sample": True, "top_k": 0}
    ask("Hello", **survey)
    taken: dict[str, list[float]] = {"reply": [], "survey": []}
    calls = [("survey", 0)] * SPEAKERS
    for iteration in range(REPLIES):
        calls += [("reply", iteration)] + [("survey", 0)] * (SPEAKERS if iteration % SPEAKERS == SPEAKERS - 1 else 0)
    lines: list[str] = []
    began = time.monotonic()
    for kind, iteration in takewhile(lambda _: time.monotonic() - began < task.seconds, calls):
        name = f"Agent {iteration % SPEAKERS}"
        asked = SURVEY if kind == "survey" else INSTRUCTION.format(name=name)
        call = time.monotonic()
        text = ask(f"{story(name)}\n\nThe debate about racism so far:\n" + "\n".join([*lines, "", asked]),
                   **(survey if kind == "survey" else reply))  # fmt: skip
        taken[kind].append(time.monotonic() - call)
        lines += [f"{name}: {' '.join(text.split())}"] if kind == "reply" else []
    replies, surveys = (sum(each) / max(1, len(each)) for each in taken.values())
    debate = REPLIES * replies + (ROUNDS + 1) * SPEAKERS * surveys
    yield {
        "way": "as in the paper: 8 bits, one call each", "speed": REPLIES * task.scale.tokens / debate, "bits": 8,
        "unit": "tokens/s", "side_by_side": 1, "calls": len(taken["reply"]) + len(taken["survey"]),
        "seconds_a_debate": debate, "peak_gb": peak(),
    }  # fmt: skip


def transformers(task: Task) -> Rows:
    """(b): engine=transformers, with each quantization."""
    for form in BITS:
        say(f"engine=transformers, {form}")
        try:
            yield debates(task, task.seconds / len(BITS), "transformers", f"engine.quantization={form}") | {
                "way": f"engine=transformers, {BITS[form]} bits",
                "bits": BITS[form],
            }
        except Exception as error:  # something is missing; the others continue
            yield {"way": f"engine=transformers, {BITS[form]} bits", "note": said(error)}


def vllm(task: Task) -> Rows:
    """(c): engine=vllm, which does its own scheduling."""
    if find_spec("vllm") is None:
        raise RuntimeError("vLLM is not installed here")
    yield debates(task, task.seconds, "vllm") | {"way": "engine=vllm, 16 bits", "bits": 16}


def debates(task: Task, seconds: float, kind: str, *words: str) -> dict[str, Any]:
    """Find the fastest number of parallel debates, and play that many until they end or time is up."""
    import hustings
    from hustings import engine as engines
    from hustings.debate.play import Listener, Rules, play
    from hustings.engine.base import Answer, Order, Request
    from hustings.models import Weights

    scale = task.scale
    memory = [f"engine.batch_size={max(scale.sizes)}", f"engine.cache_gb={cache()}"]
    settings = hustings.compose(
        *task.overrides, f"engine={kind}", *words, *(memory if kind == "transformers" else []), "topic=racism",
        f"rounds={ROUNDS}", "shadow=false", f"sampling.max_tokens={scale.tokens}", "sampling.ignore_end=true",
        "sampling.attempts=1", f"repetitions={max(scale.sizes)}",
    )  # fmt: skip
    tokens, ended, last = 0, 0.0, 0

    class Over(Exception):
        """The time is up."""

    def count(request: Request, answer: Answer) -> None:
        nonlocal tokens, ended, last
        if tokens and request.turn.iteration > last and time.monotonic() - began > seconds:
            raise Over
        tokens += answer.tokens if request.turn.purpose == "reply" else 0
        ended, last = time.monotonic(), max(last, request.turn.iteration)

    afresh()
    order = Order(settings.model, Weights("random", "random", None, task.model))
    with engines.build(settings.engine, order) as engine:
        size = max(scale.sizes) if kind == "vllm" else best(engine, scale, seconds / 3)
        began = time.monotonic()
        with suppress(Over):
            play(engine, list(starts(settings, size)), {}, Rules.of(settings), size, Listener(on_answer=count))
        speed = tokens / (ended - began)
        return {
            "speed": speed, "unit": "tokens/s", "side_by_side": size, "peak_gb": peak(),
            "seconds_a_debate": REPLIES * scale.tokens / speed, "debates": tokens / REPLIES / scale.tokens,
        }  # fmt: skip


def best(engine: Any, scale: Scale, seconds: float) -> int:
    """The fastest number of replies to generate together, among those that fit into memory and time."""
    import torch

    from hustings.engine.base import Request, Sampling, Turn

    sampling = Sampling(1.0, scale.tokens // 2, ignore_end=True)
    speeds: dict[int, float] = {}
    list(engine.complete([Request("Hello", 0, sampling, Turn("pilot", 0, "default", 0, "reply", "Dominik"))]))
    began = time.monotonic()
    for size in scale.sizes:
        turns = [Turn(f"pilot/{size}/{place}", 0, "default", 0, "reply", "Dominik") for place in range(size)]
        requests = [Request(story(turn.debate) * 4, place, sampling, turn) for place, turn in enumerate(turns)]
        start = time.monotonic()
        try:
            found = list(engine.complete(requests))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        speeds[size] = sum(answer.tokens for answer in found) / (time.monotonic() - start)
        say(f"  {size} replies together: {speeds[size]:.0f} tokens/s")
        if speeds[size] < 1.1 * max([0, *list(speeds.values())[:-1]]) or time.monotonic() - began > seconds:
            break
    return max(speeds, key=speeds.__getitem__)


def training(task: Task) -> Rows:
    """(d): the same examples through plain TRL and through the function that train.py calls."""
    from transformers import AutoTokenizer, TrainerCallback
    from transformers.trainer import DEFAULT_CALLBACKS

    import hustings
    from hustings.training.loss import columns
    from hustings.training.trainer import Task as Training
    from hustings.training.trainer import nwp

    ended: list[float] = []

    class Clock(TrainerCallback):
        """Records when each step ends, in both ways; what comes before the first and after the last is not counted."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ended.append(time.monotonic())

    DEFAULT_CALLBACKS.append(Clock)
    words = [f"lora.r={task.scale.rank}", "method=nwp", "party=republican", "quantization=4bit", "lora.alpha=null"]
    settings = hustings.compose(*task.overrides, *words, f"method.batch={task.scale.batch}", job="train")
    batch = task.scale.batch
    text = [{"role": "assistant", "content": story("Everybody") * 2}]
    rows = [{"party": "republican", "question": 0, "answer": place, "name": "Everybody", "completion": text,
             "prompt": [{"role": "user", "content": f"{place}. {SURVEY}"}]}
            for place in range(batch * task.scale.steps)]  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(task.model)
    turns = [row["prompt"] + row["completion"] for row in rows[batch:]]
    tokens = sum(len(tokenizer.apply_chat_template(turn, return_dict=True)["input_ids"]) for turn in turns)
    ways: dict[str, Callable[[], Any]] = {
        "plain TRL": lambda: plain(task, settings, [columns(row, tokenizer) for row in rows]),
        "train.py": lambda: nwp(Training(task.model, "random", task.folder / "adapter", settings, {}), rows),
    }
    for name, way in ways.items():
        say(f"QLoRA, {name}")
        afresh()
        ended.clear()
        try:
            way()
        except Exception as error:  # something is missing; the other continues
            yield {"way": f"QLoRA, {name}", "note": said(error)}
            continue
        speed = tokens / (ended[-1] - ended[0])
        yield {"way": f"QLoRA, {name}", "speed": speed, "unit": "tokens/s trained", "peak_gb": peak(), "key": "train"}


def plain(task: Task, settings: Any, rows: list[dict[str, Any]]) -> None:
    """TRL with its defaults: bf16 autocast, activation checkpointing, batches of 8 padded together."""
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from hustings.huggingface import dtype_of, quantization
    from hustings.training.trainer import dataset_of

    dtype = dtype_of("fast", device_of())
    arguments = SFTConfig(
        str(task.folder / "plain"),
        model_init_kwargs={"quantization_config": quantization("4bit", dtype), "dtype": dtype},
        per_device_train_batch_size=min(8, task.scale.batch),
        gradient_accumulation_steps=max(1, task.scale.batch // 8),
        num_train_epochs=1,
        logging_strategy="no",
        bf16=dtype.itemsize == 2,
        use_cpu=device_of() == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=settings.lora.r,
        lora_alpha=2 * settings.lora.r,
        lora_dropout=settings.lora.dropout,
        target_modules=list(settings.lora.targets),
        task_type="CAUSAL_LM",
    )
    SFTTrainer(model=str(task.model), args=arguments, train_dataset=dataset_of(rows), peft_config=lora).train()


def evaluating(task: Task) -> Rows:
    """(e): invented documents of HellaSwag's length, through the harness of evaluate.py."""
    from transformers import AutoTokenizer

    import hustings
    from hustings.evaluation import benchmarks, data
    from hustings.models import Weights

    given, folder = task.folder / "given", task.folder / "data"
    given.mkdir()
    rows = [
        {"row": row, "activity_label": "Debating", "query": f"Debating: {row}. {story('Somebody')}", "label": 0,
         "endings": [f"{word} {SURVEY[:100]}" for word in ("One", "Two", "Three", "Four")]}
        for row in range(task.scale.documents)
    ]  # fmt: skip
    with gzip.open(given / "hellaswag_val.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    (given / "one.csv").write_text("How big?,0,3,7,10,A\n")
    with tarfile.open(given / "mmlu.tar.gz", "w") as archive:
        archive.add(given / "one.csv", "data/test/anatomy_test.csv")
    data.import_from(given, folder)
    count = size = task.scale.sizes[1]
    words = [*task.overrides, "benchmark.tasks=hellaswag", f"benchmark.data_dir={folder}", "benchmark.attitude=null"]
    settings = hustings.compose(*words, f"benchmark.batch_size={size}", job="evaluate").benchmark
    weights = Weights("random", "random", None, task.model)
    harness = benchmarks.Harness(settings, weights, None, 4096, lambda _: asked, task.folder / "store")
    for trial in ("loads", "warms up", "counts"):
        asked = benchmarks.documents(settings.model_copy(update={"limit": count}), "hellaswag")
        began = time.monotonic()
        harness.scores(benchmarks.Benchmark("hellaswag", trial))
        taken = time.monotonic() - began
        last, count = count, min(len(rows), max(size, int(count / taken * task.seconds / 2)))
    tokenizer = AutoTokenizer.from_pretrained(task.model)
    length = sum(len(tokenizer(f"{rows[0]['query']} {ending}").input_ids) for ending in rows[0]["endings"])
    yield {
        "way": "HellaSwag through evaluate.py", "speed": last / taken, "unit": "documents/s", "peak_gb": peak(),
        "key": "evaluate", "tokens_a_document": length, "documents": last,
    }  # fmt: skip


def starts(settings: Any, count: int) -> Iterator[Any]:
    """The start events of `count` debates."""
    from hustings.debate.roles import Persona, Seating, seating
    from hustings.records import Start
    from hustings.runfolder import DebateKey

    stories = {party: {place: Persona(party, place, f"{party} {place}", story(f"{party} {place}"))
                       for place in range(count)} for party in settings.society.parties}  # fmt: skip
    table = Seating(settings, dict.fromkeys(settings.roles, ""))
    for repetition in range(count):
        seats = seating(settings.composition, repetition, 1, dict.fromkeys(stories, count))
        agents = table.agents("racism", seats, stories)
        yield Start(debate=str(DebateKey("racism", settings.composition.name, repetition)), agents=agents, first=0)


def story(name: str) -> str:
    """A life story of about 100 words."""
    return f"You are {name}, and you vote. " + " ".join(
        f"In year {year} of your working life you learnt something about your town, your family and the law."
        for year in range(1, 6)
    )


def device_of() -> str:
    """`cuda` if there is a GPU, otherwise `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def cache() -> float:
    """Size of the prompt cache, GB: a quarter of the GPU's memory."""
    import torch

    return round(torch.cuda.mem_get_info()[1] / 4e9, 1) if torch.cuda.is_available() else 1


def afresh() -> None:
    """Free the memory of an earlier way, and reset the peak."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> float | None:
    """The most GPU memory that PyTorch has reserved, GB; None on a CPU."""
    import torch

    return torch.cuda.max_memory_reserved() / 1e9 if torch.cuda.is_available() else None


def seconds_of(work: Callable[[], Any]) -> float:
    """Seconds that a function takes: the mean of ten calls after two warm-up calls."""
    import torch

    def wait() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.monotonic()

    for _ in range(2):
        work()
    began = wait()
    for _ in range(10):
        work()
    return (wait() - began) / 10


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def said(error: BaseException) -> str:
    """The first line of an error message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


WAYS: dict[str, tuple[str, Callable[[Task], Rows], float]] = {
    "f": ("roofline", roofline, 1.0),
    "a": ("as in the paper", paper, 1.0),
    "b": ("engine=transformers", transformers, 3.0),
    "c": ("engine=vllm", vllm, 1.5),
    "d": ("QLoRA", training, 1.5),
    "e": ("HellaSwag through evaluate.py", evaluating, 1.0),
}
"""What each process does, and its share of the remaining time; the first one creates the model."""
