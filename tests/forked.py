"""Entry points as processes forked from one that has imported the packages of others: half of what a small run takes.

Hustings itself is imported anew by each: this file, which such a process reads, imports the standard library only.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["hydra", "pydantic", "pandas", "statsmodels.regression.mixed_linear_model", "matplotlib.backends.backend_svg"]
)


def run(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float
) -> "subprocess.CompletedProcess[str]":
    """Run a script and its arguments in the folder `cwd`, as `subprocess.run` does with both streams captured.

    Raises:
        subprocess.TimeoutExpired: it had not ended after so many seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder) / "out", Path(folder) / "err"]
        process = start(command, cwd, environment, printed)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text() for path in printed))


def start(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], printed: Sequence[Path]
) -> "multiprocessing.process.BaseProcess":
    """Start a script and its arguments in the folder `cwd`; its two streams go into the files of `printed`."""
    process = _SERVER.Process(target=_become, args=(command, cwd, environment, printed))
    process.start()
    return process


def _become(command: Sequence[str], cwd: Path, environment: Mapping[str, str], printed: Sequence[Path]) -> None:
    for stream, path in enumerate(printed, 1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, stream)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = list(command)
    sys.path[0] = str(Path(command[0]).parent)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        # As at an interpreter's end; multiprocessing would wait for children first that these tell to end.
        threading._shutdown()
        atexit._run_exitfuncs()
