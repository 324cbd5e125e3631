"""A run on the terminal: its curves as bars, its statistics as one table, and the results of sweeps."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.report import controls as by_control
from hustings.report import mitigations as by_mitigation
from hustings.report import multiverse, sets
from hustings.report.controls import MEANINGS, Controls
from hustings.report.mitigations import Comparison
from hustings.report.naming import OUTCOMES, look
from hustings.report.numbers import Test, adjusted, bracketed, missing, steadfast

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

_BARS = "▁▂▃▄▅▆▇█"
_PULLS = {"model_pull": "model pull β", "attractor": "to b*", "social_pull": "social pull α", "anchor": "anchor κ"}
_TOGETHER = {
    "party_gap": "gap between the parties shrank by",
    "drift": "everybody moved by",
    "default_drift": "the shadow Default moved by",
}


def run(study: "Study", statistics: "pd.DataFrame") -> list[Any]:
    """What the terminal shows of a run, apart from warnings: its curves and statistics.

    Args:
        statistics: table with the columns of analysis.statistics.COLUMNS.

    Returns:
        Rich renderables.
    """
    outcomes = sorted(study.outcomes, key=lambda outcome: outcome != study.outcome)
    return [*(sketch(study.analysed_as(outcome)) for outcome in outcomes), table(study, statistics)]


def sketch(study: "Study") -> Any:
    """The attitude curves of a run in miniature: one line for each topic, one bar for each survey.

    The lowest bar (▁) stands for the low end of the scale, the highest (█) for the high end.

    Returns:
        A rich renderable.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from hustings.analysis.curves import curve

    shown, points, low, high = look(study), curve(study), *study.scale
    roles = [role for role in shown.labels if (points["role"] == role).any()]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=OUTCOMES[study.outcome], title_justify="left")
    table.add_column(f"attitude, {low:g} … {high:g}")
    for role in roles:
        table.add_column(Text(shown.labels[role], style=shown.colours[role]))
    for topic, mine in points.groupby("topic", sort=True):
        cells = [[float(mean) for mean in mine.loc[mine["role"] == role, "mean"]] for role in roles]
        table.add_row(Text(shown.topics[str(topic)]), *(_bars(means, study.scale) for means in cells))
    return table


def _bars(means: Sequence[float], scale: tuple[float, float]) -> str:
    """'▃▄▅▆ 3.1 → 5.2'."""
    if not means:
        return "–"
    low, high = scale
    bars = "".join(_BARS[max(0, min(7, int((mean - low) / (high - low) * 8)))] for mean in means)
    return f"{bars} {means[0]:.1f}" + (f" → {means[-1]:.1f}" if len(means) > 1 else "")


def table(study: "Study", statistics: "pd.DataFrame") -> Any:
    """The statistics of a run as one table, for the outcome that the run analyses.

    Args:
        statistics: table with the columns of analysis.statistics.COLUMNS.

    Returns:
        A rich renderable.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("topic", "role", "n"):
        shown.add_column(title)
    for title in ("closing", "p (Holm)", "to the own pole", "p (Holm)", "crossed"):
        shown.add_column(title, justify="right")
    tests = statistics[statistics["outcome"] == study.outcome].to_dict("records")
    cells = {(test["statistic"], test["topic"], test["role"]): test for test in tests}
    for kind, topic, role in cells:
        if kind == "closing":
            moved, echo, crossed = (cells[name, topic, role] for name in ("closing", "echo", "crossing"))
            share = "–" if moved["n"] == 0 or missing(crossed) else f"{100 * crossed['estimate']:.0f} %"
            shown.add_row(topic, role, f"{moved['n']}", *_pair(moved), *_pair(echo), share)
    shown.caption = Text("\n".join(_captions(study, cells)))
    shown.caption_justify = "left"
    return shown


def _captions(study: "Study", cells: Mapping[tuple[str, str, str], Test]) -> list[str]:
    """Captions: what the table shows, and the statistics that cover all roles."""
    nearer = "closing: how much nearer agents ended to the shadow Default"
    lines = [f"{OUTCOMES[study.outcome]}, points [95 % interval]; {nearer}"]
    for topic in dict.fromkeys(topic for _, topic, _ in cells if topic):
        found = {kind: test for (kind, about, _), test in cells.items() if about == topic and not missing(test)}
        words = [f"{said} {bracketed(found[kind])}" for kind, said in _TOGETHER.items() if kind in found]
        if words:
            lines.append(f"{study.labels[topic]}: {'; '.join(words)}")
    pulls = {(kind, about): test for (kind, about, _), test in cells.items() if kind in _PULLS and not missing(test)}
    about = "" if any(topic == "" for _, topic in pulls) else next((topic for _, topic in pulls), "")
    words = [f"{said} {bracketed(pulls[kind, about], 2)}" for kind, said in _PULLS.items() if (kind, about) in pulls]
    return [*lines, f"per round: {', '.join(words)}"] if words else lines


def controls(found: Controls) -> Any:
    """Unwarranted drift and responsiveness by topic and role, as a table.

    Returns:
        A rich renderable.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = Text(found.name) if found.name else None
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for title in ("topic", "role"):
        shown.add_column(title)
    for title in ("n", "U", "p (Holm)", "within ± 0.3 of 10", "S", "p (Holm)"):
        shown.add_column(title, justify="right")
    for agent in found.agents:
        drift, same, response = (agent.tests[it] for it in ("unwarranted_drift", "equivalence", "responsiveness"))
        n = str(max(drift["n"], response["n"]))
        shown.add_row(agent.topic, agent.role, n, *_pair(drift), steadfast(same), *_pair(response))
    shown.caption = "\n".join(MEANINGS.values())
    shown.caption_justify = "left"
    return shown


def together(folder: Path) -> Iterator[Any]:
    """Joint results of the runs compared in a folder: U and S, mitigations, sets of life stories, specifications.

    Returns:
        Rich renderables, and plain sentences.
    """
    yield from map(controls, by_control.read(folder))
    yield from map(mitigations, by_mitigation.read(folder))
    yield from (row["sentence"] for row in sets.read(folder))
    yield from multiverse.read(folder).get("curves", [])


def mitigations(found: Comparison) -> Any:
    """The effect of each mitigation, by topic and role, as a table.

    Returns:
        A rich renderable.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(found.name) if found.name else None)
    shown.add_column("topic")
    for title in ("role", "mitigation"):
        shown.add_column(title, no_wrap=True)
    columns = [column for column in found.columns if column in _ON_SCREEN]
    for title in columns:
        shown.add_column(title, justify="right")
    for line in found.lines:
        shown.add_row(line.topic, line.role, line.label, *(line.cell(column) for column in columns))
    return shown


_ON_SCREEN = ("U", "less drift than none", "p (Holm)", "S", "closing", "cut", "s")
"""Columns that fit on a terminal; the page shows all of them."""


def _pair(test: Test) -> tuple[str, str]:
    """The estimate with its interval, and p."""
    return bracketed(test), adjusted(test)
