"""What agents say compared with what they answer: the stance of each reply, and the surveys before and after it.

It works on `Study.stances` and `Study.answers`, and does not test anything.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

MOST = 3
"""The strongest stance in either direction."""
APART = 1.0
"""How far both must be from the middle, in points of ten and of stance, to disagree if they are on different sides."""
_AGENT = ["topic", "repetition", "agent"]


def talk(study: "Study", judge: str) -> "pd.DataFrame":
    """Every judged reply, with the agent's own attitude at the surveys before and after it.

    Args:
        judge: the judge whose ratings are used.

    Returns:
        Columns topic, repetition, agent, role, iteration, `round` (counted over the agent's own replies, from 1),
        stance, rating, exchanged, p_none, pole_bias, `before` and `after` (points; the agent's attitude at the last
        survey before the reply and at the first after it; missing if there is none).
    """
    import pandas as pd

    stances = study.stances
    assert stances is not None
    mine: Any = stances[stances["judge"] == judge].sort_values([*_AGENT, "iteration"], kind="stable")
    mine = mine.assign(round=mine.groupby(_AGENT).cumcount() + 1)
    answers = study.answers.dropna(subset=["value"])[[*_AGENT, "iteration", "value"]]
    answers = answers.astype(mine[_AGENT].dtypes).sort_values("iteration", kind="stable")
    for column, direction in (("before", "backward"), ("after", "forward")):
        # the survey at iteration t comes after reply t, so the one before reply t is at t − 1 or earlier
        shifted = mine.assign(at=mine["iteration"] - (direction == "backward")).sort_values("at", kind="stable")
        found: Any = pd.merge_asof(
            shifted,
            answers.rename(columns={"iteration": "at", "value": column}),
            on="at",
            by=_AGENT,
            direction=direction,  # pyright: ignore[reportArgumentType]
        )
        mine = found.drop(columns="at")
    kept = ["role", "iteration", "round", "stance", "rating", "exchanged", "p_none", "pole_bias", "before", "after"]
    return mine[[*_AGENT, *kept]].sort_values([*_AGENT, "iteration"], kind="stable", ignore_index=True)


def changes(said: "pd.DataFrame") -> "pd.DataFrame":
    """The change from each reply of an agent to its next one, in stance and in the attitude before and after.

    Args:
        said: the table of `talk`.

    Returns:
        Columns topic, repetition, role, stance, before, after; missing if either end is missing.
    """
    groups: Any = said.groupby(_AGENT, sort=False)
    moved = groups[["stance", "before", "after"]].diff()
    later = groups.cumcount() > 0
    return said.loc[later, ["topic", "repetition", "role"]].join(moved[later])


def parted(study: "Study", judge: str) -> "pd.DataFrame":
    """Replies in which an agent says one thing and answers another, largest disagreement first.

    The stance must be clearly (APART) on one side of the middle, and the attitudes at the surveys before and after the
    reply clearly on the other. If there is only one of these surveys, it counts alone.

    Returns:
        Columns of `talk`, and `apart`: the distance on the scale, points.
    """
    said = talk(study, judge)
    low, high = study.scale
    middle, point = (low + high) / 2, (high - low) / 10
    around = said[["before", "after"]].to_numpy(float) - middle
    stance = said["stance"].to_numpy(float)
    against = (np.sign(around) == -np.sign(stance)[:, None]) & (np.abs(around) >= APART * point)
    known = np.isfinite(around)
    apart = (np.abs(stance) >= APART) & (against | ~known).all(axis=1) & known.any(axis=1)
    said_at = stance * (high - low) / (2 * MOST)
    nearest = np.where(known, np.abs(around - said_at[:, None]), np.inf).min(axis=1)
    found = said.assign(apart=nearest)[apart]
    return found.sort_values("apart", ascending=False, kind="stable", ignore_index=True)


def judges(study: "Study") -> list[str]:
    """Names of the judges, in the order in which they rated."""
    return [] if study.stances is None else [str(it) for it in study.stances["judge"].unique()]
