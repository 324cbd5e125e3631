"""A judge's ratings for the page's script: a mark for each reply, and the replies that disagree with the survey.

Only the last judge of a run is shown; the statistics have rows for every judge.
"""

from dataclasses import dataclass
from typing import Any

from hustings.analysis.talk import MOST, judges, parted, talk
from hustings.runfolder import DebateKey
from hustings.study import Study

LISTED = 100
"""The most replies listed for each run, largest disagreement first."""
_Place = tuple[str, int, int]
"""Topic, repetition and iteration of a reply."""


@dataclass(frozen=True, slots=True)
class Talk:
    """What the page shows of a judge's ratings."""

    judge: str
    """Name of the judge; empty if nobody judged the run."""
    marks: dict[_Place, list[Any]]
    """For each reply: the stance (None if it takes none), and whether the reply and the survey disagree."""
    rated: int
    apart: int
    """Number of replies that disagree with the survey."""
    listed: list[list[Any]]
    """The first LISTED of these: debate, iteration, role, name, stance, attitude before and after, text."""

    @property
    def script(self) -> dict[str, Any]:
        """What the script shows beside the replies."""
        return {"judge": self.judge, "most": MOST, "parted": self.listed}


def talk_of(study: Study) -> Talk:
    """The last judge's ratings of a run's replies; empty if nobody judged them."""
    found = judges(study)
    if not found:
        return Talk("", {}, 0, 0, [])
    judge = found[-1]
    said, apart = talk(study, judge), parted(study, judge)
    place = ["topic", "repetition", "iteration"]
    away = {*apart[place].itertuples(index=False, name=None)}
    rows = zip(said[place].itertuples(index=False, name=None), said["stance"], strict=True)
    marks: dict[Any, list[Any]] = {at: [_short(stance), at in away] for at, stance in rows}
    texts: Any = study.replies[[*place, "name", "text"]]
    shown: Any = apart.head(LISTED).merge(texts, on=place, how="left")
    composition = study.design["composition"]["name"]
    listed = [
        [str(DebateKey(row["topic"], composition, row["repetition"])), row["iteration"], row["role"], row["name"],
         *(_short(row[column]) for column in ("stance", "before", "after")), row["text"]]
        for row in shown.to_dict("records")
    ]  # fmt: skip
    return Talk(judge, marks, len(said), len(apart), listed)


def _short(value: Any) -> float | None:
    """A number rounded to one decimal; None if it is missing."""
    return None if value is None or value != value else round(float(value), 1) + 0.0
