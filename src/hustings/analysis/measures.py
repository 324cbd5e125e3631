"""What each debate contributes to a statistic: an agent's first and last attitude, the Default's own, the last survey.

It works on `Study.answers` and says in words why a measure does not exist. It does not test anything.
"""

from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.resampling import SPREAD, Floats
from hustings.settings.debate import DEFAULT

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Poles, Study


def check_one_run(study: "Study") -> None:
    """Refuse tables that mix runs, whose debates must not be averaged.

    Raises:
        ValueError: it names the column with several values.
    """
    for key in ("composition", "model", "adapter", "seed"):
        if study.attitudes[key].nunique(dropna=False) > 1:
            raise ValueError(f"attitudes: several values of {key!r} in one study; make one study for each run.")


def cells(answers: "pd.DataFrame", poles: "Poles") -> dict[str, list[str]]:
    """Partisan roles by topic: those in the table and those that `poles` says should be there, in order."""
    topics = sorted({*answers["topic"], *(topic for _, topic in poles)})
    present = {*answers["role"]}
    return {
        topic: sorted({*present, *(role for role, about in poles if about == topic)} - {DEFAULT}) for topic in topics
    }


def last_iteration(answers: "pd.DataFrame") -> int:
    """T: the last iteration with a survey; debates that were cut short before it have no final answer."""
    return int(answers["iteration"].max()) if len(answers) else 0


def at_zero(answers: "pd.DataFrame", topic: str) -> "pd.Series":
    """The Default's own attitude at iteration 0 by repetition; only repetitions with a valid answer."""
    asked = answers[(answers["topic"] == topic) & (answers["role"] == DEFAULT) & (answers["iteration"] == 0)]
    return asked.dropna(subset=["value"]).groupby("repetition")["value"].mean()


def no_bias(answers: "pd.DataFrame", topic: str) -> str:
    """Why there is no b on a topic."""
    asked = ((answers["topic"] == topic) & (answers["role"] == DEFAULT)).any()
    return "the Default gave no valid answer at iteration 0" if asked else "no Default agent was surveyed"


def ends(answers: "pd.DataFrame", topic: str, role: str, last: int) -> "pd.DataFrame":
    """A(d,r,0) and A(d,r,T): means over the role's agents that gave valid answers at both.

    Returns:
        Columns first and last, by repetition.
    """
    import pandas as pd

    mine = answers[(answers["topic"] == topic) & (answers["role"] == role)].dropna(subset=["value"])
    keys = ["repetition", "agent"]
    first = mine[mine["iteration"] == 0].set_index(keys)["value"]
    final = mine[mine["iteration"] == last].set_index(keys)["value"]
    both = pd.concat([first, final], axis=1, join="inner", keys=["first", "last"])
    return both.groupby(level="repetition").mean()


def no_change(answers: "pd.DataFrame", topic: str, role: str, last: int, changes: Floats) -> str:
    """Why the mean of one change for each debate cannot be tested; empty when it can.

    Args:
        last: T.
        changes: in points, (debates,).
    """
    there = (answers["topic"] == topic) & (answers["role"] == role)
    if not there.any():
        return "no agent of this role took part"
    if last == 0:
        return "nobody was surveyed after iteration 0"
    if len(changes) == 0:
        if answers.loc[there, "value"].isna().all():
            return "every answer was invalid"
        return f"no debate has valid answers at both iteration 0 and iteration {last}"
    if len(changes) == 1:
        return "there is only one debate"
    if np.ptp(changes) <= SPREAD:
        return f"every debate gave the same value, {abs(float(changes.mean())):.2f} points (zero variance)"
    return ""
