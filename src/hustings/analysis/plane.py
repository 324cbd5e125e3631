"""The U–S plane: unwarranted drift across, responsiveness upwards, one point for each topic and role."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.analysis.controls import EQUIVALENT
from hustings.analysis.figures import MARKERS, Look, capitalised, counted, new_figure, note, save

if TYPE_CHECKING:
    import pandas as pd


def plane(table: "pd.DataFrame", look: Look, folder: Path, name: str) -> Path:
    """Where agents are in the plane: a believable one is in the grey band, clearly above the line.

    Args:
        table: that of analysis.controls.controls; for several sets of runs with a column `run`, one marker each.

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
    drawn: Any = table[table["statistic"].isin(("unwarranted_drift", "responsiveness"))]
    several = "run" in drawn and drawn["run"].nunique() > 1
    keys = ["run", "topic", "role"] if several else ["topic", "role"]
    kinds = list(dict.fromkeys(drawn["run"] if several else drawn["topic"]))
    for key, mine in drawn.groupby(keys, sort=False):
        cell = mine.set_index("statistic")
        if {"unwarranted_drift", "responsiveness"} <= {*cell.index}:
            topic, role = key[-2:]
            words = [look.labels[role], capitalised(look.topics.get(topic, topic)), *key[:-2]]
            marker = MARKERS[kinds.index(key[0]) % len(MARKERS)]
            style = {"color": look.colours[role], "marker": marker, "label": ", ".join(words)}
            _point(panel, cell.loc["unwarranted_drift"], cell.loc["responsiveness"], style)
    panel.set_xlabel(f"Unwarranted drift U, points (grey: within ± {most:g})")
    panel.set_ylabel("Responsiveness S, points")
    handles, labels = panel.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=9)
    rows = -(-len(handles) // 2)
    note(figure, f"Means with 95 % intervals. S near 0: deaf, not steadfast. {look.caption} {counted(drawn)}.")
    figure.tight_layout(rect=(0, 0.06, 1, 1 - (0.25 * rows + 0.1) / figure.get_figheight()))
    return save(figure, drawn, folder, name)


def _point(panel: Any, drift: Any, response: Any, style: dict[str, Any]) -> None:
    """One agent; without bars where there is no interval."""
    if math.isnan(drift["estimate"]) or math.isnan(response["estimate"]):
        return
    bars = [
        None if math.isnan(it["ci_low"]) else [[it["estimate"] - it["ci_low"]], [it["ci_high"] - it["estimate"]]]
        for it in (drift, response)
    ]
    x, y = float(drift["estimate"]), float(response["estimate"])
    panel.errorbar([x], [y], xerr=bars[0], yerr=bars[1], markersize=8, linewidth=1.5, capsize=3, linestyle="", **style)
