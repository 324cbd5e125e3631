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
_TOPICS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7f7f7f", "#b2a400")
"""Okabe and Ito's colours, told apart by the colour-blind; parties have their own."""
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


def curves(curve: pd.DataFrame, look: Look, folder: Path, name: str, faint: pd.DataFrame | None = None) -> Path:
    """Attitude curves: one panel a topic, one line a role, standard errors as bars.

    A role that was surveyed only before the debate, while others went on, becomes a dashed line. Of several runs,
    two lie in the same panels, the first one dashed (before and after); more have a row of panels each.

    Args:
        curve: the table of analysis.curves.curve, of one composition; for several runs with a column `run`.
        faint: what lies behind the means, single debates or trainings; columns topic, role, iteration, value, line.

    Returns:
        The PNG; an SVG and the CSV lie beside it.
    """
    figure = _figure()
    topics = list(dict.fromkeys(curve["topic"]))
    runs = list(dict.fromkeys(curve["run"])) if "run" in curve else [None]
    grid = len(runs) > 2
    columns = len(topics) if grid else 1 if len(topics) == 1 else 2
    rows = len(runs) if grid else -(-len(topics) // columns)
    figure.set_size_inches(max(5.4 * columns if columns < 3 else 3.9 * columns, 7.5), 3.7 * rows + 0.9)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=not grid)
    for place, panel in enumerate(axes.flat):
        if place >= len(topics) * (len(runs) if grid else 1):
            panel.set_visible(False)
            continue
        topic = topics[place % len(topics)] if grid else topics[place]
        mine: Any = curve[curve["topic"] == topic]
        if grid:
            mine = mine[mine["run"] == runs[place // len(topics)]]
            if mine.empty:
                panel.set_axis_off()
                continue
        behind: Any = faint[faint["topic"] == topic] if faint is not None else None
        _panel(panel, mine, topic, look, behind)
        if place % columns == 0:
            low, high = look.ends[topic]
            run = f"{runs[place // columns]}\n" if grid else ""
            panel.set_ylabel(f"{run}Attitude\n0 = {low}, 10 = {high}", fontsize=9)
        if grid or place + columns >= len(topics):
            panel.set_xlabel("Iteration (replies made)")
            panel.tick_params(labelbottom=True)
    known: dict[str, Any] = {}
    for panel in axes.flat:
        known.update({label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)})
    wide = 0.085 * max((len(label) for label in known), default=0) + 0.65  # inches of an entry
    across = max(1, min(len(known), 3 if columns < 3 else 6, int(figure.get_figwidth() / wide)))
    labels = list(known)
    if len(runs) == 2 and across == 2 and len(labels) % 2 == 0:  # a column for each run
        labels = labels[::2] + labels[1::2]
    figure.legend([known[label] for label in labels], labels, loc="upper center", ncols=across)
    lines = -(-len(known) // across)
    _note(figure, f"{look.caption} {_counted(curve)} a point; bars: ± 1 standard error.")
    figure.tight_layout(rect=(0, 0.05, 1, 1 - (0.28 * lines + 0.1) / figure.get_figheight()))
    return _save(figure, curve, folder, name)


def _counted(table: pd.DataFrame) -> str:
    counts = sorted({int(n) for n in table["n"]})
    return f"n = {counts[0]:,} debates" if len(counts) == 1 else f"n = {counts[0]:,} – {counts[-1]:,} debates"


def _note(figure: "Figure", text: str) -> None:
    """The line under a figure, broken where the figure ends."""
    import textwrap

    wide = int(figure.get_figwidth() * 15.5)
    lines = "\n".join(textwrap.wrap(text, wide))
    figure.text(0.5, 0.012, lines, ha="center", va="bottom", fontsize=9, color="#444444")


def _panel(panel: "Axes", curve: pd.DataFrame, topic: str, look: Look, faint: pd.DataFrame | None) -> None:
    roles = [role for role in look.labels if (curve["role"] == role).any()]
    runs = list(dict.fromkeys(curve["run"])) if "run" in curve else [None]
    last = int(curve["iteration"].max())
    for place, role in enumerate(roles):
        shift = last / 100 * (place - (len(roles) - 1) / 2)
        if faint is not None:
            for _, one in faint[faint["role"] == role].groupby("line"):
                panel.plot(one["iteration"] + shift, one["value"], color=look.colours[role], alpha=0.25, linewidth=0.8)
        for run in runs:
            line: Any = curve[(curve["role"] == role) & ((curve["run"] == run) if run is not None else True)]
            if not line.empty:
                before = len(runs) == 2 and run == runs[0]
                name = f"{look.labels[role]}, {run}" if len(runs) == 2 else look.labels[role]
                marker = _MARKERS[list(look.labels).index(role) % len(_MARKERS)]
                _line(panel, line, look.colours[role], marker, name, shift, last, before)
    panel.set_title(_title(look.topics[topic]))
    panel.set_ylim(-0.4, 10.4)
    panel.set_yticks(range(0, 11, 2))
    panel.set_xticks(sorted({int(i) for i in curve["iteration"]}) or [0])
    panel.grid(axis="y", color="#dddddd", linewidth=0.7)


def _line(
    panel: "Axes", line: pd.DataFrame, colour: str, marker: str, name: str, shift: float, last: int, dashed: bool
) -> None:
    """One role's mean with its standard errors; a horizontal line where it was asked before the debate only."""
    if last > 0 and int(line["iteration"].max()) == 0:
        style: Any = {"color": colour, "linestyle": (0, (5, 3)), "linewidth": 1.8}
        panel.axhline(float(line["mean"].iloc[0]), label=f"{name} before the debate", **style)
        return
    panel.errorbar(
        line["iteration"] + shift,
        line["mean"],
        yerr=line["se"].fillna(0.0),
        color=colour,
        marker=marker,
        markersize=6,
        markerfacecolor="white" if dashed else colour,
        linestyle=(0, (4, 2)) if dashed else "-",
        linewidth=2,
        capsize=3,
        label=name,
    )


def _title(label: str) -> str:
    return label[0].upper() + label[1:]


def forest(tests: pd.DataFrame, look: Look, folder: Path, name: str) -> Path:
    """Convergence to the Default with its intervals, one row a topic, role and run.

    Args:
        tests: rows `convergence` of analysis.statistics.statistics; for several runs with a column `run`.

    Returns:
        The PNG; an SVG and the CSV lie beside it.
    """
    figure = _figure()
    several = "run" in tests and tests["run"].nunique() > 1
    figure.set_size_inches(8.5, 0.36 * len(tests) + 1.9)
    panel = figure.subplots()
    labels: list[str] = []
    for place, test in enumerate(tests.to_dict("records")):
        run = f", {test['run']}" if several else ""
        labels.append(f"{_title(look.topics.get(test['topic'], test['topic']))}, {look.labels[test['role']]}{run}")
        if pd.isna(test["estimate"]):
            panel.text(0, place, " not estimable", va="center", fontsize=9, color="#777777")
            continue
        panel.plot([test["ci_low"], test["ci_high"]], [place, place], color=look.colours[test["role"]], linewidth=2.4)
        panel.plot([test["estimate"]], [place], "o", color=look.colours[test["role"]], markersize=7)
    panel.axvline(0, color="#444444", linewidth=1)
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.set_xlabel("← away from the Default     points     towards the Default →")
    panel.grid(axis="x", color="#dddddd", linewidth=0.7)
    _note(figure, f"Convergence to the Default with 95 % intervals. {look.caption} {_counted(tests)}.")
    figure.tight_layout(rect=(0, 0.55 / figure.get_figheight(), 1, 1))
    return _save(figure, tests, folder, name)


def pulls(tests: pd.DataFrame, look: Look, folder: Path, name: str) -> Path:
    """Model pull β against social pull α, one point a topic, with their intervals.

    Args:
        tests: rows `alpha` and `beta` of analysis.statistics.statistics, of one run.

    Returns:
        The PNG; an SVG and the CSV lie beside it.
    """
    figure = _figure()
    figure.set_size_inches(7.2, 6.0)
    panel = figure.subplots()
    for place, topic in enumerate(dict.fromkeys(tests["topic"])):
        mine = tests[tests["topic"] == topic].set_index("statistic")
        alpha, beta = mine.loc["alpha"], mine.loc["beta"]
        if pd.isna(alpha["estimate"]) or pd.isna(beta["estimate"]):
            continue
        panel.errorbar(
            [beta["estimate"]],
            [alpha["estimate"]],
            xerr=[[beta["estimate"] - beta["ci_low"]], [beta["ci_high"] - beta["estimate"]]],
            yerr=[[alpha["estimate"] - alpha["ci_low"]], [alpha["ci_high"] - alpha["estimate"]]],
            color=_TOPICS[place % len(_TOPICS)] if topic else "#000000",
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=8,
            linewidth=1.6,
            capsize=3,
            label=_title(look.topics.get(topic, topic)) if topic else "All topics",
        )
    panel.axhline(0, color="#999999", linewidth=0.8)
    panel.axvline(0, color="#999999", linewidth=0.8)
    panel.axline((0, 0), slope=1, color="#bbbbbb", linestyle=(0, (4, 3)), linewidth=1, label="equal pulls")
    panel.set_xlabel("Model pull β: share of the distance to the Default's attitude closed each round")
    panel.set_ylabel("Social pull α: share of the distance to the others closed each round")
    panel.legend(loc="best")
    _note(figure, f"Least squares with 95 % intervals. {look.caption} {_counted(tests)}.")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    return _save(figure, tests, folder, name)


def gaps(table: pd.DataFrame, look: Look, source: str, folder: Path, name: str) -> Path:
    """The gap between the parties among people, and between their agents at start and end, by topic.

    Args:
        table: the table of analysis.curves.gaps.
        source: of the poll.

    Returns:
        The PNG; an SVG and the CSV lie beside it.
    """
    figure = _figure()
    figure.set_size_inches(8.5, 0.75 * len(table) + 2.0)
    panel = figure.subplots()
    shown = (("humans", "People", "#000000", "D"), ("start", "Agents at the start", "#7b3294", "o"))
    for column, label, colour, marker in (*shown, ("end", "Agents at the end", "#008837", "s")):
        panel.plot(table[column], range(len(table)), marker, color=colour, markersize=9, label=label, linestyle="")
    for place, row in enumerate(table.to_dict("records")):
        panel.annotate(
            "", (row["end"], place), (row["start"], place), arrowprops={"arrowstyle": "->", "color": "#777777"}
        )
    panel.set_yticks(range(len(table)), [_title(look.topics[topic]) for topic in table["topic"]])
    panel.set_ylim(len(table) - 0.5, -0.5)
    panel.axvline(0, color="#444444", linewidth=1)
    panel.set_xlabel("Gap between the parties: percentage points of people, percent of the scale for agents")
    panel.grid(axis="x", color="#dddddd", linewidth=0.7)
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    people = "People: difference in the share of each party that calls the topic a very big problem"
    _note(figure, f"{people} ({source}). Agents: difference in mean attitude. {look.caption} {_counted(table)}.")
    figure.tight_layout(rect=(0, 0.75 / figure.get_figheight(), 1, 1))
    return _save(figure, table, folder, name)


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
