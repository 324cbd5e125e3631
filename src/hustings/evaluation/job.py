"""The job of evaluate.py: a row of Table 1, or one adapter, measured as far as the store does not know it yet.

It does not know the other rows: a sweep's end puts those together (table.py).
"""

import functools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings import adapters, bending, models, simulation
from hustings.artifacts import write_atomically
from hustings.errors import AdapterError, SettingsError
from hustings.evaluation import benchmarks
from hustings.evaluation.benchmarks import Benchmark, Harness, Score
from hustings.evaluation.table import SCORES
from hustings.identity import canonical
from hustings.progress import say
from hustings.provenance import commit, versions
from hustings.settings import EvaluateSettings, ModelSettings

ATTITUDE = "attitude"


@dataclass(frozen=True, slots=True)
class Cell:
    """A model, with or without an adapter, that is measured."""

    row: str
    """Its row's name."""
    model: ModelSettings
    weights: models.Weights
    adapter: adapters.Adapter | None

    @property
    def seed(self) -> int | None:
        """Of the adapter's training."""
        return None if self.adapter is None else self.adapter.manifest["of"]["seed"]


def run(settings: EvaluateSettings, folder: Path, command: list[str]) -> list[dict[str, Any]]:
    """Measure what the settings ask for, and put `scores.csv` and a manifest into `folder`.

    Args:
        folder: the run's folder.
        command: the command line, for the manifest.

    Returns:
        The rows of scores.csv.

    Raises:
        HustingsError: bad settings, missing data, a missing adapter, a busy or damaged artifact.
    """
    began = time.monotonic()
    asked = benchmarks.checked(settings.benchmark)
    cells = _cells(settings)
    documents = functools.cache(functools.partial(benchmarks.documents, settings.benchmark))
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    kept: dict[str, list[str]] = {}
    for place, cell in enumerate(cells):
        harness = Harness(
            settings.benchmark, cell.weights, cell.adapter, cell.model.context, documents, Path(settings.artifacts)
        )
        scores, places = _benchmarks(harness, asked)
        if settings.benchmark.attitude is not None and cell.row != "comparison":
            debates = folder / f"debates-{place}"
            simulation.run(settings.debates(str(cell.adapter.folder) if cell.adapter else None), debates, command)
            scores += _attitudes(debates, settings.benchmark.attitude)
            places.append(debates)
        rows += [_line(cell, score) for score in scores]
        kept[_name(cell)] = [os.path.relpath(at, folder) for at in places]
        _write(folder / SCORES, rows)
    manifest = {
        "v": 1,
        "kind": "evaluation",
        "command": command,
        "results": kept,
        "models": {cell.weights.name: cell.weights.fingerprint for cell in cells},
        "adapters": [cell.adapter.id for cell in cells if cell.adapter],
        "seconds": round(time.monotonic() - began, 1),
        "versions": versions(("lm_eval", "torch", "transformers", "peft", "bitsandbytes", "datasets", "vllm")),
        "commit": commit(),
        "settings": settings.model_dump(mode="json"),
    }
    write_atomically(folder / "manifest.json", canonical(manifest) + "\n")
    return rows


def _cells(settings: EvaluateSettings) -> list[Cell]:
    """What is measured; adapters that are missing are trained when the settings say so."""
    if settings.row == "comparison":
        assert settings.comparison is not None
        weights = models.resolve(settings.comparison)
        return [Cell("comparison", settings.comparison, weights, None)]
    weights = models.resolve(settings.model)
    here = functools.partial(Cell, model=settings.model, weights=weights)
    if settings.row == "base" or (settings.row is None and settings.adapter is None):
        return [here("base", adapter=None)]
    if settings.row is None:
        adapter = adapters.find(Path(settings.artifacts), weights, str(settings.adapter))
        return [here(adapter.name, adapter=adapter)]
    return [here(settings.row, adapter=_adapter(settings, weights, seed)) for seed in settings.seeds]


def _adapter(settings: EvaluateSettings, weights: models.Weights, seed: int) -> adapters.Adapter:
    try:
        training = settings.training(seed)
    except ValueError as error:
        raise SettingsError(
            f"row={settings.row}: this training cannot be ({error}); choose an engine that can write the answers."
        ) from error
    found = bending.find(training, weights)
    if found is None and settings.train_missing:
        say(f"training {adapters.name_of(training)}, which {weights.name} lacks")
        bending.make(training, weights)
        found = bending.find(training, weights)
    if found is None:
        raise AdapterError(
            f"row={settings.row}: {weights.name} has no adapter {adapters.name_of(training)} with these settings in "
            f"{settings.artifacts}; set train_missing=true to have it trained, or run python train.py with the same "
            f"model, data and method: party={training.party.name} method={training.method.kind} "
            f"lora.r={training.lora.r} seed={seed} questions={training.questions} "
            f"answers_per_question={training.answers_per_question} quantization={training.quantization}."
        )
    return found


def _benchmarks(harness: Harness, asked: Sequence[Benchmark]) -> tuple[list[Score], list[Path]]:
    """The scores of a cell, and the folders that keep what they were made of."""
    scores: list[Score] = []
    places: list[Path] = []
    for benchmark in asked:
        found, place, _ = harness.scores(benchmark)
        scores += found
        places.append(place)
    harness.close()
    return scores, places


def _attitudes(folder: Path, role: str) -> list[Score]:
    """The mean attitude of a role after the last round, by topic; a debate's agents of that role are averaged."""
    import pandas as pd

    table = pd.read_csv(folder / simulation.ATTITUDES)
    last = table[(table["role"] == role) & (table["iteration"] == table["iteration"].max())]
    scores: list[Score] = []
    for topic, rows in last.groupby("topic"):
        for metric in ("score", "expected"):
            values = rows.groupby(["composition", "repetition"])[metric].mean().dropna()
            if len(values):
                stderr = float(values.sem()) if len(values) > 1 else None
                scores.append(Score(f"{ATTITUDE}/{topic}", metric, float(values.mean()), stderr, len(values)))
    return scores


def _line(cell: Cell, score: Score) -> dict[str, Any]:
    """A row of scores.csv."""
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
    }


def _name(cell: Cell) -> str:
    return f"{cell.weights.name} {cell.adapter.name}-{cell.adapter.id}" if cell.adapter else cell.weights.name


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    write_atomically(path, pd.DataFrame(rows).astype({"seed": "Int64"}).to_csv(index=False))
