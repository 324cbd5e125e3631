"""How a job starts from the command line, by a script of the checkout or the `hustings` command, through Hydra."""

import os
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hustings.cli.terminal import fail, one_paragraph
from hustings.configuration import Job, check_files, conf_folder, explain, search_path, settable
from hustings.errors import HustingsError, SettingsError

_TRACEBACK = "HYDRA_FULL_ERROR"


def main(job: Job, words: Sequence[str] | None = None, name: str | None = None) -> None:
    """Run a job as specified on its command line.

    Args:
        words: the arguments; None uses those of the process.
        name: Hydra's name for the job; None uses that of the script.
    """
    given = sys.argv[1:] if words is None else list(words)
    with one_paragraph():
        if given in (["--help"], ["-h"]):
            from hustings.cli.help import help_of

            print(help_of(job))
        else:
            _hydra(job, given, name or job)


def _hydra(job: Job, words: list[str], name: str) -> None:
    """Do what `hydra.main` does, with our arguments in place of the process's.

    The process's own arguments stay as typed, because Lightning starts its other processes with them.
    """
    from hydra import version
    from hydra._internal.utils import get_args_parser

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
    os.environ[_TRACEBACK] = "1"  # errors reach us instead of Hydra's summary of them
    try:
        check_files(typed, folder)
        _start(job, arguments, parser, folder)
    except HustingsError:
        raise
    except Exception as error:
        if traceback_wanted or not _of_composing(error):
            raise
        fail(explain(error, job, typed, folder), 2)
    finally:
        if not traceback_wanted:
            os.environ.pop(_TRACEBACK, None)


_PLAIN = {"overrides", "run", "config_dir", "config_name"}
"""Arguments with which Hydra only runs a job, or a sweep if the config asks for one."""


def _start(job: Job, arguments: Namespace, parser: ArgumentParser, folder: Path | None) -> None:
    """Do what the arguments ask for.

    Hydra composes a config once to find out whether it asks for a sweep, and again to run the job. Here the job reuses
    the first config.

    Args:
        folder: folder of the user's own configs.
    """
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.utils import _run_hydra  # pyright: ignore[reportPrivateUsage]
    from hydra.core.utils import run_job
    from hydra.types import HydraContext, RunMode

    from hustings.cli.jobs import JOBS

    words: list[str] = arguments.overrides
    asked = {key for key, value in vars(arguments).items() if value}
    if asked - _PLAIN or any("," in word for word in words):
        return _run_hydra(arguments, parser, JOBS[job], str(conf_folder()), job)
    name = arguments.config_name or job
    with search_path(job, folder) as hydra:
        config = hydra.compose_config(name, words, RunMode.MULTIRUN, with_log_configuration=True)
        if config.hydra.mode == RunMode.MULTIRUN:
            return hydra.multirun(name, JOBS[job], words)
        config.hydra.mode = RunMode.RUN
        callbacks = Callbacks(config)
        callbacks.on_run_start(config=config, config_name=name)
        ran = run_job(JOBS[job], config, "hydra.run.dir", None, HydraContext(hydra.config_loader, callbacks))
        callbacks.on_run_end(config=config, config_name=name, job_return=ran)
        _ = ran.return_value  # raises the job's error, if any


def _refuse(message: str) -> NoReturn:
    """End the process with argparse's message about the command line, in one paragraph."""
    fail(f"{message}; settings are written as name=value, and --help lists them.", 2)


def _of_composing(error: Exception) -> bool:
    """Whether the error comes from Hydra reading overrides and YAML files, and not from the job or the disk."""
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    ours = any(name in ("hustings.cli.jobs", "hustings.sweeps") for name in frames)
    return not ours and not (isinstance(error, OSError) and error.filename is not None)
