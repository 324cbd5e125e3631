"""What moves attitudes between rounds, and where to: model pull β, attractor b*, social pull α, persona anchor κ.

Agents are not averaged; the jackknife leaves out whole debates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis import dynamics
from hustings.analysis.dynamics import Fit, Moments
from hustings.analysis.measures import at, at_an_end, first_default, no_bias, topics
from hustings.analysis.resampling import Floats, Numbers, ratio, remarks
from hustings.analysis.statistic import SECONDARY, Row, Statistic
from hustings.analysis.wording import evidence, interval, size, where
from hustings.settings.debate import DEFAULT, SHADOW

if TYPE_CHECKING:
    from hustings.study import Panel, Study

ALL = ""
"""The topic of a row that covers all topics together."""
PULLS = {"model_pull": 0, "social_pull": 1, "anchor": 2}
"""Index of each pull in dynamics.NAMES."""
WEAK = 10.0
"""First-stage F below which instruments are called weak (Staiger & Stock 1997)."""

_SQUARES = "least squares with a free intercept for each topic"
_INSTRUMENTS = (
    "instrumental variables: each half of the instrument's items is the instrument of the other, and both fits are "
    "averaged; a free intercept for each topic"
)
_STUDENT = "95 % interval and two-sided p of Student's t with cluster-jackknife standard errors (CR3)"
_FIELLER = "95 % interval of Fieller with cluster-jackknife covariances (CR3)"
_NOISE = "survey noise inflates the pulls, and an instrument with one half cannot remove it"
_STEPS = "scores in whole steps blur the pulls, so use analysis.outcome=expected where the engine gives probabilities"
_DEAF = "agents that hear nobody are left out"
_SILENT = {
    "retest": "nobody spoke (control=retest)",
    "reader": "nobody spoke (control=reader)",
    "off_topic": "the debates were about something else (control=off_topic)",
}
_CERTAIN = "it is the same whichever debate is left out, so its uncertainty is unknown"
_UNBOUNDED = "its 95 % interval is unbounded, because the model pull is not clearly different from 0"
_NONE = 1e-9


@dataclass(frozen=True, slots=True)
class _Topic:
    """One topic, ready to be fitted."""

    key: str
    repetitions: Any
    """Repetitions of its debates, ascending."""
    directions: tuple[Moments, ...]
    """One direction; with instruments two, each with the other half of the survey as the instrument."""
    remark: str
    """What the reader of its pulls should keep in mind."""


def pulls(study: "Study") -> Iterator[Row]:
    """β, α and κ for each round, b* = c/β, and b* − b, by topic; and β, α and κ over all topics.

    The model is A(t+1) − A(t) = c − βA(t) + α(mean of the others(t) − A(t)) + κ(A(0) − A(t)) + ε, over speaking agents
    and rounds (Source: protocol.md, statistics). c is free for each topic. The others are the agents whose replies an
    agent hears; an agent that hears nobody has no social pull and is left out.

    If the instrument has two parcels, θ = (Z′X)⁻¹Z′y with X and y from one parcel and Z from the other, averaged over
    both assignments. The jackknife leaves out one debate at a time; over all topics, it leaves out the debates of one
    repetition together, as they share personas. b is estimated again each time.
    """
    found: list[_Topic] = []
    for topic in topics(study):
        made = _topic(study, topic)
        if isinstance(made, str):
            yield from _unknown(topic, made, len(study.parcels) > 0)
            continue
        found.append(made)
        yield from _rows(study, [made], topic)
    if len(topics(study)) > 1:
        if found:
            yield from _rows(study, found, ALL)
        else:
            yield from _unknown(ALL, "no topic can be used", len(study.parcels) > 0)


def _unknown(topic: str, why: str, instruments: bool, n: int = 0) -> Iterator[Row]:
    """Rows without an estimate."""
    for name in [*PULLS, *(() if topic == ALL else ("attractor", "attractor_bias"))]:
        yield Row(name, topic, "", n, _method(name, topic, instruments), why)


def _method(name: str, topic: str, instruments: bool) -> str:
    cluster = "a repetition on all topics" if topic == ALL else "a debate"
    how = _FIELLER if name == "attractor" else _STUDENT
    if name == "attractor_bias":
        how = f"{_FIELLER}; two-sided p of Student's t for c = βb"
    return f"{_INSTRUMENTS if instruments else _SQUARES}; {how}; a cluster is {cluster}"


def _topic(study: "Study", topic: str) -> _Topic | str:
    """What can be fitted for one topic, or why nothing can."""
    panel = study.panels.get(topic)
    if study.control in _SILENT:
        return _SILENT[study.control]
    if panel is None or len(panel.times) < 2:
        return "nobody was surveyed after iteration 0"
    agents = study.agents[study.agents["topic"] == topic]
    speak = {*agents.loc[agents["speaks"].astype(bool), "agent"]}
    asked = [place for place, (agent, role) in enumerate(panel.seats)
             if agent in speak and role != SHADOW and panel.values.shape[2] > 1]  # fmt: skip
    asked = [place for place in asked if np.isfinite(panel.values[:, place, 1:]).any()]
    speakers = [panel.seats[place][0] for place in asked]
    if len(speakers) == 0:
        return "every answer was invalid" if speak else "nobody was surveyed after iteration 0"
    if len(speakers) == 1:
        return "there is only one speaker, and so nobody else to pull"
    hears, unknown = _hears(agents, speakers, panel)
    deaf = hears.sum(axis=2) == 0
    if deaf.all():
        return "agents hear only advocates, who are not surveyed" if unknown else "no agent hears another"
    halves = [each[topic].values[:, asked] for each in study.parcels]
    whole = panel.values[:, asked]
    pairs = ((halves[0], halves[1]), (halves[1], halves[0])) if halves else ((whole, None),)
    moments = tuple(Moments.of(values, hears, instrument) for values, instrument in pairs)
    roles = {panel.seats[place][1] for place in asked} - {DEFAULT}
    end = at_an_end(study, *(at(study, topic, role, 0) for role in sorted(roles)))
    left_out = bool((deaf & np.isfinite(whole[:, :, 0])).any())
    remark = remarks(_DEAF if left_out else "", f"{end}, where pulls are not what they seem" if end else "")
    return _Topic(topic, panel.repetitions, moments, remark)


def _hears(agents: Any, speakers: Sequence[int], panel: "Panel") -> tuple[Floats, bool]:
    """1 where a listener hears a speaker, (debates, listeners, speakers); and whether any hears an unsurveyed agent."""
    place = {speaker: at for at, speaker in enumerate(speakers)}
    debates = {int(repetition): at for at, repetition in enumerate(panel.repetitions)}
    everybody = 1.0 - np.eye(len(speakers))
    rows: dict[tuple[int, str], Floats] = {}
    hears = np.zeros((len(debates), len(speakers), len(speakers)))
    unknown = False
    columns = (agents[name].tolist() for name in ("repetition", "agent", "hears"))
    for repetition, agent, heard in zip(*columns, strict=True):
        if agent not in place or repetition not in debates:
            continue
        if (agent, heard) not in rows:
            row = everybody[place[agent]].copy()
            if heard != "all":
                others = [int(other) for other in str(heard).split()]
                unknown |= not {*others} <= {*speakers}
                row *= np.isin(speakers, others)
            rows[agent, heard] = row
        hears[debates[repetition], place[agent]] = rows[agent, heard]
    return hears, unknown


def _aligned(found: Sequence[_Topic]) -> tuple[list[list[Moments]], Any]:
    """Moments by direction and topic, with the same clusters everywhere; and the repetitions of these clusters."""
    used = [it.repetitions[it.directions[0].count > 0] for it in found]
    repetitions = np.unique(np.concatenate(used)) if used else np.empty(0)
    directions: list[list[Moments]] = []
    for direction in range(len(found[0].directions)):
        parts: list[Moments] = []
        for it in found:
            made, row = it.directions[direction], np.searchsorted(repetitions, it.repetitions)
            kept = np.isin(it.repetitions, repetitions)
            whole = [np.zeros((len(repetitions), *x.shape[1:])) for x in (made.count, made.sums, made.products)]
            for to, x in zip(whole, (made.count, made.sums, made.products), strict=True):
                to[row[kept]] = x[kept]
            parts.append(Moments(*whole))
        directions.append(parts)
    return directions, repetitions


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A fit and the values that its rows share."""

    fit: Fit
    topic: str
    n: int
    instruments: bool
    remark: str

    def row(self, name: str, remark: str = "", numbers: Numbers | None = None) -> Row:
        method = _method(name, self.topic, self.instruments)
        return Row(name, self.topic, "", self.n, method, remarks(remark, self.remark), **(numbers or {}))


def _rows(study: "Study", found: Sequence[_Topic], topic: str) -> Iterator[Row]:
    """Rows for the given topics."""
    directions, repetitions = _aligned(found)
    n = sum(int(part.used.sum()) for part in directions[0])
    instruments = len(directions) > 1
    why = dynamics.why_not(directions, len(repetitions))
    fit = None if why else dynamics.fit(directions)
    if fit is None or not np.isfinite(fit.pulls_without).all():
        yield from _unknown(topic, why or f"there are too few debates ({n})", instruments, n)
        return
    remark = remarks(
        *dict.fromkeys(it.remark for it in found),
        _STEPS if study.outcome == "score" else "",
        _strength(fit) if instruments else _NOISE,
    )
    fitted = _Fitted(fit, topic, n, instruments, remark)
    covariance = dynamics.jackknife(fit.pulls, fit.pulls_without)
    for name, place in PULLS.items():
        estimate, error = float(fit.pulls[place]), float(covariance[place, place]) ** 0.5
        if error <= _NONE:
            yield fitted.row(name, _CERTAIN, {"estimate": estimate})
        else:
            yield fitted.row(name, "", dynamics.student(estimate, error, len(repetitions)))
    if topic != ALL:
        yield from _attractor(study, fitted, repetitions)


def _attractor(study: "Study", fitted: _Fitted, repetitions: Any) -> Iterator[Row]:
    """Rows for b* = c/β and b* − b, for one topic."""
    fit, clusters = fitted.fit, len(repetitions)
    beta, without = float(fit.pulls[0]), fit.pulls_without[:, 0]
    level, level_without = float(fit.level[0]), fit.level_without[:, 0]
    yield fitted.row("attractor", *_ratio(level, level_without, beta, without))
    default, asked = first_default(study, fitted.topic)
    if len(default) == 0:
        yield fitted.row("attractor_bias", no_bias(study))
        return
    own = np.zeros(clusters)
    places = np.searchsorted(repetitions, asked)
    there = np.isin(asked, repetitions)
    own[places[there]] = default[there]
    has = np.isin(repetitions, asked).astype(float)
    bias = float(default.mean())
    rest = ratio(default.sum() - own, len(default) - has)
    off, off_without = level - bias * beta, level_without - np.where(np.isfinite(rest), rest, bias) * without
    remark, numbers = _ratio(off, off_without, beta, without)
    error = float(dynamics.jackknife(np.array([off]), off_without[:, None])[0, 0]) ** 0.5
    if error > _NONE:
        numbers["p"] = dynamics.student(off, error, clusters).get("p", np.nan)
    yield fitted.row("attractor_bias", remark, numbers)


def _ratio(above: float, above_without: Floats, below: float, below_without: Floats) -> tuple[str, Numbers]:
    """What the reader of above/below should keep in mind, and above/below with Fieller's interval."""
    if abs(below) <= _NONE:
        return "nothing pulls to any point", {}
    covariance = dynamics.jackknife(np.array([above, below]), np.column_stack([above_without, below_without]))
    low, high = dynamics.fieller(above, below, covariance, len(above_without))
    said = "the model pull is negative, so attitudes move away from this point" if below < 0 else ""
    if covariance.max() <= _NONE**2:
        return remarks(said, _CERTAIN), {"estimate": above / below}
    unbounded = _UNBOUNDED if np.isinf(low) else ""
    return remarks(said, unbounded), {"estimate": above / below, "ci_low": low, "ci_high": high}


def _strength(fit: Fit) -> str:
    """How well the two halves of the instrument predict each other."""
    if np.isinf(fit.first_stage):
        return "the halves of the instrument agree exactly"
    said = f"first-stage F = {fit.first_stage:,.0f}" if fit.first_stage >= 1 else "first-stage F < 1"
    weak = "the halves of the instrument hardly predict each other, so do not rely on the pulls"
    return f"{said}: {weak}" if fit.first_stage < WEAK else said


def _pull(name: str, title: str, goal: str, about: str, order: int) -> Statistic:
    def sentence(row: Row, labels: Mapping[str, str]) -> str:
        closed = f"{interval(row, '', 2)} of agents' distance to {goal} on {where(row, labels)}"
        return f"Each round, {title} closed {closed} ({evidence(row)})"

    return Statistic(name, title, about, pulls, sentence, family=SECONDARY, order=order)


def _attractor_said(row: Row, labels: Mapping[str, str]) -> str:
    point = interval(row, "", 1)
    return f"On {where(row, labels)}, the model pull is towards an attitude of {point} ({evidence(row)})"


def _bias_said(row: Row, labels: Mapping[str, str]) -> str:
    above = "above" if row.estimate >= 0 else "below"
    point = f"{size(row)} {above} the Default's first attitude"
    return f"On {where(row, labels)}, the model pull is towards a point {point} ({evidence(row)})"


STATISTICS = (
    _pull(
        "model_pull",
        "the model pull β",
        "the model's own attitude b*",
        "How strongly do agents move towards an attitude of the model's own?",
        40,
    ),
    Statistic(
        name="attractor",
        title="the attitude b* that the model pulls to",
        about="Which attitude does the model pull to?",
        function=pulls,
        sentence=_attractor_said,
        order=41,
    ),
    Statistic(
        name="attractor_bias",
        title="the distance of b* from the Default's first attitude",
        about="Does the model pull to where its Default stood at the start?",
        function=pulls,
        sentence=_bias_said,
        family=SECONDARY,
        order=42,
    ),
    _pull("social_pull", "the social pull α", "the others", "How strongly do agents move towards those they hear?", 43),
    _pull(
        "anchor",
        "the persona anchor κ",
        "their first attitude",
        "How strongly do agents return to their first attitude?",
        44,
    ),
)
