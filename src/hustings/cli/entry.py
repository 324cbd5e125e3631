"""How a job starts from the command line, with a script of the checkout or the `hustings` command: through Hydra."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hustings.cli.terminal import fail, one_paragraph
from hustings.configuration import Job, composition_errors, conf_folder, explain, known, settable

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
    traceback_wanted = os.environ.get(_TRACEBACK, "0") != "0"
    os.environ[_TRACEBACK] = "1"  # errors reach us, in place of Hydra's own summary of them
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser  # pyright: ignore[reportPrivateUsage]

    from hustings.cli.jobs import JOBS

    version.setbase("1.3")
    parser = get_args_parser()
    arguments = parser.parse_args(words)
    typed = settable(arguments.overrides)
    arguments.overrides = [f"hydra.job.name={name}", *typed]
    try:
        _run_hydra(arguments, parser, JOBS[job], str(conf_folder()), job)
    except composition_errors() as error:
        if traceback_wanted:
            raise
        folder = Path(arguments.config_dir).resolve() if arguments.config_dir else None
        fail(explain(error, partial(known, job, typed, folder)), 2)
