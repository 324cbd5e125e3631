"""Mean attitude by role and iteration, the debate being the unit; and the gap between parties and that among people."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

KEYS = ["topic", "composition", "role", "iteration"]


def per_debate(study: "Study") -> "pd.DataFrame":
    """One row for each debate, role and iteration: agents of one role in one debate are averaged first.

    Invalid answers are missing, not zero.

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
    """The gap between the party at the high pole and the one at the low pole, among people and among agents.

    Returns:
        Columns topic, high, low (the parties), n (debates), humans (percentage points), start and end (percent of the
        scale). Only topics for which all of these are known; none where the society has no poll.
    """
    import pandas as pd

    humans = study.design["society"]["humans"]
    share = humans["share"] if humans else {}
    high, low = ({topic: role for (role, topic), at in study.poles.items() if at == pole} for pole in ("high", "low"))
    points = curve(study)
    cells: Any = points.set_index(["topic", "role", "iteration"])[["n", "mean"]].to_dict("index")
    last = int(points["iteration"].max()) if len(points) else 0
    bottom, top = study.scale
    rows: list[tuple[object, ...]] = []
    for topic in sorted({*high} & {*low}):
        up, down = high[topic], low[topic]
        surveyed = all((topic, party, when) in cells for party in (up, down) for when in (0, last))
        if not surveyed or not all(topic in share.get(party, {}) for party in (up, down)):
            continue
        apart = [cells[topic, up, when]["mean"] - cells[topic, down, when]["mean"] for when in (0, last)]
        percent = [100 * gap / (top - bottom) for gap in apart]
        rows.append((topic, up, down, cells[topic, up, last]["n"], share[up][topic] - share[down][topic], *percent))
    return pd.DataFrame(rows, columns=["topic", "high", "low", "n", "humans", "start", "end"])
