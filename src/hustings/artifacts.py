"""The artifact store: artifacts/<kind>/<slug>-<id>/ with a manifest; atomic, locked, verified.

It does not know what is in the files. An artifact may grow (more debates, more personas): while it does, its
manifest says so; when it is sealed, the manifest holds the sha256 of every file, checked at the next opening.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hustings.errors import ArtifactError, BusyError
from hustings.identity import identity, sha256

MANIFEST = "manifest.json"


def write_atomically(path: Path, text: str) -> None:
    """Put `text` into `path` so that readers see the old file or the whole new one.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ArtifactError(
            f"{path}: this file cannot be written ({error.strerror}); free the disk, change the folder's rights, "
            "or choose another folder (artifacts=…)."
        ) from error


def link(target: Path, at: Path) -> None:
    """Put a relative symbolic link to `target` at `at`, in place of what was there."""
    part = at.with_name(f".{at.name}.{os.getpid()}")
    part.symlink_to(os.path.relpath(target, at.parent))
    part.replace(at)


class Artifact:
    """One folder of the store, held by this process."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def id(self) -> str:
        """The identity in the folder's name."""
        return self.manifest["id"]

    @property
    def growing(self) -> bool:
        """Whether it is not sealed: being made, or left by a process that was killed."""
        return self.manifest["state"] == "growing"

    def grow(self, **facts: Any) -> None:
        """Say in the manifest that files are about to change, and put `facts` there."""
        self._write({**self.manifest, **facts, "state": "growing", "files": {}})

    def seal(self) -> None:
        """Write the sha256 of every file into the manifest."""
        files = {
            path.name: sha256(path)
            for path in sorted(self.folder.iterdir())
            if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
        }
        self._write({**self.manifest, "state": "sealed", "files": files})

    def _write(self, manifest: dict[str, Any]) -> None:
        write_atomically(self.folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        self.manifest = manifest


@contextmanager
def held(root: Path, kind: str, slug: str, substance: dict[str, Any], *, wait: bool) -> Generator[Artifact]:
    """The artifact of that substance, locked; a new one is made when there is none.

    Args:
        root: folder of the store.
        kind: `personas`, `debates`, …
        slug: readable part of the folder's name.
        substance: what the identity is computed from; kept in the manifest.
        wait: wait for another process that holds it; otherwise BusyError.

    Raises:
        BusyError: another process holds it.
        ArtifactError: it cannot be written, or its files do not match its manifest.
    """
    name = identity(substance)
    folder = root / kind / f"{slug}-{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"{folder}: another process is writing these {kind}; wait for it to end, or end it, and run the same "
            "command again: nothing is lost."
        ) from error
    except OSError as error:
        raise ArtifactError(
            f"{folder}: the artifact store cannot be written ({error.strerror}); change the folder's rights, "
            "or choose another folder (artifacts=…)."
        ) from error
    try:
        yield Artifact(folder, _manifest(folder, kind, name, substance))
    finally:
        if not wait:
            _leave_nothing(folder, root)
        lock.release()


def _leave_nothing(folder: Path, root: Path) -> None:
    """Take away what was made for an artifact that never began; whoever waits for its lock must not do this."""
    if [path.name for path in folder.iterdir()] == [".lock"]:
        with suppress(OSError):
            (folder / ".lock").unlink()
            for empty in (folder, folder.parent, root):
                empty.rmdir()


def seen(root: Path, kind: str, slug: str, substance: dict[str, Any]) -> Artifact:
    """The same artifact without its lock, for a process that works beside the one that holds it."""
    name = identity(substance)
    folder = root / kind / f"{slug}-{name}"
    return Artifact(folder, _manifest(folder, kind, name, substance))


def _manifest(folder: Path, kind: str, name: str, substance: dict[str, Any]) -> dict[str, Any]:
    path = folder / MANIFEST
    fresh = {"v": 1, "kind": kind, "id": name, "state": "growing", "files": {}, "of": substance}
    if not path.exists():
        return fresh
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = dict(manifest["files"])
        if manifest["id"] != name or manifest["state"] not in ("growing", "sealed"):
            raise ValueError("it is another artifact's")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: the manifest is damaged; delete {folder} to make its content again.") from error
    for file, expected in files.items():
        target = folder / file
        if not target.exists() or sha256(target) != expected:
            what = "is missing" if not target.exists() else "was changed after it was sealed"
            raise ArtifactError(
                f"{target}: this file {what}, so the manifest beside it does not match; restore the file, or delete "
                f"{folder} to make its content again."
            )
    return manifest
