"""Finds the weights of a model, fingerprints them, and caches conversions between GGUF and transformers.

It does not run models, and it never executes code or pickles that come with them: only safetensors and GGUF are read.
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hustings import downloads, pretrained
from hustings.errors import ModelError, first_line
from hustings.gguf.convert import convert
from hustings.gguf.export import export_gguf, rewrite_gguf
from hustings.gguf.header import gguf_header, quantized
from hustings.identity import sha256
from hustings.settings import ModelSettings

Say = Callable[[str], None]

_SAFE_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
_UNUSED_FILES = ["*/*", "consolidated*"]
"""Other formats in subfolders, and second copies of the weights."""
_SUBSTANCE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Files next to the weights that affect what a model says."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model on disk, as a GGUF file or a transformers folder."""

    name: str
    """Name used in folders, columns and captions."""
    fingerprint: str
    """sha256 of the content, the commit of a hub model, or the id of a model behind an API."""
    gguf: Path | None
    folder: Path | None


def cache_folder() -> Path:
    """$HUSTINGS_CACHE, or `hustings` in the user's cache folder: converted models and known fingerprints.

    It can be deleted at any time.
    """
    named = os.environ.get("HUSTINGS_CACHE")
    return expanded(named, "HUSTINGS_CACHE") if named else _users_cache("HUSTINGS_CACHE") / "hustings"


def hub_cache() -> Path:
    """The folder in which the Hugging Face client keeps its downloads."""
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if os.environ.get(name):
            return expanded(os.environ[name], name) / below
    return _users_cache("HF_HOME") / "huggingface" / "hub"


def _users_cache(instead: str) -> Path:
    """$XDG_CACHE_HOME, or ~/.cache.

    Args:
        instead: variable that can name the folder directly, for the error message.
    """
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache", instead)


def expanded(path: str, instead: str) -> Path:
    """A path with ~ and $NAME expanded.

    Args:
        instead: what to set to an absolute path, for the error message.

    Raises:
        ModelError: the path begins with ~, and this user has no home folder.
    """
    try:
        return Path(os.path.expandvars(path)).expanduser()
    except RuntimeError as error:
        raise ModelError(
            f"{path}: this user has no home folder (HOME is not set, and the system has no entry for the user id "
            f"{os.getuid()}); set {instead} to a folder that can be written."
        ) from error


def resolve(settings: ModelSettings, *, download: bool = True) -> Weights:
    """Find the weights of a model, downloading them if necessary.

    Args:
        settings: where the weights come from.
        download: if False, weights that are not on this machine have no path, and those of the hub no fingerprint.

    Raises:
        ModelError: the weights are missing, damaged, pickled or retired, or no engine runs their architecture.
    """
    if settings.retired:
        raise ModelError(f"model.id={settings.id}: {settings.retired}")
    match settings.source:
        case "embedded":
            return _embedded(settings, download)
        case "api":
            return Weights(_name(settings), f"api {settings.id}", None, None)
        case "hub" if not download:
            return Weights(_name(settings), "", None, None)
        case "hub":
            folder = _download(settings.id or "", settings.revision)
            return Weights(_name(settings), folder.name, None, folder)
        case "local":
            folder = expanded(settings.path or "", "model.path")
            if not folder.is_dir():
                raise ModelError(
                    f"{folder}: this folder does not exist; set model.path, or use model=gguf for a single file."
                )
            pretrained.check(folder)
            return Weights(_name(settings), _folder_fingerprint(folder), None, folder)
        case "gguf":
            file = expanded(settings.path or "", "model.path")
            gguf_header(file)
            return Weights(_name(settings), _file_fingerprint(file), file, None)


def _embedded(settings: ModelSettings, download: bool) -> Weights:
    model = downloads.MODELS.get(settings.id or "")
    if model is None:
        raise ModelError(
            f"model.id={settings.id}: `hustings fetch` brings {', '.join(downloads.MODELS)} and no other model."
        )
    file = downloads.found(model, cache_folder() / "models")
    if file is None:
        if not download:
            return Weights(_name(settings), model.sha256, None, None)
        check_memory(settings)
    return replace(embedded(model.name), name=_name(settings))


def embedded(name: str = "smollm2") -> Weights:
    """A model that `hustings fetch` provides, downloaded if necessary.

    Args:
        name: name of one of `downloads.MODELS`.

    Raises:
        ModelError: it cannot be downloaded, or its file is damaged.
    """
    model, folder = downloads.MODELS[name], cache_folder() / "models"
    file = downloads.found(model, folder) or downloads.fetch(model, folder)
    if _file_fingerprint(file) != model.sha256:
        raise ModelError(
            f"{file}: this model is damaged (its sha256 is wrong); delete this file and run the command again, which "
            "downloads it."
        )
    return Weights(name, model.sha256, file, None)


def check_memory(settings: ModelSettings) -> None:
    """Refuse a model that does not fit into free memory.

    Raises:
        ModelError: says how much memory is needed, and suggests the small model.
    """
    import psutil

    free = psutil.virtual_memory().available / 1e9
    if settings.memory_gb is not None and free < settings.memory_gb:
        raise ModelError(
            f"{settings.name or settings.id}: this model needs about {settings.memory_gb:g} GB of memory, and only "
            f"{free:.1f} GB are free; end other programs, or use the small model with model=smollm2, which shows how "
            "everything works but cannot sustain a persona."
        )


def check_together(wanted: Sequence[tuple[str, float]]) -> None:
    """Refuse several models that do not fit into free memory together.

    Args:
        wanted: name of each model, and the gigabytes it needs.

    Raises:
        ModelError: says how much memory each needs.
    """
    import psutil

    free, total = psutil.virtual_memory().available / 1e9, sum(size for _, size in wanted)
    if free < total:
        each = ", ".join(f"{name} {size:g} GB" for name, size in wanted)
        raise ModelError(
            f"cast: the models of this run need about {total:g} GB of memory together ({each}), and only {free:.1f} GB "
            "are free; run a role on a smaller model or on an endpoint (cast.ROLE.engine=openai), or end other "
            "programs."
        )


def _name(settings: ModelSettings) -> str:
    """The configured name, or one derived from the file, folder or id."""
    where = Path(settings.path or settings.id or "model")
    given = where.stem if settings.source == "gguf" else where.name
    return settings.name or re.sub(r"[^a-z0-9_.-]+", "-", given.lower()).strip("-.") or "model"


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=_SAFE_FILES, ignore_patterns=_UNUSED_FILES)
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            f"{repository}: this model could not be downloaded from the Hugging Face hub ({first_line(error)}). Check "
            "the network and the spelling of model.id and model.revision; a gated model needs `hf auth login`. On a "
            "machine without a network, copy the model here and set model=hf model.source=local model.path=…"
        ) from error
    pretrained.check(folder)
    return folder


def _file_fingerprint(path: Path) -> str:
    """sha256 of the content; a cached value is used while size and modification time stay the same."""
    facts = path.stat()
    key = str(path.resolve())
    memory = cache_folder() / "fingerprints.json"
    known = _remembered(memory)
    size, changed, fingerprint = known.get(key, (None, None, ""))
    if (size, changed) == (facts.st_size, facts.st_mtime_ns):
        return fingerprint
    fingerprint = sha256(path)
    known[key] = [facts.st_size, facts.st_mtime_ns, fingerprint]
    part = memory.with_name(f".{memory.name}.{os.getpid()}")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=0))
        part.replace(memory)
    except OSError:  # failing to write the cache only costs time
        part.unlink(missing_ok=True)
    return fingerprint


def _remembered(memory: Path) -> dict[str, list[Any]]:
    """Size, modification time and sha256 of files, by path, as far as the cache's list is readable."""
    try:
        known: Any = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {
        key: facts
        for key, facts in known.items()
        if isinstance(facts, list) and len(facts) == 3 and re.fullmatch(r"[0-9a-f]{64}", str(facts[2]))
    }


def _folder_fingerprint(folder: Path) -> str:
    files = [*pretrained.weight_files(folder), *(folder / name for name in _SUBSTANCE)]
    return files_fingerprint([file for file in files if file.is_file()])


def files_fingerprint(files: Sequence[Path]) -> str:
    """sha256 of the names and contents of files, in this order."""
    lines = [f"{file.name} {_file_fingerprint(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def once(target: Path, build: Callable[[Path], None]) -> Path:
    """`target`, built if it does not exist: next to it, under a lock, and moved into place when it is complete.

    Args:
        build: writes the file or folder to the path that it is given.

    Raises:
        ModelError: the file cannot be written.
    """
    from filelock import FileLock

    if target.exists():
        return target
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")), ExitStack() as cleanup:
            if not target.exists():
                _remove(part)
                cleanup.callback(_remove, part)
                build(part)
                part.replace(target)
    except OSError as error:
        raise ModelError(
            f"{target}: this model could not be written to the cache ({first_line(error)}); free some disk space, or "
            "set the environment variable HUSTINGS_CACHE to another folder."
        ) from error
    return target


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def cached(fingerprint: str, suffix: str = "") -> Path:
    """The path in the cache for a converted model with this fingerprint."""
    return cache_folder() / "models" / f"{fingerprint[:16]}{suffix}"


def as_folder(weights: Weights, say: Say | None = None) -> Path:
    """A transformers folder (safetensors, tokenizer, config) with these weights; a GGUF file is converted once.

    Quantized tensors become float16, whose rounding error, 2⁻¹¹ of a weight, is far below the quantization step;
    OpenVINO keeps the scales in float16 too. Tensors that were not quantized keep their type and every bit.

    Args:
        weights: the result of `resolve`.
        say: called with one line when a conversion starts, because it takes seconds.

    Raises:
        ModelError: the file cannot be converted faithfully, or the cache cannot be written.
    """
    if weights.folder is not None:
        return weights.folder
    if weights.gguf is None:
        raise ModelError(f"{weights.name}: this model has no weights on disk; choose another with model=…")
    file = weights.gguf

    def build(part: Path) -> None:
        if say:
            say(f"{weights.name}: converting {file.name} for transformers (only once)")
        part.mkdir()
        convert(file, part)

    return once(cached(weights.fingerprint), build)


def as_gguf(weights: Weights, say: Say | None = None, *, faithful: bool = False, eight_bits: bool = False) -> Path:
    """A GGUF file with these weights; a transformers folder is exported once.

    Args:
        weights: the result of `resolve`.
        say: called with one line when the export starts, because it takes seconds.
        faithful: also convert a quantized GGUF file. OpenVINO rounds the offsets of Q4_1 and Q4_K blocks to whole
            steps, which shifts log-probabilities by whole units; it reads F16 and Q8_0 exactly.
        eight_bits: convert to Q8_0 instead of F16: half the size, and faster.

    Raises:
        ModelError: GGUF, or our export, does not support the model, or the cache cannot be written.
    """
    file, target = weights.gguf, _exported(weights, eight_bits)
    if file is not None and not (faithful and (target.exists() or quantized(file))):
        return file
    form = "Q8_0" if eight_bits else "F16"

    def build(part: Path) -> None:
        if say:
            say(f"{weights.name}: converting {file.name if file else 'the model'} to {form} for OpenVINO (only once)")
        if file is None:
            export_gguf(as_folder(weights), None, part, eight_bits=eight_bits)
        else:
            rewrite_gguf(file, part, eight_bits=eight_bits)

    return once(target, build)


def _exported(weights: Weights, eight_bits: bool) -> Path:
    return cached(weights.fingerprint, ".q8_0.gguf" if eight_bits else ".gguf")


def unconverted(
    weights: Weights, *, gguf: bool, faithful: bool = False, eight_bits: bool = False
) -> tuple[Path, float]:
    """The cache folder into which `as_gguf` or `as_folder` would convert these weights, and the size in bytes.

    Args:
        weights: the result of `resolve`.
        gguf: True for a GGUF file, False for a folder.
        faithful: as in `as_gguf`.
        eight_bits: as in `as_gguf`.
    """
    target = _exported(weights, eight_bits) if gguf else cached(weights.fingerprint)
    width = 1.07 if eight_bits else 2  # bytes per weight
    if target.exists():
        size = 0.0
    elif weights.gguf is not None:
        wanted = not gguf or (faithful and quantized(weights.gguf))
        tensors = gguf_header(weights.gguf).tensors if wanted else ()
        size = sum(max(tensor.size, width * math.prod(tensor.shape)) for tensor in tensors)
    else:
        files = weights.folder.glob("*.safetensors") if gguf and weights.folder else ()
        size = sum(file.stat().st_size for file in files)
    return target.parent, float(size)
