"""What changed between two runs, debate by debate where they share debates.

It does not know what was changed; the caller names the runs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import at_zero, cells, check_one_run, ends, last_iteration
from hustings.analysis.resampling import (
    INTERVAL,
    SPREAD,
    Floats,
    bootstrap,
    few,
    generator,
    interval,
    mean_test,
    ratio,
)
from hustings.analysis.statistic import Row, tabulate
from hustings.analysis.wording import evidence, size, where, who
from hustings.settings.debate import DEFAULT

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

MEASURES = ("start", "end", "convergence")
"""A(d,r,0), A(d,r,T), and the convergence between them, each run with its own b and its own T."""
PAIRED = (
    f"pairs of debates with the same repetition and personas; {INTERVAL}; two-sided sign-flip permutation test; "
    "effect size: Cohen's d_z"
)
INDEPENDENT = f"independent debates; {INTERVAL}, within each run; two-sided permutation test; effect size: Cohen's d"

_SAID = {
    "start": "started {} {} on {}",
    "end": "ended {} {} on {}",
    "convergence": "moved {} {} towards the Default on {}",
}
_TITLES = {"start": "first attitude", "end": "last attitude", "convergence": "convergence to the Default"}


@dataclass(frozen=True, slots=True)
class _Cell:
    """One measure of one role on one topic in two runs."""

    measure: str
    topic: str
    role: str
    first: "pd.Series"
    """In the baseline, by repetition."""
    second: "pd.Series"
    """In the other run."""
    seed: int

    def row(self, n: int, method: str, remark: str, **numbers: float) -> Row:
        return Row(self.measure, self.topic, self.role, n, method, remark, **numbers)


def compare(baseline: "Study", other: "Study", names: tuple[str, str]) -> "pd.DataFrame":
    """How `other` differs from `baseline`: differences of start, end and convergence by topic and role.

    Where both runs have a role's debates on a topic with the same repetition and persona, the difference is taken
    within these pairs: expanded percentile bootstrap and sign flips over pairs. Where they share none, the runs are
    independent samples: bootstrap within each, permutation of debates between them. Both are analysed with the
    baseline's outcome and seed. Holm's adjustment covers all rows.

    Args:
        names: of the baseline and the other run, as they appear in a sentence.

    Returns:
        Columns of statistics.COLUMNS; `statistic` is one of MEASURES; estimates are other minus baseline, in points.
        Only roles and topics that both runs have.

    Raises:
        RecordError: the other run does not have the baseline's outcome.
        ValueError: a study's tables mix runs.
    """
    studies = [baseline, other.analysed_as(baseline.outcome)]
    for study in studies:
        check_one_run(study)
    labels = {**baseline.labels, **other.labels}
    rows = [_difference(cell, shared) for cell, shared in _cells(studies)]
    return tabulate(rows, dict.fromkeys(MEASURES, "comparison"), lambda row: _sentence(row, labels, names))


def _cells(studies: "list[Study]") -> "Iterator[tuple[_Cell, pd.Index]]":
    """Everything that both runs have, each with the repetitions in which both had the same personas."""
    import pandas as pd

    answers = [study.answers for study in studies]
    present = [{*zip(table["topic"], table["role"], strict=True)} for table in answers]
    personas = [_personas(study) for study in studies]
    poles = studies[0].poles | studies[1].poles
    for topic, roles in cells(pd.concat(answers), poles).items():
        for role in (role for role in [*roles, DEFAULT] if all((topic, role) in each for each in present)):
            values = [_measures(table, topic, role) for table in answers]
            shared = _shared(personas, topic, role)
            for measure in MEASURES if role != DEFAULT else ("start", "end"):
                first, second = (value[measure].dropna() for value in values)
                yield _Cell(measure, topic, role, first, second, studies[0].seed), shared


def _personas(study: "Study") -> "pd.Series":
    """Whose turn it was to play a role in a debate, by topic, role and repetition."""
    agents = study.agents.sort_values("agent", kind="stable")
    return agents.groupby(["topic", "role", "repetition"])["persona"].agg(" ".join)


def _shared(personas: "list[pd.Series]", topic: str, role: str) -> "pd.Index":
    """Repetitions in which both runs had the same personas for a role."""
    import pandas as pd

    try:
        mine = [each.loc[(topic, role)] for each in personas]
    except KeyError:
        return pd.Index([], dtype=int)
    both = pd.concat(mine, axis=1, join="inner", keys=["one", "two"])
    return both.index[(both["one"] == both["two"]).to_numpy()]


def _measures(answers: "pd.DataFrame", topic: str, role: str) -> "pd.DataFrame":
    """Start, end and convergence of a role in each debate, by repetition."""
    import pandas as pd

    last = last_iteration(answers)
    pairs = ends(answers, topic, role, last)
    asked = answers[(answers["topic"] == topic) & (answers["role"] == role) & (answers["iteration"] == 0)]
    start = asked.dropna(subset=["value"]).groupby("repetition")["value"].mean()
    bias = at_zero(answers, topic).mean()
    moved = (pairs["first"] - bias).abs() - (pairs["last"] - bias).abs()
    end = pairs["last"] if last else pairs["last"].iloc[:0]
    return pd.DataFrame({"start": start, "end": end, "convergence": moved if last else moved.iloc[:0]})


def _difference(cell: _Cell, shared: "pd.Index") -> Row:
    """The row of a cell: within pairs where there are any.

    Args:
        shared: repetitions in which both runs had the same personas.
    """
    pairs = cell.first.index.intersection(cell.second.index).intersection(shared)
    rng = generator(cell.seed, "compare", cell.measure, cell.topic, cell.role)
    n = len(pairs)
    if n == 0:
        return _independent(cell, cell.first.to_numpy(float), cell.second.to_numpy(float), rng)
    changes = (cell.second[pairs] - cell.first[pairs]).to_numpy(float)
    if n == 1:
        return cell.row(n, PAIRED, "there is only one pair of debates")
    if np.ptp(changes) <= SPREAD:
        mean = float(changes.mean())
        said = f"differs by {mean:+.2f} points" if abs(mean) > SPREAD else "gave the same value"
        return cell.row(n, PAIRED, f"every pair of debates {said} (zero variance)")
    samples = bootstrap(rng, n, lambda weights: weights @ changes / n)
    return cell.row(n, PAIRED, few(n), **mean_test(changes, samples, rng, "two-sided"))


def _independent(cell: _Cell, one: Floats, two: Floats, rng: np.random.Generator) -> Row:
    """The row of runs that share no debate: a difference of two independent means.

    Args:
        one, two: one value for each debate of either run, (debates,).
    """
    from scipy.stats import permutation_test

    n = len(one) + len(two)
    smallest = min(len(one), len(two))
    if smallest < 2:
        why = "one of the runs has no valid answers" if smallest == 0 else "one of the runs has only one debate"
        return cell.row(n, INDEPENDENT, why)
    pooled = ((one.var(ddof=1) * (len(one) - 1) + two.var(ddof=1) * (len(two) - 1)) / (n - 2)) ** 0.5
    if max(np.ptp(one), np.ptp(two)) <= SPREAD:
        return cell.row(n, INDEPENDENT, "every debate of a run gave the same value (zero variance)")
    means = [bootstrap(rng, len(x), lambda weights, x=x: ratio(weights @ x, weights.sum(axis=1))) for x in (one, two)]
    low, high = interval(means[1] - means[0], smallest)
    difference = float(two.mean() - one.mean())

    def statistic(x: Floats, y: Floats, axis: int) -> Floats:
        return np.mean(y, axis=axis) - np.mean(x, axis=axis)

    test = permutation_test((one, two), statistic, vectorized=True, n_resamples=9_999, rng=rng)
    numbers = {"estimate": difference, "ci_low": low, "ci_high": high, "effect_size": difference / float(pooled)}
    return cell.row(n, INDEPENDENT, few(smallest), p=float(test.pvalue), **numbers)


def _sentence(row: Row, labels: Mapping[str, str], names: tuple[str, str]) -> str:
    """What one row says, in words that can be quoted."""
    baseline, other = names
    topic, agents = where(row, labels), who(row, labels)
    if np.isnan(row.estimate):
        difference = f"The difference in {_TITLES[row.statistic]} of {agents} on {topic} between {baseline} and {other}"
        return f"{difference} is not estimable: {row.remark}."
    more, less = ("more", "less") if row.statistic == "convergence" else ("higher", "lower")
    said = _SAID[row.statistic].format(size(row), less if row.estimate < 0 else more, topic)
    unit = "pairs of debates" if row.method == PAIRED else "debates"
    remark = f"; {row.remark}" if row.remark else ""
    return f"{agents} {said} in {other} than in {baseline} ({evidence(row, unit)}){remark}."
