"""What commands do alike on the terminal: a run's tables and warnings, and errors as one paragraph and an exit code."""

import errno
import io
import os
import select
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from hustings.errors import HustingsError
from hustings.files import trouble
from hustings.progress import say, show

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study


def show_run(study: "Study", statistics: "pd.DataFrame") -> None:
    """Print a run's curves and statistics, warnings in one line each, and what was found in three sentences."""
    from hustings.report import screen
    from hustings.report.alerts import alerts
    from hustings.report.finding import finding

    for part in screen.run(study, statistics):
        show(part)
    for said in alerts(study, statistics):
        print(f"Warning: {said}")
    if said := finding(study, statistics):
        print("", *said, sep="\n")


def fail(text: str, code: int) -> NoReturn:
    """End the process with a text on stderr."""
    say(text)
    sys.exit(code)


class _Stopped(KeyboardInterrupt):
    """A signal that asks the process to end; libraries clean up after it as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        self.name, self.code = signal.Signals(number).name, 128 + number


_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _stoppable() -> Generator[None]:
    """Within it, SIGTERM and a closed terminal are exceptions; whoever ignores them (nohup) still does."""

    def stop(number: int, _: Any) -> None:
        for other in mine:  # the same signal again ends the process at once
            signal.signal(other, signal.SIG_DFL if other == number else signal.SIG_IGN)
        raise _Stopped(number)

    mine = [number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in mine:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


class _Stream(io.FileIO):
    """A standard stream that drops what cannot be written (`| head`, a closed terminal, a full disk): a job goes on."""

    lost: OSError | None = None
    """Why something was dropped that somebody may miss: it was for a file."""

    def write(self, data: Any, /) -> int:
        try:
            while (written := super().write(data)) is None:  # a pipe that does not block, and is full
                select.select([], [self], [])
            return written
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if error.errno not in (errno.EPIPE, errno.EIO):
                self.lost = error
            return len(data)


def open_streams() -> None:
    """Make the standard streams take any text: what their encoding lacks becomes `?`. A closed one takes and drops it.

    Streams that another program put in their place (pytest, a notebook) stay as they are.
    """
    _fill_closed_streams()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is io.TextIOWrapper and not isinstance(_raw(stream), _Stream):
            stream.flush()
            setattr(
                sys,
                name,
                io.TextIOWrapper(
                    io.BufferedWriter(_Stream(stream.fileno(), "wb", closefd=False)),
                    encoding=stream.encoding,
                    errors="replace",
                    line_buffering=stream.line_buffering or name == "stderr",
                    write_through=stream.write_through,
                ),
            )


def _raw(stream: io.TextIOWrapper) -> Any:
    return getattr(stream.buffer, "raw", stream.buffer)


def check_output() -> None:
    """Make sure that what was printed is where it should be.

    Raises:
        OSError: some of it could not be written; said once.
    """
    sys.stdout.flush()
    raw = _raw(sys.stdout) if isinstance(sys.stdout, io.TextIOWrapper) else None
    if isinstance(raw, _Stream) and raw.lost:
        lost, raw.lost = raw.lost, None
        raise lost


@contextmanager
def one_paragraph() -> Generator[None]:
    """Turn errors that a user can act on into one paragraph and an exit code; a traceback means a bug of ours."""
    open_streams()
    try:
        with _stoppable():
            try:
                yield
            except SystemExit:
                check_output()
                raise
            check_output()
    except HustingsError as error:
        fail(str(error), error.exit_code)
    except _Stopped as stopped:
        fail(f"Stopped by {stopped.name}. Nothing is lost: run the same command again to resume.", stopped.code)
    except KeyboardInterrupt:
        fail("Stopped. Nothing is lost: run the same command again to resume.", 130)
    except Exception as error:
        said = trouble(error)
        if said is None and isinstance(error, OSError) and error.filename is not None:
            said = f"{error.filename}: {error.strerror}; choose a folder that can be written."
        if said is None:
            raise
        fail(said, 2)


def _fill_closed_streams() -> None:
    """Put the null device where a standard stream was closed: a file that is opened later must not take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
