"""Entry points as processes forked from one that has imported the packages of others: half of what a small run takes.

Hustings itself is imported anew by each. (This file is what such a process reads, so it imports nothing else.)
"""

import atexit
import multiprocessing
import os
import runpy
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["hydra", "pydantic", "pandas", "statsmodels.regression.mixed_linear_model", "matplotlib.backends.backend_svg"]
)


def run(
    script: str,
    arguments: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    printed: Sequence[Path],
    timeout: float,
) -> int:
    """Run a script of the root's in the folder `cwd`; stdout and stderr go to the two files `printed`.

    Returns:
        The exit status; negative, as subprocess has it, for a signal.

    Raises:
        TimeoutError: it had not ended after so many seconds, and was killed.
    """
    process = _SERVER.Process(target=_become, args=(script, arguments, cwd, environment, printed))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"{script} {' '.join(arguments)}: not done after {timeout} s")
    return process.exitcode


def _become(
    script: str, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], printed: Sequence[Path]
) -> None:
    for stream, path in enumerate(printed, 1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, stream)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [str(_ROOT / script), *arguments]
    sys.path[0] = str(_ROOT)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        # As at an interpreter's end; multiprocessing would wait for children first that these tell to end.
        threading._shutdown()
        atexit._run_exitfuncs()
