"""Warnings for readers of one run or of several together, one line each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hustings.study import Study

if TYPE_CHECKING:
    import pandas as pd

_WHEN = {"start": "began", "end": "ended"}


def alerts(study: Study, table: "pd.DataFrame | None") -> list[str]:
    """Warnings as sentences; empty if there are no statistics.

    Args:
        table: the study's statistics, with the columns of analysis.statistics.COLUMNS.
    """
    from hustings.analysis.statistics import COLUMNS

    if table is None or not {*COLUMNS} <= {*table.columns}:
        return []
    found = [*_checked(study, table), *_crowded(study, table)]
    return [*(f"{' '.join(said.split())}." for said in found), *narrow(table)]


def narrow(table: "pd.DataFrame") -> list[str]:
    """The warning that intervals are too narrow, if there are few debates.

    Args:
        table: tests with the columns of analysis.statistics.COLUMNS.
    """
    from hustings.analysis.resampling import SMALL

    few: Any = table[(table["n"] < SMALL) & table["ci_low"].notna()]
    if not few["method"].str.contains("bootstrap").any():
        return []
    return [f"With fewer than {SMALL} debates, bootstrap intervals are a little too narrow; p-values are right."]


def together(alerts_of: Mapping[str, Sequence[str]]) -> list[str]:
    """Warnings of several runs, each listed once; a warning names its runs unless it applies to all of them.

    Args:
        alerts_of: the warnings of each run, by name of the run.
    """
    about: dict[str, list[str]] = {}
    for name, said in alerts_of.items():
        for one in dict.fromkeys(said):
            about.setdefault(one, []).append(name)
    return [one if len(runs) == len(alerts_of) else f"{'; '.join(runs)}: {one}" for one, runs in about.items()]


def incomparable(studies: Mapping[str, Study]) -> dict[str, list[str]]:
    """Why runs are not tested against the first one; empty for the runs that are.

    Args:
        studies: studies by name.
    """
    from hustings.analysis.comparison import common

    baseline, first = next(iter(studies.items()))
    found: dict[str, list[str]] = {name: [] for name in studies}
    for name, study in studies.items():
        if study.scale != first.scale:
            found[name].append(f"not compared with {baseline}, whose attitudes are on another scale.")
        elif study is not first and not any(common(first, study)):
            found[name].append(f"not compared with {baseline}, because they have no topic and role in common.")
    return found


def _checked(study: Study, table: "pd.DataFrame") -> Iterator[str]:
    """Warnings about personas that did not take hold, a Default that moved, and a judge that cannot be trusted."""
    from hustings.analysis.statistic import Row
    from hustings.analysis.statistics.edges import untaken
    from hustings.analysis.statistics.movement import moved_away
    from hustings.analysis.statistics.stances import untrusted

    checks = {"persona_check": untaken, "default_drift": moved_away, "judge_bias": untrusted,
              "judge_consistency": untrusted}  # fmt: skip
    mine: Any = table[table["statistic"].isin(checks) & (table["outcome"] == study.outcome)]
    names = [name for name in Row.__dataclass_fields__ if name in table]
    for test in mine[names].to_dict("records"):
        said = checks[test["statistic"]](study, Row(remark="", **test))
        if said:
            yield said


def _crowded(study: Study, table: "pd.DataFrame") -> Iterator[str]:
    """Topics on which many attitudes are at an end of the scale, where they have no room to move."""
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
