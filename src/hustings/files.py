"""Files that survive a kill: written completely or not at all, and JSON lines that grow by one whole line at a time.

It does not know the content of files, except the kind of value in each column of a table.
"""

import csv
import errno
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.columns import Kind, kinds, may_be_missing
from hustings.errors import ArtifactError, HustingsError

if TYPE_CHECKING:
    import pandas as pd


_KEPT = "and run the same command again: everything up to here is kept"
_ROOM = "free some disk space"
_RIGHTS = "change the folder's permissions, or choose another folder (artifacts=…, hydra.run.dir=…)"
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOTDIR: _RIGHTS,
    errno.EISDIR: _RIGHTS,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "correct the links",
    errno.EIO: "check the disk",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "end processes that hold many files open",
}
"""Advice for disk errors, by error number; other system errors are not about files."""
_FULL = re.compile(r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing|file write failed")
"""Messages by which libraries that do not raise OSError report a full disk."""


def trouble(error: BaseException) -> str | None:
    """One paragraph about a disk error, whichever library raised it; None for any other error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _ADVICE:
            return _paragraph(seen, seen.filename2 or seen.filename)
        if not isinstance(seen, HustingsError) and (full := _FULL.search(str(seen))):
            return f"The disk is full ({full[0]}); {_ROOM}, {_KEPT}."
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return None


def _paragraph(error: OSError, path: object, what: str = "read or written") -> str:
    where = f"{os.fsdecode(path) if isinstance(path, bytes) else path}: this file" if path else "A file or the output"
    advice = _ADVICE.get(error.errno or 0, f"{_ROOM}, or {_RIGHTS}")
    return f"{where} cannot be {what} ({error.strerror}); {advice}, {_KEPT}."


@contextmanager
def explained() -> Generator[None]:
    """Turn every disk error within the block into one paragraph.

    Raises:
        ArtifactError: the disk is full or broken, or a folder cannot be written.
    """
    try:
        yield
    except HustingsError:
        raise
    except Exception as error:
        if said := trouble(error):
            raise ArtifactError(said) from error
        raise


def check_room(needed: Iterable[tuple[Path, float]], advice: str) -> None:
    """Check that a disk has room for what is about to be written.

    Args:
        needed: a folder, which need not exist yet, and the number of bytes that will be written there.
        advice: how to reduce the space needed.

    Raises:
        ArtifactError: a disk has too little room.
    """
    wanted: dict[int, float] = {}
    places: dict[int, Path] = {}
    for folder, size in needed:
        there = existing(folder)
        disk = there.stat().st_dev
        wanted[disk] = wanted.get(disk, 0.0) + size
        places.setdefault(disk, there)
    for disk, there in places.items():
        total, _, free = shutil.disk_usage(there)
        if total and wanted[disk] > free:  # /proc and similar file systems have no size
            raise ArtifactError(
                f"{there}: this will write about {megabytes(wanted[disk])}, and the disk has {megabytes(free)} left; "
                f"free some disk space, {advice}, or choose a folder on another disk (artifacts=…, hydra.run.dir=…)."
            )


def existing(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    folder = folder.absolute()
    return next(it for it in (folder, *folder.parents) if it.exists())


def megabytes(size: float) -> str:
    """`3 MB`, `12.5 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` so that readers see either the old file or the complete new one.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise ArtifactError(_paragraph(error, path, "written")) from error
        raise


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as a CSV file. All text is quoted, because a model's text may contain any kind of line break.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    with written_tables([path]) as add:
        add([table])


@contextmanager
def written_tables(paths: Sequence[Path]) -> "Generator[Callable[[Iterable[pd.DataFrame]], None]]":
    """Write tables into CSV files in pieces; readers see the old files until the block ends, then the whole new ones.

    Yields:
        A function that adds the next rows to each table.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    parts = [path.with_name(f".{path.name}.{os.getpid()}") for path in paths]

    def add(tables: "Iterable[pd.DataFrame]") -> None:
        for part, table in zip(parts, tables, strict=True):
            known = {column: kind for column, kind in kinds(table.columns).items() if kind in ("whole", "number")}
            typed = table.astype({column: "Int64" if kind == "whole" else "float64" for column, kind in known.items()})
            with part.open("a", encoding="utf-8", newline="") as file:
                header = file.tell() == 0
                typed.to_csv(file, index=False, header=header, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")

    try:
        for path, part in zip(paths, parts, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
        yield add
        for path, part in zip(paths, parts, strict=True):
            part.replace(path)
    except BaseException as error:
        for part in parts:
            with suppress(OSError):
                part.unlink()
        if isinstance(error, OSError):
            raise ArtifactError(_paragraph(error, paths[0], "written")) from error
        raise


def read_table(path: Path, others: Kind = "text", repeated: Sequence[str] = ()) -> "pd.DataFrame":
    """Read the table in a CSV file exactly as it was written: hustings.columns defines the columns, nothing is guessed.

    Args:
        others: kind of the columns that are not named there.
        repeated: text columns with many equal values; they become categories, in alphabetical order.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no table, or invalid values.
    """
    import pandas as pd

    found = kinds(pd.read_csv(path, nrows=0, encoding="utf-8").columns, others)
    try:
        pieces = pd.read_csv(
            path,
            encoding="utf-8",
            dtype={column: _TYPES[kind] for column, kind in found.items()},
            keep_default_na=False,
            na_values={column: [""] for column, kind in found.items() if may_be_missing(column, kind)},
            chunksize=_ROWS,
        )
        table = _joined([piece.astype(dict.fromkeys(found.keys() & {*repeated}, "category")) for piece in pieces])
    except (TypeError, OverflowError) as error:  # pandas's errors for 1.5, or too many digits, as a whole number
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path}: a row has more cells than there are columns")
    whole = [column for column, kind in found.items() if kind == "whole" and not table[column].hasnans]
    return table.astype(dict.fromkeys(whole, "int64"))


def _joined(pieces: "list[pd.DataFrame]") -> "pd.DataFrame":
    """Join pieces into one table; categories are those of all pieces, in alphabetical order."""
    import pandas as pd

    for column in pieces[0].columns[pieces[0].dtypes == "category"]:
        categories = sorted({name for piece in pieces for name in piece[column].cat.categories})
        for piece in pieces:
            piece[column] = piece[column].cat.set_categories(categories)
    return pd.concat(pieces) if len(pieces) > 1 else pieces[0]


_ROWS = 500_000
"""Rows of a table that are read at a time."""
_TYPES: Any = {"text": str, "whole": "Int64", "number": "float64", "flag": bool}
"""The pandas type of each kind."""


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and content of every complete line; a half-written last line is skipped."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            yield number, line


class JsonLines:
    """A file of JSON lines, open for writing. Only one process may have it open; the artifact's lock ensures that.

    A kill leaves at most one incomplete line at the end, which is dropped when the file is opened again.

    Raises:
        ArtifactError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ArtifactError(_paragraph(error, path, "opened for writing")) from error
        self.path = path
        self._drop_half_line()

    def _drop_half_line(self) -> None:
        """Truncate the file after its last line end, dropping what a kill or a full disk left half-written."""
        size = os.fstat(self._file).st_size
        end = size
        while end > 0:
            start = max(0, end - 65536)
            found = os.pread(self._file, end - start, start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._file, end)

    def append(self, line: str) -> None:
        """Append one line and write it at once.

        Args:
            line: JSON without a line break.

        Raises:
            ArtifactError: the disk is full.
        """
        content = line.encode() + b"\n"
        try:
            written = os.write(self._file, content)
        except OSError as error:
            raise ArtifactError(_paragraph(error, self.path, "written")) from error
        if written < len(content):
            raise ArtifactError(f"{self.path}: the disk is full; {_ROOM}, {_KEPT}.")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
