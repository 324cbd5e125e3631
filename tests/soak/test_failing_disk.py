"""A full disk at every write, a file that cannot be opened, a clock that goes back, signals, a closed terminal."""

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT
from soak.figures import LONG, note
from soak.warm import FAILED, Order, Warm

WORDS = [
    "engine=planted", "repetitions=1", "rounds=1", "topic=racism", "composition=rep_dem", "artifacts=artifacts",
    "hydra.run.dir=out",
]  # fmt: skip
TABLES = ("attitudes.csv", "replies.csv", "agents.csv", "statistics.csv", "events.jsonl")


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    process = Warm(heavy=False)
    yield process
    process.close()


@pytest.fixture(scope="module")
def expected(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("expected")
    assert warm.run(Order(str(folder), "simulate", WORDS)).code == 0
    return folder


def check_rerun(warm: Warm, folder: Path, expected: Path) -> None:
    """The same command goes on, and ends as if nothing had happened."""
    ended = warm.run(Order(str(folder), "simulate", WORDS))
    assert ended.code == 0, ended.err
    for name in TABLES:
        assert (folder / "out" / name).read_bytes() == (expected / "out" / name).read_bytes(), name


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", ["enospc", "eacces"])
def test_a_disk_that_fails_at_any_place_is_one_paragraph_and_the_rerun_goes_on(
    fault: str, warm: Warm, expected: Path, tmp_path: Path
) -> None:
    places = range(1, 500) if LONG else (5, 22, 39)
    tried = failed = 0
    for place in places:
        folder = tmp_path / str(place)
        folder.mkdir()
        ended = warm.run(Order(str(folder), "simulate", WORDS, fault=fault, at=place))
        if not (folder / FAILED).exists():  # there are fewer places than that
            break
        tried += 1
        assert "Traceback" not in ended.err, f"{place}: {ended.err}"
        assert ended.code in (0, 2), f"{place}: {ended.err}"
        if ended.code:
            failed += 1
            last = ended.err.splitlines()[-1]
            assert "same command again" in last or "choose" in last, f"{place}: {ended.err}"
        if not LONG or place % 8 == 0:
            check_rerun(warm, folder, expected)
        shutil.rmtree(folder)
    assert failed
    note(
        f"{fault.upper()} at a file operation",
        tried,
        f"{failed} ended the run, each in one paragraph; all reruns checked went on",
    )


def test_a_clock_that_goes_back_changes_nothing(warm: Warm, expected: Path, tmp_path: Path) -> None:
    ended = warm.run(Order(str(tmp_path), "simulate", WORDS, fault="clock"))
    assert (ended.code, "Traceback" in ended.err) == (0, False)
    check_rerun(warm, tmp_path, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT] if LONG else [signal.SIGTERM])
def test_a_signal_ends_the_run_in_one_line_and_the_rerun_goes_on(
    number: signal.Signals, warm: Warm, expected: Path, tmp_path: Path
) -> None:
    whole = warm.run(Order(str(tmp_path), "simulate", [*WORDS, "artifacts=elsewhere", "hydra.run.dir=other"]))
    moments = [whole.seconds * share / 12 for share in (range(4, 11) if LONG else (6,))]
    for moment in moments:
        ended = warm.run(Order(str(tmp_path), "simulate", WORDS, kill_after=moment, signal=number))
        assert ended.code in (0, 128 + number), ended.err
        if ended.code:
            assert ended.err.splitlines()[-1].startswith("Stopped")
            assert "Traceback" not in ended.err
    check_rerun(warm, tmp_path, expected)


@pytest.mark.parametrize(
    "closed", [">/dev/full", *((">&-", "2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full") if LONG else ())]
)
def test_output_that_cannot_be_written_loses_nothing(closed: str, warm: Warm, expected: Path, tmp_path: Path) -> None:
    command = f'exec "{sys.executable}" "{ROOT / "simulate.py"}" {" ".join(WORDS)} {closed}'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "full" in closed.split("2>")[0] else 0)
    assert "Traceback" not in done.stderr
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (expected / "out" / name).read_bytes(), name


@pytest.mark.parametrize("ignored", [True, False] if LONG else [True])
def test_a_terminal_that_is_closed_loses_nothing(ignored: bool, warm: Warm, expected: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "simulate.py"), *WORDS],
        cwd=tmp_path,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignored else None,
    )
    os.close(slave)
    while b"loading" not in os.read(master, 4096):
        pass
    os.close(master)
    if not ignored:
        process.send_signal(signal.SIGHUP)
    code = process.wait(timeout=60)
    assert code in ((0, 1) if ignored else (129,))
    if ignored:
        assert (tmp_path / "out" / "report.html").exists()
    check_rerun(warm, tmp_path, expected)


@pytest.mark.parametrize("kilobytes", [16, 48, 96, 160, 320, 640, 1200, 2400] if LONG else [])
def test_a_small_disk_that_runs_full_is_one_paragraph_and_more_room_lets_it_go_on(
    kilobytes: int, expected: Path, tmp_path: Path
) -> None:
    """On a disk of its own in a name space of its own, where this machine allows that."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a user mount a disk")
    words = " ".join(WORDS)
    script = f"""
mount -t tmpfs -o size={kilobytes}k tmpfs "{tmp_path}" && cd "{tmp_path}"
PATCH='import shutil; shutil.disk_usage = lambda _: shutil._ntuple_diskusage(10**12, 0, 10**12)'
"{sys.executable}" -c "$PATCH
import sys; sys.argv = ['simulate.py', *'{words}'.split()]
from hustings.cli.entry import main; main('simulate')" >/dev/null; echo "code $?" >&2
mount -o remount,size=100m "{tmp_path}"
"{sys.executable}" "{ROOT / "simulate.py"}" {words} >/dev/null && cat out/attitudes.csv
"""
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert "code 2" in done.stderr or "code 0" in done.stderr, done.stderr
    assert done.stdout == (expected / "out" / "attitudes.csv").read_text(), done.stderr
    note("full disks (tmpfs)", 1, f"{kilobytes} kB")
