"""Every statistic of a run in one table, with the sentence that a reader can quote; bias, diversity, invalid answers.

One row a test. What cannot be estimated says why; nothing here knows where the table came from.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hustings.analysis.convergence import (
    DEFAULT,
    INTERVAL,
    TESTS,
    Floats,
    Poles,
    bootstrap,
    cells,
    convergence,
    crossing,
    echo,
    few,
    generator,
    interval,
    last_iteration,
    ratio,
    row,
    tests,
    tidy,
)
from hustings.analysis.curves import Outcome
from hustings.analysis.dynamics import dynamics, mixed_model

COLUMNS = [*(column for column in TESTS if column not in ("method", "remark")), "p_holm", "method", "sentence"]
FAMILY = ("convergence", "echo", "alpha", "beta", "kappa")
"""The tests that Holm's adjustment covers: all randomisation tests of a run."""

_NAMES = {
    "convergence": "convergence to the Default",
    "echo": "movement to the own pole",
    "crossing": "crossing of the Default's line",
    "alpha": "social pull α",
    "beta": "model pull β",
    "kappa": "persona anchor κ",
    "mixed_slope": "slope in the mixed model",
    "mixed_slope_difference": "difference of slopes in the mixed model",
    "bias": "mean final score",
    "diversity": "standard deviation of final scores",
    "invalid": "rate of invalid answers",
}


def statistics(
    attitudes: pd.DataFrame, poles: Poles, labels: Mapping[str, str], outcome: Outcome, seed: int
) -> pd.DataFrame:
    """All statistics of one run (Source: protocol.md, statistics).

    Args:
        attitudes: the tidy table of records.attitudes, of one composition, model, adapter and seed.
        poles: where each party of the run stands on each of its topics; each gets its rows, answers or none.
        labels: of roles and topics, as they stand in a sentence; a key without one stands for itself.
        outcome: `score` or `expected`.
        seed: of bootstrap and permutations; the same seed gives the same table.

    Returns:
        Columns COLUMNS, one row a test. In a row that is not estimable all numbers but n are empty, and the sentence
        says why. p_holm is empty outside FAMILY.

    Raises:
        ValueError: the table mixes runs.
    """
    table = pd.concat(
        [
            convergence(attitudes, poles, outcome, seed),
            echo(attitudes, poles, outcome, seed),
            crossing(attitudes, poles, outcome),
            dynamics(attitudes, outcome),
            mixed_model(attitudes, outcome, seed),
            bias_and_diversity(attitudes, outcome, seed),
            invalid(attitudes, poles, seed),
        ],
        ignore_index=True,
    )
    table["p_holm"] = holm(table["p"].where(table["statistic"].isin(FAMILY)))
    last = last_iteration(attitudes)
    table["sentence"] = [sentence(one, labels, last) for one in table.to_dict("records")]
    return table[COLUMNS]


def holm(p: pd.Series) -> pd.Series:
    """Holm's adjustment over the p-values that are there; the rest stays empty."""
    from statsmodels.stats.multitest import multipletests

    adjusted = pd.Series(np.nan, index=p.index)
    there = p.notna()
    if there.any():
        adjusted[there] = multipletests(p[there].to_numpy(float), method="holm")[1]
    return adjusted


def bias_and_diversity(attitudes: pd.DataFrame, outcome: Outcome, seed: int) -> pd.DataFrame:
    """Mean and SD of final scores over all agents that speak, by topic (Source: protocol.md, bias and diversity).

    Args:
        attitudes: the tidy table of records.attitudes, of one run.

    Returns:
        Columns TESTS, without p and effect size; SD has ddof 1, intervals resample debates.

    Raises:
        ValueError: the table mixes runs.
    """
    table = tidy(attitudes, outcome)
    last = last_iteration(table)
    method = f"over agents at the last iteration; {INTERVAL}"
    rows: list[Any] = []
    for topic in sorted({*table["topic"]}):
        final = table[(table["topic"] == topic) & (table["iteration"] == last)].dropna(subset=["value"])
        groups = final.groupby("repetition")["value"]
        n = groups.ngroups
        why = _unspread(table[table["topic"] == topic], final, n, last)
        if why:
            rows += [row(name, topic, "", n, method, why) for name in ("bias", "diversity")]
            continue
        centre = float(final["value"].mean())
        away = final["value"] - centre
        moments = np.column_stack(
            [groups.count(), away.groupby(final["repetition"]).sum(), (away**2).groupby(final["repetition"]).sum()]
        ).astype(float)
        samples = bootstrap(generator(seed, "final", topic), n, _mean_and_sd(moments))
        mean, sd = _mean_and_sd(moments)(np.ones((1, n)))[0]
        (low, high), (least, most) = interval(samples[:, 0], n), interval(samples[:, 1], n)
        shifted = {"estimate": float(mean) + centre, "ci_low": low + centre, "ci_high": high + centre}
        rows.append(row("bias", topic, "", n, method, few(n), **shifted))
        rows.append(row("diversity", topic, "", n, method, few(n), estimate=float(sd), ci_low=least, ci_high=most))
    return tests(rows)


def _mean_and_sd(moments: Floats) -> Any:
    """From weights (samples, debates) to mean and SD (samples, 2), by each debate's count, sum and sum of squares."""

    def of(weights: Floats) -> Floats:
        count, total, squares = (weights @ moments).T
        variance = ratio(np.maximum(squares - ratio(total**2, count), 0.0), count - 1)
        return np.column_stack([ratio(total, count), np.sqrt(variance)])

    return of


def _unspread(mine: pd.DataFrame, final: pd.DataFrame, n: int, last: int) -> str:
    """Why final scores have no mean with an interval; empty when they have."""
    if last == 0:
        return "nobody was asked after iteration 0"
    if n == 0:
        return "every answer was invalid" if mine["value"].isna().all() else f"no valid answer at iteration {last}"
    if n == 1:
        return "one debate only"
    if float(np.ptp(final["value"].to_numpy(float))) == 0:
        return f"every final score is {float(final['value'].iloc[0]):.1f} (zero variance)"
    return ""


def invalid(attitudes: pd.DataFrame, poles: Poles, seed: int) -> pd.DataFrame:
    """Share of a role's survey answers that were invalid, by topic and role (Source: protocol.md, scores).

    Args:
        attitudes: the tidy table of records.attitudes, of one run.
        poles: of the run's parties and topics; each gets a row, whatever the table holds.

    Returns:
        Columns TESTS, without p and effect size; n is debates; the interval resamples debates and is empty where
        they all have the same share.

    Raises:
        ValueError: the table mixes runs.
    """
    table = tidy(attitudes, "score")
    method = f"share of survey answers; {INTERVAL}"
    rows: list[Any] = []
    for topic, roles in cells(table, poles).items():
        for role in [*roles, DEFAULT] if (table["role"] == DEFAULT).any() else roles:
            mine = table[(table["topic"] == topic) & (table["role"] == role)]
            groups = (~mine["valid"].astype(bool)).groupby(mine["repetition"])
            wrong, asked = np.asarray(groups.sum(), dtype=np.float64), np.asarray(groups.count(), dtype=np.float64)
            n = len(asked)
            if n == 0:
                rows.append(row("invalid", topic, role, 0, method, "no such agent took part"))
                continue
            numbers = {"estimate": float(wrong.sum() / asked.sum())}
            if np.ptp(wrong / asked) > 0:
                samples = bootstrap(generator(seed, "invalid", topic), n, _share(wrong, asked))
                numbers["ci_low"], numbers["ci_high"] = interval(samples, n)
            remark = few(n) if "ci_low" in numbers else ""
            rows.append(row("invalid", topic, role, n, method, remark, **numbers))
    return tests(rows)


def _share(above: Floats, below: Floats) -> Any:
    def of(weights: Floats) -> Floats:
        return ratio(weights @ above, weights @ below)[:, None]

    return of


def sentence(test: Mapping[Any, Any], labels: Mapping[str, str], last: int) -> str:
    """What one row says, in words that can be quoted.

    Args:
        test: a row of TESTS with p_holm.
        labels: of roles and topics.
        last: T, the last iteration.
    """
    name, n, estimate, remark = test["statistic"], int(test["n"]), float(test["estimate"]), test["remark"]
    topic = labels.get(test["topic"], test["topic"].replace("_", " ")) if test["topic"] else "all topics together"
    who = f"{labels.get(test['role'], test['role'])} agents" if test["role"] else ""
    if np.isnan(estimate):
        about = f"{_NAMES[name]} of {who}" if who else _NAMES[name]
        return f"{about[0].upper()}{about[1:]} on {topic} is not estimable: {remark}."
    low, high = float(test["ci_low"]), float(test["ci_high"])
    counted = f"n = {n:,} debate{'s' if n != 1 else ''}"
    sure = ", ".join([counted, *_effect(test), *p_in_words(test)])
    match name:
        case "convergence" | "echo":
            way, back = ("towards", "away from")
            goal = "the Default" if name == "convergence" else "their own pole"
            said = f"{who} moved {_moved(estimate, low, high, way, back)} {goal} on {topic} ({sure})"
        case "crossing":
            share = f"{round(estimate * n)} of {n:,} debates on {topic} ({_share_of(estimate, low, high)})"
            said = f"In {share} {who} ended beyond the Default's line"
        case "alpha" | "beta" | "kappa":
            goal = {"alpha": "the others", "beta": "the Default's attitude", "kappa": "their first attitude"}[name]
            size = f"{_number(estimate, 2)} [{_number(low, 2)}, {_number(high, 2)}]"
            said = f"Each round, the {_NAMES[name]} closed {size} of agents' distance to {goal} on {topic} ({sure})"
        case "mixed_slope":
            said = f"In the mixed model, {who} changed by {_span(estimate, low, high)} an iteration on {topic} ({sure})"
        case "mixed_slope_difference":
            size = _span(estimate, low, high)
            said = f"In the mixed model, the slope of {who} differed from the reference's by {size} an iteration"
            said += f" on {topic} ({sure})"
        case "bias":
            said = f"Agents ended at a mean score of {_span(estimate, low, high, '')} on {topic} ({sure})"
        case "diversity":
            said = f"Agents' final scores had a standard deviation of {_span(estimate, low, high)} on {topic} ({sure})"
        case _:
            said = f"{_share_of(estimate, low, high)} of the answers of {who} on {topic} were invalid ({sure})"
    return f"{said}; {remark}." if remark else f"{said}."


def _effect(test: Mapping[Any, Any]) -> list[str]:
    """Cohen's d, turned round where the sentence turns the movement round."""
    size = float(test["effect_size"])
    return [] if np.isnan(size) else [f"d = {_number(abs(size), 1)}"]


def p_in_words(test: Mapping[Any, Any]) -> list[str]:
    """'p = 0.012 after Holm', or nothing where there is no test."""
    adjusted = not np.isnan(test["p_holm"])
    p = float(test["p_holm"] if adjusted else test["p"])
    if np.isnan(p):
        return []
    after = " after Holm" if adjusted else ""
    return [f"p < 0.001{after}" if p < 0.001 else f"p = {p:.3f}{after}" if p < 0.0995 else f"p = {p:.2f}{after}"]


def _moved(estimate: float, low: float, high: float, way: str, back: str) -> str:
    """'2.1 points [1.4, 2.8] towards'; what is below 0 is turned round."""
    return f"{in_words(estimate, low, high)} {back if estimate < 0 else way}"


def in_words(estimate: float, low: float, high: float) -> str:
    """The size of a difference, without its sign: '2.1 points [1.4, 2.8]'."""
    return _span(-estimate, -high, -low) if estimate < 0 else _span(estimate, low, high)


def _span(estimate: float, low: float, high: float, unit: str = " points") -> str:
    """'2.1 points [1.4, 2.8]', with two digits where one would hide the number."""
    digits = 1 if max(abs(estimate), (high - low) / 2) >= 0.95 else 2 if abs(estimate) >= 0.095 else 3
    return f"{_number(estimate, digits)}{unit} [{_number(low, digits)}, {_number(high, digits)}]"


def _share_of(estimate: float, low: float, high: float) -> str:
    """'8 % [3, 20]'; without the interval where there is none."""
    digits = 0 if 0.01 <= estimate <= 0.99 or estimate in (0, 1) else 2
    between = "" if np.isnan(low) else f" [{_number(100 * low, digits)}, {_number(100 * high, digits)}]"
    return f"{_number(100 * estimate, digits)} %{between}"


def _number(value: float, digits: int) -> str:
    """Rounded, never '-0.0'."""
    return f"{round(value, digits) + 0.0:.{digits}f}"
