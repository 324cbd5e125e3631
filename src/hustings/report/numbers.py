"""Estimates and p-values as short text, for tables on the terminal and on the page."""

from collections.abc import Mapping
from typing import Any

Test = Mapping[Any, Any]
"""A row of statistics.csv or controls.csv, by column."""


def missing(test: Test) -> bool:
    """Whether the test has no estimate."""
    return test["estimate"] != test["estimate"]


def bracketed(test: Test, digits: int = 1) -> str:
    """'1.2 [0.8, 1.6]'; no brackets if there is no interval, 'not estimable' if there is no estimate."""
    if missing(test):
        return "not estimable"
    estimate, low, high = (_number(float(test[key]), digits) for key in ("estimate", "ci_low", "ci_high"))
    return f"{estimate} [{low}, {high}]" if low else estimate


def adjusted(test: Test) -> str:
    """p after Holm's correction: '0.031', '< 0.001', or '–' if there is none."""
    p = float(test["p_holm"])
    return "–" if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"


def steadfast(equivalence: Test) -> str:
    """Whether unwarranted drift is within the margin: 'yes', 'not shown', or '–' if it cannot be tested."""
    p = float(equivalence["p"])
    return "–" if p != p else "yes" if p <= 0.05 else "not shown"


def _number(value: float, digits: int) -> str:
    """A rounded number, never '-0.0'; empty if it is missing."""
    if value != value:
        return ""
    if abs(value) == float("inf"):
        return "-∞" if value < 0 else "∞"
    return f"{round(value, digits) + 0.0:.{digits}f}"
