"""What the reader of a run must be warned of, in one line each.

analysis.alerts warns of personas that did not take and of a Default that did not stay; crowded scales are added here.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hustings.study import Study

if TYPE_CHECKING:
    import pandas as pd

_WHEN = {"start": "began", "end": "ended"}


def alerts(study: Study, table: "pd.DataFrame | None") -> list[str]:
    """Warnings, as sentences; none where there are no statistics.

    Args:
        table: the study's statistics, columns of analysis.statistics.COLUMNS.
    """
    from hustings.analysis.alerts import alerts as of_analysis
    from hustings.analysis.statistics import COLUMNS

    if table is None or not {*COLUMNS} <= {*table.columns}:
        return []
    return [f"{said}." for said in (*of_analysis(study, table), *_crowded(study, table))]


def _crowded(study: Study, table: "pd.DataFrame") -> Iterator[str]:
    """Topics on which many attitudes are at an end of the scale, which leaves them no room to move."""
    from hustings.analysis.measures import CROWDED

    ends = {"floor": "low", "ceiling": "high"}
    mine: Any = table[table["statistic"].isin(ends) & (table["outcome"] == study.outcome)]
    full = mine[mine["estimate"] >= CROWDED]
    for topic, rows in full.groupby("topic", sort=True):
        said = [
            f"{study.labels[row['role']]} {_WHEN[row['at']]} at its {ends[row['statistic']]} end in "
            f"{100 * row['estimate']:.0f} % of debates"
            for row in rows.sort_values(["at", "role"], ascending=[False, True]).to_dict("records")
        ]
        yield f"The scale leaves little room on {study.labels[str(topic)]}: {', '.join(said)}"
