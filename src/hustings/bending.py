"""The job of train.py: questions, answers and an adapter, each made only as far as it is not there yet."""

import functools
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings import adapters, dataset, engine, models, report
from hustings.artifacts import Artifact, held, link, seen, write_atomically
from hustings.engine.base import Engine
from hustings.identity import canonical, identity
from hustings.progress import say
from hustings.provenance import versions
from hustings.settings import DpoSettings, TrainSettings
from hustings.training import Task, dpo, main_process, nwp

_VERSIONS = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run made."""

    folder: Path
    adapter: str
    """Name for adapter=…"""
    trained: bool
    """In this process; otherwise it was there."""
    seconds: float
    first_loss: float
    last_loss: float


def run(settings: TrainSettings, folder: Path, command: list[str]) -> Outcome:
    """Bend the model as the settings say, as far as that is not in the store, and link the adapter into `folder`.

    Args:
        folder: the run's folder.
        command: the command line, for the manifest.

    Raises:
        HustingsError: bad settings, a missing model, a busy or damaged artifact, a training that cannot be.
    """
    began = time.monotonic()
    artifact, trained = make(settings, models.resolve(settings.model))
    return _report(settings, artifact, folder, command, trained, time.monotonic() - began)


def make(settings: TrainSettings, weights: models.Weights) -> tuple[Artifact, bool]:
    """The adapter of the settings, and whether it was trained now, with all that it needs.

    Raises:
        HustingsError: a busy or damaged artifact, a training that cannot be.
    """

    @functools.cache
    def live() -> Engine:
        say(f"loading {weights.name} on {settings.engine.kind} …")
        return engine.build(settings, weights)

    def close() -> None:
        if live.cache_info().currsize:
            live().close()
            live.cache_clear()

    try:
        return _Bench(settings, weights, live, close).adapter(settings)
    finally:
        close()


def find(settings: TrainSettings, weights: models.Weights) -> adapters.Adapter | None:
    """The finished adapter of the settings, if the store has it."""
    slug = f"{weights.name}-{adapters.name_of(settings)}"
    artifact = seen(Path(settings.artifacts), adapters.KIND, slug, of_adapter(settings, weights.fingerprint))
    return None if artifact.growing else adapters.Adapter(artifact.folder, artifact.manifest)


def of_adapter(settings: TrainSettings, fingerprint: str) -> dict[str, Any]:
    """What the identity of an adapter is made of: base model, data, and every setting that changes it."""
    parties = settings.society.parties if settings.method.kind == "dpo" else (settings.party.name,)
    substance: dict[str, Any] = {
        "model": fingerprint,
        "answers": {party: identity(dataset.of_answers(settings, fingerprint, party)) for party in parties},
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


@dataclass(frozen=True, slots=True)
class _Bench:
    """What the steps of a job share."""

    settings: TrainSettings
    weights: models.Weights
    live: dataset.Live
    close: Callable[[], None]

    def adapter(self, settings: TrainSettings) -> tuple[Artifact, bool]:
        """The adapter, and whether it was trained now; DPO has that of nwp made before it."""
        fingerprint = self.weights.fingerprint
        slug = f"{self.weights.name}-{adapters.name_of(settings)}"
        with _held(Path(settings.artifacts), slug, of_adapter(settings, fingerprint)) as artifact:
            trained = artifact.growing
            if trained:
                base = models.as_folder(self.weights, say)
                adapters.check(base, self.weights.name, settings)
                start = None if settings.method.kind == "nwp" else self.adapter(_before(settings))[0].folder
                self._make(settings, base, start, artifact)
        return artifact, trained

    def _make(self, settings: TrainSettings, base: Path, start: Path | None, artifact: Artifact) -> None:
        """Train, and seal the adapter with its card."""
        began = time.monotonic()
        own, parties = settings.party.name, list(settings.society.parties)
        questions = dataset.questions(settings, self.weights.name, self.weights.fingerprint, self.live)
        asked = list(enumerate(questions))
        train, hold = asked[: settings.questions], asked[settings.questions :]
        rows = {party: self._answers(settings, party, train) for party in parties if party == own or start}
        held_out = {party: self._answers(settings, party, hold) for party in parties}
        self.close()
        name = settings.model.id or self.weights.name
        task = Task(base, name, artifact.folder, settings, held_out)
        if main_process():
            artifact.grow(name=adapters.name_of(settings), base=self.weights.name)
        if start is None:
            trained = nwp(task, rows[own])
        else:
            others = [row for party in parties if party != own for row in rows[party]]
            trained = dpo(task, dataset.pairs(rows[own], others, settings.seed), start)
        if not main_process():
            return
        facts = {
            "rows": len(rows[own]),
            "questions": identity(dataset.of_questions(settings, self.weights.fingerprint)),
            "answers": {p: identity(dataset.of_answers(settings, self.weights.fingerprint, p)) for p in rows},
            "versions": versions(_VERSIONS),
        }
        adapters.describe(artifact.folder, settings, self.weights, facts, trained)
        artifact.grow(
            **facts,
            settings=settings.model_dump(mode="json"),
            held_out_loss=trained.held_out,
            first_loss=trained.history[0]["loss"],
            last_loss=trained.history[-1]["loss"],
            seconds=round(time.monotonic() - began, 1),
        )
        artifact.seal()

    def _answers(self, settings: TrainSettings, party: str, asked: Sequence[tuple[int, str]]) -> list[dataset.Row]:
        return dataset.answers(settings, self.weights.name, self.weights.fingerprint, party, asked, self.live)


@contextmanager
def _held(store: Path, slug: str, substance: dict[str, Any]) -> Generator[Artifact]:
    """The adapter's artifact; of the processes of one training, the first holds it."""
    if not main_process():
        yield seen(store, adapters.KIND, slug, substance)
        return
    with held(store, adapters.KIND, slug, substance, wait=False) as artifact:
        yield artifact


def _report(
    settings: TrainSettings, artifact: Artifact, folder: Path, command: list[str], trained: bool, seconds: float
) -> Outcome:
    """Put a manifest and links to what was made into the run's folder."""
    if main_process():
        folder.mkdir(parents=True, exist_ok=True)
        link(artifact.folder, folder / report.ADAPTER)
        manifest = {
            "v": 1,
            "kind": "training",
            "command": command,
            "adapter": f"{artifact.manifest['name']}-{artifact.id}",
            "trained": trained,
            "seconds": round(seconds, 1),
            "versions": versions(_VERSIONS),
            "settings": settings.model_dump(mode="json"),
        }
        write_atomically(folder / "manifest.json", canonical(manifest) + "\n")
    facts = artifact.manifest
    losses = facts.get("first_loss", math.nan), facts.get("last_loss", math.nan)
    return Outcome(folder, f"{adapters.name_of(settings)}-{artifact.id}", trained, seconds, *losses)
