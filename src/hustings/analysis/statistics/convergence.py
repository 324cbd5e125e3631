"""Convergence to the Default: does an agent end nearer to the Default's first attitude than it began?"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import at_zero, cells, ends, last_iteration, no_bias, no_change
from hustings.analysis.resampling import INTERVAL, Floats, bootstrap, few, generator, mean_test, ratio
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import evidence, size, where, who

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

METHOD = f"{INTERVAL}; one-sided sign-flip permutation test; effect size: Cohen's d_z"


def convergence(study: "Study") -> Iterator[Row]:
    """Rows by topic and role (Source: protocol.md, convergence).

    c = |A(d,r,0) − b| − |A(d,r,T) − b| in points; > 0: moved towards the Default. b is the mean over debates of the
    Default's own attitude at iteration 0. Bootstrap samples are of whole debates, and b is estimated again in each.
    p is one-sided.
    """
    answers, seed = study.answers, study.seed
    last = last_iteration(answers)
    for topic, roles in cells(answers, study.poles).items():
        default = at_zero(answers, topic)
        bias = float(default.mean()) if len(default) else 0.0
        for role in roles:
            pairs = ends(answers, topic, role, last)
            first, final = pairs["first"].to_numpy(float), pairs["last"].to_numpy(float)
            moved = np.abs(first - bias) - np.abs(final - bias)
            why = "" if len(default) else no_bias(answers, topic)
            why = why or no_change(answers, topic, role, last, moved)
            if why:
                yield Row("convergence", topic, role, len(moved), METHOD, why)
                continue
            samples = _samples(pairs, default, bias, generator(seed, "debates", topic))
            numbers = mean_test(moved, samples, generator(seed, "signs", topic, role), "greater")
            yield Row("convergence", topic, role, len(moved), METHOD, few(len(moved)), **numbers)


def _samples(pairs: "pd.DataFrame", default: "pd.Series", bias: float, rng: np.random.Generator) -> Floats:
    """Mean convergence in each bootstrap sample of the debates that have a pair, a Default's answer, or both."""
    debates = pairs.index.union(default.index)
    aligned = pairs.reindex(debates)
    there = aligned["first"].notna().to_numpy()
    first, final = aligned["first"].fillna(0.0).to_numpy(float), aligned["last"].fillna(0.0).to_numpy(float)
    own = default.reindex(debates)
    asked, own = own.notna().to_numpy(float), own.fillna(0.0).to_numpy(float)

    def means(weights: Floats) -> Floats:  # (samples, debates) → (samples,)
        inside = weights * there
        if np.ptp(default.to_numpy(float)) == 0:
            sums = inside @ (np.abs(first - bias) - np.abs(final - bias))
        else:
            b = ratio(weights @ own, weights @ asked)[:, None]
            sums = (inside * (np.abs(first - b) - np.abs(final - b))).sum(axis=1)
        return ratio(sums, inside.sum(axis=1))

    return bootstrap(rng, len(debates), means)


def _sentence(row: Row, labels: Mapping[str, str]) -> str:
    way = "towards" if row.estimate >= 0 else "away from"
    return f"{who(row, labels)} moved {size(row)} {way} the Default on {where(row, labels)} ({evidence(row)})"


STATISTICS = (
    Statistic(
        name="convergence",
        title="convergence to the Default",
        about="Did agents end nearer to the Default's first attitude than they began?",
        function=convergence,
        sentence=_sentence,
        family="tests",
        order=10,
    ),
)
