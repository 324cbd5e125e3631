"""Two runs beside each other: what changed between them, debate by debate where they share debates.

It does not know what was changed; the caller names the runs.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from hustings.analysis.convergence import (
    DEFAULT,
    INTERVAL,
    SPREAD,
    Floats,
    Poles,
    at_zero,
    bootstrap,
    cells,
    ends,
    few,
    generator,
    interval,
    last_iteration,
    ratio,
    row,
    tested,
    tests,
    tidy,
)
from hustings.analysis.curves import Outcome
from hustings.analysis.statistics import COLUMNS, holm, in_words, p_in_words

MEASURES = ("start", "end", "convergence")
"""A(d,r,0), A(d,r,T), and the convergence between them, each run with its own b and its own T."""

_SAID = {
    "start": "started {} {} on {}",
    "end": "ended {} {} on {}",
    "convergence": "moved {} {} towards the Default on {}",
}
_NAMED = {"start": "first attitude", "end": "last attitude", "convergence": "convergence to the Default"}


def compare(
    baseline: pd.DataFrame,
    other: pd.DataFrame,
    poles: Poles,
    labels: Mapping[str, str],
    outcome: Outcome,
    seed: int,
) -> pd.DataFrame:
    """What differs in `other` from `baseline`: differences of start, end and convergence by topic and role.

    Where both runs have a role's debates on a topic with the same repetition and persona, the difference is taken
    within these pairs: expanded percentile bootstrap and sign flips over pairs. Where they share none, the runs are
    independent samples: bootstrap within each, permutation of debates between them. Holm is over all rows.

    Args:
        baseline, other: tidy tables of records.attitudes, each of one run.
        poles: where each party stands on each topic.
        labels: of roles and topics, as they stand in a sentence, and of `baseline` and `other`, the runs.
        outcome: `score` or `expected`.
        seed: of bootstrap and permutations.

    Returns:
        Columns of statistics.COLUMNS; `statistic` is one of MEASURES; estimates are other less baseline, in points.
        Only roles and topics that both runs have.

    Raises:
        ValueError: a table mixes runs.
    """
    one, two = tidy(baseline, outcome), tidy(other, outcome)
    personas = [_personas(table) for table in (baseline, other)]
    rows: list[Any] = []
    present = [{*zip(table["topic"], table["role"], strict=True)} for table in (one, two)]
    for topic, roles in cells(pd.concat([one, two]), poles).items():
        for role in (role for role in [*roles, DEFAULT] if all((topic, role) in each for each in present)):
            values = [_measures(table, topic, role) for table in (one, two)]
            shared = _shared(personas, topic, role)
            for measure in MEASURES if role != DEFAULT else ("start", "end"):
                first, second = (value[measure].dropna() for value in values)
                rows.append(_difference(measure, topic, role, first, second, shared, seed))
    table = tests(rows)
    table["p_holm"] = holm(table["p"])
    table["sentence"] = [_sentence(one, labels) for one in table.to_dict("records")]
    return table[COLUMNS]


def _personas(table: pd.DataFrame) -> pd.Series:
    """Who sat for a role in a debate, by topic, role and repetition."""
    once = table.drop_duplicates(["topic", "role", "repetition", "agent"]).sort_values("agent")
    return once.groupby(["topic", "role", "repetition"])["persona"].agg(" ".join)


def _shared(personas: list[pd.Series], topic: str, role: str) -> pd.Index:
    """Repetitions in which both runs had the same personas for a role."""
    try:
        mine = [each.loc[(topic, role)] for each in personas]
    except KeyError:
        return pd.Index([], dtype=int)
    both = pd.concat(mine, axis=1, join="inner", keys=["one", "two"])
    return both.index[(both["one"] == both["two"]).to_numpy()]


def _measures(table: pd.DataFrame, topic: str, role: str) -> pd.DataFrame:
    """Start, end and convergence of a role in each debate, by repetition."""
    last = last_iteration(table)
    pairs = ends(table, topic, role, last)
    asked = table[(table["topic"] == topic) & (table["role"] == role) & (table["iteration"] == 0)]
    start = asked.dropna(subset=["value"]).groupby("repetition")["value"].mean()
    bias = at_zero(table, topic).mean()
    moved = (pairs["first"] - bias).abs() - (pairs["last"] - bias).abs()
    end = pairs["last"] if last else pairs["last"].iloc[:0]
    return pd.DataFrame({"start": start, "end": end, "convergence": moved if last else moved.iloc[:0]})


def _difference(
    measure: str, topic: str, role: str, first: pd.Series, second: pd.Series, shared: pd.Index, seed: int
) -> Any:
    pairs = first.index.intersection(second.index).intersection(shared)
    rng = generator(seed, "compare", measure, topic, role)
    if len(pairs):
        method = f"pairs of debates with the same repetition and personas; {INTERVAL}; two-sided sign-flip "
        method += "permutation; effect size: Cohen's d_z"
        changes = (second[pairs] - first[pairs]).to_numpy(float)
        why = "one pair of debates only" if len(pairs) == 1 else ""
        if not why and np.ptp(changes) <= SPREAD:
            by = f"differs by {changes.mean():+.2f} points" if abs(changes.mean()) > SPREAD else "gave the same"
            why = f"every pair of debates {by} (zero variance)"
        if why:
            return row(measure, topic, role, len(pairs), method, why)
        samples = bootstrap(rng, len(changes), lambda weights: weights @ changes / len(changes))
        numbers = tested(changes, samples, rng, "two-sided")
        return row(measure, topic, role, len(pairs), method, few(len(pairs)), **numbers)
    return _apart(measure, topic, role, first.to_numpy(float), second.to_numpy(float), rng)


def _apart(measure: str, topic: str, role: str, one: Floats, two: Floats, rng: np.random.Generator) -> Any:
    """Of runs that share no debate: a difference of two independent means."""
    from scipy.stats import permutation_test

    n = len(one) + len(two)
    method = f"independent debates; {INTERVAL}, within each run; two-sided permutation test; effect size: Cohen's d"
    smallest = min(len(one), len(two))
    if smallest < 2:
        why = "no valid answers in one of the runs" if smallest == 0 else "one debate only in one of the runs"
        return row(measure, topic, role, n, method, why)
    spread = ((one.var(ddof=1) * (len(one) - 1) + two.var(ddof=1) * (len(two) - 1)) / (n - 2)) ** 0.5
    if max(np.ptp(one), np.ptp(two)) <= SPREAD:
        return row(measure, topic, role, n, method, "every debate of a run gave the same value (zero variance)")
    means = [bootstrap(rng, len(x), lambda weights, x=x: ratio(weights @ x, weights.sum(axis=1))) for x in (one, two)]
    low, high = interval(means[1] - means[0], smallest)
    difference = float(two.mean() - one.mean())

    def statistic(x: Floats, y: Floats, axis: int) -> Any:
        return np.mean(y, axis=axis) - np.mean(x, axis=axis)

    tested = permutation_test((one, two), statistic, vectorized=True, n_resamples=9_999, rng=rng)
    numbers = {"estimate": difference, "ci_low": low, "ci_high": high, "effect_size": difference / float(spread)}
    return row(measure, topic, role, n, method, few(smallest), p=float(tested.pvalue), **numbers)


def _sentence(test: Mapping[Any, Any], labels: Mapping[str, str]) -> str:
    """What one row says, in words that can be quoted."""
    measure, estimate, remark = test["statistic"], float(test["estimate"]), test["remark"]
    topic, who = labels.get(test["topic"], test["topic"]), f"{labels.get(test['role'], test['role'])} agents"
    runs = f"{labels['other']} than in {labels['baseline']}"
    if np.isnan(estimate):
        both = f"{labels['baseline']} and {labels['other']}"
        return f"Whether the {_NAMED[measure]} of {who} on {topic} differs between {both} is not estimable: {remark}."
    direction: tuple[Literal["higher", "more"], Literal["lower", "less"]]
    direction = ("more", "less") if measure == "convergence" else ("higher", "lower")
    size = in_words(estimate, float(test["ci_low"]), float(test["ci_high"]))
    paired = "pairs of debates" if test["method"].startswith("pairs") else "debates"
    sure = [f"n = {int(test['n']):,} {paired}", f"d = {abs(test['effect_size']):.1f}", *p_in_words(test)]
    said = _SAID[measure].format(size, direction[estimate < 0], topic)
    return f"{who} {said} in {runs} ({', '.join(sure)}){f'; {remark}' if remark else ''}."
