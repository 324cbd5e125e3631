"""A complete job, from settings to report.html, for both the command line and Python. It prints nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hustings.files import explained
from hustings.runfolder import REPORT
from hustings.settings import EvaluateSettings, JudgeSettings, SimulateSettings, TrainSettings

if TYPE_CHECKING:
    import pandas as pd

    from hustings.engine.base import Engine
    from hustings.evaluation.job import Outcome as Evaluated
    from hustings.simulation.job import Outcome as Played
    from hustings.training.job import Outcome as Trained


@dataclass(frozen=True, slots=True)
class Launch:
    """Where a job runs and how it was started."""

    folder: Path
    """The run's folder."""
    command: Sequence[str]
    """The command as it was typed, after `python`."""
    experiment: str | None
    """Name under which a tracker groups the run."""
    sweep: bool
    """Whether it is one of several jobs, whose results are combined when all have ended."""


@explained()
def simulate(settings: SimulateSettings, launch: Launch) -> "tuple[Played, pd.DataFrame]":
    """Play missing debates; write tables, statistics, figures and the page, which is updated during a long run.

    Returns:
        What was played, and the statistics (with the columns of analysis.statistics.COLUMNS).

    Raises:
        HustingsError: the settings are invalid, a model is missing, or an artifact is busy or damaged.
    """
    from hustings import page, tracking
    from hustings.report import run as report
    from hustings.simulation import job

    folder = launch.folder
    with tracking.tracked(settings, "simulate", launch.experiment) as track, page.growing(folder / REPORT) as draw:
        outcome = job.run(settings, folder, list(launch.command), draw)
        statistics = report.finish(folder, Path(settings.artifacts))
        page.write([folder], folder / REPORT)
        track(folder)
    return outcome, statistics


@explained()
def train(settings: TrainSettings, launch: Launch) -> "Trained":
    """Train the adapter if it is not in the store; write the run's description and page.

    Raises:
        HustingsError: the settings are invalid, a model is missing, an artifact is busy or damaged, or the training is
            not possible.
    """
    from hustings import page, tracking
    from hustings.training import job
    from hustings.training.trainer import main_process

    folder = launch.folder
    with tracking.tracked(settings, "train", None) as track:
        outcome = job.run(settings, folder, list(launch.command))
        if main_process():
            page.write_trainings([folder], folder / REPORT)
        track(folder)
    return outcome


@explained()
def evaluate(settings: EvaluateSettings, launch: Launch) -> "tuple[Evaluated, str]":
    """Measure what is missing; write the scores and, unless this is a job of a sweep, the table and page.

    Returns:
        What was measured, and the table in Markdown, which is empty in a sweep.

    Raises:
        HustingsError: the settings are invalid, data or an adapter are missing, or an artifact is busy or damaged.
    """
    from hustings import tracking
    from hustings.evaluation import job

    with tracking.tracked(settings, "evaluate", launch.experiment) as track:
        outcome = job.run(settings, launch.folder, list(launch.command))
        text = "" if launch.sweep else tabulate([launch.folder], launch.folder)
        track(launch.folder)
    return outcome, text


@explained()
def tabulate(folders: Sequence[Path], target: Path) -> str:
    """Write the table and the page for one or several evaluations.

    Args:
        folders: run folders of evaluate.py.
        target: folder for the table and the page.

    Returns:
        The table in Markdown.

    Raises:
        RecordError: a folder is not an evaluation's run folder, or attitudes were measured on different scales.
    """
    from hustings import page
    from hustings.evaluation import table

    made, tests = table.write(folders, target)
    page.write_evaluation(folders, table.shown(made, tests), target / REPORT)
    return table.markdown(made, tests)


@explained()
def judge(settings: JudgeSettings, run: Path, *, named: bool, engine: "Engine | None" = None) -> "pd.DataFrame | str":
    """Rate the replies of a run, and update its statistics, figures and page.

    Args:
        run: the run folder.
        named: whether the user chose the judge; otherwise it must be a different model than the debaters'.
        engine: an engine that answers instead of the judge's own.

    Returns:
        The run's statistics (columns of analysis.statistics.COLUMNS) or, with `dry_run`, an estimate of what rating
        takes.

    Raises:
        HustingsError: the settings are invalid, a model is missing, an artifact is busy or damaged, or a question
            cannot be answered.
    """
    from hustings import page, study
    from hustings.judging import job
    from hustings.report import run as report

    bench = job.Bench.of(settings, study.load(run), engine)
    if not named:
        job.check_other(bench)
    if settings.dry_run:
        return job.estimate(bench)
    job.judge(bench)
    statistics = report.again(study.load(run))
    page.write([run], run / REPORT)
    return statistics
