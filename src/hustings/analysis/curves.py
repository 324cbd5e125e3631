"""Mean attitude by role and iteration, the debate being the unit."""

from typing import Literal

import pandas as pd

Outcome = Literal["score", "expected"]
KEYS = ["topic", "composition", "role", "iteration"]


def per_debate(attitudes: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """One row a debate, role and iteration: agents of one role in one debate are averaged first.

    Invalid answers are missing, not zero.

    Args:
        attitudes: the tidy table of records.attitudes.

    Returns:
        Columns topic, composition, repetition, role, iteration, value.
    """
    keys = ["topic", "composition", "repetition", "role", "iteration"]
    valid = attitudes.dropna(subset=[outcome])
    means = valid.groupby(keys, sort=True)[outcome].mean().astype(float)
    return means.rename("value").reset_index()


def curve(attitudes: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """Mean ± standard error over debates (Source: protocol.md, curve).

    Args:
        attitudes: the tidy table of records.attitudes.

    Returns:
        Columns topic, composition, role, iteration, n (debates), mean (points), se (SD/√n with ddof 1; empty
        for a single debate).
    """
    groups = per_debate(attitudes, outcome).groupby(KEYS, sort=True)["value"]
    table = groups.agg(n="count", mean="mean", sd="std").reset_index()
    table["se"] = table["sd"] / table["n"].astype(float) ** 0.5
    return table.drop(columns="sd")
