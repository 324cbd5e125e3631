"""Files that survive a kill: written whole or not at all, and JSON lines that grow one whole line at a time.

It does not know what is in them, except what kind of value each column of a table holds.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.columns import Kind, kinds, may_be_missing
from hustings.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd


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
            f"{path}: this file cannot be written ({error.strerror}); free some disk space, change the folder's "
            "permissions, or choose another folder (artifacts=…)."
        ) from error


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Put a table into a CSV file. All text is quoted: a model's may contain any kind of line break.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    known = {column: kind for column, kind in kinds(table.columns).items() if kind in ("whole", "number")}
    typed = table.astype({column: "Int64" if kind == "whole" else "float64" for column, kind in known.items()})
    write_atomically(path, typed.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"))


def read_table(path: Path, others: Kind = "text") -> "pd.DataFrame":
    """The table in a CSV file as it was written: each column holds what hustings.columns says, and nothing is guessed.

    Args:
        others: what columns hold that are not named there.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no table, or something else than it should.
    """
    import pandas as pd

    found = kinds(pd.read_csv(path, nrows=0, encoding="utf-8").columns, others)
    table = pd.read_csv(
        path,
        encoding="utf-8",
        dtype={column: _TYPES[kind] for column, kind in found.items()},
        keep_default_na=False,
        na_values={column: [""] for column, kind in found.items() if may_be_missing(column, kind)},
    )
    whole = [column for column, kind in found.items() if kind == "whole" and not table[column].hasnans]
    return table.astype(dict.fromkeys(whole, "int64"))


_TYPES: Any = {"text": str, "whole": "Int64", "number": "float64", "flag": bool}
"""Of pandas."""


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and content of every whole line; a half-written last line is passed over."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            yield number, line


class JsonLines:
    """A file of JSON lines, open for writing. Only one process may hold it: the artifact's lock ensures that.

    A kill leaves at most one half line at the end, which is dropped when the file is opened again.

    Raises:
        ArtifactError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ArtifactError(f"{path}: this file cannot be opened for writing ({error.strerror}).") from error
        self.path = path
        self._drop_half_line()

    def _drop_half_line(self) -> None:
        """Cut the file back to its last line end: what a kill or a full disk left half-written is gone."""
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
        """Write one line, at once.

        Args:
            line: JSON without a line break.

        Raises:
            ArtifactError: the disk is full.
        """
        content = line.encode() + b"\n"
        try:
            written = os.write(self._file, content)
        except OSError as error:
            raise ArtifactError(f"{self.path}: this file cannot be written ({error.strerror}); {_ROOM}.") from error
        if written < len(content):
            raise ArtifactError(f"{self.path}: the disk is full; {_ROOM}.")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


_ROOM = "free some disk space and run the same command again: everything up to here is kept"
