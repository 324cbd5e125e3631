"""What the reader of a run must be warned of, in one line each."""

from typing import TYPE_CHECKING, Any

from hustings.analysis.statistic import Row
from hustings.analysis.statistics.edges import untaken
from hustings.analysis.statistics.movement import moved_away

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

_CHECKS = {"persona_check": untaken, "default_drift": moved_away}


def alerts(study: "Study", table: "pd.DataFrame") -> list[str]:
    """Warnings on personas that did not take and on a Default that did not stay, without the full stop.

    Args:
        table: the study's statistics, columns of analysis.statistics.COLUMNS.
    """
    mine: Any = table[table["statistic"].isin(_CHECKS) & (table["outcome"] == study.outcome)]
    names = [name for name in Row.__dataclass_fields__ if name in table]
    rows = [Row(remark="", **row) for row in mine[names].to_dict("records")]
    return [said for row in rows if (said := _CHECKS[row.statistic](study, row))]
