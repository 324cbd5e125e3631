"""What Hydra calls when a sweep ends; the rest of the library does not know of it."""

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepEnd(Callback):
    """Gives a sweep's folder the tables and figures of all its jobs together."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the jobs that have ended well with the first of them."""
        from hustings import page, report

        folder = Path(config.hydra.sweep.dir)
        runs, trainings = report.jobs(folder), report.trainings(folder)
        if len(runs) > 1:
            report.compare(runs, folder)
            page.write(runs, folder / page.NAME)
        elif len(trainings) > 1:
            page.write_trainings(trainings, folder / page.NAME)
        else:
            return
        print(f"run: {os.path.relpath(folder)}")


class Table1(Callback):
    """Gives an evaluation sweep's folder the table of all its rows."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Put the rows of the jobs that have ended well together."""
        from hustings import page, report
        from hustings.evaluation import table

        folder = Path(config.hydra.sweep.dir)
        runs = report.jobs(folder, table.SCORES)
        if runs:
            made, tests = table.write(runs, folder)
            page.write_evaluation(runs, table.shown(made, tests), folder / page.NAME)
            print(table.markdown(made, tests))
            print(f"run: {os.path.relpath(folder)}")
