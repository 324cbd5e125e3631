"""Crossing: how often does an agent end on the other side of the Default's line?"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import at_zero, cells, ends, last_iteration, no_bias, no_change
from hustings.analysis.resampling import SAME
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import share, where, who
from hustings.settings.debate import DEFAULT

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

METHOD = "share of debates; 95 % Wilson interval; debates that start on the Default's line are left out"


def crossing(study: "Study") -> Iterator[Row]:
    """Rows by topic and role (Source: protocol.md, crossing).

    The line is the Default's own attitude in that debate, at iteration 0 and at T; where the Default does not speak,
    it is b at both. Debates in which the role starts on the line have no side to cross from and are left out.
    """
    from scipy.stats import binomtest

    answers = study.answers
    last = last_iteration(answers)
    speaks = bool(((answers["role"] == DEFAULT) & (answers["iteration"] > 0)).any())
    for topic, roles in cells(answers, study.poles).items():
        default = at_zero(answers, topic)
        line = ends(answers, topic, DEFAULT, last)
        for role in roles:
            pairs = ends(answers, topic, role, last)
            if not speaks and len(default):
                line = pairs.assign(first=default.mean(), last=default.mean())
            crossed, n = _count(pairs, line)
            why = "" if len(default) else no_bias(answers, topic)
            why = why or _uncrossable(answers, topic, role, len(pairs), n)
            if why:
                yield Row("crossing", topic, role, n, METHOD, why)
                continue
            wilson = binomtest(crossed, n).proportion_ci(method="wilson")
            low, high = float(wilson.low), float(wilson.high)
            yield Row("crossing", topic, role, n, METHOD, estimate=crossed / n, ci_low=low, ci_high=high)


def _count(pairs: "pd.DataFrame", line: "pd.DataFrame") -> tuple[int, int]:
    """Debates in which the role crossed, and debates in which it could have."""
    both = pairs.join(line.add_suffix("_default"), how="inner")
    start = (both["first"] - both["first_default"]).to_numpy(float)
    end = (both["last"] - both["last_default"]).to_numpy(float)
    off = np.abs(start) > SAME
    return int(((np.abs(end) > SAME) & (start * end < 0) & off).sum()), int(off.sum())


def _uncrossable(answers: "pd.DataFrame", topic: str, role: str, pairs: int, n: int) -> str:
    """Why there is no share of debates with a crossing; empty when there is one.

    Args:
        pairs: debates with a first and a last attitude of the role.
        n: those in which it could have crossed.
    """
    if n >= 2:
        return ""
    if n == 1:
        return "there is only one debate" if pairs == 1 else "only one debate has a line to cross"
    why = no_change(answers, topic, role, last_iteration(answers), np.arange(pairs, dtype=float))
    return why or "in no debate did they start off the Default's line with valid answers from both"


def _sentence(row: Row, labels: Mapping[str, str]) -> str:
    counted = f"{round(row.estimate * row.n)} of {row.n:,} debates on {where(row, labels)} ({share(row)})"
    return f"In {counted}, {who(row, labels)} ended beyond the Default's line"


STATISTICS = (
    Statistic(
        name="crossing",
        title="the share of debates that cross the Default's line",
        about="In how many debates did agents end on the other side of the Default?",
        function=crossing,
        sentence=_sentence,
        order=30,
    ),
)
