"""Mean attitude by role and iteration, the debate being the unit."""

from collections.abc import Mapping
from typing import Any, Literal

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


def gaps(
    curve: pd.DataFrame, high: Mapping[str, str], low: Mapping[str, str], humans: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """The gap between the party at the high pole and the one at the low pole, among people and among agents.

    Args:
        curve: the table of `curve`, of one run.
        high, low: the party at either pole, by topic.
        humans: percent of a party's people who call the topic a very big problem, by party and topic.

    Returns:
        Columns topic, high, low (the parties), n (debates), humans (percentage points), start and end (percent of the
        scale); only topics on which all of these are known.
    """
    cells: Any = curve.set_index(["topic", "role", "iteration"])[["n", "mean"]].to_dict("index")
    last = int(curve["iteration"].max())
    rows: list[tuple[object, ...]] = []
    for topic in sorted({*high} & {*low}):
        parties = (high[topic], low[topic])
        known = all((topic, party, when) in cells for party in parties for when in (0, last))
        if not known or not all(topic in humans.get(party, {}) for party in parties):
            continue
        up, down = parties
        people = humans[up][topic] - humans[down][topic]
        moved = [10 * (cells[topic, up, t]["mean"] - cells[topic, down, t]["mean"]) for t in (0, last)]
        rows.append((topic, up, down, cells[topic, up, last]["n"], people, *moved))
    return pd.DataFrame(rows, columns=["topic", "high", "low", "n", "humans", "start", "end"])
