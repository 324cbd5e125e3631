"""What commands do alike on the terminal: a run's tables and warnings, and errors as one paragraph and an exit code."""

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from hustings.errors import HustingsError
from hustings.files import trouble
from hustings.progress import say, show

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study


def show_run(study: "Study", statistics: "pd.DataFrame") -> None:
    """Print a run's curves and statistics, and warnings in one line each."""
    from hustings.report import screen
    from hustings.report.alerts import alerts

    for part in screen.run(study, statistics):
        show(part)
    for said in alerts(study, statistics):
        print(f"Warning: {said}")


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
        for other in mine:
            signal.signal(
                other, signal.SIG_DFL if other == number else signal.SIG_IGN
            )  # the same again ends it at once
        raise _Stopped(number)

    mine = [number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in mine:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def one_paragraph() -> Generator[None]:
    """Turn errors that a user can act on into one paragraph and an exit code; a traceback means a bug of ours."""
    _open_streams()
    try:
        with _stoppable():
            yield
            sys.stdout.flush()
    except HustingsError as error:
        fail(str(error), error.exit_code)
    except _Stopped as stopped:
        fail(f"Stopped by {stopped.name}. Nothing is lost: run the same command again to resume.", stopped.code)
    except KeyboardInterrupt:
        fail("Stopped. Nothing is lost: run the same command again to resume.", 130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        said = trouble(error)
        if said is None and isinstance(error, OSError) and error.filename is not None:
            said = f"{error.filename}: {error.strerror}; choose a folder that can be written."
        if said is None:
            raise
        fail(said, 2)
    finally:
        _let_go()


def _open_streams() -> None:
    """Put the null device where a standard stream was closed: a file that is opened later must not take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _let_go() -> None:
    """Where nobody reads the output any more (`| head`, a closed terminal), keep Python from complaining at its exit.

    Source: docs.python.org, library/signal, note on SIGPIPE
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
