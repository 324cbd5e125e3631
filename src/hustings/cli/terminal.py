"""What commands do alike on the terminal: a run's tables and warnings, and errors as one paragraph and an exit code."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from hustings.errors import HustingsError
from hustings.progress import show

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
    print(text, file=sys.stderr, flush=True)
    sys.exit(code)


@contextmanager
def one_paragraph() -> Generator[None]:
    """Turn errors that a user can act on into one paragraph and an exit code; a traceback means a bug of ours."""
    try:
        yield
        sys.stdout.flush()
    except HustingsError as error:
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        fail("Stopped. Nothing is lost: run the same command again to resume.", 130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"{error.filename}: {error.strerror}; choose a folder that can be written.", 2)
    finally:
        _close_a_broken_pipe()


def _close_a_broken_pipe() -> None:
    """Where nobody reads stdout any more (`| head`), keep Python from complaining about it when it exits.

    Source: docs.python.org, library/signal, note on SIGPIPE
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
