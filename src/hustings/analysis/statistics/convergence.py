"""Convergence, as the paper reads it: does an agent end nearer to the Default's first attitude than it began?"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import Ends, crowded, ends, first_default, no_bias, no_change, parties, topics
from hustings.analysis.resampling import (
    INTERVAL,
    SPREAD,
    Floats,
    bootstrap,
    few,
    generator,
    mean_test,
    ratio,
    remarks,
    resampled_means,
)
from hustings.analysis.statistic import SECONDARY, Row, Statistic
from hustings.analysis.wording import evidence, size, where, who

if TYPE_CHECKING:
    from hustings.study import Study

METHOD = f"{INTERVAL}; one-sided sign-flip permutation test over debates; effect size: Cohen's d_z"


def convergence(study: "Study") -> Iterator[Row]:
    """Rows by topic and role (Source: protocol.md, convergence).

    |A(d,r,0) − b| − |A(d,r,T) − b| in points, where b is the mean over debates of the Default's attitude at iteration
    0; > 0: moved towards b. It folds at b: a swing from 0 to 10 around 5 counts as 0. The bootstrap resamples whole
    debates and estimates b again in each sample. p is one-sided.
    """
    for topic in topics(study):
        default, asked = first_default(study, topic)
        bias = float(default.mean()) if len(default) else 0.0
        for role in parties(study, topic):
            mine = ends(study, topic, role)
            moved = np.abs(mine.first - bias) - np.abs(mine.last - bias)
            why = "" if len(default) else no_bias(study)
            why = why or no_change(study, topic, role, len(moved))
            if why:
                yield Row("convergence", topic, role, len(moved), METHOD, why)
                continue
            samples = _samples(mine, (default, asked), study.seed)
            remark = remarks(few(len(moved)), crowded(study, mine.first))
            numbers = mean_test(moved, study.seed, "greater", samples)
            yield Row("convergence", topic, role, len(moved), METHOD, remark, **numbers)


def _samples(mine: Ends, default: tuple[Floats, Floats], seed: int) -> Floats:
    """Mean convergence in each bootstrap sample of the debates that have first and last attitudes, a Default, or both.

    Args:
        default: the Default's first attitudes, and the repetitions in which it gave them.
    """
    answers, asked = default
    bias = float(answers.mean())
    if np.ptp(answers) <= SPREAD:
        return resampled_means(np.abs(mine.first - bias) - np.abs(mine.last - bias), seed)
    debates = np.union1d(mine.repetitions, asked)
    there, has_own = np.isin(debates, mine.repetitions), np.isin(debates, asked)
    first, final, own = (np.zeros(len(debates)) for _ in range(3))
    first[there], final[there], own[has_own] = mine.first, mine.last, answers

    def means(weights: Floats) -> Floats:  # (samples, debates) → (samples,)
        inside = weights * there
        b = ratio(weights @ own, weights @ has_own.astype(float))[:, None]
        return ratio((inside * (np.abs(first - b) - np.abs(final - b))).sum(axis=1), inside.sum(axis=1))

    return bootstrap(generator(seed, "convergence"), len(debates), means)


def _sentence(row: Row, labels: Mapping[str, str]) -> str:
    way = "towards" if row.estimate >= 0 else "away from"
    said = f"{who(row, labels)} moved {size(row)} {way} the Default's first attitude on {where(row, labels)}"
    return f"In the paper's reading, {said} ({evidence(row)})"


STATISTICS = (
    Statistic(
        name="convergence",
        title="convergence to the Default's first attitude (the paper's reading)",
        about="The paper's reading: did agents end nearer to the Default's first attitude than they began?",
        function=convergence,
        sentence=_sentence,
        family=SECONDARY,
        order=25,
        both=True,
    ),
)
