"""The folder of a run: its file names, its typed manifest, and the key of a debate.

Everything in it is plain files, so that a copy of the folder can be read anywhere. It does not know what runs do.
"""

import gzip
import hashlib
import json
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hustings.errors import RecordError
from hustings.files import trouble, write_atomically
from hustings.identity import SEAL, canonical, sealed, sha256

MANIFEST = "manifest.json"
EVENTS = "events.jsonl"
PACKED = "events.jsonl.gz"
"""The log of a run that was packed."""
ATTITUDES = "attitudes.csv"
REPLIES = "replies.csv"
AGENTS = "agents.csv"
STANCES = "stances.csv"
"""What judges say of the replies; only where `hustings judge` was run."""
STATISTICS = "statistics.csv"
COMPARISON = "comparison.csv"
CONTROLS = "controls.csv"
SETS = "sets.csv"
MITIGATIONS = "mitigations.csv"
PERPLEXITY = "perplexity.jsonl"
SCORES = "scores.csv"
FIGURES = "figures"
REPORT = "report.html"
ADAPTER = "adapter"
"""Folder with what describes the adapter that the run made or used; its weights stay in the artifact store."""
ANNOTATION = "annotation"
"""Folder with replies that people rate, and their ratings."""


class DebateKey(NamedTuple):
    """What a debate is called: `racism/rep_dem_default/0007`."""

    topic: str
    composition: str
    repetition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.composition}/{self.repetition:04d}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that is written so."""
        topic, composition, repetition = text.split("/")
        return cls(topic, composition, int(repetition))


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelName(_Part):
    """A model that a run used."""

    name: str
    sha256: str
    """Of the weights, or the commit of a hub model, or the name of an API's."""


class AdapterName(_Part):
    """An adapter that a run used."""

    name: str
    id: str


class _Manifest(_Part):
    v: Literal[2] = 2
    command: list[str]
    """The command as it was typed, after `python`."""
    versions: dict[str, str]
    """Of Hustings and the packages that matter, by name."""
    settings: dict[str, Any]
    files: dict[str, str] = Field(default_factory=dict[str, str], exclude_if=lambda value: not value)
    """sha256 of the files that others are made from or that are read, by name; nothing in older runs."""


class RunManifest(_Manifest):
    """The manifest of simulate.py."""

    kind: Literal["run"] = "run"
    debates: dict[str, str]
    """Identity of the debates in the artifact store, by topic."""
    promise: str | None
    """What the engine promises about repeating the run."""
    preamble: str | None
    """What the chat template wrote before every user turn by itself, with the text of the system slot."""
    model: ModelName
    adapter: AdapterName | None
    played: dict[str, Any]
    """Counts of this process: debates, replies, tokens, seconds, dollars."""
    spent: dict[str, Any]
    """The same over all processes that played debates of these topics."""
    commit: str | None
    """Git commit of the checkout."""

    @property
    def id(self) -> str:
        """Short name of the run, equal for equal debates: what links into its page begin with."""
        return "-".join(self.debates[topic] for topic in sorted(self.debates))[:25]


class TrainingManifest(_Manifest):
    """The manifest of train.py."""

    kind: Literal["training"] = "training"
    adapter: str
    """Name and identity."""
    trained: bool
    """By this run; otherwise it was already in the store."""
    seconds: float


class EvaluationManifest(_Manifest):
    """The manifest of evaluate.py."""

    kind: Literal["evaluation"] = "evaluation"
    results: dict[str, list[str]]
    """Folders with what each model's scores were computed from, relative to the run's."""
    models: dict[str, str]
    """Fingerprint by name."""
    adapters: list[str]
    """Identities."""
    seconds: float
    commit: str | None


class ComparisonManifest(_Part):
    """The manifest of several runs together."""

    v: Literal[2] = 2
    kind: Literal["comparison"] = "comparison"
    runs: list[dict[str, str]]
    """`run` (what it is called) and `folder`."""


Manifest = RunManifest | TrainingManifest | EvaluationManifest | ComparisonManifest
M = TypeVar("M", bound=Manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put the manifest into a run's folder.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    write_atomically(folder / MANIFEST, canonical(sealed(manifest.model_dump(mode="json"))) + "\n")


def hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of those of these files that are there, for a manifest."""
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}


def changed(folder: Path, manifest: RunManifest | TrainingManifest | EvaluationManifest) -> set[str]:
    """Names of files that are there, but not as the run left them."""
    return {name for name, found in hashes(folder, manifest.files).items() if found != manifest.files[name]}


def read_manifest(folder: Path, kind: type[M]) -> M:
    """The manifest in a run's folder.

    Args:
        kind: of which job the run must be.

    Raises:
        RecordError: the folder is not such a run's, or an older version of Hustings made it.
    """
    try:
        plain: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(plain, dict) and SEAL in plain and plain.get("v") == 2 and plain != sealed(plain):
            raise ValueError("it was changed")
        return kind.model_validate(plain if SEAL not in plain else {key: plain[key] for key in plain if key != SEAL})
    except (OSError, ValueError) as error:
        if said := trouble(error):
            raise RecordError(said) from error
        if isinstance(error, ValidationError) and any(it["loc"] == ("v",) for it in error.errors()):
            raise RecordError(
                f"{folder}: this run was made by another version of Hustings, whose records this one does not read; "
                "run its command again with this version, or read it with that one."
            ) from error
        raise RecordError(
            f"{folder}: this is not a run's folder ({MANIFEST} is missing, damaged, or another job's); give the folder "
            "that a run printed as its last line."
        ) from error


def kind_of(folder: Path) -> str:
    """Which job made the folder: `run`, `training`, `evaluation`, `comparison`, or nothing if none did."""
    for manifest in (RunManifest, TrainingManifest, EvaluationManifest, ComparisonManifest):
        try:
            return read_manifest(folder, manifest).kind
        except RecordError:
            continue
    return ""


def jobs(folder: Path, kind: str) -> list[Path]:
    """The runs of one kind in a sweep's folder, in the order of their numbers; empty when it is not a sweep's."""
    found = [child for child in folder.iterdir() if kind_of(child) == kind] if folder.is_dir() else []
    return sorted(found, key=lambda child: (len(child.name), child.name))


def check_target(target: Path, manifest: Manifest) -> None:
    """Check that no other results are lost when those with this manifest are written to a folder.

    A run may replace one whose debates it has: the same identities, on at least the same topics and with at least as
    many repetitions. An evaluation may replace one whose results it has, and a comparison, which is made from runs, any
    comparison.

    Raises:
        RecordError: the folder has other results.
    """
    if not (target / MANIFEST).exists():
        return
    try:
        replaceable = _includes(manifest, read_manifest(target, type(manifest)))
    except RecordError:
        replaceable = False
    if not replaceable:
        raise RecordError(
            f"{target}: this folder already has other results (of another kind or run, or of more debates), which "
            "would be overwritten; choose another folder."
        )


def _includes(manifest: Manifest, other: Manifest) -> bool:
    """Whether results include everything that other results of the same kind have."""
    match manifest, other:
        case RunManifest(), RunManifest():
            more = manifest.settings["repetitions"] >= other.settings["repetitions"]
            return more and manifest.debates.items() >= other.debates.items()
        case EvaluationManifest(), EvaluationManifest():
            return _results(manifest) >= _results(other)
        case _:
            return isinstance(manifest, ComparisonManifest)


def _results(manifest: EvaluationManifest) -> set[tuple[str, str]]:
    """Each model of an evaluation with the names of its results, which end in their identities."""
    return {(model, Path(folder).name) for model, folders in manifest.results.items() for folder in folders}


def copy_run(source: Path, target: Path) -> Path:
    """Copy a run's inputs and results, without anything derived from them; does nothing if both are the same folder.

    Returns:
        The target.

    Raises:
        RecordError: the source is not a run's, its packed log is damaged, or the target has other results.
    """
    manifest = read_manifest(source, RunManifest)
    unpack(source)
    if target.resolve() == source.resolve():
        return target
    check_target(target, manifest)
    target.mkdir(parents=True, exist_ok=True)
    for file in (EVENTS, PACKED, ATTITUDES, REPLIES, AGENTS):
        (target / file).unlink(missing_ok=True)
        _copy(source / file, target / file)
    _copy_additions(source, target)
    _copy(source / MANIFEST, target / MANIFEST)
    return target


def pack(source: Path, target: Path) -> list[Path]:
    """Copy runs or evaluations, one or those of a sweep, as small as they can be kept: manifests, scores, packed logs.

    Everything else is made from these: `unpack`, and `hustings report` for statistics, figures and pages.

    Returns:
        The packed runs and evaluations.

    Raises:
        RecordError: the source is not a folder of runs or evaluations, one of them is damaged, or the target has other
            results.
    """
    alone = kind_of(source) in ("run", "evaluation")
    runs = [source] if alone else [*jobs(source, "run"), *jobs(source, "evaluation")]
    if not runs:
        raise RecordError(
            f"{source}: there is no run here to pack; give a folder that simulate.py or evaluate.py printed last."
        )
    packed = [target if alone else target / run.name for run in runs]
    for run, folder in zip(runs, packed, strict=True):
        _check_packing(run, folder)
    if not alone:
        check_target(target, ComparisonManifest(runs=[]))
    for run, folder in zip(runs, packed, strict=True):
        _pack(run, folder)
    for file in () if alone else source.glob("*.json"):  # what was put together, and how jobs were chosen
        shutil.copyfile(file, target / file.name)
    return packed


def _check_packing(run: Path, folder: Path) -> None:
    """Check that a run or an evaluation is whole, and that packing it into a folder destroys nothing."""
    manifest = read_manifest(run, RunManifest if kind_of(run) == "run" else EvaluationManifest)
    if folder.resolve() == run.resolve():
        raise RecordError(f"{run}: a run cannot be packed into its own folder; choose another folder.")
    check_target(folder, manifest)
    unpack(run)
    damaged = changed(run, manifest) & {EVENTS, STANCES, SCORES}
    if isinstance(manifest, RunManifest) and not (run / EVENTS).exists():
        damaged.add(EVENTS)
    if damaged:
        raise RecordError(
            f"{run}: this run cannot be packed, because {' and '.join(sorted(damaged))} changed or disappeared after "
            "the run; restore the folder, or run its command again."
        )


def _pack(run: Path, folder: Path) -> None:
    """Pack one run or evaluation; what was made from an earlier log in the folder is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    _copy_additions(run, folder)
    if (run / EVENTS).exists():
        for file in (EVENTS, ATTITUDES, REPLIES, AGENTS, STATISTICS, REPORT):
            (folder / file).unlink(missing_ok=True)
        shutil.rmtree(folder / FIGURES, ignore_errors=True)
        with (folder / PACKED).open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
            file.write((run / EVENTS).read_bytes())
    _copy(run / MANIFEST, folder / MANIFEST)


def unpack(folder: Path) -> None:
    """Write the log of a packed run; nothing where it is there and whole, or was never packed.

    Raises:
        RecordError: the packed log is damaged.
    """
    packed = folder / PACKED
    if not packed.exists():
        return
    right = read_manifest(folder, RunManifest).files.get(EVENTS)
    if (folder / EVENTS).exists() and right in (None, sha256(folder / EVENTS)):
        return
    try:
        log = gzip.decompress(packed.read_bytes())
        if right and hashlib.sha256(log).hexdigest() != right:
            raise ValueError(f"it is not the log of {MANIFEST}")
        text = log.decode()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RecordError(
            trouble(error)
            or f"{packed}: this packed log is damaged ({error}); restore the file, or pack the run again."
        ) from error
    write_atomically(folder / EVENTS, text)


def _copy(source: Path, target: Path) -> None:
    """Copy a file if it exists; a link at the target is replaced, and not followed."""
    if source.exists():
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)


def _copy_additions(source: Path, target: Path) -> None:
    """Copy what cannot be made again from a run's log: scores, an adapter's description, and what people rated.

    Ratings that people have changed in the target since they were copied are kept.
    """
    for file in (STANCES, SCORES, PERPLEXITY):
        _copy(source / file, target / file)
    if (source / ADAPTER).exists():
        copy_adapter(source / ADAPTER, target)
    for file in sorted((source / ANNOTATION).rglob("*")):
        to = target / file.relative_to(source)
        if file.is_file() and not (to.exists() and to.stat().st_mtime > file.stat().st_mtime):
            to.parent.mkdir(parents=True, exist_ok=True)
            _copy(file, to)


def copy_adapter(source: Path, folder: Path) -> None:
    """Copy what describes an adapter, not its weights, into a run's folder."""
    target = folder / ADAPTER
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.is_file() and file.suffix in (".json", ".csv", ".png", ".md") and not file.name.startswith("."):
            shutil.copyfile(file, target / file.name)
