"""What agents say compared with what they answer, round by round: a table and a figure."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.analysis.curves import curve
from hustings.analysis.figures import MARKERS, Look, capitalised, counted, note, save, ticks
from hustings.analysis.talk import MOST, talk
from hustings.pictures import drawing, label, legend, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from hustings.study import Study


def by_round(study: "Study", judge: str) -> "pd.DataFrame":
    """Mean stance by role and round, ± standard error over debates.

    Returns:
        Columns topic, role, round, mean_iteration (of its replies), n (debates), mean, se.
    """
    said = talk(study, judge).dropna(subset=["stance"])
    keys = ["topic", "role", "round"]
    debates: Any = said.groupby([*keys, "repetition"])[["stance", "iteration"]].mean().reset_index().groupby(keys)
    table = debates.agg(mean_iteration=("iteration", "mean"), n=("stance", "count"), mean=("stance", "mean"),
                        se=("stance", "sem"))  # fmt: skip
    return table.reset_index()


@drawing
def stances(study: "Study", judge: str, look: Look, folder: Path, name: str) -> Path:
    """Attitude curves, next to the mean stance of replies over the same iterations.

    Returns:
        The PNG; an SVG and the CSV of the stances are next to it.
    """
    said, answered = by_round(study, judge), curve(study)
    topics = list(dict.fromkeys(said["topic"]))
    figure = new_figure()
    figure.set_size_inches(10.5, 3.7 * max(1, len(topics)) + 0.9)
    axes = figure.subplots(max(1, len(topics)), 2, squeeze=False, sharex=True)
    for (left, right), topic in zip(axes, topics, strict=False):
        _lines(left, answered[answered["topic"] == topic], "iteration", look)
        _lines(right, said[said["topic"] == topic], "mean_iteration", look)
        low, high = look.ends[topic]
        left.set_title(label(f"{capitalised(look.topics[topic])}: answers", 46))
        right.set_title(label(f"{capitalised(look.topics[topic])}: replies", 46))
        left.set_ylabel(label(f"Attitude\n{look.scale[0]:g} = {low}, {look.scale[1]:g} = {high}", 40, 4), fontsize=9)
        right.set_ylabel(label(f"Stance\n−{MOST} = {low}, +{MOST} = {high}", 40, 4), fontsize=9)
        left.set_ylim(*look.scale)
        left.set_yticks(ticks(look.scale))
        right.set_ylim(-MOST, MOST)
        right.axhline(0, color="#999999", linewidth=0.8)
    for panel in axes[-1]:
        panel.set_xlabel("Iteration (replies made)")
    known = {name: handle for panel in axes.flat for handle, name in zip(*panel.get_legend_handles_labels(),
                                                                         strict=True)}  # fmt: skip
    legend(figure, list(known.values()), list(known), 6)
    note(figure, f"Stances rated by {judge}. {look.caption} {counted(said)} per point; bars: ± 1 standard error.")
    return save(figure, said, folder, name)


def _lines(panel: "Axes", table: "pd.DataFrame", across: str, look: Look) -> None:
    """Draw one line for each role; `across` is the column for the horizontal axis."""
    for place, role in enumerate(look.labels):
        mine = table[table["role"] == role]
        if mine.empty:
            continue
        style: Any = {"color": look.colours[role], "marker": MARKERS[place % len(MARKERS)], "label": look.labels[role]}
        panel.errorbar(mine[across], mine["mean"], yerr=mine["se"].fillna(0.0), linewidth=2, capsize=3, **style)
    panel.grid(axis="y", color="#dddddd", linewidth=0.7)
