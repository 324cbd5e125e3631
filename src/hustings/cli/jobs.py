"""The three jobs as Hydra runs them: validate, run, report."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hustings.cli.terminal import check_output, fail, open_streams, show_run
from hustings.configuration import Job, as_typed, plain, program, settings_of
from hustings.errors import HustingsError, SettingsError
from hustings.progress import duration, say
from hustings.runfolder import REPORT

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from hustings.pipeline import Launch
    from hustings.settings import SimulateSettings


def simulate(config: "DictConfig") -> None:
    """The job of simulate.py."""
    launch = _launch()
    with _refusing(launch):
        settings = settings_of(config, "simulate")
        _check_devices(settings, launch)
        if settings.dry_run:
            from hustings.simulation.estimate import estimate

            print(estimate(settings, launch.folder))
            return _leave_nothing(launch.folder)
        from hustings import pipeline
        from hustings.simulation import job

        if job.run_as_worker(settings):
            return _leave_nothing(launch.folder)
        outcome, statistics = pipeline.simulate(settings, launch)
    from hustings import study

    with _printing(launch):
        if outcome.played:
            speed = outcome.tokens / max(outcome.seconds, 1e-9)
            print(
                f"{outcome.played} debates played in {duration(outcome.seconds)}: {outcome.replies} replies, "
                f"{speed:.0f} tokens/s; {outcome.invalid} invalid survey answers"
            )
        else:
            print(f"all {outcome.debates} debates were already in the store; {outcome.invalid} invalid survey answers")
        show_run(study.load(outcome.folder), statistics)
        _last_line(outcome.folder)


def train(config: "DictConfig") -> None:
    """The job of train.py."""
    launch = _launch()
    with _refusing(launch):
        settings = settings_of(config, "train")
        from hustings import pipeline
        from hustings.training.trainer import main_process

        outcome = pipeline.train(settings, launch)
    if not main_process():
        return _leave_nothing(launch.folder)
    how = f"trained in {duration(outcome.seconds)}" if outcome.trained else "was already in the store"
    with _printing(launch):
        print(
            f"adapter={outcome.adapter} {how}: loss {outcome.first_loss:.3f} at first, {outcome.last_loss:.3f} at last"
        )
        _last_line(outcome.folder)


def evaluate(config: "DictConfig") -> None:
    """The job of evaluate.py."""
    launch = _launch()
    with _refusing(launch):
        settings = settings_of(config, "evaluate")
        from hustings import pipeline
        from hustings.runfolder import SCORES

        outcome, table = pipeline.evaluate(settings, launch)
    with _printing(launch):
        if table:
            print(table)
        print(f"{len(outcome.rows)} scores in {SCORES}")
        _last_line(outcome.folder)


JOBS: dict[Job, Callable[["DictConfig"], None]] = {"simulate": simulate, "train": train, "evaluate": evaluate}


def _launch() -> "Launch":
    """How Hydra started the running job. It may be in its own process, so its streams are opened here."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from hustings.pipeline import Launch

    open_streams()
    hydra = HydraConfig.get()
    return Launch(
        folder=Path(hydra.runtime.output_dir),
        command=[*program(hydra)[1:], *as_typed(plain(hydra.overrides.task))],
        experiment=hydra.runtime.choices.get("experiment"),
        sweep=hydra.mode == RunMode.MULTIRUN,
    )


@contextmanager
def _refusing(launch: "Launch") -> Generator[None]:
    """If a job is not possible, end it and remove its folder; a sweep records the error and continues."""
    try:
        yield
    except HustingsError as error:
        _leave_nothing(launch.folder)
        if launch.sweep:
            raise
        fail(str(error), error.exit_code)


@contextmanager
def _printing(launch: "Launch") -> Generator[None]:
    """Report it if the output of a finished job cannot be written; in a sweep, this does not make the job fail."""
    try:
        yield
        check_output()
    except OSError as error:
        where = os.path.relpath(launch.folder)
        said = f"The output cannot be written ({error.strerror}); the run is complete, in {where}."
        if not launch.sweep:
            fail(said, 2)
        say(said)


def _check_devices(settings: "SimulateSettings", launch: "Launch") -> None:
    """Refuse several devices for a job in a sweep."""
    if launch.sweep and settings.trainer.ranks > 1:
        raise SettingsError(
            f"trainer.devices={settings.trainer.devices}, trainer.num_nodes={settings.trainer.num_nodes}: a job of a "
            "sweep uses one device; set both to 1 and let cluster=joblib, slurm or ray run jobs side by side, or run "
            "this without -m."
        )


def _leave_nothing(folder: Path) -> None:
    """Remove the folders that Hydra created for a run that never began."""
    here = Path.cwd()
    for empty in (folder, *folder.parents):
        if here not in empty.parents:
            return
        try:
            empty.rmdir()
        except OSError:
            return


def _last_line(folder: Path) -> None:
    report = (folder / REPORT).resolve()
    if report.exists():
        print(f"report: {report.as_uri()}")
    print(f"run: {os.path.relpath(folder)}")
