"""What a run found, in three sentences of plain English: what moved, how sure that is, and what to do next."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hustings.report.numbers import Test, bracketed, missing

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

_LEVEL, _POWER = 0.05, 0.8
_MOST = 400
"""Debates beyond which no advice to play more is given."""


def finding(study: "Study", statistics: "pd.DataFrame") -> list[str]:
    """The finding of one run; nothing where there is no closing to speak of (no partisans, no shadow).

    Args:
        statistics: columns of analysis.statistics.COLUMNS.
    """
    mine = statistics[statistics["outcome"] == study.outcome]
    tests = [test for test in mine.to_dict("records") if not missing(test)]
    closing = [test for test in tests if test["statistic"] == "closing"]
    if not closing:
        return []
    return [_moved(study, closing, tests), _sure(study, closing), _next(study, closing)]


def _moved(study: "Study", closing: Sequence[Test], tests: Sequence[Test]) -> str:
    """How far agents ended nearer to the model's own attitude, the parties' gap, and the common movement."""
    topics = list(dict.fromkeys(str(test["topic"]) for test in closing))
    if len(topics) == 1:
        each = [f"{study.labels[test['role']]} agents {_nearer(test)}" for test in closing]
        words = f"On {study.labels[topics[0]]}, compared with what the model itself thinks, {_and(each)}"
    else:
        nearer = sum(test["estimate"] > 0 for test in closing)
        mean = fmean(test["estimate"] for test in closing)
        words = (
            f"On {len(topics)} topics, agents ended nearer to what the model itself thinks in {nearer} of "
            f"{len(closing)} cases of a topic and a party, by {_points(mean)} on average"
        )
    rest = [said for said in (_gap(tests), _drift(tests)) if said]
    return f"{words}; {_and(rest)}." if rest else f"{words}."


def _nearer(test: Test) -> str:
    side = "nearer" if test["estimate"] >= 0 else "further away"
    return f"ended {_points(abs(test['estimate']))} {side}"


def _gap(tests: Sequence[Test]) -> str:
    gaps = [test for test in tests if test["statistic"] == "party_gap"]
    if not gaps:
        return ""
    mean = fmean(test["estimate"] for test in gaps)
    interval = bracketed(gaps[0])[len(f"{gaps[0]['estimate']:.1f}") :] if len(gaps) == 1 and mean > 0 else ""
    return f"the gap between the parties {'shrank' if mean > 0 else 'grew'} by {_points(abs(mean))}{interval}"


def _drift(tests: Sequence[Test]) -> str:
    """Everybody's movement, beside the shadow Default's."""
    drifts, shadows = (
        [test["estimate"] for test in tests if test["statistic"] == name] for name in ("drift", "default_drift")
    )
    if not drifts:
        return ""
    words = f"all speakers together moved {_direction(fmean(drifts))}"
    return f"{words}, the silent Default {_direction(fmean(shadows))}" if shadows else words


def _sure(study: "Study", closing: Sequence[Test]) -> str:
    """Which of the primary tests hold after the correction for their number."""
    n = max(test["n"] for test in closing)
    if n < 2:
        return "One debate shows what can happen, and nothing about how often it does."
    found = [test for test in closing if test["p_holm"] <= _LEVEL]
    several = len({test["topic"] for test in closing}) > 1
    debates = f"With {n} debates on {'each' if several else 'the'} topic"
    smallest = min(float(test["p_smallest"]) for test in closing)
    if smallest * len(closing) > _LEVEL:
        tests = f" before the correction for {len(closing)} tests" if len(closing) > 1 else ""
        return f"{debates}, none of this can be told from chance: no p can be smaller than {smallest:.2g}{tests}."
    if not found:
        return f"{debates}, none of these differences can be told from chance (5 % level, after Holm's correction)."
    named = _and([_named(study, test, closing) for test in found])
    which = "every such change" if len(found) == len(closing) > 1 else f"the change of {named}"
    return f"{debates}, {which} can be told from chance (5 % level, after Holm's correction)."


def _named(study: "Study", test: Test, closing: Sequence[Test]) -> str:
    topic = f" on {study.labels[test['topic']]}" if len({it["topic"] for it in closing}) > 1 else ""
    return f"{study.labels[test['role']]} agents{topic}"


def _next(study: "Study", closing: Sequence[Test]) -> str:
    """More debates where they would help; then a control, to learn why."""
    why = (
        "to learn why they moved, run the same command with "
        "-m control=none,retest,off_topic,advocates_low,advocates_high,advocates_both"
        if study.control == "none"
        else "compare it with the same command without the control"
    )
    if max(test["n"] for test in closing) < 2:
        return "For an estimate of that, run the same command with repetitions=40; only the new debates are played."
    needed = max((_needed(test, len(closing)) for test in closing if test["p_holm"] > _LEVEL), default=0)
    n = max(test["n"] for test in closing)
    if n < needed <= _MOST:
        return (
            f"If the effects are as large as they look here, repetitions={needed} would find each of them in "
            f"{100 * _POWER:.0f} % of studies, and only the new debates are played; {why}."
        )
    return f"{why[0].upper()}{why[1:]}."


def _needed(test: Test, tests: int) -> int:
    """Debates with which a one-sided test of this effect, corrected for the number of tests, has the wanted power.

    Normal approximation, rounded up to tens; 0 where the effect has the other sign or no size. Source: n = ((z(1−α) +
    z(power)) / d)², Cohen, Statistical Power Analysis.
    """
    from scipy.stats import norm

    d = float(test["effect_size"])
    if not (test["estimate"] > 0 and 0 < d < math.inf):
        return 0
    n = ((norm.ppf(1 - _LEVEL / tests) + norm.ppf(_POWER)) / d) ** 2
    reachable = math.log2(tests / _LEVEL)  # fewer debates cannot reach the level at all
    return 10 * math.ceil(max(n, reachable) / 10)


def _direction(points: float) -> str:
    return f"{'up' if points >= 0 else 'down'} by {abs(points):.1f}"


def _points(points: float) -> str:
    return f"{points:.1f} points"


def _and(words: Sequence[Any]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
