"""The job of train.py: questions, answers and an adapter, each made only if the store does not have it yet.

It does not know how a model is trained: trainer.py does.
"""

import math
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings import models, runfolder
from hustings.adapters import KIND, Adapter, name_of
from hustings.artifacts import Artifact, Place, locked, peek
from hustings.engine.base import Order
from hustings.engine.lazy import LazyEngine
from hustings.files import check_room
from hustings.identity import identity
from hustings.pretrained import tokenizer_of
from hustings.progress import say
from hustings.provenance import versions
from hustings.settings import DpoSettings, TrainSettings
from hustings.training import data, loss, memory
from hustings.training.card import describe
from hustings.training.data import Interview, Row
from hustings.training.trainer import Task, dpo, main_process, nwp

_VERSIONS = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run."""

    folder: Path
    """The run's folder."""
    adapter: str
    """Name and identity, for adapter=…"""
    trained: bool
    """Whether this run trained it; otherwise it was already in the store."""
    seconds: float
    first_loss: float
    last_loss: float


def run(settings: TrainSettings, folder: Path, command: list[str]) -> Outcome:
    """Fine-tune the model as the settings say, unless the store has the adapter, and describe it in `folder`.

    Args:
        folder: the run's folder.
        command: the command line, for the manifest.

    Raises:
        HustingsError: bad settings, a missing model, a busy or damaged artifact, a training that is not possible.
    """
    began = time.monotonic()
    artifact, trained = make(settings, models.resolve(settings.model))
    facts = artifact.manifest
    outcome = Outcome(
        folder=folder,
        adapter=f"{name_of(settings)}-{artifact.id}",
        trained=trained,
        seconds=time.monotonic() - began,
        first_loss=facts.get("first_loss", math.nan),
        last_loss=facts.get("last_loss", math.nan),
    )
    if main_process():
        runfolder.copy_adapter(artifact.folder, folder)
        manifest = runfolder.TrainingManifest(
            command=command,
            versions=versions(_VERSIONS),
            settings=settings.model_dump(mode="json"),
            adapter=outcome.adapter,
            trained=trained,
            seconds=round(outcome.seconds, 1),
        )
        runfolder.write_manifest(folder, manifest)
    return outcome


def make(settings: TrainSettings, weights: models.Weights) -> tuple[Artifact, bool]:
    """The adapter for the settings, made now with everything it needs if it is missing, and whether it was trained now.

    Raises:
        HustingsError: a busy or damaged artifact, a training that is not possible.
    """
    order = Order(settings.model, weights)
    with LazyEngine(settings.engine, order, f"{weights.name} on {settings.engine.kind}") as engine:
        return _adapter(Interview(settings, weights, engine))


def find(settings: TrainSettings, weights: models.Weights) -> Adapter | None:
    """The finished adapter for the settings, if the store has it."""
    artifact = peek(_place(settings, weights))
    return None if artifact.growing else Adapter(artifact.folder, artifact.manifest)


def of_adapter(settings: TrainSettings, fingerprint: str) -> dict[str, Any]:
    """What the identity of an adapter is computed from: base model, data, and every setting that changes it.

    Args:
        fingerprint: the base model's fingerprint.
    """
    parties = settings.society.parties if settings.method.kind == "dpo" else (settings.party.name,)
    substance: dict[str, Any] = {
        "model": fingerprint,
        "answers": {party: identity(data.of_answers(settings, fingerprint, party)) for party in parties},
        "party": settings.party.name,
        "questions": settings.questions,
        "answers_per_question": settings.answers_per_question,
        "held_out": settings.held_out,
        "method": settings.method.substance(),
        "lora": settings.lora.substance(),
        "quantization": settings.quantization,
        "precision": settings.precision,
        "seed": settings.seed,
    }
    if settings.method.kind == "dpo":
        substance["start"] = identity(of_adapter(_before(settings), fingerprint))
    return substance


def _before(settings: TrainSettings) -> TrainSettings:
    """The settings of the nwp adapter that DPO starts from."""
    assert isinstance(settings.method, DpoSettings)
    return settings.model_copy(update={"method": settings.method.nwp})


def _place(settings: TrainSettings, weights: models.Weights) -> Place:
    slug = f"{weights.name}-{name_of(settings)}"
    return Place(Path(settings.artifacts), KIND, slug, of_adapter(settings, weights.fingerprint))


@contextmanager
def _locked(place: Place) -> Generator[Artifact]:
    """The adapter's artifact; only the first process of a training locks it."""
    if not main_process():
        yield peek(place)
        return
    with locked(place, wait=False) as artifact:
        yield artifact


def _adapter(interview: Interview) -> tuple[Artifact, bool]:
    """The adapter, and whether it was trained now; for DPO, the nwp adapter is made first."""
    settings, weights = interview.settings, interview.weights
    with _locked(_place(settings, weights)) as artifact:
        missing = artifact.growing
        if missing:
            check_room([models.unconverted(weights, gguf=False)], "choose a smaller model")
            base = models.as_folder(weights, say)
            memory.check(base, weights.name, settings)
            loss.check(tokenizer_of(base), weights.name)
            start = None
            if settings.method.kind == "dpo":
                before = Interview(_before(settings), weights, interview.engine)
                start = _adapter(before)[0].folder
            _train(interview, base, start, artifact)
    return artifact, missing


def _train(interview: Interview, base: Path, start: Path | None, artifact: Artifact) -> None:
    """Train, describe the adapter, and seal it.

    Args:
        base: folder of the base model.
        start: folder of the nwp adapter, for DPO.
    """
    began = time.monotonic()
    settings, weights = interview.settings, interview.weights
    own, parties = settings.party.name, list(settings.society.parties)
    asked = list(enumerate(data.questions(interview)))
    train, hold = asked[: settings.questions], asked[settings.questions :]
    rows = {party: data.answers(interview, party, train) for party in parties if party == own or start}
    held_out = {party: data.answers(interview, party, hold) for party in parties}
    interview.engine.close()
    if main_process():
        artifact.grow(name=name_of(settings), base=weights.name)
    task = Task(base, settings.model.id or weights.name, artifact.folder, settings, held_out)
    trained = nwp(task, rows[own]) if start is None else dpo(task, _pairs(rows, settings), start)
    if not main_process():
        return
    facts = {
        "rows": len(rows[own]),
        "questions": identity(data.of_questions(settings, weights.fingerprint)),
        "answers": {party: identity(data.of_answers(settings, weights.fingerprint, party)) for party in rows},
        "versions": versions(_VERSIONS),
    }
    describe(artifact.folder, settings, weights, facts, trained)
    artifact.grow(
        **facts,
        settings=settings.model_dump(mode="json"),
        held_out_loss=trained.held_out,
        first_loss=trained.history[0]["loss"],
        last_loss=trained.history[-1]["loss"],
        seconds=round(time.monotonic() - began, 1),
    )
    artifact.seal()


def _pairs(rows: dict[str, list[Row]], settings: TrainSettings) -> Sequence[Row]:
    """Each answer of the party, paired with one of another party to the same question."""
    others = [row for party, theirs in rows.items() if party != settings.party.name for row in theirs]
    return data.pairs(rows[settings.party.name], others, settings.seed)
