"""A statistic: a name, the question it answers, a function of a study, and a sentence for each of its rows.

It does not know which statistics exist.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

PRIMARY = "primary"
"""The family of a study's main statistic: `closing` by topic and role."""
SECONDARY = "secondary"
"""The family of all other tests."""


@dataclass(frozen=True, slots=True)
class Row:
    """One estimate with its test; missing numbers are NaN."""

    statistic: str
    """Name of the statistic."""
    topic: str
    """Key of the topic; empty for all topics together."""
    role: str
    """Party, `default` or `shadow`; empty for all agents."""
    n: int
    """Number of debates behind the estimate."""
    method: str
    """How the numbers were computed, for a methods section."""
    remark: str = ""
    """Why there is no estimate, or what the reader should keep in mind."""
    at: str = ""
    """`start` or `end` if the statistic describes a moment of the debate; otherwise empty."""
    outcome: str = ""
    """`expected` or `score`, whichever was analysed; filled in for the table."""
    estimate: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    """Ends of the 95 % interval; infinite if it is unbounded."""
    effect_size: float = np.nan
    """Cohen's d; `method` says which kind. Missing if debates do not differ."""
    p: float = np.nan
    p_smallest: float = np.nan
    """The smallest p that n debates can give; missing for tests without such a limit."""
    p_holm: float = np.nan
    """p after Holm's adjustment within the family; filled in for the table."""
    family: str = ""
    """Tests that are adjusted together: PRIMARY, SECONDARY, or the statistic's own; filled in for the table."""

    def negated(self) -> "Row":
        """The same difference with the opposite sign."""
        return replace(self, estimate=-self.estimate, ci_low=-self.ci_high, ci_high=-self.ci_low)


@dataclass(frozen=True, slots=True)
class Statistic:
    """A question about a study, and how to answer it.

    Example:
        >>> from hustings.analysis.statistic import Row, Statistic
        >>> def count(study):
        ...     debates = study.agents.groupby("topic")["repetition"].nunique()
        ...     return [Row("debates", topic, "", n, "counted", estimate=float(n)) for topic, n in debates.items()]
        >>> debates = Statistic(
        ...     name="debates",
        ...     title="the number of debates",
        ...     about="How many debates are there on each topic?",
        ...     function=count,
        ...     sentence=lambda row, labels: f"There were {row.n} debates on {labels[row.topic]}",
        ... )
    """

    name: str
    """Value in the column `statistic`."""
    title: str
    """Noun phrase for the subject of a sentence: 'convergence to the Default', 'the mean final score'."""
    about: str
    """The question it answers, in one line."""
    function: Callable[["Study"], Iterable[Row]]
    """Returns the rows. Statistics that share a function are computed together; each row names its own statistic."""
    sentence: Callable[[Row, Mapping[str, str]], str]
    """From a row with an estimate and the labels of roles and topics, makes its sentence, without the full stop."""
    family: str | None = None
    """The p-values of one family are adjusted together (Holm); None leaves them as they are."""
    order: int = 1000
    """Position of its rows in the table, smaller first."""
    both: bool = False
    """Whether its rows are also given for the other outcome, outside of every family."""


_NUMBERS = ("estimate", "ci_low", "ci_high", "effect_size", "p", "p_smallest", "p_holm")
COLUMNS = [
    *("statistic", "topic", "role", "at", "outcome", "n", *_NUMBERS, "family"),
    *("method", "sentence"),
]
"""Columns of statistics.csv and comparison.csv: one row for each test."""
assert {*COLUMNS} == {field.name for field in fields(Row)} - {"remark"} | {"sentence"}


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjustment of the p-values that exist; missing ones stay missing."""
    values = np.asarray(p, dtype=np.float64)
    there = np.flatnonzero(~np.isnan(values))
    order = there[np.argsort(values[there], kind="stable")]
    values[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return values.tolist()


def tabulate(rows: Iterable[Row], say: Callable[[Row], str]) -> "pd.DataFrame":
    """Rows as a table, with sentences, and with p-values adjusted within their families.

    Args:
        say: function from a row to its sentence.

    Returns:
        Columns COLUMNS.
    """
    import pandas as pd

    complete = list(rows)
    for family in {row.family for row in complete} - {""}:
        places = [place for place, row in enumerate(complete) if row.family == family]
        for place, adjusted in zip(places, holm([complete[place].p for place in places]), strict=True):
            complete[place] = replace(complete[place], p_holm=adjusted)
    columns = {name: [getattr(row, name) for row in complete] for name in COLUMNS if name != "sentence"}
    table = pd.DataFrame({**columns, "sentence": [say(row) for row in complete]}, columns=COLUMNS)
    return table.astype({"n": int, **dict.fromkeys(_NUMBERS, float)})
