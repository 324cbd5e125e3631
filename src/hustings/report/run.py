"""Figures and statistics of one run, put into its folder.

It does not know how a test or a figure is made: analysis does.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from hustings.artifacts import Place, locked
from hustings.files import write_atomically
from hustings.identity import sha256
from hustings.provenance import versions
from hustings.runfolder import ATTITUDES, FIGURES, REPLIES, STATISTICS, RunManifest, read_manifest, write_manifest
from hustings.study import Study, load, read_statistics

if TYPE_CHECKING:
    import pandas as pd

_FORMAT = 3
"""Raise it when the same tables give other figures or statistics than before."""


def write(study: Study, tests_to: Path, figures: Path) -> "pd.DataFrame":
    """Test what is in a run and draw it.

    Args:
        tests_to: the CSV to write: one row for each test, with the sentence that a reader can quote.
        figures: folder for the figures.

    Returns:
        The statistics, columns of analysis.statistics.COLUMNS.
    """
    from hustings.analysis import curves
    from hustings.analysis import figures as draw
    from hustings.analysis.statistics import statistics

    look = draw.Look.of(study)
    tests = statistics(study)
    write_atomically(tests_to, tests.to_csv(index=False))
    curve = curves.curve(study)
    if curve.empty:
        return tests
    debates = None
    if study.design["analysis"]["spaghetti"]:
        debates = curves.per_debate(study).rename(columns={"repetition": "line"})
    draw.curves(curve, look, figures, "curves", debates)
    estimated = {*tests.loc[tests["estimate"].notna(), "statistic"]}
    if "convergence" in estimated:
        draw.forest(tests[tests["statistic"] == "convergence"], look, figures, "forest")
    if "alpha" in estimated:
        draw.pulls(tests[tests["statistic"].isin(("alpha", "beta"))], look, figures, "pulls")
    gaps = curves.gaps(study)
    if not gaps.empty:
        draw.gaps(gaps, look, study.design["society"]["humans"]["source"], figures, "gaps")
    return tests


def again(study: Study) -> "pd.DataFrame":
    """Test and draw a run again in its own folder; its manifest then says what was analysed.

    Returns:
        The statistics, columns of analysis.statistics.COLUMNS.
    """
    write_manifest(study.folder, study.manifest)
    return write(study, study.folder / STATISTICS, study.folder / FIGURES)


def finish(folder: Path, store: Path) -> "pd.DataFrame":
    """Figures and statistics of a run that has just ended, taken from the store when they were made before.

    Args:
        folder: of the run, with its manifest and tables.
        store: the artifact store.

    Returns:
        The statistics, columns of analysis.statistics.COLUMNS.

    Raises:
        RecordError: the folder is not a run's.
        ArtifactError: the store cannot be written, or was changed.
    """
    place = _place(folder, store)
    with locked(place, wait=True) as made:
        if made.growing:
            write(load(folder), made.folder / STATISTICS, made.folder)
            made.seal()
        (folder / FIGURES).mkdir(exist_ok=True)
        for file in made.manifest["files"]:
            shutil.copyfile(made.folder / file, folder / STATISTICS if file == STATISTICS else folder / FIGURES / file)
    return read_statistics(folder / STATISTICS)


def _place(folder: Path, store: Path) -> Place:
    """Where the store keeps the report of these tables, analysed with these settings."""
    from hustings.analysis.statistics import all_statistics

    manifest = read_manifest(folder, RunManifest)
    substance = {
        "versions": {"format": _FORMAT, **versions(())},
        "statistics": [statistic.name for statistic in all_statistics()],
        "tables": {table: sha256(folder / table) for table in (ATTITUDES, REPLIES)},
        "settings": {key: it for key, it in manifest.settings.items() if key not in ("artifacts", "tracker")},
    }
    return Place(store, "reports", f"{manifest.model.name}-{manifest.settings['composition']['name']}", substance)
