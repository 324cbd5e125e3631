"""How a job starts from the command line, with a script of the checkout or the `hustings` command: through Hydra."""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hustings.cli.terminal import fail, one_paragraph
from hustings.configuration import Job, check_files, conf_folder, explain, settable
from hustings.errors import HustingsError, SettingsError

_TRACEBACK = "HYDRA_FULL_ERROR"


def main(job: Job, words: Sequence[str] | None = None, name: str | None = None) -> None:
    """Run a job as its command line says.

    Args:
        words: the arguments; None takes those of the process.
        name: Hydra's name of the job; None is that of the script.
    """
    given = sys.argv[1:] if words is None else list(words)
    with one_paragraph():
        if given in (["--help"], ["-h"]):
            from hustings.cli.help import help_of

            print(help_of(job))
        else:
            _hydra(job, given, name or job)


def _hydra(job: Job, words: list[str], name: str) -> None:
    """What `hydra.main` does, with our arguments in place of the process's.

    Those stay as they were typed: Lightning starts its other processes with them.
    """
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser  # pyright: ignore[reportPrivateUsage]

    from hustings.cli.jobs import JOBS

    version.setbase("1.3")
    parser = get_args_parser()
    parser.error = _refuse  # pyright: ignore[reportAttributeAccessIssue]
    arguments = parser.parse_intermixed_args(words)
    typed = settable(arguments.overrides)
    arguments.overrides = [f"hydra.job.name={name}", *typed]
    folder = None
    if arguments.config_dir:
        folder = Path(arguments.config_dir).expanduser().resolve()
        arguments.config_dir = str(folder)
        if not folder.is_dir():
            raise SettingsError(f"--config-dir {folder}: there is no such folder.")
    traceback_wanted = os.environ.get(_TRACEBACK, "0") != "0"
    os.environ[_TRACEBACK] = "1"  # errors reach us, in place of Hydra's own summary of them
    try:
        check_files(typed, folder)
        _run_hydra(arguments, parser, JOBS[job], str(conf_folder()), job)
    except HustingsError:
        raise
    except Exception as error:
        if traceback_wanted or not _of_composing(error):
            raise
        fail(explain(error, job, typed, folder), 2)
    finally:
        if not traceback_wanted:
            os.environ.pop(_TRACEBACK, None)


def _refuse(message: str) -> NoReturn:
    """End the process with what argparse says of a command line, in one paragraph."""
    fail(f"{message}; settings are written as name=value, and --help lists them.", 2)


def _of_composing(error: Exception) -> bool:
    """Whether Hydra raised an error while it read overrides and YAML files, and not the job or the disk."""
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    ours = any(name in ("hustings.cli.jobs", "hustings.sweeps") for name in frames)
    return not ours and not (isinstance(error, OSError) and error.filename is not None)
