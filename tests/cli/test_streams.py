"""Where output goes: terminals that are not UTF-8, readers that stop reading, closed streams, full disks."""

import io
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from helpers import ROOT

from hustings.cli import commands
from hustings.progress import say

SMALL = ("engine=planted", "topic=racism", "repetitions=1", "rounds=1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "version": ("--version",),
    "doctor": ("doctor",),
    "report": ("report", "RUN"),
    "power": ("power", "--points", "2"),
    "adapters": ("adapters", "nowhere"),
    "explanation of a report": ("report", "--help"),
    "explanation of a job": ("simulate", "--help"),
    "settings of a job": ("train", "--cfg", "job"),
    "what Hydra knows": ("simulate", "--info", "searchpath"),
    "estimate": ("simulate", *SMALL, "dry_run=true"),
    "job": ("simulate", *SMALL),
    "sweep": ("simulate", "-m", *SMALL, "seed=1,2"),
}
JOBS = ("job", "sweep")
"""Of these commands."""


def forget(stream: Any) -> None:
    """Take a stream from every logger: Hydra's keep the standard output of their job."""
    for logger in (logging.root, *logging.Logger.manager.loggerDict.values()):
        for handler in [*getattr(logger, "handlers", ())]:
            if getattr(handler, "stream", None) is stream:
                cast(logging.Logger, logger).removeHandler(handler)


@contextmanager
def stdout_to(file: int, encoding: str = "utf-8") -> Iterator[None]:
    """Standard output as Python makes it for this file descriptor, which is closed at the end."""
    stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(file, "wb", closefd=False)), encoding=encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stream)
        try:
            yield
        finally:  # a stream that is left open writes later, to whatever has the file's number then
            for each in (sys.stdout, stream):
                forget(each)
                each.close()
    os.close(file)


def run(words: Sequence[str], patch: pytest.MonkeyPatch, folder: Path) -> int:
    """The exit status of the `hustings` command in this process."""
    patch.setattr("sys.argv", ["hustings", *(str(folder) if word == "RUN" else word for word in words)])
    patch.delenv("HYDRA_FULL_ERROR", raising=False)
    try:
        commands.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def copied(oddly_named: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the oddly named run, beside the folder in which commands run."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Path(shutil.copytree(oddly_named, tmp_path / "run"))


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "sweep"])
def test_a_terminal_that_lacks_characters_shows_question_marks(
    command: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = copied.parent / "printed"
    with stdout_to(os.open(printed, os.O_WRONLY | os.O_CREAT), "ascii"):
        assert run(COMMANDS[command], monkeypatch, copied) == 0
    text = printed.read_bytes().decode("ascii")
    assert text and ("?" in text or command not in ("report", *JOBS))
    if command in JOBS:
        (said,) = set(text.splitlines()[-1:])
        assert (copied.parent / "here" / said.removeprefix("run: ") / "report.html").exists()


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "job"])
def test_a_reader_that_stops_reading_changes_nothing(
    command: str, copied: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with stdout_to(write):
        assert run(COMMANDS[command], monkeypatch, copied) == 0
    said = capfd.readouterr().err
    assert "Traceback" not in said and "BrokenPipe" not in said and "cannot be written" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize("command", ["help", "version", "doctor", "explanation of a job", "estimate", "sweep"])
def test_output_onto_a_full_disk_is_one_paragraph_and_a_finished_run_is_complete(
    command: str, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr", errors := io.StringIO())
    with stdout_to(os.open("/dev/full", os.O_WRONLY)):
        code = run(COMMANDS[command], monkeypatch, copied)
    lines = errors.getvalue().splitlines()
    (said,) = [line for line in lines if "No space left on device" in line]
    assert code == (0 if command == "sweep" else 2)
    assert all(line.startswith("loading ") for line in lines if line != said)
    if command in JOBS:
        assert "the run is complete, in " in said
        assert len([*Path().rglob("statistics.csv")]) >= (2 if command == "sweep" else 1)


def test_words_for_somebody_who_is_not_there_any_more_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sys.stderr", Gone())
    say("loading …")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("-m hustings --help >&-", 0),
        ("simulate.py --help >&- 2>&- <&-", 0),
        ("simulate.py nope=1 2>&1 | head -c 1", 0),
        ("simulate.py nope=1 >&- 2>&-", 2),
    ],
)
def test_a_process_whose_streams_are_closed_ends_quietly(command: str, code: int) -> None:
    words = command.replace("simulate.py", f"'{ROOT / 'simulate.py'}'")
    done = subprocess.run(f"'{sys.executable}' {words}", shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert len(done.stdout.splitlines()) <= 1
