"""The kind of value in each column of every table, by name, for both writing and reading CSV files.

Columns not named here hold text, whatever it looks like: `007`, `NA` and `1e5` may be names of parties.
"""

from collections.abc import Iterable
from typing import Literal

Kind = Literal["text", "whole", "number", "flag"]
"""`whole` and `number` values may be missing, a `flag` (True or False) may not; missing text is empty."""

_NUMBERED: dict[Kind, tuple[str, ...]] = {
    "whole": (
        "repetition",
        "agent",
        "iteration",
        "wording",
        "seed",
        "tokens",
        "first",
        "n",
        "seeds",
        "step",
        "round",
        "sets",
    ),
    "number": (
        *("score", "expected", "mass", "mean", "se", "stderr", "sd_over_seeds", "low", "high", "rho"),
        *("estimate", "ci_low", "ci_high", "effect_size", "p", "p_smallest", "p_holm", "sd_over_trainings"),
        *("humans", "start", "end", "stance", "p_none", "pole_bias", "mean_iteration"),
        *("share", "share_low", "share_high"),
    ),
    "flag": ("valid", "speaks", "below_comparison"),
}
_KINDS: dict[str, Kind] = {column: kind for kind, columns in _NUMBERED.items() for column in columns}
_OPTIONAL = ("full",)
"""Text columns in which an empty cell means a missing value and not empty text."""


def kinds(columns: Iterable[str], others: Kind = "text") -> dict[str, Kind]:
    """The kind of value in each of these columns.

    Args:
        others: kind of the columns that are not named in this module.
    """
    return {column: _KINDS.get(column, others) for column in columns}


def may_be_missing(column: str, kind: Kind) -> bool:
    """Whether an empty cell in a file means a missing value; otherwise it means empty text."""
    return kind != "text" or column in _OPTIONAL
