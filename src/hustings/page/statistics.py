"""Rows of statistics.csv, grouped in reading order, each group under the question that it answers.

It does not know how statistics are computed; the questions come from analysis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hustings.analysis.statistic import PRIMARY
from hustings.study import Outcome

Row = Mapping[str, str]
_COMPARED = {"start": "Did agents begin elsewhere?", "end": "Did agents end elsewhere?"}
"""Measures in comparison.csv that are not statistics of a single run."""
_GROUPS = {
    "primary": ("Primary", "What the study is about. The p-values are adjusted for the number of these tests (Holm)."),
    "secondary": ("Secondary", "All other tests, adjusted for their own number (Holm). Quote them as secondary."),
    "paper": (
        "The paper's reading",
        "How the paper measures convergence, and the main statistics of the chosen option, which the paper plots.",
    ),
    "beside": ("The expected value beside it", "The main statistics of the other outcome."),
    "descriptive": ("Descriptive", "Shares, means and checks, without a test."),
}


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of one statistic."""

    name: str
    about: str
    """The question that the statistic answers."""
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Group:
    """Statistics that belong together."""

    kind: str
    title: str
    note: str
    blocks: Sequence[Block]


def groups(rows: Sequence[Row], outcome: Outcome) -> list[Group]:
    """Primary, secondary, the paper's reading, and descriptive statistics, without empty groups.

    Args:
        rows: as text.
        outcome: the outcome that the run analyses.
    """
    from hustings.analysis.statistics import all_statistics

    about = {**_COMPARED, **{statistic.name: statistic.about for statistic in all_statistics()}}
    found: dict[str, dict[str, list[Row]]] = {kind: {} for kind in _GROUPS}
    for row in rows:
        found[_kind(row, outcome)].setdefault(row["statistic"], []).append(row)
    return [
        Group(kind, *_GROUPS[kind], [Block(name, about.get(name, ""), these) for name, these in blocks.items()])
        for kind, blocks in found.items()
        if blocks
    ]


def _kind(row: Row, outcome: Outcome) -> str:
    """The group that a row belongs to."""
    other = row.get("outcome") or outcome
    if row["statistic"] == "convergence" or other == "score" != outcome:
        return "paper"
    if other != outcome:
        return "beside"
    family = row.get("family")
    return "primary" if family == PRIMARY else "secondary" if family else "descriptive"
