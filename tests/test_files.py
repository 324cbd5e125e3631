"""Errors of the disk as one paragraph, whoever raised them; room on the disk; tables read as they were written."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustings.analysis.statistics import COLUMNS
from hustings.errors import ArtifactError
from hustings.files import check_room, existing, explained, read_table, trouble, write_table
from hustings.records import AGENTS, ATTITUDES, REPLIES

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some disk space, and run the same command again: everything up to here is kept"),
        (errno.EDQUOT, "free some disk space"),
        (errno.EROFS, "change the folder's permissions, or choose another folder"),
        (errno.EACCES, "change the folder's permissions, or choose another folder"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "check the disk"),
    ],
)
def test_an_error_of_the_disk_is_one_paragraph_with_what_to_do(number: int, advice: str) -> None:
    with pytest.raises(ArtifactError, match=advice) as said, explained():
        raise OSError(number, os.strerror(number), "/x/events.jsonl")
    assert str(said.value).startswith("/x/events.jsonl: ")
    assert os.strerror(number) in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:603] . PytorchStreamWriter failed writing file data/3"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ValueError("Disk quota exceeded (os error 122)"),
    ],
)
def test_a_full_disk_is_known_by_the_words_of_other_libraries(error: Exception) -> None:
    with pytest.raises(ArtifactError, match=r"The disk is full .*everything up to here is kept"), explained():
        raise error


def test_a_full_disk_behind_another_error_is_found_and_errors_of_the_network_are_left_alone() -> None:
    outer = RuntimeError("could not save")
    outer.__cause__ = FULL
    assert trouble(outer)
    assert trouble(ConnectionResetError(errno.ECONNRESET, "reset")) is None
    assert trouble(KeyError("x")) is None
    with pytest.raises(KeyError), explained():
        raise KeyError("x")


def test_room_is_asked_of_each_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**10, 0, 5 * 10**9))
    check_room([(tmp_path / "a", 2e9), (tmp_path / "b" / "c", 2e9)], "ask for less")
    with pytest.raises(ArtifactError, match=r"about 6\.0 GB, and the disk has 5\.0 GB left; free some disk space"):
        check_room([(tmp_path / "a", 3e9), (tmp_path / "b" / "c", 3e9)], "ask for less")
    assert existing(tmp_path / "b" / "c") == tmp_path


GUESSED = (
    "", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>", "#N/A", "007", "1e5", "1_000", "0x1F", "-1", "+1",
    "inf", "-Infinity", "True", "false", "2024-01-01", " 1", "1 ", "a,b", 'say "no"', '"', "'", "=1+1", "#x", ";", "\t",
    "a\rb", "a\r\nb", "a\nb", "\r", "\n", "tail\x00", "\x00", "\ufeff", "\ufeffBOM", "é", "\u2028", "😀", "\\", "\\N",
)  # fmt: skip
"""Texts that readers of CSV take for nothing, for numbers, or for the end of a cell."""


def test_text_is_read_back_as_it_was_in_every_column_of_text(tmp_path: Path) -> None:
    whole = {"repetition": 7, "iteration": 3, "agent": 0}
    for columns in (["topic", "role"], ["run", "sentence"], ["persona", "name", "story", "text"], ["raw", "adapter"]):
        table = pd.DataFrame([{**whole, **dict.fromkeys(columns, text), "score": 1.5} for text in GUESSED])
        write_table(tmp_path / "table.csv", table)
        again = read_table(tmp_path / "table.csv")
        for column in columns:
            assert again[column].tolist() == list(GUESSED)
        assert again["repetition"].tolist() == [7] * len(GUESSED)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_any_text_is_read_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_table(path, pd.DataFrame({"topic": texts, "n": range(len(texts)), "text": texts[::-1]}))
    again = read_table(path)
    assert again["topic"].tolist() == texts
    assert again["text"].tolist() == texts[::-1]


def test_each_column_holds_what_its_name_says_whatever_is_in_it(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"topic": "1", "n": 3, "seed": None, "score": None, "p": 1e-300, "ci_low": float("-inf"), "valid": True},
        {"topic": "2", "n": 4, "seed": 12345678901234567, "score": 2, "p": None, "ci_low": None, "valid": False},
    ]
    write_table(tmp_path / "table.csv", pd.DataFrame(rows, dtype=object))
    table = read_table(tmp_path / "table.csv")
    assert table["topic"].tolist() == ["1", "2"]
    assert (str(table["n"].dtype), str(table["seed"].dtype)) == ("int64", "Int64")
    assert table["seed"].isna().tolist() == [True, False] and table["seed"].iloc[1] == 12345678901234567
    assert table["score"].isna().tolist() == [True, False]
    assert table["p"].iloc[0] == 1e-300 and table["ci_low"].iloc[0] == float("-inf")
    assert table["valid"].tolist() == [True, False]


@pytest.mark.parametrize("columns", [ATTITUDES, REPLIES, AGENTS, COLUMNS, ["run", "baseline", *COLUMNS]])
def test_an_empty_table_is_read_back_with_its_columns(columns: list[str], tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", pd.DataFrame(columns=columns))
    table = read_table(tmp_path / "table.csv")
    assert [*table.columns] == [*columns]
    assert table.empty


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"topic,n\nx,many\n",
        b"topic,valid\nx,perhaps\n",
        b"topic,valid\nx,\n",
        b"n,topic\n1,\xff\n",
        b"n\n1.5\n",
        b"n\n99999999999999999999\n",
        b"score\n1,2\n3,4,5\n",
        b'topic\n"x\n',
    ],
)
def test_a_table_that_holds_something_else_is_an_error_not_a_guess(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(ValueError):
        read_table(tmp_path / "table.csv")
