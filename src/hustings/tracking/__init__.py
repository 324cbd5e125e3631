"""Tracking with Weights & Biases, or none. It gets the settings when a run starts, and later reads the run's folder.

With `tracker=none`, wandb is not even imported. Only the process with rank zero tracks.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from hustings.progress import say
from hustings.settings import EvaluateSettings, SimulateSettings, TrainSettings, WandbSettings
from hustings.tracking.session import Session, id_of

__all__ = ["id_of", "tracked"]


@contextmanager
def tracked(
    settings: SimulateSettings | TrainSettings | EvaluateSettings, job: str, group: str | None
) -> Generator[Callable[[Path], None]]:
    """Track the job that runs in the block; if the block raises, the tracked run is marked as failed.

    Args:
        job: the kind of job: `simulate`, `train`, `evaluate`.
        group: the experiment's name, used if the settings give no group.

    Yields:
        A function that takes the finished run's folder and logs its content.

    Raises:
        SettingsError: with `tracker.mode=online`, W&B cannot be reached or nobody is logged in.
    """
    tracker = settings.tracker
    if not isinstance(tracker, WandbSettings) or int(os.environ.get("RANK", "0")) > 0:
        yield lambda folder: None
        return
    from hustings.tracking.log import log

    session = Session.of(settings.model_dump(mode="json"), tracker, job, group)
    run = session.begin()
    try:
        yield lambda folder: log(run, session, folder)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=0)
    if tracker.mode == "offline":
        say(f"tracked offline; to upload it: wandb sync {os.path.relpath(Path(run.dir).parent)}")
