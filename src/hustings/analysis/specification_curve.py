"""The specification curve: a result under every specification, sorted, with the choices of each one shown below."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.figures import Look, capitalised, counted, note, save
from hustings.analysis.multiverse import SPECIFICATION
from hustings.pictures import drawing, label, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@drawing
def specification_curve(table: "pd.DataFrame", look: Look, folder: Path, name: str) -> Path:
    """The primary statistic over all specifications for one topic, with a column of panels for each role.

    Args:
        table: the table of analysis.multiverse.specifications, for one topic.

    Returns:
        The PNG; an SVG and the CSV are next to it.
    """
    choices = [it for it in table.columns if it not in SPECIFICATION]
    rows = [(choice, str(value)) for choice in choices for value in _in_order(table[choice])]
    roles = list(dict.fromkeys(table["role"]))
    figure = new_figure()
    figure.set_size_inches(2.6 + 4.4 * len(roles), 3.6 + 0.24 * len(rows))
    ratios = [3.0, max(1.0, 0.24 * len(rows))]
    axes = figure.subplots(2, len(roles), squeeze=False, sharex="col", sharey="row", height_ratios=ratios)
    for place, role in enumerate(roles):
        mine: Any = table[table["role"] == role].sort_values("estimate", kind="stable", ignore_index=True)
        _curve(axes[0, place], mine, look.colours[role])
        axes[0, place].set_title(label(f"{capitalised(look.topics[mine['topic'].iloc[0]])}, {look.labels[role]}", 40))
        _matrix(axes[1, place], mine, rows, look.colours[role])
    axes[0, 0].set_ylabel("Closing, points")
    axes[1, 0].set_yticks(range(len(rows)), [label(f"{choice} = {value}", 30) for choice, value in rows], fontsize=8)
    said = "One column for each specification, sorted by its estimate; bars: 95 % intervals; dashed: the median."
    note(figure, f"{said} {counted(table)} each.")
    return save(figure, table, folder, name)


def _in_order(values: "pd.Series") -> list[Any]:
    """The distinct values of a choice: ascending if all are numbers, otherwise in order of appearance."""
    found = list(dict.fromkeys(values))
    return sorted(found, key=float) if all(str(it).replace(".", "", 1).isdigit() for it in found) else found


def _curve(panel: "Axes", mine: "pd.DataFrame", colour: str) -> None:
    estimate = mine["estimate"].to_numpy(float)
    ends = np.nan_to_num(np.abs(mine[["ci_low", "ci_high"]].to_numpy(float).T - estimate))
    panel.errorbar(range(len(mine)), estimate, yerr=ends, color=colour, linestyle="", marker="o", markersize=4)
    panel.axhline(0, color="#444444", linewidth=1)
    panel.axhline(float(np.median(estimate)), color=colour, linewidth=1, linestyle=(0, (4, 2)))
    panel.grid(axis="y", color="#dddddd", linewidth=0.7)
    panel.set_xticks([])


def _matrix(panel: "Axes", mine: "pd.DataFrame", rows: list[tuple[str, str]], colour: str) -> None:
    """Draw a dot for each value that a specification has."""
    for place, (choice, value) in enumerate(rows):
        there = np.flatnonzero(mine[choice].astype(str).to_numpy() == value)
        panel.plot(there, np.full(len(there), place), linestyle="", marker="s", markersize=4, color=colour)
        if place and rows[place - 1][0] != choice:
            panel.axhline(place - 0.5, color="#cccccc", linewidth=0.7)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlim(-0.7, len(mine) - 0.3)
