"""Numbers and names in the form used in sentences that can be quoted."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hustings.settings.debate import SHADOW

if TYPE_CHECKING:
    from hustings.analysis.statistic import Row

_PLURAL = re.compile(r"s\b")


def who(row: "Row", labels: Mapping[str, str]) -> str:
    """'Republican agents', 'the shadow Default'; empty if the row covers all agents."""
    if row.role == SHADOW:
        return f"the {labels.get(row.role, row.role)}"
    return f"{labels.get(row.role, row.role)} agents" if row.role else ""


def whose(row: "Row", labels: Mapping[str, str]) -> str:
    """`who` as a possessive."""
    agents = who(row, labels)
    return f"{agents}'" if agents.endswith("s") else f"{agents}'s"


def sentence(words: str, remark: str) -> str:
    """Words as a sentence, with the remark, if any, after a semicolon."""
    return f"{words[0].upper()}{words[1:]}{'; ' if remark else ''}{remark}."


def where(row: "Row", labels: Mapping[str, str]) -> str:
    """'gun violence'."""
    return labels.get(row.topic, row.topic.replace("_", " ")) if row.topic else "all topics together"


def evidence(row: "Row", unit: str = "debates") -> str:
    """'n = 40 debates, d = 2.1, p < 0.001 after Holm'; parts that the row lacks are left out.

    Args:
        unit: what n counts, a plural whose first noun is counted: 'pairs of debates'.
    """
    parts = [f"n = {row.n:,} {unit if row.n != 1 else _PLURAL.sub('', unit, count=1)}"]
    if not np.isnan(row.effect_size):
        parts.append(f"d = {_number(abs(row.effect_size), 1)}")
    adjusted = not np.isnan(row.p_holm)
    p = row.p_holm if adjusted else row.p
    if not np.isnan(p):
        after = " after Holm" if adjusted else ""
        parts.append(f"p < 0.001{after}" if p < 0.001 else f"p = {p:.{3 if p < 0.0995 else 2}f}{after}")
    return ", ".join(parts)


def span(row: "Row", unit: str = " points") -> str:
    """'2.1 points [1.4, 2.8]', with more digits if one digit would hide the number."""
    half = (row.ci_high - row.ci_low) / 2
    wide = max(abs(row.estimate), half if np.isfinite(half) else 0.0)
    return interval(row, unit, 1 if wide >= 0.95 else 2 if abs(row.estimate) >= 0.095 else 3)


def size(row: "Row") -> str:
    """The size of a difference, without its sign: '2.1 points [1.4, 2.8]' for −2.1 points too."""
    return span(row.negated()) if row.estimate < 0 else span(row)


def interval(row: "Row", unit: str, digits: int) -> str:
    """'2.13 points [1.40, 2.81]'; without the interval if there is none or if it is unbounded."""
    said = f"{_number(row.estimate, digits)}{unit}"
    if not np.isfinite([row.ci_low, row.ci_high]).all():
        return said
    return f"{said} [{_number(row.ci_low, digits)}, {_number(row.ci_high, digits)}]"


def share(row: "Row") -> str:
    """'8 % [3, 20]'; without the interval if there is none."""
    digits = 0 if 0.01 <= row.estimate <= 0.99 or row.estimate in (0, 1) else 2
    low, high = (_number(100 * end, digits) for end in (row.ci_low, row.ci_high))
    between = "" if np.isnan(row.ci_low) else f" [{low}, {high}]"
    return f"{_number(100 * row.estimate, digits)} %{between}"


def _number(value: float, digits: int) -> str:
    """A rounded number, never '-0.0'."""
    return f"{round(value, digits) + 0.0:.{digits}f}"
