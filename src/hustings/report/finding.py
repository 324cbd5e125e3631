"""The findings of a run in three plain sentences: what moved, how certain that is, and what to do next."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from hustings.analysis.statistic import COLUMNS, PRIMARY
from hustings.report.numbers import Test, adjusted, bracketed, missing

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

_LEVEL, _POWER = 0.05, 0.8
_FEWEST, _MOST = 10, 400
"""The smallest and the largest number of debates that is recommended."""
_NAMED = 3
"""The most significant results that are named one by one; beyond that only their number is given."""
_CONTROLS = "-m control=none,retest,off_topic,advocates_low,advocates_high,advocates_both"


def finding(study: "Study", statistics: "pd.DataFrame") -> list[str]:
    """The findings of one run; empty if it has no closing to report (no partisans, or no shadow).

    Args:
        statistics: table with the columns of analysis.statistics.COLUMNS; a table of another version is ignored.
    """
    if not {*COLUMNS} <= {*statistics.columns}:
        return []
    mine = statistics[statistics["outcome"] == study.outcome]
    tests = [test for test in mine.to_dict("records") if not missing(test)]
    closing = [test for test in tests if test["statistic"] == "closing"]
    if not closing:
        return []
    family = sum(test["family"] == PRIMARY and test["p"] == test["p"] for test in tests)
    return [_moved(study, closing, tests), _sure(study, closing, family), _next(study, closing, family)]


def _moved(study: "Study", closing: Sequence[Test], tests: Sequence[Test]) -> str:
    """How much nearer agents ended to the model's own attitude, the gap between parties, and the shared movement."""
    topics = _topics(closing)
    where = f"on {study.labels[topics[0]]}" if len(topics) == 1 else f"across {len(topics)} topics"
    if study.control != "none":
        where += f", with control={study.control}"
    words = _each(study, closing) if len(topics) == 1 else _all(study, closing)
    low, high = study.scale
    rest = "".join(f"; {said}" for said in (_gap(study, tests), _drift(study, tests)) if said)
    return f"{where[0].upper()}{where[1:]}, {words}{rest} (on a scale of {low:g} to {high:g})."


def _each(study: "Study", closing: Sequence[Test]) -> str:
    """'Democrat agents ended 1.2 points [0.9, 1.4] nearer to the model's own attitude than they began, and …'."""
    said: list[str] = []
    for test in closing:
        who, by = f"{study.labels[test['role']]} agents", _size(study, test)
        way = _way(study, test["estimate"])
        if said:
            said.append(f"{who} {('as far from it as they began', f'{by} nearer', f'{by} further away')[way]}")
        else:
            own = "the model's own attitude"
            ended = (f"as far from {own} as", f"{by} nearer to {own} than", f"{by} further from {own} than")[way]
            said.append(f"{who} ended {ended} they began")
    return ", and ".join([", ".join(said[:-1]), said[-1]] if said[1:] else said)


def _all(study: "Study", closing: Sequence[Test]) -> str:
    """The same for several topics, as counts and averages."""
    nearer = sum(_way(study, test["estimate"]) > 0 for test in closing)
    mean = fmean(test["estimate"] for test in closing)
    count = {0: f"none of the {len(closing)}", len(closing): f"all {len(closing)}"}
    average = ("no change", f"{_points(study, mean)} nearer", f"{_points(study, mean)} further away")[_way(study, mean)]
    return (
        "agents ended nearer to the model's own attitude than they began in "
        f"{count.get(nearer, f'{nearer} of the {len(closing)}')} combinations of topic and party ({average} on average)"
    )


def _gap(study: "Study", tests: Sequence[Test]) -> str:
    gaps = [test for test in tests if test["statistic"] == "party_gap"]
    if not gaps:
        return ""
    mean = fmean(test["estimate"] for test in gaps)
    by = _size(study, gaps[0]) if len(gaps) == 1 else f"{_points(study, mean)} on average"
    return f"the gap between the parties {('stayed as it was', f'shrank by {by}', f'grew by {by}')[_way(study, mean)]}"


def _drift(study: "Study", tests: Sequence[Test]) -> str:
    """The movement of all speakers, compared with that of the shadow Default."""
    drifts, shadows = (
        [test["estimate"] for test in tests if test["statistic"] == name] for name in ("drift", "default_drift")
    )
    if not drifts:
        return ""
    if shadows and not _way(study, fmean(drifts)) and not _way(study, fmean(shadows)):
        return "neither the speakers as a whole nor the silent Default moved"
    words = f"the speakers as a whole {_movement(study, drifts)}"
    return f"{words}, while the silent Default {_movement(study, shadows)}" if shadows else words


def _movement(study: "Study", changes: Sequence[float]) -> str:
    """'moved 0.3 points up'; the mean over topics."""
    mean = fmean(changes)
    by, average = _points(study, mean), " on average" if len(changes) > 1 else ""
    return f"{('did not move', f'moved {by} up', f'moved {by} down')[_way(study, mean)]}{average}"


def _sure(study: "Study", closing: Sequence[Test], family: int) -> str:
    """Which of the primary tests are significant after correction for multiple tests."""
    least, most = (of(test["n"] for test in closing) for of in (min, max))
    several = len(_topics(closing)) > 1
    if most < 2:
        one = "One debate on each topic" if several else "A single debate"
        return f"{one} shows what can happen, but not how often it does."
    debates = f"With {most:,} debates" if least == most else f"With {least:,} to {most:,} debates"
    debates += " on each topic" if several else ""
    smallest = min(float(test["p_smallest"]) for test in closing)
    if smallest * family > _LEVEL:
        before = f", before the correction for {family} tests" if family > 1 else ""
        return f"{debates}, chance cannot be ruled out: the smallest possible p is {smallest:.3g}{before}."
    how = f"one-sided, after Holm's correction for {family} tests" if family > 1 else "one-sided"
    found = [test for test in closing if test["p_holm"] <= _LEVEL]
    if not found:
        best = min(closing, key=lambda test: test["p_holm"])
        which = "smallest p" if len(closing) > 1 else "p"
        return (
            f"{debates}, there is no statistically significant movement towards the model's attitude "
            f"({which} {_equal(best)}, {how})."
        )
    worst = max(found, key=lambda test: test["p_holm"])
    equal = _equal(worst).replace("=", "≤") if len(found) > 1 else _equal(worst)
    return f"{debates}, {_significant(study, found, closing)} statistically significant (p {equal}, {how})."


def _significant(study: "Study", found: Sequence[Test], closing: Sequence[Test]) -> str:
    """'all of these movements towards the model are', 'only the movement of Republican agents towards the model is'."""
    if len(found) == len(closing):
        movements = {1: "this movement towards the model is", 2: "both movements towards the model are"}
        return movements.get(len(found), f"all {len(found)} movements towards the model are")
    if len(found) > _NAMED:
        return f"in {len(found)} of the {len(closing)} combinations the movement towards the model is"
    several = len(_topics(closing)) > 1
    where = {test["topic"]: f" on {study.labels[test['topic']]}" if several else "" for test in found}
    named = [f"{study.labels[test['role']]} agents{where[test['topic']]}" for test in found]
    return f"only the movement of {_and(named)} towards the model is"


def _next(study: "Study", closing: Sequence[Test], family: int) -> str:
    """Recommend more debates if they would help, and then controls, to find the cause."""
    most = max(test["n"] for test in closing)
    each = " on each topic" if len(_topics(closing)) > 1 else ""
    if most < 2:
        return (
            f"To see how often, run the same command with repetitions=40; only the 39 new debates{each} are "
            f"played{_personas(study, 40)}."
        )
    why = (
        f"to learn what moves the agents, run the same command with {_CONTROLS}"
        if study.control == "none"
        else "to see what a debate adds, run the same command with control=none and compare the two folders with "
        "hustings report"
    )
    unsure = [test for test in closing if test["p_holm"] > _LEVEL and _way(study, test["estimate"]) > 0]
    if not unsure:
        return f"{why[0].upper()}{why[1:]}."
    needed = max(_needed(test, family) for test in unsure)
    rest = "remaining " if any(test["p_holm"] <= _LEVEL for test in closing) else ""
    one = len(unsure) == 1
    movement = f"{rest}movement{'' if one else 's'} towards the model"
    if needed > _MOST:
        smallest = "" if one else "smallest of the "
        return f"To confirm the {smallest}{movement} would take more than {max(most, _MOST)} debates{each}; {why}."
    return (
        f"If the {movement} {'is as large as it looks' if one else 'are as large as they look'} here, "
        f"repetitions={needed} would confirm {'it' if one else 'each of them'} with a probability of at least "
        f"{100 * _POWER:.0f} % (only the new debates are played{_personas(study, needed)}); {why}."
    )


def _personas(study: "Study", debates: int) -> str:
    """'; first add names to …', if the run has too few names or personas for this many debates; otherwise nothing."""
    settings = study.manifest.settings
    if settings.get("personas", {}).get("file"):
        return f"; the file of personas needs {debates} of each party"
    parties: dict[str, dict[str, list[str]]] = settings["society"]["parties"]
    names = {party: len(of["names"]) for party, of in parties.items() if party in study.design["composition"]["roles"]}
    few = min(names, key=names.__getitem__, default="")
    if not few or names[few] >= debates:
        return ""
    return f"; first add names to society.parties.{few}.names, which has {names[few]}"


def _needed(test: Test, tests: int) -> int:
    """The number of debates that gives a one-sided test of this effect, corrected for all tests, the wanted power.

    A multiple of ten; more than _MOST if that is not enough. The power is that of a t-test at Bonferroni's level; the
    sign-flip test comes close to it, and Holm's correction never has less. Source: Cohen, Statistical Power Analysis.

    Args:
        test: a test with an estimate above 0; it has no effect size if every debate gave the same value.
        tests: number of tests in the family.
    """
    from scipy.stats import nct, t

    level, d = _LEVEL / tests, float(test["effect_size"])
    for n in range(_FEWEST, _MOST + 1, 10):
        reachable = 2.0**-n <= level  # the smallest p that n sign flips can give
        if n > test["n"] and reachable and (d != d or nct.sf(t.isf(level, n - 1), n - 1, d * n**0.5) >= _POWER):
            return n
    return _MOST + 1


def _topics(closing: Sequence[Test]) -> list[str]:
    return list(dict.fromkeys(str(test["topic"]) for test in closing))


def _way(study: "Study", points: float) -> int:
    """1 for up, -1 for down, 0 if the change would be displayed as 0."""
    shown = round(points, _digits(study))
    return (shown > 0) - (shown < 0)


def _size(study: "Study", test: Test) -> str:
    """'1.2 points [0.9, 1.4]': the size of a change, without its sign."""
    if test["estimate"] < 0:
        test = {**test, "estimate": -test["estimate"], "ci_low": -test["ci_high"], "ci_high": -test["ci_low"]}
    estimate, *interval = bracketed(test, _digits(study)).split(" ", 1)
    return " ".join([estimate, "points", *interval])


def _points(study: "Study", points: float) -> str:
    return f"{abs(points):.{_digits(study)}f} points"


def _digits(study: "Study") -> int:
    """Decimals of a number of points; more on a short scale."""
    low, high = study.scale
    return 1 if high - low > 5 else 2


def _equal(test: Test) -> str:
    """'= 0.031' or '< 0.001'."""
    p = adjusted(test)
    return p if p.startswith("<") else f"= {p}"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
