"""What all commands show on the terminal: a run's tables and warnings, and errors as one paragraph and an exit code."""

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
    """Print a run's curves and statistics, its warnings, one line each, and its findings in three sentences."""
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
    """Print a text on stderr and end the process."""
    say(text)
    sys.exit(code)


class _Stopped(KeyboardInterrupt):
    """A signal that asks the process to end; libraries clean up after it as they do after Ctrl-C."""

    def __init__(self, number: int) -> None:
        self.name, self.code = signal.Signals(number).name, 128 + number


_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _stoppable() -> Generator[None]:
    """In the block, SIGTERM and a closed terminal raise exceptions; signals that are ignored (nohup) stay ignored."""

    def stop(number: int, _: Any) -> None:
        for other in mine:  # a second signal of the same kind ends the process at once
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
    """A standard stream that discards what cannot be written (`| head`, closed terminal, full disk), so jobs go on."""

    lost: OSError | None = None
    """The error that lost output which somebody may miss, because it was meant for a file."""

    def write(self, data: Any, /) -> int:
        try:
            while (written := super().write(data)) is None:  # a full pipe in non-blocking mode
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
    """Make the standard streams accept any text: unencodable characters become `?`, and closed streams discard it.

    Streams that another program has replaced (pytest, a notebook) are left as they are.
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
    """Check that all printed output was written.

    Raises:
        OSError: some of it could not be written; raised only once.
    """
    sys.stdout.flush()
    raw = _raw(sys.stdout) if isinstance(sys.stdout, io.TextIOWrapper) else None
    if isinstance(raw, _Stream) and raw.lost:
        lost, raw.lost = raw.lost, None
        raise lost


@contextmanager
def one_paragraph() -> Generator[None]:
    """Turn errors that the user can act on into one paragraph and an exit code; a traceback means a bug in Hustings."""
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
    """Open the null device for closed standard streams, so that a file opened later cannot take their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number, which is `number`
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
