"""What a sweep does if a job fails, and when all jobs have ended.

It does not know where jobs run; Hydra's launchers do: on this machine, on Slurm or on Ray.
"""

import itertools
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from hustings import runfolder
from hustings.configuration import as_typed, plain, program
from hustings.errors import HustingsError, SweepError, first_line
from hustings.files import explained
from hustings.progress import say, show

ERROR = "error.txt"
"""File in a job's folder with the traceback of an error that is a bug in Hustings."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that failed."""

    number: int
    overrides: tuple[str, ...]
    reason: str


class _Tolerant(Launcher):
    """A launcher that records failed jobs and does not let them end the sweep."""

    def __init__(self, inner: Launcher, folder: Path, failures: list[Failure]) -> None:
        self._inner, self._folder, self._failures = inner, folder, failures

    def setup(self, **_: Any) -> None:
        """Nothing to do: the inner launcher is ready."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; failed ones return nothing."""
        numbered = list(enumerate(job_overrides, initial_job_idx))
        try:
            returns = list(self._inner.launch(job_overrides, initial_job_idx))
        except Exception as error:
            return self._lost(numbered, error)
        for (number, overrides), job in zip(numbered, returns, strict=True):
            if job.status == JobStatus.FAILED:
                self._failed(number, overrides, _reason(self._folder / str(number), _error(job)))
                job.status, job.return_value = JobStatus.COMPLETED, None
        return returns

    def _lost(self, numbered: list[tuple[int, Sequence[str]]], error: Exception) -> Sequence[JobReturn]:
        """Record unfinished jobs after the launcher gave up because a process died; finished jobs are on disk."""
        if not any((self._folder / str(number)).exists() for number, _ in numbered):
            raise SweepError(
                f"cluster: the launcher could not start the jobs ({first_line(error)}); check the settings under "
                "hydra.launcher, or run here with cluster=local."
            ) from error
        for number, overrides in numbered:
            if not (self._folder / str(number) / runfolder.MANIFEST).exists():
                self._failed(number, overrides, f"its process did not answer ({first_line(error)})")
        return [JobReturn(status=JobStatus.COMPLETED) for _ in numbered]

    def _failed(self, number: int, overrides: Sequence[str], reason: str) -> None:
        self._failures.append(Failure(number, tuple(as_typed(overrides)), reason))


def _error(job: JobReturn) -> BaseException:
    """The error of a failed job; reading its result would print Hydra's message and raise the error here."""
    return job._return_value  # pyright: ignore[reportPrivateUsage]


def _reason(folder: Path, error: BaseException) -> str:
    if isinstance(error, HustingsError):
        return str(error)
    where = f"; see {os.path.relpath(folder / ERROR)}" if (folder / ERROR).exists() else ""
    return f"{type(error).__name__}: {first_line(Exception(error))}{where}"


class SweepEnd(Callback):
    """Keeps a sweep going if jobs fail, and combines the tables and figures of all jobs in the sweep's folder."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Wrap the launcher in a tolerant one; Hydra has no hook for this."""
        plugins = Plugins.instance()
        make = plugins.instantiate_launcher
        folder = Path(config.hydra.sweep.dir)

        def tolerant(**context: Any) -> Launcher:
            del vars(plugins)["instantiate_launcher"]  # back to the class's own method: workers copy the plugins
            return _Tolerant(make(**context), folder, self._failures)

        vars(plugins)["instantiate_launcher"] = tolerant

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Write the traceback of a bug into the job's folder; the job may run on another machine."""
        error = _error(job_return)
        if job_return.status == JobStatus.FAILED and not isinstance(error, HustingsError):
            folder = Path(config.hydra.runtime.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ERROR).write_text("".join(traceback.format_exception(error)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Combine the finished jobs; report which ones failed, and exit with an error code if any did."""
        folder = Path(config.hydra.sweep.dir)
        try:
            with explained():
                made = self.together(folder)
        except HustingsError as error:  # Hydra would only print a warning
            say(str(error))
            sys.exit(error.exit_code)
        except Exception as error:  # a bug, of which Hydra would only warn
            (folder / ERROR).write_text("".join(traceback.format_exception(error)))
            say(
                f"{os.path.relpath(folder)}: all jobs have ended, and putting them together failed "
                f"({_reason(folder, error)}). This is a bug in Hustings; the jobs' own folders are complete."
            )
            sys.exit(SweepError.exit_code)
        if self._failures:
            say(summary(self._failures, program(config.hydra, sys.argv[0]), plain(config.hydra.overrides.hydra)))
        if made:
            print(f"run: {os.path.relpath(folder)}", flush=True)
        if self._failures:
            sys.exit(SweepError.exit_code)

    def together(self, folder: Path) -> bool:
        """Compare the jobs with the first one, in the sweep's folder; return whether there was anything to compare.

        Their joint results are printed too: U and S, mitigations, sets of life stories, specifications.
        """
        from hustings import page
        from hustings.report import screen, together

        runs, trainings = runfolder.jobs(folder, "run"), runfolder.jobs(folder, "training")
        if len(runs) > 1:
            together.compare(runs, folder)
            page.write(runs, folder / runfolder.REPORT)
            for found in screen.together(folder):
                print(found) if isinstance(found, str) else show(found)
        elif len(trainings) > 1:
            page.write_trainings(trainings, folder / runfolder.REPORT)
        return len(runs) > 1 or len(trainings) > 1


class Multiverse(SweepEnd):
    """Plays a balanced fraction of a sweep's grid, drawn by seed, and ends with a specification curve.

    Args:
        specifications: the most jobs to play.
        seed: seed of the draw.
    """

    def __init__(self, specifications: int, seed: int) -> None:
        super().__init__()
        self._count, self._seed = specifications, seed
        self._choices: list[str] = []
        self._grid = 0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make Hydra's sweeper draw from its grid before it composes every job."""
        super().on_multirun_start(config, **kwargs)
        plugins = Plugins.instance()
        make = plugins.instantiate_sweeper

        def drawn(**context: Any) -> Any:
            del vars(plugins)["instantiate_sweeper"]
            sweeper: Any = make(**context)
            whole = sweeper.split_arguments

            def split(overrides: Any, _: Any) -> list[list[list[str]]]:
                return [self._draw(whole(overrides, None)[0])]

            sweeper.split_arguments = split
            return sweeper

        vars(plugins)["instantiate_sweeper"] = drawn

    def _draw(self, grid: Sequence[Sequence[str]]) -> list[list[str]]:
        """Draw the jobs to play."""
        from hustings.analysis.multiverse import fraction

        count: Any = self._count
        if not isinstance(count, int) or count < 2:
            raise SweepError(
                f"hydra.callbacks.sweep.specifications={count}: must be a whole number from 2 on, such as 16."
            )
        values = [list(dict.fromkeys(column)) for column in zip(*grid, strict=True)]
        chosen = fraction([len(it) for it in values], count, self._seed)
        self._choices = as_typed(it[0].partition("=")[0] for it in values if len(it) > 1)
        if "topic" in self._choices:
            raise SweepError(
                "topic: a topic is no choice that should make no difference, so a multiverse plays every topic in each "
                "specification; write topic=[racism,gun_violence] to play several."
            )
        self._grid = len(grid)
        say(f"{len(chosen)} of {len(grid):,} specifications, drawn with seed {self._seed}.")
        return [[each[place] for each, place in zip(values, places, strict=True)] for places in chosen]

    def together(self, folder: Path) -> bool:
        """Like other sweeps, with the specification curve; return whether there was anything to compare."""
        from hustings.report import multiverse

        if len(runfolder.jobs(folder, "run")) > 1:
            multiverse.plan(folder, self._choices, self._grid)
        return super().together(folder)


class Table1(SweepEnd):
    """Writes the table of all rows into the folder of an evaluation sweep."""

    def together(self, folder: Path) -> bool:
        """Combine the rows of the finished jobs; return whether there were any."""
        from hustings import pipeline

        runs = runfolder.jobs(folder, "evaluation")
        if runs:
            print(pipeline.tabulate(runs, folder))
        return bool(runs)


def summary(failures: Sequence[Failure], start: Sequence[str], hydra: Sequence[str]) -> str:
    """What failed and why, and the commands that rerun only the failed jobs.

    Args:
        start: the command that starts the job, without overrides.
        hydra: the sweep's overrides of Hydra's own settings.
    """
    lines = [f"{len(failures)} of the sweep's jobs failed:"]
    common = set.intersection(*(set(failure.overrides) for failure in failures)) if len(failures) > 1 else set[str]()
    for reason, group in itertools.groupby(failures, key=lambda failure: failure.reason):
        for failure in group:
            own = [override for override in failure.overrides if override not in common] or failure.overrides
            lines.append(f"  job {failure.number} ({' '.join(own)})")
        lines.append(f"    {reason}")
    kept = [word for word in hydra if not word.startswith(_OF_THIS_SWEEP)]
    lines.append("To run only these again (and then the whole sweep for its tables: finished jobs take a second):")
    lines += [f"  {shlex.join([*start, '-m', *words, *kept])}" for words in again([it.overrides for it in failures])]
    return "\n".join(lines)


_OF_THIS_SWEEP = ("hydra.mode=", "hydra.job.name=", "hydra.sweep.dir=", "hydra.run.dir=")
"""Overrides of Hydra's settings that must not be passed to a rerun of the same jobs."""


def again(jobs: Sequence[Sequence[str]]) -> list[list[str]]:
    """Overrides of sweeps with exactly these jobs: one sweep if they form a product, otherwise one for each job."""
    values: dict[str, dict[str, None]] = {}
    for job in jobs:
        for override in job:
            key, _, value = override.partition("=")
            values.setdefault(key, {})[value] = None
    product = {
        tuple(f"{key}={value}" for key, value in zip(values, chosen, strict=True))
        for chosen in itertools.product(*values.values())
    }
    if product == {tuple(job) for job in jobs}:
        return [[f"{key}={','.join(chosen)}" for key, chosen in values.items()]]
    return [list(job) for job in jobs]
