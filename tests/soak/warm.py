"""A process that has imported everything, and forks one for each command that it reads: a kill costs no imports.

The forked process can be made to fail at its n-th write. Its requests to an engine are written down before they are
answered. Run as a script; `Warm` is how tests talk to it.
"""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FAILED = ".failed"
"""In the working folder, once a disk has failed."""
ASKED = "asked.txt"
"""Beside the working folder's store: one line for each request that an engine took, in all processes."""


@dataclass(frozen=True)
class Order:
    """A command, and what happens to it."""

    cwd: str
    job: str
    """`simulate`, `train`, `evaluate`, or `report`."""
    words: list[str]
    kill_after: float | None = None
    """Seconds until SIGKILL."""
    fault: str | None = None
    """`kill`, `enospc` or `eacces` at a file operation; `clock` sets the clock back once and again; `count` counts."""
    at: int = 0
    """Number of the file operation, from 1; `eacces` counts each file once when it is read and once when written."""
    signal: int = signal.SIGKILL


@dataclass(frozen=True)
class Ended:
    """How it ended."""

    code: int
    out: str
    err: str
    seconds: float
    operations: int
    """File operations in its working folder, where they were counted."""


class Warm:
    """Talks to the process."""

    def __init__(self, *, heavy: bool) -> None:
        command = [sys.executable, __file__, *(["heavy"] if heavy else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, order: Order) -> Ended:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()


def serve(heavy: bool) -> None:
    """Fork a process for every order on stdin; say how it ended on stdout."""
    import statsmodels.regression.mixed_linear_model  # noqa: F401

    from hustings import page, pipeline, study, sweeps, tracking  # noqa: F401
    from hustings.cli import commands, entry, jobs  # noqa: F401
    from hustings.report import controls, run, screen, together  # noqa: F401
    from hustings.simulation import job  # noqa: F401

    if heavy:
        import peft  # noqa: F401
        import torch
        import transformers  # noqa: F401
        import trl.trainer.sft_trainer  # noqa: F401

        from hustings.evaluation import job as evaluation  # noqa: F401
        from hustings.training import job as training  # noqa: F401

        torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(asdict(_watched(Order(**json.loads(line))))), flush=True)


def _watched(order: Order) -> Ended:
    out, err, counted = (Path(order.cwd) / name for name in (".out", ".err", ".operations"))
    counted.unlink(missing_ok=True)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(order, out, err, counted)
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if order.kill_after is not None and time.monotonic() - began > order.kill_after:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, order.signal)
            order = Order(**{**asdict(order), "kill_after": None})
        time.sleep(0.001)
    operations = int(counted.read_text() or 0) if counted.exists() else 0
    code = os.waitstatus_to_exitcode(status)
    said = [path.read_text(errors="replace") for path in (out, err)]
    return Ended(code, *said, time.monotonic() - began, operations)


def _become(order: Order, out: Path, err: Path, counted: Path) -> None:
    """The command itself, to the end of this process."""
    code = 70
    try:
        for path, stream in ((os.devnull, 0), (out, 1), (err, 2)):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, stream)
            os.close(file)
        os.chdir(order.cwd)
        _write_down(os.open(ASKED, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        if order.fault == "clock":
            _set_back()
        elif order.fault:
            _fail(order, counted)
        root = Path(__file__).resolve().parents[2]
        script = str(root / f"{order.job}.py") if order.job != "report" else "hustings"
        sys.argv = [script, *(["report"] if order.job == "report" else []), *order.words]
        sys.orig_argv = [sys.executable, *sys.argv]
        code = _run(order)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(order: Order) -> int:
    from hustings.cli import commands, entry

    try:
        commands.main() if order.job == "report" else entry.main(order.job, order.words)  # type: ignore[arg-type]
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _write_down(file: int) -> None:
    """Write down every request before its engine answers it."""
    from hustings import engine
    from hustings.engine.base import Answer, Engine, Request

    build = engine.build

    class Recorded(Engine):
        def __init__(self, inner: Engine) -> None:
            self.inner, self.promise, self.preamble = inner, inner.promise, inner.preamble

        def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
            for request, answer in self.inner.stream(queue):
                turn = request.turn
                place = f"{turn.debate} {turn.purpose} {turn.iteration} {turn.agent} {turn.item}"
                _WRITE(file, f"{os.getpid()} {place} {request.seed}\n".encode())
                yield request, answer

        def close(self) -> None:
            self.inner.close()

    engine.build = lambda *arguments: Recorded(build(*arguments))


_WRITE = os.write


def _set_back() -> None:
    """A clock that goes back an hour with every look at it."""
    import random

    real = time.time
    time.time = lambda: real() - 3600 * random.random()


def _fail(order: Order, counted: Path) -> None:
    """Count what this process does to files in its working folder, and fail from the order's number on."""
    here, count = str(Path.cwd()), 0
    number = {"enospc": errno.ENOSPC, "eacces": errno.EACCES}.get(str(order.fault), 0)
    barred: set[str] = set()
    seen: set[tuple[str, bool]] = set()

    def happened(path: Any, *, writes: bool) -> None:
        nonlocal count
        text = str(Path(here, os.fsdecode(path))) if isinstance(path, str | bytes | os.PathLike) else ""
        if not text.startswith(here) or Path(text).name.startswith((".out", ".err", ".operations", FAILED, ASKED)):
            return
        if order.fault == "eacces" and text in barred:
            raise OSError(number, os.strerror(number), text)
        if (order.fault != "eacces" and not writes) or (order.fault == "eacces" and (text, writes) in seen):
            return
        seen.add((text, writes))
        count += 1
        if order.fault == "count":
            file = os.open(f"/proc/self/fd/{kept}", os.O_WRONLY | os.O_TRUNC)
            _WRITE(file, str(count).encode())
            os.close(file)
        elif order.fault == "kill" and count == order.at:
            os.kill(os.getpid(), signal.SIGKILL)
        elif order.fault == "enospc" and count >= order.at:
            _note_failure(here)
            raise OSError(number, os.strerror(number), text)
        elif order.fault == "eacces" and count == order.at:
            barred.add(text)
            _note_failure(here)
            raise OSError(number, os.strerror(number), text)

    kept = os.open(counted, os.O_WRONLY | os.O_CREAT)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            happened(arguments[0], writes=bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
        elif event in ("os.rename", "os.mkdir", "os.truncate") or (event == "os.remove" and order.fault == "kill"):
            happened(arguments[0], writes=True)

    def write(file: int, content: bytes) -> int:
        """Half of the content is written where the disk is full or the process dies."""
        path = str(Path(f"/proc/self/fd/{file}").readlink())
        before = count
        if path.startswith(here) and order.fault in ("kill", "enospc") and before + 1 == order.at:
            written = _WRITE(file, content[: len(content) // 2])
            if order.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            happened_quietly(path)
            return written
        happened(path, writes=True)
        return _WRITE(file, content)

    def happened_quietly(path: str) -> None:
        with contextlib.suppress(OSError):
            happened(path, writes=True)

    os.write = write  # type: ignore[assignment]
    sys.addaudithook(hook)


def _note_failure(here: str) -> None:
    os.close(os.open(f"{here}/{FAILED}", os.O_WRONLY | os.O_CREAT))


if __name__ == "__main__":
    serve("heavy" in sys.argv[1:])
