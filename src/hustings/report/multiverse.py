"""Results of a sweep over specifications: the primary statistic in each, its curve, and what it depends on.

It does not know how they are computed (analysis.multiverse).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hustings.analysis.figures import Look
from hustings.files import read_table, write_atomically, write_table
from hustings.progress import say
from hustings.runfolder import FIGURES
from hustings.study import Study

if TYPE_CHECKING:
    import pandas as pd

PLAN = "multiverse.json"
"""File in the sweep's folder with the choices, and the size of the full grid."""
SPECIFICATIONS, SUMMARY = "specifications.csv", "multiverse.csv"
CURVE = "specification_curve_"
"""Prefix of the figures' names, followed by the topic."""


def plan(folder: Path, choices: Sequence[str], grid: int) -> None:
    """Record in a sweep's folder that its jobs are specifications of one result.

    Args:
        choices: the settings that differ between the jobs.
        grid: number of specifications in the full grid.
    """
    write_atomically(folder / PLAN, json.dumps({"choices": list(choices), "grid": grid}) + "\n")


def write(studies: Mapping[str, Study], look: Look, folder: Path) -> None:
    """Write specifications.csv, multiverse.csv and the curves into a folder, if the runs are a multiverse.

    Args:
        studies: studies by name, all from one sweep's folder.
    """
    from hustings.analysis import multiverse
    from hustings.analysis.specification_curve import specification_curve

    for old in (folder / SPECIFICATIONS, folder / SUMMARY, *(folder / FIGURES).glob(f"{CURVE}*")):
        old.unlink(missing_ok=True)
    chosen = _chosen(studies)
    if not chosen:
        return
    table = multiverse.specifications({name: studies[name] for name in chosen}, chosen)
    if table.empty:
        return
    write_table(folder / SPECIFICATIONS, table)
    write_table(folder / SUMMARY, multiverse.summary(table, next(iter(studies.values())).labels))
    for topic, mine in table.groupby("topic", sort=True):
        specification_curve(mine, look, folder / FIGURES, f"{CURVE}{topic}")


def _chosen(studies: Mapping[str, Study]) -> dict[str, dict[str, str]]:
    """The value of each choice in each run's command, by name of the run; empty if the runs are not a multiverse."""
    plans = {it.folder.parent / PLAN for it in studies.values()}
    path = next(iter(plans))
    if len(plans) > 1 or not path.exists():
        return {}
    choices: list[str] = json.loads(path.read_text(encoding="utf-8"))["choices"]
    scale = next(iter(studies.values())).scale
    found: dict[str, dict[str, str]] = {}
    for name, study in studies.items():
        words = dict(word.split("=", 1) for word in study.manifest.command if "=" in word)
        if study.scale != scale:
            say(f"{name}: left out of the specification curve, as its attitudes are on another scale.")
        elif all(it in words for it in choices):
            found[name] = {it: words[it] for it in choices}
    return found


def read(folder: Path) -> dict[str, Any]:
    """The content of a folder's multiverse.csv: `curves` (sentences) and `rows` (variance shares by topic and role)."""
    if not (folder / SUMMARY).exists():
        return {}
    table = read_table(folder / SUMMARY)
    said: Any = table[table["measure"].isin(("median", "same_sign", "sampling"))]
    parts: Any = table[table["measure"].isin(("variance", "unexplained"))]
    return {"curves": said["sentence"].tolist(), "columns": _columns(parts), "rows": _shares(parts)}


def _columns(parts: "pd.DataFrame") -> list[list[str]]:
    """Topic and role of each column."""
    return [list(it) for it in dict.fromkeys(zip(parts["topic"], parts["role"], strict=True))]


def _shares(parts: "pd.DataFrame") -> list[list[str]]:
    """A row for each choice: its name and its share by topic and role, largest mean share first."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    for choice, topic, role, share in zip(*(parts[it] for it in ("choice", "topic", "role", "estimate")), strict=True):
        found.setdefault(choice, {})[topic, role] = share
    order = sorted(found, key=lambda it: (it == "", -fmean(found[it].values())))
    cells = [(topic, role) for topic, role in _columns(parts)]
    return [
        [it or "none of them alone", *(f"{100 * found[it][cell]:.0f} %" if cell in found[it] else "" for cell in cells)]
        for it in order
    ]
