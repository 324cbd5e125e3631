"""What each debate contributes to a statistic: the attitudes of roles at the first and last survey, and the Default's.

It works on `Study.panels`, and explains in words why a measure is missing. It does not test anything.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.resampling import Floats, ratio
from hustings.settings.debate import DEFAULT, SHADOW

if TYPE_CHECKING:
    from hustings.study import Panel, Study

CROWDED = 0.2
"""Sign flips are unreliable if at least this share of first attitudes is at an end of the scale."""
_EDGE = 0.05
"""Attitudes this close to an end of the scale count as at the end, as a share of it: 0.5 of 10 points."""


@dataclass(frozen=True, slots=True)
class Ends:
    """A role's attitude at iteration 0 and at T, in each debate that has both."""

    repetitions: Floats
    """Ascending, (debates,)."""
    first: Floats
    """A(d,r,0), points: the mean over the role's agents with valid answers at both."""
    last: Floats
    """A(d,r,T)."""

    @property
    def change(self) -> Floats:
        """A(T) − A(0)."""
        return self.last - self.first


def check_one_run(study: "Study") -> None:
    """Refuse tables that contain several runs, whose debates must not be averaged.

    Raises:
        ValueError: names the column with several values.
    """
    for key in ("composition", "model", "adapter", "seed"):
        if study.attitudes[key].nunique(dropna=False) > 1:
            raise ValueError(f"attitudes: several values of {key!r} in one study; make one study for each run.")


def topics(study: "Study") -> list[str]:
    """Topics in the study's tables, and those on which a party of the study has a pole."""
    return sorted({*study.panels, *(topic for _, topic in study.poles)})


def parties(study: "Study", topic: str) -> list[str]:
    """Partisan roles: those in the study's tables, and those with a pole on the topic."""
    present = {role for panel in study.panels.values() for _, role in panel.seats}
    return sorted({*present, *(role for role, about in study.poles if about == topic)} - {DEFAULT, SHADOW})


def speakers(study: "Study", topic: str) -> list[str]:
    """Roles that take part in debates and are surveyed after iteration 0, without the shadow."""
    agents = study.agents
    speak = {*agents.loc[agents["speaks"].astype(bool) & (agents["topic"] == topic), "role"].unique()}
    panel = study.panels.get(topic)
    asked = set[str]() if panel is None else {role for _, role in panel.seats}
    return sorted((speak & asked) - {SHADOW})


def has(study: "Study", role: str) -> bool:
    """Whether the study has surveyed agents of this role."""
    return any(role == other for panel in study.panels.values() for _, other in panel.seats)


def last_iteration(study: "Study") -> int:
    """T: the last iteration with a survey; a debate that was cut short before T has no final answer."""
    return max((int(panel.times[-1]) for panel in study.panels.values()), default=0)


def of_role(panel: "Panel", role: str) -> Floats:
    """Attitudes of the role's agents, (debates, agents, surveys)."""
    return panel.values[:, [place for place, (_, other) in enumerate(panel.seats) if other == role]]


def ends(study: "Study", topic: str, role: str) -> Ends:
    """A role's first and last attitude in each debate (Source: protocol.md, statistics)."""
    panel = study.panels.get(topic)
    if panel is None:
        return Ends(*(np.empty(0) for _ in range(3)))
    mine = of_role(panel, role)
    first, last = mine[:, :, 0], mine[:, :, -1]
    both = np.isfinite(first) & np.isfinite(last)
    count = both.sum(axis=1)
    there = count > 0
    means = ((np.where(both, it, 0.0).sum(axis=1))[there] / count[there] for it in (first, last))
    return Ends(panel.repetitions[there].astype(float), *means)


def paired(one: Ends, two: Ends) -> tuple[Ends, Ends]:
    """The debates that are in both."""
    both = np.intersect1d(one.repetitions, two.repetitions)

    def only(it: Ends) -> Ends:
        kept = np.isin(it.repetitions, both)
        return Ends(it.repetitions[kept], it.first[kept], it.last[kept])

    return only(one), only(two)


def agent_means(values: Floats) -> Floats:
    """Means over agents, (debates, agents) → (debates,); NaN where no agent has a value."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def at(study: "Study", topic: str, role: str, survey: int) -> Floats:
    """A role's attitude at one survey in each debate that has one, (debates,), averaged over its agents.

    Args:
        survey: 0 for the first survey, −1 for the last.
    """
    panel = study.panels.get(topic)
    means = np.empty(0) if panel is None else agent_means(of_role(panel, role)[:, :, survey])
    return means[np.isfinite(means)]


def bias_role(study: "Study") -> str:
    """The role whose attitude at iteration 0 is b: the Default, or the shadow if no other Default was surveyed."""
    return DEFAULT if has(study, DEFAULT) or not has(study, SHADOW) else SHADOW


def first_default(study: "Study", topic: str) -> tuple[Floats, Floats]:
    """The Default's own attitude at iteration 0, (debates,), and the repetitions in which it gave one, (debates,)."""
    panel = study.panels.get(topic)
    if panel is None:
        return np.empty(0), np.empty(0)
    means = agent_means(of_role(panel, bias_role(study))[:, :, 0])
    there = np.isfinite(means) & (panel.times[0] == 0)
    return means[there], panel.repetitions[there].astype(float)


def no_bias(study: "Study") -> str:
    """Why a topic has no b."""
    asked = has(study, bias_role(study))
    return "the Default gave no valid answer at iteration 0" if asked else "no Default agent was surveyed"


def no_change(study: "Study", topic: str, role: str, changes: int) -> str:
    """Why the mean of a change over debates does not exist; empty if it does.

    Args:
        changes: number of debates with a value.
    """
    panel = study.panels.get(topic)
    if panel is None or all(role != other for _, other in panel.seats):
        return "no agent of this role took part"
    last = last_iteration(study)
    if last == 0:
        return "nobody was surveyed after iteration 0"
    if changes == 0:
        if np.isnan(of_role(panel, role)).all():
            return "every answer was invalid"
        return f"no debate has valid answers at both iteration 0 and iteration {last}"
    return ""


def margin(study: "Study", of_ten: float) -> float:
    """Convert points on a ten-point scale to the study's own scale."""
    low, high = study.scale
    return of_ten * (high - low) / 10


def at_edges(study: "Study", values: Floats) -> tuple[Floats, Floats]:
    """Whether each attitude is at the low end of the scale, and at the high end: within 0.5 of 10 points."""
    low, high = study.scale
    near = _EDGE * (high - low) + 1e-9
    return (values <= low + near).astype(float), (values >= high - near).astype(float)


def at_an_end(study: "Study", *first: Floats) -> str:
    """'40 % of first attitudes are at an end of the scale'; empty if the share is below CROWDED.

    Args:
        first: attitudes at iteration 0 of each role, (debates,); the role with the largest share counts.
    """
    shares = [max(float(edge.mean()) for edge in at_edges(study, it)) for it in first if len(it)]
    most = max(shares, default=0.0)
    return f"{100 * most:.0f} % of first attitudes are at an end of the scale" if most >= CROWDED else ""


def crowded(study: "Study", *first: Floats) -> str:
    """The remark on sign flips if many attitudes begin at an end of the scale.

    Args:
        first: as for `at_an_end`.
    """
    said = at_an_end(study, *first)
    return (
        f"{said}, from where they can only move inwards, so p is not valid; compare with control=retest on the same "
        "personas"
        if said
        else ""
    )
