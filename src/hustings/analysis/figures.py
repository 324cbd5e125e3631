"""Figures as in the paper, each with the CSV that it was drawn from; they are drawn from tables, never from a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "hustings",
}


@dataclass(frozen=True, slots=True)
class Look:
    """How roles and topics are shown."""

    labels: Mapping[str, str]
    """Of roles."""
    colours: Mapping[str, str]
    """Of roles, as #rrggbb."""
    topics: Mapping[str, str]
    """Labels of topics, as they stand in a sentence."""
    ends: Mapping[str, tuple[str, str]]
    """What 0 and 10 mean, by topic."""
    caption: str
    """What was run, in one line."""


def curves(curve: pd.DataFrame, look: Look, folder: Path, name: str) -> Path:
    """Attitude curves: one panel a topic, one line a role, standard errors as bars.

    A role that was surveyed only before the debate, while others went on, becomes a dashed line.

    Args:
        curve: the table of analysis.curves.curve, of one composition.

    Returns:
        The PNG; an SVG and the CSV lie beside it.
    """
    figure = _figure()
    topics = list(dict.fromkeys(curve["topic"]))
    columns = 1 if len(topics) == 1 else 2
    rows = -(-len(topics) // columns)
    figure.set_size_inches(5.4 * columns if columns > 1 else 7.5, 3.7 * rows + 0.9)
    last = int(curve["iteration"].max())
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=True)
    for place, panel in enumerate(axes.flat):
        if place >= len(topics):
            panel.set_visible(False)
            continue
        _panel(panel, curve[curve["topic"] == topics[place]], topics[place], look, last)
        if place % columns == 0:
            low, high = look.ends[topics[place]]
            panel.set_ylabel(f"Attitude\n0 = {low}, 10 = {high}", fontsize=9)
        if place + columns >= len(topics):
            panel.set_xlabel("Iteration (replies made)")
            panel.tick_params(labelbottom=True)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels))
    counts = sorted({int(n) for n in curve["n"]})
    debates = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} – {counts[-1]}"
    note = f"{look.caption} {debates} debates a point; bars: ± 1 standard error."
    figure.text(0.5, 0.012, note, ha="center", va="bottom", fontsize=9, color="#444444", wrap=True)
    figure.tight_layout(rect=(0, 0.05, 1, 0.94))
    return _save(figure, curve, folder, name)


def _panel(panel: "Axes", curve: pd.DataFrame, topic: str, look: Look, last: int) -> None:
    roles = [role for role in look.labels if (curve["role"] == role).any()]
    step = last / 100
    for place, role in enumerate(roles):
        line: Any = curve[curve["role"] == role]
        colour = look.colours[role]
        if last > 0 and int(line["iteration"].max()) == 0:
            label = f"{look.labels[role]} before the debate"
            panel.axhline(float(line["mean"].iloc[0]), color=colour, linestyle=(0, (5, 3)), linewidth=1.8, label=label)
            continue
        panel.errorbar(
            line["iteration"] + step * (place - (len(roles) - 1) / 2),
            line["mean"],
            yerr=line["se"].fillna(0.0),
            color=colour,
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=6,
            linewidth=2,
            capsize=3,
            label=look.labels[role],
        )
    title = look.topics[topic]
    panel.set_title(title[0].upper() + title[1:])
    panel.set_ylim(-0.4, 10.4)
    panel.set_yticks(range(0, 11, 2))
    panel.set_xticks(sorted({int(i) for i in curve["iteration"]}) or [0])
    panel.grid(axis="y", color="#dddddd", linewidth=0.7)


def _figure() -> "Figure":
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update(_STYLE)
    from matplotlib.figure import Figure

    return Figure()


def _save(figure: "Figure", table: pd.DataFrame, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", index=False)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=160)
    return folder / f"{name}.png"
