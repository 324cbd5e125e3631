"""The U–S plane: unwarranted drift on the x-axis, responsiveness on the y-axis, one point for each topic and role."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.analysis.controls import EQUIVALENT
from hustings.analysis.figures import MARKERS, Look, capitalised, counted, note, save
from hustings.pictures import drawing, legend, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.lines import Line2D


@drawing
def plane(table: "pd.DataFrame", look: Look, folder: Path, name: str) -> Path:
    """Plot agents in the plane: a believable one is inside the grey band and clearly above the line.

    Args:
        table: the table of analysis.controls.controls; for several sets of runs, with a column `run`, and one marker
            for each.

    Returns:
        The PNG; an SVG and the CSV are next to it.
    """
    figure = new_figure()
    figure.set_size_inches(7.6, 6.4)
    panel = figure.subplots()
    most = EQUIVALENT * (look.scale[1] - look.scale[0]) / 10
    panel.axvspan(-most, most, color="#eeeeee", zorder=0)
    panel.axhline(0, color="#999999", linewidth=0.8)
    panel.axvline(0, color="#999999", linewidth=0.8)
    drawn: Any = table[table["statistic"].isin(("unwarranted_drift", "responsiveness")) & (table["n"] > 0)]
    several = "run" in drawn and drawn["run"].nunique() > 1
    kinds = list(dict.fromkeys(drawn["run"] if several else drawn["topic"]))
    for key, mine in drawn.groupby(["run" if several else "topic", "topic", "role"], sort=False):
        cell = mine.set_index("statistic")
        if {"unwarranted_drift", "responsiveness"} <= {*cell.index}:
            style = {"color": look.colours[key[2]], "marker": MARKERS[kinds.index(key[0]) % len(MARKERS)]}
            _point(panel, cell.loc["unwarranted_drift"], cell.loc["responsiveness"], style)
    panel.set_xlabel(f"Unwarranted drift U, points (grey: within ± {most:g})")
    panel.set_ylabel("Responsiveness S, points")
    handles = [_key(look.labels[role], "o", look.colours[role]) for role in dict.fromkeys(drawn["role"])]
    if len(kinds) > 1:
        names = [kind if several else capitalised(look.topics.get(kind, kind)) for kind in kinds]
        handles += [_key(name, MARKERS[at % len(MARKERS)], "#444444") for at, name in enumerate(names)]
    legend(figure, handles, [str(handle.get_label()) for handle in handles], 4)
    note(figure, f"Means with 95 % intervals. S near 0: deaf, not steadfast. {look.caption} {counted(drawn)}.")
    return save(figure, drawn, folder, name)


def _key(label: str, marker: str, colour: str) -> "Line2D":
    """An entry in the legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=8, label=label)


def _point(panel: Any, drift: Any, response: Any, style: dict[str, Any]) -> None:
    """Draw one agent; without error bars if there is no interval."""
    if math.isnan(drift["estimate"]) or math.isnan(response["estimate"]):
        return
    bars = [
        None if math.isnan(it["ci_low"]) else [[it["estimate"] - it["ci_low"]], [it["ci_high"] - it["estimate"]]]
        for it in (drift, response)
    ]
    x, y = float(drift["estimate"]), float(response["estimate"])
    panel.errorbar([x], [y], xerr=bars[0], yerr=bars[1], markersize=8, linewidth=1.5, capsize=3, linestyle="", **style)
