"""Crossing: how often does a partisan end on the other side of the Default's line?"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import Ends, ends, first_default, has, no_bias, no_change, paired, parties, topics
from hustings.analysis.resampling import SAME, wilson
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import share, where, who
from hustings.settings.debate import DEFAULT, SHADOW

if TYPE_CHECKING:
    from hustings.study import Study

METHOD = "share of debates; 95 % Wilson interval; debates that start on the Default's line are left out"


def crossing(study: "Study") -> Iterator[Row]:
    """Rows by topic and role (Source: protocol.md, crossing).

    The line is the speaking Default's attitude in that debate, at iteration 0 and at T; if no Default speaks, it is the
    shadow's; if there is no shadow either, it is b at both. Debates in which the role starts on the line are left out.
    """
    for topic in topics(study):
        line = ends(study, topic, DEFAULT)
        if len(line.first) == 0:
            line = ends(study, topic, SHADOW)
        for role in parties(study, topic):
            mine = ends(study, topic, role)
            both, beside = paired(mine, line)
            if len(line.first) == 0:
                b = np.full(
                    len(mine.first), float(np.mean(it)) if len(it := first_default(study, topic)[0]) else np.nan
                )
                both, beside = mine, Ends(mine.repetitions, b, b)
            crossed, n = _count(both, beside)
            why = _uncrossable(study, topic, role, len(mine.first), n)
            if why:
                yield Row("crossing", topic, role, n, METHOD, why)
                continue
            yield Row("crossing", topic, role, n, METHOD, **wilson(crossed, n))


def _count(mine: Ends, line: Ends) -> tuple[int, int]:
    """Number of debates in which the role crossed, and number in which it could have."""
    start, end = mine.first - line.first, mine.last - line.last
    off = np.abs(start) > SAME
    return int(((np.abs(end) > SAME) & (start * end < 0) & off).sum()), int(off.sum())


def _uncrossable(study: "Study", topic: str, role: str, pairs: int, n: int) -> str:
    """Why the share of debates with a crossing does not exist; empty if it does.

    Args:
        pairs: number of debates with a first and a last attitude of the role.
        n: number of those in which it could have crossed.
    """
    if not has(study, DEFAULT) and not has(study, SHADOW):
        return no_bias(study)
    why = no_change(study, topic, role, pairs)
    return why or ("" if n else "in no debate did they start off the Default's line with valid answers from both")


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
