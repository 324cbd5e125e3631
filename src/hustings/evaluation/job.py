"""The job of evaluate.py: a row of Table 1, or one adapter, measured only if the store does not have it yet.

It does not know the other rows: they are put together at the end of a sweep (table.py).
"""

import functools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings import adapters, models, runfolder, study
from hustings.errors import AdapterError, SettingsError
from hustings.evaluation import benchmarks
from hustings.evaluation.benchmarks import Benchmark, Harness, Score
from hustings.evaluation.table import ATTITUDE
from hustings.files import write_table
from hustings.progress import say
from hustings.provenance import commit, versions
from hustings.settings import EvaluateSettings, ModelSettings
from hustings.simulation import job as simulation
from hustings.study import Study
from hustings.training import job as training

_VERSIONS = ("lm_eval", "torch", "transformers", "peft", "bitsandbytes", "datasets", "vllm")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run."""

    folder: Path
    """The run's folder."""
    rows: list[dict[str, Any]]
    """Rows of scores.csv."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A model to measure, with or without an adapter."""

    row: str
    """Name of its row."""
    model: ModelSettings
    weights: models.Weights
    adapter: adapters.Adapter | None

    @property
    def seed(self) -> int | None:
        """Seed of the adapter's training."""
        return None if self.adapter is None else self.adapter.manifest["of"]["seed"]

    def __str__(self) -> str:
        return f"{self.weights.name} {self.adapter}" if self.adapter else self.weights.name


def run(settings: EvaluateSettings, folder: Path, command: list[str]) -> Outcome:
    """Measure what the settings ask for, and put scores.csv and a manifest into `folder`.

    Args:
        folder: the run's folder.
        command: the command line, for the manifest.

    Raises:
        HustingsError: bad settings, missing data, a missing adapter, a busy or damaged artifact.
    """
    began = time.monotonic()
    asked = benchmarks.resolve(settings.benchmark)
    cells = _cells(settings)
    documents = functools.cache(functools.partial(benchmarks.documents, settings.benchmark))
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    results: dict[str, list[str]] = {}
    for place, cell in enumerate(cells):
        harness = Harness(
            settings.benchmark, cell.weights, cell.adapter, cell.model.context, documents, Path(settings.artifacts)
        )
        scores, sources = _benchmarks(harness, asked)
        rows += [_line(cell, score) for score in scores]
        role = settings.benchmark.attitude
        if role is not None and cell.row != "comparison":
            debates = _debates(settings, cell, folder / f"debates-{place}", command)
            rows += [_line(cell, score, debates.scale) for score in _attitudes(debates, role)]
            sources.append(debates.folder)
        results[str(cell)] = [os.path.relpath(source.resolve(), folder.resolve()) for source in sources]
        _write(folder / runfolder.SCORES, rows)
    outcome = Outcome(folder, rows, time.monotonic() - began)
    manifest = runfolder.EvaluationManifest(
        command=command,
        versions=versions(_VERSIONS),
        settings=settings.model_dump(mode="json"),
        results=results,
        models={cell.weights.name: cell.weights.fingerprint for cell in cells},
        adapters=[cell.adapter.id for cell in cells if cell.adapter],
        seconds=round(outcome.seconds, 1),
        commit=commit(),
        files=runfolder.hashes(folder, [runfolder.SCORES]),
    )
    runfolder.write_manifest(folder, manifest)
    return outcome


def _cells(settings: EvaluateSettings) -> list[Cell]:
    """The models to measure; missing adapters are trained if the settings say so."""
    if settings.row == "comparison":
        assert settings.comparison is not None
        return [Cell("comparison", settings.comparison, models.resolve(settings.comparison), None)]
    weights = models.resolve(settings.model)
    here = functools.partial(Cell, model=settings.model, weights=weights)
    if settings.row == "base" or (settings.row is None and settings.adapter is None):
        return [here("base", adapter=None)]
    if settings.row is None:
        adapter = adapters.find(Path(settings.artifacts), weights, str(settings.adapter))
        return [here(adapter.name, adapter=adapter)]
    return [here(settings.row, adapter=_adapter(settings, weights, seed)) for seed in settings.seeds]


def _adapter(settings: EvaluateSettings, weights: models.Weights, seed: int) -> adapters.Adapter:
    """The adapter of a row and seed, trained now if it is missing and may be trained."""
    try:
        wanted = settings.training(seed)
    except ValueError as error:
        raise SettingsError(
            f"row={settings.row}: this training is not possible ({error}); choose an engine that can write the answers."
        ) from error
    name = adapters.name_of(wanted)
    found = training.find(wanted, weights)
    if found is None and settings.train_missing:
        say(f"training {name}, which {weights.name} does not have yet")
        training.make(wanted, weights)
        found = training.find(wanted, weights)
    if found is None:
        raise AdapterError(
            f"row={settings.row}: {weights.name} has no adapter {name} with these settings in "
            f"{settings.artifacts}; set train_missing=true to train it, or run python train.py with the same "
            f"model, data and method: party={wanted.party.name} method={wanted.method.kind} "
            f"lora.r={wanted.lora.r} seed={seed} questions={wanted.questions} "
            f"answers_per_question={wanted.answers_per_question} quantization={wanted.quantization}."
        )
    return found


def _benchmarks(harness: Harness, asked: Sequence[Benchmark]) -> tuple[list[Score], list[Path]]:
    """The scores of a cell, and the folders that keep what they were computed from."""
    scores: list[Score] = []
    sources: list[Path] = []
    for benchmark in asked:
        found, source = harness.scores(benchmark)
        scores += found
        sources.append(source)
    harness.close()
    return scores, sources


def _debates(settings: EvaluateSettings, cell: Cell, folder: Path, command: list[str]) -> Study:
    """The debates that show a cell's attitude, in a folder of their own."""
    adapter = str(cell.adapter.folder) if cell.adapter else None
    return study.load(simulation.run(settings.debates(adapter), folder, command).folder)


def _attitudes(debates: Study, role: str) -> list[Score]:
    """The mean attitude of a role at the last survey, by topic; a debate's agents of that role are averaged.

    Both outcomes are given, except the expected value if the engine gave no probabilities.
    """
    scores: list[Score] = []
    for outcome in ("score", "expected"):
        if debates.attitudes[outcome].isna().all():
            continue
        answers = debates.analysed_as(outcome).answers
        last = answers[(answers["role"] == role) & (answers["iteration"] == answers["iteration"].max())]
        for topic, of_topic in last.groupby("topic"):
            values = of_topic.groupby("repetition")["value"].mean().dropna()
            if len(values):
                stderr = float(values.sem()) if len(values) > 1 else None
                scores.append(Score(f"{ATTITUDE}{topic}", outcome, float(values.mean()), stderr, len(values)))
    return scores


def _line(cell: Cell, score: Score, scale: tuple[float, float] | None = None) -> dict[str, Any]:
    """A row of scores.csv.

    Args:
        scale: the lowest and the highest attitude; None for a benchmark.
    """
    low, high = scale or (None, None)
    return {
        "row": cell.row,
        "model": cell.weights.name,
        "adapter": cell.adapter.name if cell.adapter else "",
        "adapter_id": cell.adapter.id if cell.adapter else "",
        "seed": cell.seed,
        "benchmark": score.benchmark,
        "metric": score.metric,
        "score": score.score,
        "stderr": score.stderr,
        "n": score.n,
        "low": low,
        "high": high,
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    write_table(path, pd.DataFrame(rows, dtype=object))  # seeds stay whole numbers even if some are missing
