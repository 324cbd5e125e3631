"""What changed between two runs, compared debate by debate if they share debates.

It does not know what was changed between them; the caller names the runs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import (
    agent_means,
    bias_role,
    check_one_run,
    ends,
    first_default,
    has,
    last_iteration,
    of_role,
    parties,
    topics,
)
from hustings.analysis.resampling import (
    INTERVAL,
    SPREAD,
    Floats,
    Numbers,
    few,
    generator,
    interval,
    mean_test,
    remarks,
    resampled_means,
)
from hustings.analysis.statistic import PRIMARY, SECONDARY, Row, tabulate
from hustings.analysis.statistics.movement import closed
from hustings.analysis.wording import evidence, sentence, size, where, who
from hustings.settings.debate import DEFAULT, SHADOW

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Outcome, Study

MEASURES = ("closing", "start", "end", "echo", "convergence")
"""Measured in each debate, each run with its own shadow, b and T: `closing`, the reduction of the distance to the
shadow; `start`, A(d,r,0); `end`, A(d,r,T); `echo`, the change towards the own pole; `convergence`, that towards b."""
PAIRED = (
    f"pairs of debates with the same repetition and personas; {INTERVAL}; two-sided sign-flip permutation test; "
    "effect size: Cohen's d_z"
)
INDEPENDENT = f"independent debates; {INTERVAL}, within each run; two-sided permutation test; effect size: Cohen's d"

_SAID = {
    "closing": "closed {} {} of their distance to the shadow Default on {}",
    "start": "started {} {} on {}",
    "end": "ended {} {} on {}",
    "echo": "moved {} {} towards their own pole on {}",
    "convergence": "moved {} {} towards the Default's first attitude on {}",
}
_WAYS = {"start": ("higher", "lower"), "end": ("higher", "lower")}
_TITLES = {
    "closing": "closing of the distance to the shadow Default",
    "start": "first attitude",
    "end": "last attitude",
    "echo": "movement towards their own pole",
    "convergence": "convergence to the Default's first attitude",
}


@dataclass(frozen=True, slots=True)
class _Cell:
    """One measure, for one role on one topic, in two runs."""

    measure: str
    topic: str
    role: str
    first: "pd.Series"
    """Values in the baseline, by repetition."""
    second: "pd.Series"
    """Values in the other run."""
    seed: int

    def row(self, n: int, method: str, remark: str, numbers: Numbers | None = None) -> Row:
        family = PRIMARY if self.measure == "closing" else SECONDARY
        return Row(self.measure, self.topic, self.role, n, method, remark, family=family, **(numbers or {}))


def compare(baseline: "Study", other: "Study", names: tuple[str, str]) -> "pd.DataFrame":
    """How `other` differs from `baseline`: differences of MEASURES by topic and role.

    If both runs have debates on a topic with the same repetition and the same personas for a role, the difference is
    taken within these pairs, with an expanded percentile bootstrap and sign flips over pairs. If they share none, the
    runs are
    independent samples: the bootstrap resamples within each run, and a permutation test moves debates between them.
    Both runs are analysed with the baseline's outcome, or as scores if the other run has no expected values, and with
    the baseline's seed.

    Args:
        names: names of the baseline and the other run, as they appear in a sentence.

    Returns:
        Columns of statistics.COLUMNS; `statistic` is one of MEASURES, and estimates are other minus baseline, in
        points. Only roles and topics that both runs have are included. The primary family is `closing`.

    Raises:
        ValueError: a study's tables contain several runs.
    """
    from dataclasses import replace

    outcome: Outcome = baseline.outcome if baseline.outcome in other.outcomes else "score"
    studies = (baseline.analysed_as(outcome), other.analysed_as(outcome))
    for study in studies:
        check_one_run(study)
    labels = {**baseline.labels, **other.labels}
    rows = [replace(_difference(cell, same), outcome=outcome) for cell, same in _cells(*studies)]
    return tabulate(rows, lambda row: _sentence(row, labels, names))


def _cells(one: "Study", two: "Study") -> "Iterator[tuple[_Cell, list[int]]]":
    """Every measure of what both runs have, with the repetitions in which both used the same personas."""
    seated = [personas(study) for study in (one, two)]
    for topic, role in common(one, two):
        values = [measured(study, topic, role) for study in (one, two)]
        same = shared(*(each.get((topic, role), {}) for each in seated))
        for measure in MEASURES if role not in (DEFAULT, SHADOW) else ("start", "end"):
            first, second = (value[measure].dropna() for value in values)
            if measure == "closing" and not (has(one, SHADOW) and has(two, SHADOW)):
                continue
            yield _Cell(measure, topic, role, first, second, one.seed), same


def common(one: "Study", two: "Study") -> Iterator[tuple[str, str]]:
    """Topics and roles that both runs have; if there are none, the runs cannot be compared."""
    for topic in sorted({*topics(one)} & {*topics(two)}):
        roles = [*(role for role in parties(one, topic) if role in parties(two, topic)), DEFAULT, SHADOW]
        yield from ((topic, role) for role in roles if _asked(one, topic, role) and _asked(two, topic, role))


def _asked(study: "Study", topic: str, role: str) -> bool:
    panel = study.panels.get(topic)
    return panel is not None and any(role == other for _, other in panel.seats)


def personas(study: "Study") -> dict[tuple[str, str], dict[int, tuple[str, ...]]]:
    """The personas that played a role in each debate: by topic and role, then by repetition, in seating order."""
    agents = study.agents.sort_values("agent", kind="stable")
    found: dict[tuple[str, str], dict[int, tuple[str, ...]]] = {}
    columns = (agents[name].tolist() for name in ("topic", "role", "repetition", "persona"))
    for topic, role, repetition, persona in zip(*columns, strict=True):
        mine = found.setdefault((topic, role), {})
        mine[repetition] = (*mine.get(repetition, ()), persona)
    return found


def shared(one: Mapping[int, object], two: Mapping[int, object]) -> list[int]:
    """Repetitions in which both runs used the same personas for a role.

    Args:
        one, two: the role's personas in the two runs, by repetition.
    """
    return [repetition for repetition, who in one.items() if two.get(repetition) == who]


def measured(study: "Study", topic: str, role: str) -> "pd.DataFrame":
    """MEASURES and `change`, A(T) − A(0), of a role in each debate, by repetition; NaN where a value is missing."""
    import pandas as pd

    panel, later = study.panels[topic], last_iteration(study) > 0
    mine = ends(study, topic, role)
    start = agent_means(of_role(panel, role)[:, :, 0])
    table = pd.DataFrame({"start": start}, index=panel.repetitions.astype(float))
    pairs = pd.DataFrame({"end": mine.last, "change": mine.change}, index=mine.repetitions)
    pole = study.poles.get((role, topic))
    pairs["echo"] = pairs["change"] * (1.0 if pole == "high" else -1.0) if pole else np.nan
    default, _ = first_default(study, topic)
    bias = float(default.mean()) if len(default) and has(study, bias_role(study)) else np.nan
    pairs["convergence"] = np.abs(mine.first - bias) - np.abs(mine.last - bias)
    both, moved, _ = closed(study, topic, role)
    pairs["closing"] = pd.Series(moved, index=both.repetitions)
    return table.join(pairs if later else pairs.iloc[:0])


def _difference(cell: _Cell, same: list[int]) -> Row:
    """The row of a cell, computed within pairs if there are any.

    Args:
        same: repetitions in which both runs used the same personas.
    """
    pairs = cell.first.index.intersection(cell.second.index)
    pairs = pairs[pairs.isin(same)]
    n = len(pairs)
    if n == 0:
        return _independent(cell, cell.first.to_numpy(float), cell.second.to_numpy(float))
    changes = (cell.second[pairs] - cell.first[pairs]).to_numpy(float)
    flat = n > 1 and float(np.ptp(changes)) <= SPREAD
    remark = remarks(few(n), "every pair differs by the same, so there is no effect size" if flat else "")
    return cell.row(n, PAIRED, remark, mean_test(changes, cell.seed, "two-sided"))


def _independent(cell: _Cell, one: Floats, two: Floats) -> Row:
    """The row for runs that share no debate: the difference of two independent means.

    Args:
        one, two: one value for each debate of each run, (debates,).
    """
    from scipy.stats import permutation_test

    n = len(one) + len(two)
    smallest = min(len(one), len(two))
    if smallest < 2:
        why = "one of the runs has no valid answers" if smallest == 0 else "one of the runs has only one debate"
        return cell.row(n, INDEPENDENT, why)
    pooled = ((one.var(ddof=1) * (len(one) - 1) + two.var(ddof=1) * (len(two) - 1)) / (n - 2)) ** 0.5
    means = [resampled_means(x, cell.seed + place) for place, x in enumerate((one, two))]
    low, high = interval(means[1] - means[0], smallest)
    difference = float(two.mean() - one.mean())
    flat = max(float(np.ptp(one)), float(np.ptp(two))) <= SPREAD

    def statistic(x: Floats, y: Floats, axis: int) -> Floats:
        return np.mean(y, axis=axis) - np.mean(x, axis=axis)

    rng = generator(cell.seed, "compare", cell.measure, cell.topic, cell.role)
    test = permutation_test((one, two), statistic, vectorized=True, n_resamples=9_999, rng=rng)
    numbers: Numbers = {"estimate": difference, "ci_low": low, "ci_high": high, "p": float(test.pvalue)}
    if not flat:
        numbers["effect_size"] = difference / float(pooled)
    remark = remarks(few(smallest), "the debates of each run gave the same, so there is no effect size" if flat else "")
    return cell.row(n, INDEPENDENT, remark, numbers)


def _sentence(row: Row, labels: Mapping[str, str], names: tuple[str, str]) -> str:
    """A row as a sentence that can be quoted."""
    baseline, other = names
    topic, agents = where(row, labels), who(row, labels)
    if np.isnan(row.estimate):
        difference = f"The difference in {_TITLES[row.statistic]} of {agents} on {topic} between {baseline} and {other}"
        return sentence(f"{difference} is not estimable: {row.remark}", "")
    more, less = _WAYS.get(row.statistic, ("more", "less"))
    said = _SAID[row.statistic].format(size(row), less if row.estimate < 0 else more, topic)
    unit = "pairs of debates" if row.method == PAIRED else "debates"
    return sentence(f"{agents} {said} in {other} than in {baseline} ({evidence(row, unit)})", row.remark)
