"""Mean attitude by role and iteration, with the debate as the unit; the gap between parties, in agents and people."""

import itertools
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import at, parties, topics
from hustings.analysis.statistics.edges import very_big

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

KEYS = ["topic", "composition", "role", "iteration"]


def per_debate(study: "Study") -> "pd.DataFrame":
    """One row for each debate, role and iteration, after averaging the agents of one role in one debate.

    Invalid answers are missing values, not zeros.

    Returns:
        Columns topic, composition, repetition, role, iteration, value (points).
    """
    keys = ["topic", "composition", "repetition", "role", "iteration"]
    answers = study.answers.dropna(subset=["value"]).assign(composition=study.design["composition"]["name"])
    return answers.groupby(keys, sort=True)["value"].mean().reset_index()


def curve(study: "Study") -> "pd.DataFrame":
    """Mean ± standard error over debates (Source: protocol.md, curve).

    Returns:
        Columns topic, composition, role, iteration, n (debates), mean (points), se (SD/√n with ddof 1; missing for
        a single debate).
    """
    groups = per_debate(study).groupby(KEYS, sort=True)["value"]
    table = groups.agg(n="count", mean="mean", sd="std").reset_index()
    table["se"] = table["sd"] / table["n"].astype(float) ** 0.5
    return table.drop(columns="sd")


def gaps(study: "Study") -> "pd.DataFrame":
    """The gap between each party at the high pole and each at the low pole, in people and in agents.

    To compare like with like, it is the difference in the share that calls the topic a very big problem. For agents,
    this means attitudes in the highest quarter of the scale (Source: protocol.md, humans).

    Returns:
        Columns topic, high_party, low_party, n (debates), humans, start and end (percentage points). Only topics and
        parties for which all of these are known are included; there are none if the society has no poll.
    """
    import pandas as pd

    humans = study.design["society"]["humans"]
    share = humans["share"] if humans else {}
    rows: list[tuple[object, ...]] = []
    for topic in topics(study):
        polled = [role for role in parties(study, topic) if topic in share.get(role, {})]
        values = {(party, when): at(study, topic, party, when) for party in polled for when in (0, -1)}
        known = [party for party in polled if len(values[party, 0]) and len(values[party, -1])]
        ends = [[party for party in known if study.poles.get((party, topic)) == pole] for pole in ("high", "low")]
        percent = {key: 100 * float(np.mean(very_big(study, it))) for key, it in values.items() if len(it)}
        for up, down in itertools.product(*ends):
            n = min(len(values[up, -1]), len(values[down, -1]))
            apart = [percent[up, when] - percent[down, when] for when in (0, -1)]
            rows.append((topic, up, down, n, share[up][topic] - share[down][topic], *apart))
    return pd.DataFrame(rows, columns=["topic", "high_party", "low_party", "n", "humans", "start", "end"])
