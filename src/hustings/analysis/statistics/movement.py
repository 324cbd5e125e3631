"""How attitudes move from the first survey to the last: one value for each debate, and their mean over debates.

Statistics: closing (the primary one), party_gap, drift, default_drift and echo.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import (
    Ends,
    crowded,
    ends,
    has,
    margin,
    no_change,
    paired,
    parties,
    speakers,
    topics,
)
from hustings.analysis.resampling import INTERVAL, SPREAD, Alternative, Floats, few, mean_test, remarks
from hustings.analysis.statistic import PRIMARY, SECONDARY, Row, Statistic
from hustings.analysis.wording import evidence, size, span, where, who
from hustings.settings.debate import SHADOW

if TYPE_CHECKING:
    from hustings.study import Study

_FLIPS = "sign-flip permutation test over debates; effect size: Cohen's d_z"
ONE_SIDED = f"{INTERVAL}; one-sided {_FLIPS}"
TWO_SIDED = f"{INTERVAL}; two-sided {_FLIPS}"
STAYS = 0.5
"""The most that the Default may move, in points of ten, for the paper's premise that it stays to hold."""
NO_SHADOW = "no shadow Default listened to these debates (shadow=false)"

Made = tuple[Floats, str, str]
"""A value for each debate; why there are none; and what the reader should keep in mind."""


def _row(study: "Study", name: str, topic: str, role: str, made: Made) -> Row:
    """The row for the mean of one value per debate."""
    values, why, remark = made
    sided: Alternative = "greater" if name == "closing" else "two-sided"
    method = ONE_SIDED if sided == "greater" else TWO_SIDED
    if why:
        return Row(name, topic, role, len(values), method, why)
    same = len(values) > 1 and float(np.ptp(values)) <= SPREAD
    said = remarks("every debate gave the same value, so there is no effect size" if same else "", remark)
    return Row(name, topic, role, len(values), method, remarks(few(len(values)), said),
               **mean_test(values, study.seed, sided))  # fmt: skip


def closed(study: "Study", topic: str, role: str) -> tuple[Ends, Floats, str]:
    """|A(d,r,0) − B(d,0)| − |A(d,r,T) − B(d,T)| in each debate with a shadow; and why there are no values."""
    mine, shadow = paired(ends(study, topic, role), ends(study, topic, SHADOW))
    moved = np.abs(mine.first - shadow.first) - np.abs(mine.last - shadow.last)
    why = no_change(study, topic, role, len(ends(study, topic, role).first))
    if not why and not has(study, SHADOW):
        why = NO_SHADOW
    if not why and len(moved) == 0:
        why = "in no debate did the role and the shadow Default both give valid answers at the first and last survey"
    return mine, moved, why


def closing(study: "Study") -> Iterator[Row]:
    """Rows by topic and role (Source: protocol.md, closing).

    |A(d,r,0) − B(d,0)| − |A(d,r,T) − B(d,T)| in points, where B is the shadow Default that heard the same debate;
    > 0: the agent ended nearer to what the model itself thinks then. p is one-sided.
    """
    for topic in topics(study):
        for role in parties(study, topic):
            mine, moved, why = closed(study, topic, role)
            yield _row(study, "closing", topic, role, (moved, why, crowded(study, mine.first)))


def apart(study: "Study", topic: str) -> tuple[Ends, str]:
    """P(0) and P(T) in each debate: parties at the high pole minus parties at the low pole; and why there are none."""
    sides: list[Ends] = []
    for pole in ("high", "low"):
        roles = [role for role in parties(study, topic) if study.poles.get((role, topic)) == pole]
        if not roles:
            return Ends(*(np.empty(0) for _ in range(3))), f"no party in these debates is at the {pole} pole"
        each = [ends(study, topic, role) for role in roles]
        for role, it in zip(roles, each, strict=True):
            why = no_change(study, topic, role, len(it.first))
            if why:
                return Ends(*(np.empty(0) for _ in range(3))), why
        sides.append(mean_of(each))
    high, low = paired(*sides)
    gap = Ends(high.repetitions, high.first - low.first, high.last - low.last)
    return gap, "" if len(
        gap.first
    ) else "in no debate did both parties give valid answers at the first and last survey"


def mean_of(each: list[Ends]) -> Ends:
    """The mean over roles, for the debates that all of them have."""
    common = each[0].repetitions
    for it in each[1:]:
        common = np.intersect1d(common, it.repetitions)
    kept = [np.isin(it.repetitions, common) for it in each]
    return Ends(
        common,
        np.mean([it.first[these] for it, these in zip(each, kept, strict=True)], axis=0),
        np.mean([it.last[these] for it, these in zip(each, kept, strict=True)], axis=0),
    )


def together(study: "Study") -> Iterator[Row]:
    """Rows of party_gap and drift by topic, and of default_drift (Source: protocol.md, statistics).

    party_gap is P(0) − P(T), where P is the mean of the parties at the high pole minus that of the parties at the low
    pole; > 0: the parties came closer. drift is the mean of A(T) − A(0) over speaking roles. default_drift is B(T) −
    B(0).
    """
    for topic in topics(study):
        gap, why = apart(study, topic)
        firsts = [ends(study, topic, role).first for role in parties(study, topic)]
        yield _row(study, "party_gap", topic, "", (-gap.change, why, crowded(study, *firsts)))
    for topic in topics(study):
        each = {role: ends(study, topic, role) for role in speakers(study, topic)}
        why = next((it for role, one in each.items() if (it := no_change(study, topic, role, len(one.first)))), "")
        why = why or ("" if each else "nobody was surveyed after iteration 0")
        moved = np.empty(0) if why else mean_of([*each.values()]).change
        why = why or (
            "" if len(moved) else "in no debate did every role give valid answers at the first and last survey"
        )
        yield _row(study, "drift", topic, "", (moved, why, crowded(study, *(it.first for it in each.values()))))
    for topic in topics(study):
        own = ends(study, topic, SHADOW)
        why = no_change(study, topic, SHADOW, len(own.first)) if has(study, SHADOW) else NO_SHADOW
        row = _row(study, "default_drift", topic, SHADOW, (own.change, why, crowded(study, own.first)))
        yield row


def echo(study: "Study") -> Iterator[Row]:
    """Rows by topic and role: (A(T) − A(0))·s, s = +1 for a party at the high pole (Source: protocol.md, echo)."""
    for topic in topics(study):
        for role in parties(study, topic):
            mine = ends(study, topic, role)
            pole = study.poles.get((role, topic))
            why = "" if pole else "the party has no pole on this topic"
            why = why or no_change(study, topic, role, len(mine.first))
            signed = mine.change if pole == "high" else -mine.change
            yield _row(study, "echo", topic, role, (signed, why, crowded(study, mine.first)))


def moved_away(study: "Study", row: Row) -> str:
    """The warning that the Default may have moved by more than STAYS; empty if it stayed."""
    most = margin(study, STAYS)
    low, high = (row.estimate, row.estimate) if np.isnan(row.ci_low) else (row.ci_low, row.ci_high)
    if np.isnan(row.estimate) or (-most <= low and high <= most):
        return ""
    surely = low > most or high < -most
    said = "did not stay" if surely else "may not have stayed"
    return (
        f"The Default {said} where it began on {where(row, study.labels)}: it moved by {span(row)}, so a fixed line at "
        "its first answer misleads"
    )


def _closing(row: Row, labels: Mapping[str, str]) -> str:
    way = "nearer to" if row.estimate >= 0 else "further from"
    return f"{who(row, labels)} ended {size(row)} {way} the shadow Default on {where(row, labels)} ({evidence(row)})"


def _party_gap(row: Row, labels: Mapping[str, str]) -> str:
    way = "shrank" if row.estimate >= 0 else "grew"
    return f"The gap between the parties {way} by {size(row)} on {where(row, labels)} ({evidence(row)})"


def _drift(row: Row, labels: Mapping[str, str]) -> str:
    way = "up" if row.estimate >= 0 else "down"
    return f"Everybody together moved {size(row)} {way} the scale on {where(row, labels)} ({evidence(row)})"


def _default_drift(row: Row, labels: Mapping[str, str]) -> str:
    way = "up" if row.estimate >= 0 else "down"
    return f"The shadow Default moved {size(row)} {way} the scale on {where(row, labels)} ({evidence(row)})"


def _echo(row: Row, labels: Mapping[str, str]) -> str:
    way = "towards" if row.estimate >= 0 else "away from"
    return f"{who(row, labels)} moved {size(row)} {way} their own pole on {where(row, labels)} ({evidence(row)})"


STATISTICS = (
    Statistic(
        name="closing",
        title="the closing of the distance to the shadow Default",
        about="Did the agent end nearer to what the model itself thinks then?",
        function=closing,
        sentence=_closing,
        family=PRIMARY,
        order=10,
        both=True,
    ),
    Statistic(
        name="party_gap",
        title="the change of the gap between the parties",
        about="Did the parties come closer?",
        function=together,
        sentence=_party_gap,
        family=SECONDARY,
        order=20,
        both=True,
    ),
    Statistic(
        name="drift",
        title="the movement of everybody together",
        about="Did everybody move the same way?",
        function=together,
        sentence=_drift,
        family=SECONDARY,
        order=21,
        both=True,
    ),
    Statistic(
        name="default_drift",
        title="the movement of the shadow Default",
        about="Does the Default stay where it began?",
        function=together,
        sentence=_default_drift,
        family=SECONDARY,
        order=22,
        both=True,
    ),
    Statistic(
        name="echo",
        title="movement towards their own pole",
        about="Did the debate push agents towards their own party's pole, or away from it?",
        function=echo,
        sentence=_echo,
        family=SECONDARY,
        order=23,
    ),
)
