"""A run on the terminal: its curves as bars, its statistics as one table."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

_BARS = "▁▂▃▄▅▆▇█"
_PULLS = {"alpha": "social pull α", "beta": "model pull β", "kappa": "persona anchor κ"}


def sketch(study: "Study") -> Any:
    """The attitude curves of a run, small: one line for each topic, one bar for each survey.

    The lowest bar (▁) is the low end of the scale, the highest (█) the high end.

    Returns:
        A rich renderable.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from hustings.analysis.curves import curve
    from hustings.analysis.figures import Look

    look, points = Look.of(study), curve(study)
    roles = [role for role in look.labels if (points["role"] == role).any()]
    low, high = study.scale
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"attitude, {low:g} … {high:g}")
    for role in roles:
        table.add_column(Text(look.labels[role], style=look.colours[role]), no_wrap=True)
    for topic, mine in points.groupby("topic", sort=True):
        cells = [[float(mean) for mean in mine.loc[mine["role"] == role, "mean"]] for role in roles]
        table.add_row(look.topics[str(topic)], *(_bars(means, study.scale) for means in cells))
    return table


def _bars(means: Sequence[float], scale: tuple[float, float]) -> str:
    """'▃▄▅▆ 3.1 → 5.2'."""
    if not means:
        return "–"
    low, high = scale
    bars = "".join(_BARS[max(0, min(7, int((mean - low) / (high - low) * 8)))] for mean in means)
    return f"{bars} {means[0]:.1f}" + (f" → {means[-1]:.1f}" if len(means) > 1 else "")


def table(statistics: "pd.DataFrame") -> Any:
    """The statistics of a run as one table.

    Args:
        statistics: columns of analysis.statistics.COLUMNS.

    Returns:
        A rich renderable.
    """
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("topic", "role", "n"):
        shown.add_column(title)
    for title in ("to the Default", "p (Holm)", "to the own pole", "p (Holm)", "crossed"):
        shown.add_column(title, justify="right")
    tests = statistics.to_dict("records")
    cells = {(test["statistic"], test["topic"], test["role"]): test for test in tests}
    for kind, topic, role in cells:
        if kind == "convergence":
            moved, echo, crossed = (cells[name, topic, role] for name in ("convergence", "echo", "crossing"))
            share = "–" if moved["n"] == 0 or _empty(crossed) else f"{100 * crossed['estimate']:.0f} %"
            shown.add_row(topic, role, f"{moved['n']}", *_cell(moved), *_cell(echo), share)
    pulls = [test for test in tests if test["statistic"] in _PULLS and not _empty(test)]
    wanted = "" if any(test["topic"] == "" for test in pulls) else next((test["topic"] for test in pulls), "")
    words = [f"{_PULLS[test['statistic']]} {_cell(test, 2)[0]}" for test in pulls if test["topic"] == wanted]
    shown.caption = "points [95 % interval]" + (f"; per round: {', '.join(words)}" if words else "")
    return shown


def _empty(test: Mapping[Any, Any]) -> bool:
    return test["estimate"] != test["estimate"]


def _cell(test: Mapping[Any, Any], digits: int = 1) -> tuple[str, str]:
    """The estimate with its interval, and p."""
    if _empty(test):
        return "not estimable", "–"
    numbers = (f"{round(test[key], digits) + 0.0:.{digits}f}" for key in ("estimate", "ci_low", "ci_high"))
    estimate, low, high = numbers
    p = "–" if test["p_holm"] != test["p_holm"] else "< 0.001" if test["p_holm"] < 0.001 else f"{test['p_holm']:.3f}"
    return f"{estimate} [{low}, {high}]", p
