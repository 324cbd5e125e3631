"""Writes the figures and statistics of one run into its folder.

It does not know how tests and figures are made; analysis does.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.artifacts import Place, locked
from hustings.files import write_atomically, write_table
from hustings.identity import canonical, identity
from hustings.provenance import versions
from hustings.report import naming
from hustings.report.naming import other_outcome
from hustings.runfolder import (
    AGENTS,
    ATTITUDES,
    FIGURES,
    REPLIES,
    STANCES,
    STATISTICS,
    RunManifest,
    hashes,
    read_manifest,
    write_manifest,
)
from hustings.study import Study, load, read_statistics

if TYPE_CHECKING:
    import pandas as pd

_FORMAT = 6
"""Increase this whenever the same tables would give different figures or statistics."""
_DRAWN = (
    "curves",
    *(f"curves_{outcome}" for outcome in naming.OUTCOMES),
    "forest",
    "pulls",
    "gaps",
    "plane",
    "stances",
)


_MADE = ".made.jsonl"
"""File in the figures' folder that records what they were made from; if that is unchanged, they are not remade."""


def write(study: Study, tests_to: Path, figures: Path) -> "pd.DataFrame":
    """Compute the statistics of a run and draw its figures.

    Args:
        tests_to: path of the CSV: one row for each test, with a sentence that can be quoted.
        figures: folder for the figures.

    Returns:
        The statistics, with the columns of analysis.statistics.COLUMNS.
    """
    from hustings.analysis import curves, stances
    from hustings.analysis import figures as draw
    from hustings.analysis.statistics import statistics
    from hustings.analysis.talk import judges

    tests = statistics(study)
    write_table(tests_to, tests)
    clear(figures)
    if not _curves(study, figures, "curves"):
        return tests
    other = other_outcome([study])
    if other:
        _curves(study.analysed_as(other), figures, f"curves_{other}")
    look = naming.look(study)
    mine = tests[tests["outcome"] == study.outcome]
    estimated = {*mine.loc[mine["estimate"].notna(), "statistic"]}
    if "closing" in estimated:
        draw.forest(mine[mine["statistic"] == "closing"], look, figures, "forest")
    if {"social_pull", "model_pull"} <= estimated:
        draw.pulls(mine[mine["statistic"].isin(("social_pull", "model_pull"))], look, figures, "pulls")
    gaps = curves.gaps(study)
    if not gaps.empty:
        draw.gaps(gaps, look, study.design["society"]["humans"]["source"], figures, "gaps")
    for judge in judges(study)[-1:]:
        stances.stances(study, judge, look, figures, "stances")
    return tests


def _curves(study: Study, folder: Path, name: str) -> bool:
    """Draw the attitude curves of the outcome that the study analyses; return whether there was anything to draw."""
    from hustings.analysis import curves
    from hustings.analysis.figures import curves as draw

    curve = curves.curve(study)
    debates = None
    if study.design["analysis"]["spaghetti"]:
        debates = curves.per_debate(study).rename(columns={"repetition": "line"})
    if not curve.empty:
        draw(curve, naming.look(study), folder, name, debates)
    return not curve.empty


def clear(folder: Path) -> None:
    """Remove earlier figures, so that none is left that the tables no longer give."""
    for name in _DRAWN:
        for suffix in ("png", "svg", "csv"):
            (folder / f"{name}.{suffix}").unlink(missing_ok=True)


def again(study: Study) -> "pd.DataFrame":
    """Recompute the statistics and figures of a run in its own folder, unless nothing has changed.

    The manifest is updated to say what was analysed.

    Returns:
        The statistics, with the columns of analysis.statistics.COLUMNS.
    """
    folder, made = study.folder, study.folder / FIGURES / _MADE
    same = made.exists() and made.read_text(encoding="utf-8") == _record(folder, study.manifest)
    if same and study.statistics is not None:
        return study.statistics
    tests = write(study, folder / STATISTICS, folder / FIGURES)
    _note(folder, study.manifest)
    return tests


def _note(folder: Path, manifest: RunManifest) -> None:
    """Write the manifest with the hash of the new statistics (older manifests list no files), and the record."""
    files = {**manifest.files, **hashes(folder, [STATISTICS])} if manifest.files else {}
    write_manifest(folder, manifest.model_copy(update={"files": files}))
    write_atomically(folder / FIGURES / _MADE, _record(folder, manifest))


def _record(folder: Path, manifest: RunManifest) -> str:
    """What the report in a folder was made from, and the hashes of its files."""
    figures = sorted(it.name for it in (folder / FIGURES).glob("*") if it.stem in _DRAWN)
    there = {**hashes(folder, [STATISTICS]), **hashes(folder / FIGURES, figures)}
    return canonical({"of": identity(_substance(folder, manifest)), "files": there}) + "\n"


def finish(folder: Path, store: Path) -> "pd.DataFrame":
    """The figures and statistics of a run that has just ended, taken from the store if they were made before.

    Args:
        folder: the run folder, with its manifest and tables.
        store: the artifact store.

    Returns:
        The statistics, with the columns of analysis.statistics.COLUMNS.

    Raises:
        RecordError: the folder is not a run folder.
        ArtifactError: the store cannot be written, or it was modified.
    """
    place = _place(folder, store)
    with locked(place, wait=True) as made:
        if made.growing:
            write(load(folder), made.folder / STATISTICS, made.folder)
            made.seal()
        (folder / FIGURES).mkdir(exist_ok=True)
        for file in made.manifest["files"]:
            shutil.copyfile(made.folder / file, folder / STATISTICS if file == STATISTICS else folder / FIGURES / file)
    _note(folder, read_manifest(folder, RunManifest))
    return read_statistics(folder / STATISTICS)


def _place(folder: Path, store: Path) -> Place:
    """Where the store keeps the report for these tables and settings."""
    manifest = read_manifest(folder, RunManifest)
    slug = f"{manifest.model.name}-{manifest.settings['composition']['name']}"
    return Place(store, "reports", slug, _substance(folder, manifest))


def _substance(folder: Path, manifest: RunManifest) -> dict[str, Any]:
    """Everything that determines a report."""
    from hustings.analysis.statistics import all_statistics

    return {
        "versions": {"format": _FORMAT, **versions(())},
        "statistics": [statistic.name for statistic in all_statistics()],
        "tables": hashes(folder, (ATTITUDES, REPLIES, AGENTS, STANCES)),
        "settings": {key: it for key, it in manifest.settings.items() if key not in ("artifacts", "tracker")},
    }
