"""The artifact store: artifacts/<kind>/<slug>-<id>/ with a manifest; atomic, locked, verified.

It does not know what is in the files. An artifact may grow (more debates, more personas), and its manifest says so
meanwhile. A sealed manifest holds the sha256 of every file and of itself, which are checked at the next opening.
"""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from hustings.errors import ArtifactError, BusyError
from hustings.files import JsonLines, read_lines, trouble, write_atomically
from hustings.identity import SEAL, identity, sealed, sha256

MANIFEST = "manifest.json"
VERSION = 2
"""Version of manifests; those of version 1 do not hold their own sha256."""


class Place(NamedTuple):
    """Where an artifact is kept."""

    root: Path
    """Root folder of the store."""
    kind: str
    """`personas`, `debates`, …"""
    slug: str
    """Human-readable part of the folder's name."""
    substance: dict[str, Any]
    """Values that the identity is computed from; they are kept in the manifest."""

    @property
    def id(self) -> str:
        """The identity."""
        return identity(self.substance)

    @property
    def folder(self) -> Path:
        """The artifact's folder."""
        return self.root / self.kind / f"{self.slug}-{self.id}"


class Artifact:
    """One folder of the store, opened by this process."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def id(self) -> str:
        """The identity in the folder's name."""
        return self.manifest["id"]

    @property
    def growing(self) -> bool:
        """Whether it is not sealed: it is still being made, or was left unfinished by a killed process."""
        return self.manifest["state"] == "growing"

    def grow(self, **facts: Any) -> None:
        """Note in the manifest that files are about to change, and add `facts` to it."""
        self._write({**self.manifest, **facts, "state": "growing", "files": {}})

    def seal(self) -> None:
        """Write the sha256 of every file into the manifest."""
        files = {
            path.name: sha256(path)
            for path in sorted(self.folder.iterdir())
            if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
        }
        self._write(sealed({**self.manifest, "v": VERSION, "state": "sealed", "files": files}))

    def _write(self, manifest: dict[str, Any]) -> None:
        write_atomically(self.folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        self.manifest = manifest


@contextmanager
def locked(place: Place, *, wait: bool) -> Generator[Artifact]:
    """The artifact at this place, locked; if there is none, it is created.

    Args:
        wait: wait if another process has locked it; if False, raise BusyError.

    Raises:
        BusyError: another process has locked it.
        ArtifactError: the store cannot be written, or files do not match the manifest.
    """
    folder = place.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"{folder}: another process is writing these {place.kind}; wait for it to finish, or end it, and run the "
            "same command again: nothing is lost."
        ) from error
    except OSError as error:
        raise ArtifactError(
            f"{folder}: the artifact store cannot be written ({error.strerror}); change the folder's permissions, "
            "or choose another folder (artifacts=…)."
        ) from error
    try:
        _sweep(folder)
        yield peek(place)
    finally:
        if not wait:
            _leave_nothing(folder, place.root)
        lock.release()


def _sweep(folder: Path) -> None:
    """Remove partial files left by a process that was killed while writing them."""
    for part in folder.glob(".*.[0-9]*"):
        with suppress(OSError):
            part.unlink()


def _leave_nothing(folder: Path, root: Path) -> None:
    """Remove the folders of an artifact that was never begun; processes that wait for locks must not call this."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [".lock"]:
            (folder / ".lock").unlink()
            for empty in (folder, folder.parent, root):
                empty.rmdir()


def peek(place: Place) -> Artifact:
    """The same artifact without a lock, for a process that only reads it or assists the one that holds the lock."""
    return Artifact(place.folder, _manifest(place))


def artifacts(root: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The readable manifests of all artifacts of one kind, with the folder's name as `folder`."""
    for path in sorted((root / kind).glob(f"*/{MANIFEST}")):
        with suppress(OSError, ValueError):
            manifest: Any = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(manifest, dict) and isinstance(manifest.get("of"), dict) and whole(manifest):
                yield {**manifest, "folder": path.parent.name}


class Rows:
    """An artifact that consists of one file of JSON lines, to read and to append to.

    Args:
        artifact: locked by this process.
        file: the file's name in the artifact's folder.
    """

    def __init__(self, artifact: Artifact, file: str) -> None:
        self.artifact = artifact
        self.path = artifact.folder / file
        self._out: JsonLines | None = None

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Number and content of every line, oldest first."""
        if self.path.exists():
            yield from read_lines(self.path)

    def append(self, line: str) -> None:
        """Append one line and write it at once.

        Args:
            line: JSON without a line break.
        """
        if self._out is None:
            self.artifact.grow()
            self._out = JsonLines(self.path)
        self._out.append(line)

    def close(self) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()
            self._out = None


@contextmanager
def rows(place: Place, file: str, *, wait: bool) -> Generator[Rows]:
    """The rows of an artifact, locked; it is sealed if the block ends without an error.

    Everything that a model writes piece by piece is stored this way: personas, questions, answers, debates.

    Args:
        file: the file's name in the artifact's folder.
        wait: as in `locked`.
    """
    with locked(place, wait=wait) as artifact:
        found = Rows(artifact, file)
        try:
            yield found
        finally:
            found.close()
        if artifact.growing:
            artifact.seal()


def whole(manifest: dict[str, Any]) -> bool:
    """Whether a manifest is unchanged since it was sealed; true for a growing one, which is not sealed yet."""
    if manifest.get("state") == "growing":
        return True
    return manifest.get("v", 1) == 1 if SEAL not in manifest else manifest == sealed(manifest)


def changed(folder: Path, files: dict[str, str]) -> list[str]:
    """Names of files that exist but differ from their sealed versions."""
    return [file for file, expected in files.items() if (folder / file).exists() and sha256(folder / file) != expected]


def _manifest(place: Place) -> dict[str, Any]:
    """The manifest, after its files have been checked; a new one if the artifact does not exist yet."""
    folder, name = place.folder, place.id
    path = folder / MANIFEST
    if not path.exists():
        return {"v": VERSION, "kind": place.kind, "id": name, "state": "growing", "files": {}, "of": place.substance}
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = dict(manifest["files"])
        if manifest["id"] != name or manifest["state"] not in ("growing", "sealed") or not whole(manifest):
            raise ValueError("it is another artifact's, or was changed")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if said := trouble(error):
            raise ArtifactError(said) from error
        raise ArtifactError(
            f"{path}: the manifest is damaged; delete {folder} to have its content made again."
        ) from error
    for file, expected in files.items():
        target = folder / file
        if not target.exists() or sha256(target) != expected:
            what = "is missing" if not target.exists() else "was changed after it was sealed"
            raise ArtifactError(
                f"{target}: this file {what}, so the manifest beside it does not match; restore the file, or delete "
                f"{folder} to have its content made again."
            )
    return manifest
