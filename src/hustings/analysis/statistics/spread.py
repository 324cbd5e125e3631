"""Bias and diversity: where all agents end on average, and how far apart."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import last_iteration, speakers, topics
from hustings.analysis.resampling import INTERVAL, Floats, Numbers, bootstrap, few, generator, interval, ratio
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import evidence, span, where

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

METHOD = f"over agents at the last iteration; {INTERVAL}"


def spread(study: "Study") -> Iterator[Row]:
    """Mean and SD (ddof 1) of the final attitudes of all speaking agents, by topic; the intervals resample debates.

    Source: protocol.md, bias and diversity.
    """
    answers = study.answers
    last = last_iteration(study)
    for topic in topics(study):
        mine = answers[(answers["topic"] == topic) & answers["role"].isin(speakers(study, topic))]
        final = mine[mine["iteration"] == last].dropna(subset=["value"])
        groups = final.groupby("repetition")["value"]
        n = groups.ngroups
        why = _unspread(mine, final, n, last)
        if why:
            yield from (Row(name, topic, "", n, METHOD, why, at="end") for name in ("bias", "diversity"))
            continue
        centre = float(final["value"].mean())
        away = final["value"] - centre
        sums = away.groupby(final["repetition"]).sum(), (away**2).groupby(final["repetition"]).sum()
        moments = np.column_stack([groups.count(), *sums]).astype(float)
        of = partial(_mean_and_sd, moments)
        samples = bootstrap(generator(study.seed, "final", topic), n, of)
        mean, sd = (float(it) for it in of(np.ones((1, n)))[0])
        (low, high), (least, most) = interval(samples[:, 0], n), interval(samples[:, 1], n)
        shifted: Numbers = {"estimate": mean + centre, "ci_low": low + centre, "ci_high": high + centre}
        yield Row("bias", topic, "", n, METHOD, few(n), at="end", **shifted)
        yield Row("diversity", topic, "", n, METHOD, few(n), at="end", estimate=sd, ci_low=least, ci_high=most)


def _mean_and_sd(moments: Floats, weights: Floats) -> Floats:
    """Mean and SD of resampled debates, (samples, 2).

    Args:
        moments: each debate's count, sum and sum of squares, (debates, 3).
        weights: how often each debate is drawn, (samples, debates).
    """
    count, total, squares = (weights @ moments).T
    variance = ratio(np.maximum(squares - ratio(total**2, count), 0.0), count - 1)
    return np.column_stack([ratio(total, count), np.sqrt(variance)])


def _unspread(mine: "pd.DataFrame", final: "pd.DataFrame", n: int, last: int) -> str:
    """Why final attitudes have no mean with an interval; empty if they have one."""
    if last == 0:
        return "nobody was surveyed after iteration 0"
    if n == 0:
        invalid = bool(mine["value"].isna().all())
        return "every answer was invalid" if invalid else f"there is no valid answer at iteration {last}"
    return ""


def _bias(row: Row, labels: Mapping[str, str]) -> str:
    return f"Agents ended at a mean attitude of {span(row, '')} on {where(row, labels)} ({evidence(row)})"


def _diversity(row: Row, labels: Mapping[str, str]) -> str:
    size = f"{span(row)} on {where(row, labels)} ({evidence(row)})"
    return f"Agents' final attitudes had a standard deviation of {size}"


STATISTICS = (
    Statistic(
        name="bias",
        title="the mean final attitude",
        about="Where did all agents end on average?",
        function=spread,
        sentence=_bias,
        order=60,
    ),
    Statistic(
        name="diversity",
        title="the standard deviation of final attitudes",
        about="How far apart did all agents end?",
        function=spread,
        sentence=_diversity,
        order=61,
    ),
)
