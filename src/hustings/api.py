"""Hustings from Python: compose settings, run the three jobs, and read and compare their results.

Everything here is also available from the package itself (`hustings.simulate`), and does the same as the command line.
"""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hustings.configuration import compose
from hustings.errors import SettingsError
from hustings.pipeline import Launch
from hustings.settings import EvaluateSettings, SimulateSettings, TrainSettings
from hustings.study import Study, load

if TYPE_CHECKING:
    import pandas as pd

    from hustings.training.job import Outcome

__all__ = ["compare", "compose", "evaluate", "load", "simulate", "train"]


def simulate(settings: SimulateSettings, folder: Path | str | None = None) -> Study:
    """Play debates and write tables, statistics, figures and report.html, as `python simulate.py` does.

    Debates that are already in the artifact store (`settings.artifacts`) are not played again.

    Args:
        settings: from `compose`.
        folder: the run's folder; None creates one in `outputs`, named after the date and time.

    Raises:
        HustingsError: the settings are invalid, a model is missing, or an artifact is busy or damaged.

    Example:
        >>> import hustings
        >>> study = hustings.simulate(hustings.compose("engine=planted", "topic=racism", "repetitions=2"))
        >>> study.attitudes.groupby("role")["score"].count().to_dict()
        {'default': 8, 'democrat': 8, 'republican': 8, 'shadow': 8}
    """
    from hustings import pipeline

    if settings.dry_run:
        raise SettingsError(
            "dry_run=True: only the command line prints an estimate; run python simulate.py dry_run=true, or set it to "
            "false."
        )
    if settings.trainer.ranks > 1:
        raise SettingsError(
            f"trainer.devices={settings.trainer.devices}, trainer.num_nodes={settings.trainer.num_nodes}: several "
            "processes share a run only when it is started from the command line; set both to 1, or run python "
            "simulate.py."
        )
    outcome, _ = pipeline.simulate(settings, _launch(folder))
    return load(outcome.folder)


def train(settings: TrainSettings, folder: Path | str | None = None) -> "Outcome":
    """Fine-tune a model towards a party and write losses, model card and report.html, as `python train.py` does.

    Args:
        settings: from `compose(…, job="train")`.
        folder: the run's folder; None creates one in `outputs`, named after the date and time.

    Returns:
        The adapter (its `adapter` is the value for `compose("adapter=…")`), the first and last loss, and the seconds
        taken.

    Raises:
        HustingsError: the settings are invalid, a model is missing, an artifact is busy or damaged, or the training is
            not possible.
    """
    from hustings import pipeline

    return pipeline.train(settings, _launch(folder))


def evaluate(settings: EvaluateSettings, folder: Path | str | None = None) -> "pd.DataFrame":
    """Measure benchmark scores and attitudes and write tables and report.html, as `python evaluate.py` does.

    Args:
        settings: from `compose(…, job="evaluate")`.
        folder: the run's folder; None creates one in `outputs`, named after the date and time.

    Returns:
        The rows of scores.csv: row, model, adapter, seed, benchmark, metric, score, stderr, n, and more.

    Raises:
        HustingsError: the settings are invalid, data or an adapter are missing, or an artifact is busy or damaged.
    """
    import pandas as pd

    from hustings import pipeline

    outcome, _ = pipeline.evaluate(settings, _launch(folder))
    return pd.DataFrame(outcome.rows)


def compare(studies: Sequence[Study], folder: Path | str | None = None) -> "pd.DataFrame":
    """Test how studies differ from the first one, debate by debate.

    Each run is analysed with its own outcome, or with that of the first study if a study was read with another outcome
    (`study.analysed_as`).

    Args:
        studies: two or more, from `simulate` or `load`.
        folder: for tables, figures and report.html; None writes nothing.

    Returns:
        One row for each test: run, baseline, statistic, topic, role, estimate, ci_low, ci_high, p, sentence, and more.

    Raises:
        SettingsError: fewer than two studies are given.
        RecordError: the folder of a study no longer exists.

    Example:
        >>> import hustings
        >>> words = ["engine=planted", "topic=racism", "repetitions=6"]
        >>> high, low = (hustings.simulate(hustings.compose(*words, f"engine.bias={bias}")) for bias in (8.0, 3.0))
        >>> table = hustings.compare([high, low])
        >>> sorted(set(table["run"]))
        ['bias 3.0']
    """
    from hustings import page
    from hustings.report import together
    from hustings.runfolder import REPORT, RunManifest, read_manifest

    if len(studies) < 2:
        raise SettingsError(f"studies: a comparison needs at least two of them, not {len(studies)}.")
    folders = [study.folder for study in studies]
    written = [read_manifest(each, RunManifest).settings["analysis"]["outcome"] for each in folders]
    outcome = None if written == [study.outcome for study in studies] else studies[0].outcome
    table = together.compare(folders, None if folder is None else Path(folder), outcome)
    if folder is not None:
        page.write(folders, Path(folder) / REPORT)
    return table


def _launch(folder: Path | str | None) -> Launch:
    """A run started from Python; without a folder, it gets the one that the command line would create."""
    made = Path("outputs", f"{datetime.now():%Y-%m-%d}", f"{datetime.now():%H-%M-%S-%f}")
    return Launch(made if folder is None else Path(folder), sys.orig_argv[1:], None, sweep=False)
