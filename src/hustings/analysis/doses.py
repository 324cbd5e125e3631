"""Dose and response: how unwarranted drift and responsiveness depend on the dose of each mitigation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.analysis.figures import MARKERS, Look, capitalised, counted, note, save
from hustings.pictures import drawing, legend, new_figure

if TYPE_CHECKING:
    import pandas as pd

PANELS = {"unwarranted_drift": "Unwarranted drift U, points", "responsiveness": "Responsiveness S, points"}


@drawing
def doses(table: "pd.DataFrame", look: Look, folder: Path, name: str) -> Path | None:
    """Plot U and S against the dose, a column for each mitigation with several doses; a line shows the runs without it.

    Args:
        table: the table of report.mitigations.table.

    Returns:
        The PNG; an SVG and the CSV are next to it. None if no mitigation has two doses.
    """
    from matplotlib.lines import Line2D

    shown: Any = table[table["statistic"].isin(PANELS) & table["role"].isin(_parties(table))]
    several = shown.dropna(subset=["dose"]).groupby("mitigation")["dose"].nunique()
    names = [mitigation for mitigation, count in several.items() if count > 1]
    if not names:
        return None
    figure = new_figure()
    figure.set_size_inches(1.8 + 3.2 * len(names), 6.4)
    panels = figure.subplots(len(PANELS), len(names), squeeze=False, sharey="row")
    topics = list(dict.fromkeys(shown["topic"]))
    for row, (statistic, title) in enumerate(PANELS.items()):
        panels[row][0].set_ylabel(title)
        for column, mitigation in enumerate(names):
            panel, mine = panels[row][column], shown[shown["statistic"] == statistic]
            panel.axhline(0, color="#999999", linewidth=0.8)
            for (topic, role), each in mine.groupby(["topic", "role"], sort=False):
                style = {"color": look.colours[role], "marker": MARKERS[topics.index(topic) % len(MARKERS)]}
                for without in each.loc[each["mitigation"] == "none", "estimate"]:
                    panel.axhline(without, color=look.colours[role], linestyle=":", linewidth=1.2)
                _line(panel, each[each["mitigation"] == mitigation].sort_values("dose"), style)
            panel.set_xlabel(f"dose of {mitigation}")
    roles = dict.fromkeys(shown["role"])
    handles = [Line2D([], [], color=look.colours[it], marker="o", label=look.labels[it]) for it in roles]
    if len(topics) > 1:
        handles += [
            Line2D([], [], color="#444444", marker=MARKERS[at % len(MARKERS)], linestyle="",
                   label=capitalised(look.topics.get(topic, topic)))
            for at, topic in enumerate(topics)
        ]  # fmt: skip
    legend(figure, handles, [str(handle.get_label()) for handle in handles], 4)
    note(figure, f"Means with 95 % intervals; dotted: without a mitigation. {look.caption} {counted(shown)}.")
    return save(figure, shown, folder, name)


def _parties(table: "pd.DataFrame") -> set[str]:
    """Roles that speak for a party: those with a measured spread."""
    return {*table.loc[table["statistic"] == "spread_kept", "role"]}


def _line(panel: Any, points: "pd.DataFrame", style: dict[str, Any]) -> None:
    """The estimates for one agent by dose, with error bars where there are intervals."""
    there: Any = points[points["estimate"].notna()]
    low, high = there["estimate"] - there["ci_low"], there["ci_high"] - there["estimate"]
    bars = [low.fillna(0.0).to_numpy(), high.fillna(0.0).to_numpy()]
    panel.errorbar(there["dose"], there["estimate"], yerr=bars, markersize=7, linewidth=1.5, capsize=3, **style)
