"""Errors of the disk as one paragraph, whoever raised them; room on the disk."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from hustings.errors import ArtifactError
from hustings.files import check_room, existing, explained, trouble

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
