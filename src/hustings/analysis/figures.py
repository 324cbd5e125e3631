"""Figures like those in the paper, each with the CSV it was drawn from. They are drawn from tables, without a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hustings.files import write_table
from hustings.pictures import drawing, label, legend, make_room, new_figure, wide, write_picture
from hustings.settings.debate import DEFAULT, SHADOW

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hustings.study import Study

SHADOW_COLOUR = "#80868b"
"""Colour of the shadow Default, whose line is dashed."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
TOPICS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7f7f7f", "#b2a400")
"""Okabe and Ito's palette, which colour-blind readers can distinguish; parties have their own colours."""


@dataclass(frozen=True, slots=True)
class Look:
    """How roles, topics and the scale are displayed."""

    labels: Mapping[str, str]
    """Labels of roles."""
    colours: Mapping[str, str]
    """Colours of roles, as #rrggbb."""
    topics: Mapping[str, str]
    """Labels of topics, in the form used in sentences."""
    ends: Mapping[str, tuple[str, str]]
    """What the lowest and the highest attitude mean, by topic."""
    scale: tuple[float, float]
    """The lowest and the highest attitude."""
    caption: str
    """What was run, in one line."""

    @classmethod
    def of(cls, study: "Study") -> Self:
        """The display settings of one run."""
        design, manifest = study.design, study.manifest
        society, topics = design["society"], design["topics"]
        shown = {**society["parties"], DEFAULT: society["default"]}
        adapter = f" with {manifest.adapter.name}" if manifest.adapter else ""
        control = f", control {study.control};" if study.control != "none" else ";"
        outcome = "expected values" if study.outcome == "expected" else "scores"
        return cls(
            labels={**{role: one["label"] for role, one in shown.items()}, SHADOW: study.labels[SHADOW]},
            colours={**{role: one["colour"] for role, one in shown.items()}, SHADOW: SHADOW_COLOUR},
            topics={key: topic["label"] for key, topic in topics.items()},
            ends={key: (topic["low"], topic["high"]) for key, topic in topics.items()},
            scale=study.scale,
            caption=f"{manifest.model.name}{adapter}, {design['composition']['name']}{control} {outcome},",
        )


_DASHED, _DOTTED = (0, (4, 2)), (0, (1, 1.5))
_LONG = 48
"""The most characters of a label on one line."""


def ticks(scale: tuple[float, float]) -> list[float]:
    """Where an axis of attitudes is labelled: about five whole steps over the whole scale."""
    low, high = scale
    steps = next((steps for steps in (5, 4, 6, 7, 3) if (high - low) % steps == 0), 4)
    return [low + (high - low) * step / steps for step in range(steps + 1)]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How panels are arranged: two columns of topics, or one row of topics for each of several runs."""

    topics: Sequence[str]
    runs: Sequence[Any]
    """Names of the runs; only None for a single run."""

    @property
    def grid(self) -> bool:
        """Whether each run has its own row."""
        return len(self.runs) > 2

    @property
    def columns(self) -> int:
        if self.grid:
            return len(self.topics)
        return 1 if len(self.topics) == 1 else 2

    @property
    def rows(self) -> int:
        return len(self.runs) if self.grid else -(-len(self.topics) // self.columns)

    @property
    def inches(self) -> tuple[float, float]:
        """Width and height of the figure."""
        each = 5.4 if self.columns < 3 else 3.9
        return max(each * self.columns, 7.5), 3.7 * self.rows + 0.9

    @property
    def panels(self) -> list[tuple[str, Any]]:
        """Topic and run of each panel, row by row; None means that one panel shows all runs."""
        return [(topic, run) for run in (self.runs if self.grid else [None]) for topic in self.topics]


@drawing
def curves(curve: "pd.DataFrame", look: Look, folder: Path, name: str, faint: "pd.DataFrame | None" = None) -> Path:
    """Attitude curves: one panel for each topic, one line for each role, standard errors as bars.

    The shadow Default is a dashed grey line. A role that was surveyed only before the debate, while others were
    surveyed throughout, becomes a horizontal dashed line. Two runs share their panels, with the first dashed (before
    and after) and the shadow dotted; more than two runs get one row of panels each.

    Args:
        curve: the table of analysis.curves.curve for one composition; for several runs, with a column `run`.
        faint: single debates or trainings, drawn behind the means; columns topic, role, iteration, value, line.

    Returns:
        The PNG; an SVG and the CSV are next to it.
    """
    layout = _Layout(list(dict.fromkeys(curve["topic"])), _runs(curve))
    figure = new_figure()
    figure.set_size_inches(*layout.inches)
    axes = figure.subplots(layout.rows, layout.columns, squeeze=False, sharey=True, sharex=not layout.grid)
    for panel in axes.flat[len(layout.panels) :]:
        panel.set_visible(False)
    for place, (panel, (topic, run)) in enumerate(zip(axes.flat, layout.panels, strict=False)):
        mine: Any = curve[(curve["topic"] == topic) & ((curve["run"] == run) if run is not None else True)]
        if mine.empty:
            panel.set_axis_off()
            continue
        _panel(panel, mine, topic, look, faint[faint["topic"] == topic] if faint is not None else None)
        if place % layout.columns == 0:
            low, high = (f"{at:g} = {means}" for at, means in zip(look.scale, look.ends[topic], strict=True))
            above = "\n".join([*([run] if run else []), "Attitude", f"{low}, {high}"])
            panel.set_ylabel(label(above, 46, most=5), fontsize=9)
        if layout.grid or place + layout.columns >= len(layout.topics):
            panel.set_xlabel("Iteration (replies made)")
            panel.tick_params(labelbottom=True)
    known: dict[str, Any] = {}
    for panel in axes.flat:
        known.update({name: handle for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)})
    legend(figure, list(known.values()), list(known), 3 if layout.columns < 3 else 6)
    note(figure, f"{look.caption} {counted(curve)} per point; bars: ± 1 standard error.")
    return save(figure, curve, folder, name)


def _runs(curve: "pd.DataFrame") -> list[Any]:
    return list(dict.fromkeys(curve["run"])) if "run" in curve else [None]


def counted(table: "pd.DataFrame") -> str:
    """'n = 38 – 40 debates'."""
    counts = sorted({int(n) for n in table["n"]})
    return f"n = {counts[0]:,} debates" if len(counts) == 1 else f"n = {counts[0]:,} – {counts[-1]:,} debates"


def note(figure: "Figure", text: str) -> None:
    """The line below a figure, wrapped to the figure's width."""
    lines = label(text, 12.5 * figure.get_figwidth(), most=12)
    make_room(figure, lines.count("\n") + 1)
    figure.supxlabel(lines, fontsize=9, color="#444444")


def _panel(panel: "Axes", curve: "pd.DataFrame", topic: str, look: Look, faint: "pd.DataFrame | None") -> None:
    """Draw the curves for one topic."""
    roles = [role for role in look.labels if (curve["role"] == role).any()]
    runs = _runs(curve)
    last = int(curve["iteration"].max())
    for place, role in enumerate(roles):
        shift = last / 100 * (place - (len(roles) - 1) / 2)
        if faint is not None:
            for _, one in faint[faint["role"] == role].groupby("line"):
                panel.plot(one["iteration"] + shift, one["value"], color=look.colours[role], alpha=0.25, linewidth=0.8)
        for run in runs:
            line: Any = curve[(curve["role"] == role) & ((curve["run"] == run) if run is not None else True)]
            if line.empty:
                continue
            marker = MARKERS[list(look.labels).index(role) % len(MARKERS)]
            name = label(f"{look.labels[role]}, {run}" if len(runs) == 2 else look.labels[role], 1000)
            before = len(runs) == 2 and run == runs[0]
            dashes = _DOTTED if role == SHADOW and len(runs) == 2 else _DASHED if role == SHADOW or before else "-"
            _line(panel, line, shift, _Stroke(look.colours[role], marker, name, dashes, before), last)
    low, high = look.scale
    panel.set_title(label(capitalised(look.topics[topic]), 11 * panel.bbox.width / panel.figure.dpi))
    panel.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    panel.set_yticks(ticks(look.scale))
    panel.set_xticks(sorted({int(i) for i in curve["iteration"]}) or [0])
    panel.grid(axis="y", color="#dddddd", linewidth=0.7)


@dataclass(frozen=True, slots=True)
class _Stroke:
    """The style of one line."""

    colour: str
    marker: str
    name: str
    """Name in the legend."""
    dashes: Any
    """Dash pattern of the line."""
    hollow: bool
    """Whether markers are filled with white, which marks the run before a change."""


def _line(panel: "Axes", line: "pd.DataFrame", shift: float, stroke: _Stroke, last: int) -> None:
    """One role's mean with standard errors; a horizontal line if the role was surveyed only before the debate.

    Args:
        shift: horizontal offset in iterations, so that error bars of different roles do not overlap.
        last: last iteration of the panel.
    """
    if last > 0 and int(line["iteration"].max()) == 0:
        style: Any = {"color": stroke.colour, "linestyle": (0, (5, 3)), "linewidth": 1.8}
        panel.axhline(float(line["mean"].iloc[0]), label=f"{stroke.name} before the debate", **style)
        return
    panel.errorbar(
        line["iteration"] + shift,
        line["mean"],
        yerr=line["se"].fillna(0.0),
        color=stroke.colour,
        marker=stroke.marker,
        markersize=6,
        markerfacecolor="white" if stroke.hollow else stroke.colour,
        linestyle=stroke.dashes,
        linewidth=2,
        capsize=3,
        label=stroke.name,
    )


def capitalised(label: str) -> str:
    """'Gun violence'."""
    return label[0].upper() + label[1:]


@drawing
def forest(tests: "pd.DataFrame", look: Look, folder: Path, name: str) -> Path:
    """How much nearer agents ended to the shadow Default, with intervals: one row for each topic, role and run.

    Args:
        tests: rows `closing` of analysis.statistics.statistics, for one outcome; for several runs, with a column `run`.

    Returns:
        The PNG; an SVG and the CSV are next to it.
    """
    figure = new_figure()
    several = "run" in tests and tests["run"].nunique() > 1
    panel = figure.subplots()
    labels: list[str] = []
    for place, test in enumerate(tests.to_dict("records")):
        run = f", {test['run']}" if several else ""
        topic = capitalised(look.topics.get(test["topic"], test["topic"]))
        labels.append(label(f"{topic}, {look.labels[test['role']]}{run}", _LONG))
        if math.isnan(test["estimate"]):
            panel.text(0, place, " not estimable", va="center", fontsize=9, color="#777777")
            continue
        if not math.isnan(test["ci_low"]):
            ends = [test["ci_low"], test["ci_high"]]
            panel.plot(ends, [place, place], color=look.colours[test["role"]], linewidth=2.4)
        panel.plot([test["estimate"]], [place], "o", color=look.colours[test["role"]], markersize=7)
    panel.axvline(0, color="#444444", linewidth=1)
    _rows(panel, labels, 0.36)
    panel.set_xlabel("← ended further from the shadow Default     points     ended nearer →")
    panel.grid(axis="x", color="#dddddd", linewidth=0.7)
    note(figure, f"Closing of the distance to the shadow Default with 95 % intervals. {look.caption} {counted(tests)}.")
    return save(figure, tests, folder, name)


def _rows(panel: Any, labels: Sequence[str], height: float) -> None:
    """Label the rows of a panel from the top, and make the figure tall enough for them.

    Args:
        height: height of a row with a one-line label, inches.
    """
    lines = max((text.count("\n") for text in labels), default=0)
    panel.figure.set_size_inches(max(8.5, 6.2 + wide(labels)), (height + 0.18 * lines) * len(labels) + 1.9)
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.4, -0.6)


@drawing
def pulls(tests: "pd.DataFrame", look: Look, folder: Path, name: str) -> Path:
    """Model pull β against social pull α, one point for each topic, with intervals.

    Args:
        tests: rows `social_pull` and `model_pull` of analysis.statistics.statistics, for one run.

    Returns:
        The PNG; an SVG and the CSV are next to it.
    """
    figure = new_figure()
    figure.set_size_inches(7.2, 6.0)
    panel = figure.subplots()
    for place, topic in enumerate(dict.fromkeys(tests["topic"])):
        mine = tests[tests["topic"] == topic].set_index("statistic")
        if not {"social_pull", "model_pull"} <= {*mine.index}:
            continue
        alpha, beta = mine.loc["social_pull"], mine.loc["model_pull"]
        if math.isnan(alpha["ci_low"]) or math.isnan(beta["ci_low"]):
            continue
        panel.errorbar(
            [beta["estimate"]],
            [alpha["estimate"]],
            xerr=[[beta["estimate"] - beta["ci_low"]], [beta["ci_high"] - beta["estimate"]]],
            yerr=[[alpha["estimate"] - alpha["ci_low"]], [alpha["ci_high"] - alpha["estimate"]]],
            color=TOPICS[place % len(TOPICS)] if topic else "#000000",
            marker=MARKERS[place % len(MARKERS)],
            markersize=8,
            linewidth=1.6,
            capsize=3,
            label=label(capitalised(look.topics.get(topic, topic)), _LONG) if topic else "All topics",
        )
    panel.axhline(0, color="#999999", linewidth=0.8)
    panel.axvline(0, color="#999999", linewidth=0.8)
    panel.axline((0, 0), slope=1, color="#bbbbbb", linestyle=(0, (4, 3)), linewidth=1, label="equal pulls")
    panel.set_xlabel("Model pull β: share of the distance to the model's own attitude closed each round")
    panel.set_ylabel("Social pull α: share of the distance to the others closed each round")
    panel.legend(loc="best")
    note(figure, f"{_fitted(tests)} with 95 % intervals. {look.caption} {counted(tests)}.")
    return save(figure, tests, folder, name)


def _fitted(tests: "pd.DataFrame") -> str:
    """How the pulls were estimated, and what the reader should conclude from that."""
    instruments = tests["method"].str.startswith("instrumental").any()
    return "Instrumental variables" if instruments else "Least squares, which survey noise inflates,"


@drawing
def gaps(table: "pd.DataFrame", look: Look, source: str, folder: Path, name: str) -> Path:
    """The gap between two parties among people, and between their agents at start and end: one row for each topic.

    With more than two parties, each topic has one row for each pair of parties at different ends.

    Args:
        table: the table of analysis.curves.gaps.
        source: source of the poll.

    Returns:
        The PNG; an SVG and the CSV are next to it.
    """
    figure = new_figure()
    panel = figure.subplots()
    shown = (("humans", "People", "#000000", "D"), ("start", "Agents at the start", "#7b3294", "o"))
    for column, when, colour, marker in (*shown, ("end", "Agents at the end", "#008837", "s")):
        panel.plot(table[column], range(len(table)), marker, color=colour, markersize=9, label=when, linestyle="")
    for place, row in enumerate(table.to_dict("records")):
        panel.annotate(
            "", (row["end"], place), (row["start"], place), arrowprops={"arrowstyle": "->", "color": "#777777"}
        )
    parties = zip(table["high_party"], table["low_party"], strict=True)
    pairs = [f": {look.labels[high]} – {look.labels[low]}" for high, low in parties]
    several = len({*pairs}) > 1
    topics = [capitalised(look.topics[topic]) for topic in table["topic"]]
    labels = [topic + pair if several else topic for topic, pair in zip(topics, pairs, strict=True)]
    _rows(panel, [label(text, _LONG) for text in labels], 0.75)
    panel.axvline(0, color="#444444", linewidth=1)
    panel.set_xlabel("Gap between the parties, percentage points")
    panel.grid(axis="x", color="#dddddd", linewidth=0.7)
    legend(figure, *panel.get_legend_handles_labels(), 3)
    people = "Difference between the parties in the share that calls the topic a very big problem"
    agents = "agents: attitudes in the highest quarter of the scale"
    note(figure, f"{people} (people: {source}; {agents}). {look.caption} {counted(table)}.")
    return save(figure, table, folder, name)


def save(figure: "Figure", table: "pd.DataFrame", folder: Path, name: str) -> Path:
    """Write a figure as PNG and SVG next to the table that it was drawn from; return the PNG."""
    write_table(folder / f"{name}.csv", table)
    return write_picture(figure, folder, name)
