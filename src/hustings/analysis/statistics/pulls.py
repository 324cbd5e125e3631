"""What moves attitudes from round to round: social pull α, model pull β, persona anchor κ.

Agents are not averaged, and debates are left out whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hustings.analysis.measures import at_zero, no_bias
from hustings.analysis.resampling import Floats, ratio
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import evidence, interval, where

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

ALL = ""
"""The topic of a row that is about all topics together."""
METHOD = "least squares; 95 % interval and two-sided p of Student's t with cluster-jackknife standard errors (CR3)"

_NAMES = ("beta", "alpha", "kappa")
_STEPS = "scores in whole steps blur the pulls, so use analysis.outcome=expected where the engine gives probabilities"
_DEAF = "agents that hear nobody are left out"
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True)
class _Moments:
    """All that least squares needs to know about one topic, by repetition, before b is known."""

    zz: Floats
    """Σ zz', (repetitions, 4, 4), of z = (1, A, mean of the others − A, A(0) − A) over agents and rounds."""
    zy: Floats
    """Σ zy, (repetitions, 4), of y = A(t+1) − A(t)."""
    yy: Floats
    """Σ y², (repetitions,)."""
    asked: Floats
    """1 where the Default gave a valid answer at iteration 0, (repetitions,)."""
    own: Floats
    """That answer, or 0, (repetitions,)."""
    deaf: bool
    """Some speaker hears nobody."""

    @property
    def bias(self) -> float:
        """b, over all debates."""
        return float(self.own.sum() / self.asked.sum())

    @property
    def debates(self) -> NDArray[np.bool_]:
        """True for repetitions with anything to fit, (repetitions,)."""
        return self.zz[:, 0, 0] > 0

    @property
    def whole(self) -> tuple[Floats, Floats]:
        """X'X (3, 3) and X'y (3,) of all debates."""
        return _normal(self.zz.sum(axis=0), self.zy.sum(axis=0), np.asarray(self.bias))


def pulls(study: "Study") -> Iterator[Row]:
    """α, β and κ for each round, by topic and over all topics (Source: protocol.md, dynamics).

    A(t+1) − A(t) = β(b − A(t)) + α(mean of the others(t) − A(t)) + κ(A(0) − A(t)) + ε by least squares over agents
    that speak and rounds. The others are those whose replies the agent hears; an agent that hears nobody has no
    social pull and is left out.

    Intervals and two-sided p: Student's t with the cluster-jackknife standard error (CR3; MacKinnon, Nielsen & Webb
    2023): each debate is left out in turn and b is estimated again. Over all topics the debates of one repetition,
    which share personas, are left out together. For comparison, a percentile bootstrap of 40 debates covered 93.3 %
    and its sign-flip test rejected 6.7 % of true nulls; docs/validity.md has the numbers of this method.
    """
    topics = sorted({*study.answers["topic"]})
    repetitions = np.unique(study.answers["repetition"].to_numpy())
    parts: list[_Moments] = []
    for topic in topics:
        moments = _moments(study, topic, repetitions)
        if isinstance(moments, str):
            yield from _fit([], topic, study.outcome, moments)
            continue
        parts.append(moments)
        yield from _fit([moments], topic, study.outcome)
    if len(topics) > 1:
        yield from _fit(parts, ALL, study.outcome, "" if parts else "no topic can be used")


def _moments(study: "Study", topic: str, repetitions: Any) -> _Moments | str:
    """Moments of one topic, or why there are none."""
    answers = study.answers
    default = at_zero(answers, topic)
    if default.empty:
        return no_bias(answers, topic)
    mine = answers[answers["topic"] == topic]
    agents = study.agents[study.agents["topic"] == topic]
    asked = {*mine.loc[mine["iteration"] > 0, "agent"]}
    speakers = np.array(sorted({*agents.loc[agents["speaks"].astype(bool), "agent"]} & asked), dtype=int)
    if len(speakers) == 0:
        return "nobody was surveyed after iteration 0"
    if len(speakers) == 1:
        return "there is only one speaker, and so nobody else to pull"
    hears = _hears(agents, speakers, repetitions)
    deaf = hears.sum(axis=2) == 0
    if deaf.all():
        return "no agent hears another"
    a = _attitudes(mine, speakers, repetitions, np.unique(answers["iteration"].to_numpy()))
    now, start = a[:, :, :-1], a[:, :, :1]
    z = np.stack([np.ones_like(now), now, _others(now, hears) - now, start - now], axis=-1)
    z, y = z.reshape(len(repetitions), -1, 4), np.diff(a, axis=2).reshape(len(repetitions), -1)
    known = np.isfinite(z).all(axis=-1) & np.isfinite(y)
    z, y = np.where(known[..., None], z, 0.0), np.where(known, y, 0.0)
    own = default.reindex(repetitions)
    return _Moments(
        zz=np.einsum("dmi,dmj->dij", z, z),
        zy=np.einsum("dmi,dm->di", z, y),
        yy=(y**2).sum(axis=1),
        asked=np.asarray(own.notna(), dtype=np.float64),
        own=own.fillna(0.0).to_numpy(float),
        deaf=bool((deaf & np.isfinite(a[:, :, 0])).any()),
    )


def _attitudes(mine: "pd.DataFrame", speakers: Any, repetitions: Any, times: Any) -> Floats:
    """Attitudes of one topic's speakers, (repetitions, speakers, times); NaN where there is no valid answer."""
    a = np.full((len(repetitions), len(speakers), len(times)), np.nan)
    mine = mine[mine["agent"].isin(speakers)]
    places = (
        np.searchsorted(repetitions, mine["repetition"].to_numpy()),
        np.searchsorted(speakers, mine["agent"].to_numpy()),
        np.searchsorted(times, mine["iteration"].to_numpy()),
    )
    a[places] = mine["value"].to_numpy(float)
    return a


def _hears(agents: "pd.DataFrame", speakers: Any, repetitions: Any) -> Floats:
    """1 where one speaker hears another in a debate, (repetitions, listeners, speakers)."""
    place = {int(speaker): at for at, speaker in enumerate(speakers)}
    everybody = 1.0 - np.eye(len(speakers))
    rows: dict[tuple[int, str], Floats] = {}
    hears = np.zeros((len(repetitions), len(speakers), len(speakers)))
    columns = (agents[name].tolist() for name in ("repetition", "agent", "hears"))
    debates = {int(repetition): at for at, repetition in enumerate(repetitions)}
    for repetition, agent, heard in zip(*columns, strict=True):
        if agent not in place or repetition not in debates:
            continue
        if (agent, heard) not in rows:
            row = everybody[place[agent]].copy()
            if heard != "all":
                row *= np.isin(speakers, [int(other) for other in str(heard).split()])
            rows[agent, heard] = row
        hears[debates[repetition], place[agent]] = rows[agent, heard]
    return hears


def _others(now: Floats, hears: Floats) -> Floats:
    """Mean attitude of those whom each speaker hears; NaN where it hears nobody or one of them has no attitude.

    Args:
        now: attitudes, (repetitions, speakers, times).
        hears: (repetitions, listeners, speakers).

    Returns:
        (repetitions, listeners, times).
    """
    total = hears @ np.nan_to_num(now)
    count = np.broadcast_to(hears.sum(axis=2, keepdims=True), total.shape)
    return np.where(hears @ np.isnan(now) > 0, np.nan, ratio(total, count))


def _normal(zz: Floats, zy: Floats, b: Floats) -> tuple[Floats, Floats]:
    """X'X (…, 3, 3) and X'y (…, 3) for X = (b − A, mean of the others − A, A(0) − A)."""
    change = np.zeros((*b.shape, 4, 3))
    change[..., 0, 0] = b
    change[..., 1, 0] = -1
    change[..., 2, 1] = 1
    change[..., 3, 2] = 1
    turned = np.swapaxes(change, -1, -2)
    return turned @ zz @ change, (turned @ zy[..., None])[..., 0]


def _fit(parts: Sequence[_Moments], topic: str, outcome: str, why: str = "") -> Iterator[Row]:
    """Rows of α, β and κ over the given topics.

    Args:
        why: there is nothing to fit.
    """
    method = f"{METHOD}; a cluster is {'a repetition on all topics' if topic == ALL else 'a debate'}"
    deaf = any(part.deaf for part in parts)
    parts = [part for part in parts if part.debates.any()]
    n = sum(int(part.debates.sum()) for part in parts)
    clusters = int(np.any([part.debates for part in parts], axis=0).sum()) if parts else 0
    why = why or _undetermined(parts, clusters)
    without = np.empty((0, 3)) if why else _left_out(parts)
    if not why and not np.isfinite(without).all():
        why = f"there are too few debates ({n})"
    if why:
        yield from (Row(pull, topic, "", n, method, why) for pull in sorted(_NAMES))
        return
    estimate = _solved(parts)
    error = ((clusters - 1) / clusters * ((without - estimate) ** 2).sum(axis=0)) ** 0.5
    remark = "; ".join(([_DEAF] if deaf else []) + ([_STEPS] if outcome == "score" else []))
    for place, pull in sorted(enumerate(_NAMES), key=lambda it: it[1]):
        if error[place] <= _SINGULAR:
            same = f"it is {estimate[place] + 0.0:.2f} whichever debate is left out, so its uncertainty is unknown"
            yield Row(pull, topic, "", n, method, same)
            continue
        yield Row(pull, topic, "", n, method, remark, **_student(float(estimate[place]), float(error[place]), clusters))


def _student(estimate: float, error: float, clusters: int) -> dict[str, float]:
    from scipy.stats import t

    half = float(t.ppf(0.975, clusters - 1)) * error
    p = 2 * float(t.sf(abs(estimate) / error, clusters - 1))
    return {"estimate": estimate, "ci_low": estimate - half, "ci_high": estimate + half, "p": p}


def _undetermined(parts: Sequence[_Moments], clusters: int) -> str:
    """Why α, β and κ cannot be estimated; empty when they can."""
    if not parts:
        return "no round has valid answers from an agent and everybody it hears"
    if clusters < 2:
        return "there is only one debate"
    if sum(float(part.yy.sum()) for part in parts) <= _SINGULAR:
        return "nobody's attitude moved"
    xx = np.sum([part.whole[0] for part in parts], axis=0)
    if not bool(_regular(xx[None], xx)[0]):
        return "the three pulls cannot be separated in these debates (collinear)"
    return ""


def _regular(xx: Floats, whole: Floats) -> Any:
    """True where X'X, scaled by the diagonal of the whole sample's, can be inverted, (…,)."""
    cells = sum(float(whole[i, i]) for i in range(3))
    if min(float(whole[i, i]) for i in range(3)) <= _SINGULAR * max(cells, 1e-300):
        return np.zeros(xx.shape[:-2], dtype=bool)
    scale = np.sqrt(np.diag(whole))
    return np.linalg.eigvalsh(xx / scale[:, None] / scale)[..., 0] > _SINGULAR


def _solved(parts: Sequence[_Moments]) -> Floats:
    """β, α and κ of all debates, (3,)."""
    each = [part.whole for part in parts]
    xx, xy = np.sum([one for one, _ in each], axis=0), np.sum([two for _, two in each], axis=0)
    return np.asarray(np.linalg.solve(xx, xy), dtype=np.float64)


def _left_out(parts: Sequence[_Moments]) -> Floats:
    """β, α and κ without each cluster in turn, b estimated again, (clusters, 3); NaN where they are undetermined."""
    used = np.any([part.debates | (part.asked > 0) for part in parts], axis=0)
    xx, xy = np.zeros((int(used.sum()), 3, 3)), np.zeros((int(used.sum()), 3))
    whole = np.sum([part.whole[0] for part in parts], axis=0)
    for part in parts:
        b = ratio(part.own.sum() - part.own[used], part.asked.sum() - part.asked[used])
        zz, zy = part.zz.sum(axis=0) - part.zz[used], part.zy.sum(axis=0) - part.zy[used]
        one, two = _normal(zz, zy, np.where(np.isnan(b), part.bias, b))
        xx, xy = xx + one, xy + two
    fine = _regular(xx, whole)
    solved = np.full_like(xy, np.nan)
    solved[fine] = np.linalg.solve(xx[fine], xy[fine][..., None])[..., 0]
    return solved


def _statistic(name: str, title: str, goal: str, about: str, order: int) -> Statistic:
    def sentence(row: Row, labels: Mapping[str, str]) -> str:
        closed = f"{interval(row, '', 2)} of agents' distance to {goal} on {where(row, labels)}"
        return f"Each round, {title} closed {closed} ({evidence(row)})"

    return Statistic(name, title, about, pulls, sentence, family="tests", order=order)


STATISTICS = (
    _statistic("alpha", "the social pull α", "the others", "How strongly do agents move towards those they hear?", 40),
    _statistic(
        "beta",
        "the model pull β",
        "the Default's attitude",
        "How strongly do agents move towards the Default's first attitude?",
        41,
    ),
    _statistic(
        "kappa",
        "the persona anchor κ",
        "their first attitude",
        "How strongly do agents return to their first attitude?",
        42,
    ),
)
