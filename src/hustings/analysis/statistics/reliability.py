"""How well the survey measures: do its items agree, and do agents give the same answers to other wordings?"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.dynamics import jackknife
from hustings.analysis.measures import of_role, parties, speakers, topics
from hustings.analysis.resampling import LEVEL, Floats, ratio
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import interval, span, where, who, whose

if TYPE_CHECKING:
    from hustings.study import Study

_JACKKNIFE = "95 % interval of Student's t with jackknife standard errors over debates"
OMEGA = f"McDonald's ω of one factor (principal axes) at iteration 0, within the party; {_JACKKNIFE}"
ALPHA = f"Cronbach's α at iteration 0, within the party; {_JACKKNIFE}"
ICC = (
    "one-way random intraclass correlation of an agent's surveys within the party; 95 % interval of the F distribution"
)
NOISE = "SD between the surveys of one agent; 95 % interval of the χ² distribution"
_STEPS = 500
_NONE = 1e-9


def consistency(study: "Study") -> Iterator[Row]:
    """Rows of omega and cronbach_alpha by topic and party: do the items measure one thing?

    Source: McDonald (1999), Test Theory; Cronbach (1951), Psychometrika 16(3).
    """
    number = len(study.design["instrument"]["items"])
    measures: tuple[tuple[str, str, int, Callable[[Floats], Floats]], ...] = (
        ("omega", OMEGA, 3, omega),
        ("cronbach_alpha", ALPHA, 2, cronbach),
    )
    for name, method, least, measure in measures:
        if number < least:
            said = "one item" if number == 1 else f"{number} items"
            yield Row(name, "", "", 0, method, f"the instrument has {said}, and this needs {least}", at="start")
            continue
        for topic in topics(study):
            for role in parties(study, topic):
                yield _consistent(Row(name, topic, role, 0, method, at="start"), _items(study, topic, role), measure)


def _consistent(row: Row, answers: Floats, measure: Callable[[Floats], Floats]) -> Row:
    """The row with its numbers filled in.

    Args:
        answers: one row for each agent, (agents, items).
    """
    from dataclasses import replace

    n = len(answers)
    if n < 3:
        return replace(row, n=n, remark="there are fewer than three agents whose every answer is valid")
    if float(answers.std(axis=0).min()) <= _NONE:
        return replace(row, n=n, remark="an item got the same answer from every agent of the party")
    without = [np.cov(np.delete(answers, place, axis=0), rowvar=False) for place in range(n)]
    found = measure(np.stack([np.cov(answers, rowvar=False), *without]))
    if np.isnan(found[0]):
        return replace(row, n=n, remark="the answers of the party's agents cancel out")
    estimate = float(found[0])
    half = _student(n) * float(jackknife(found[:1], found[1:, None])[0, 0]) ** 0.5
    return replace(row, n=n, estimate=estimate, ci_low=estimate - half, ci_high=min(1.0, estimate + half))


def _student(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, n - 1))


def _items(study: "Study", topic: str, role: str) -> Floats:
    """Valid answers of a party's agents at iteration 0, (agents, items)."""
    table = study.attitudes
    mine = table[(table["topic"] == topic) & (table["role"] == role) & (table["iteration"] == 0)]
    values: Any = mine.assign(value=mine[study.outcome].astype("Float64"))
    wide = values.pivot_table(index=["repetition", "agent"], columns="item", values="value", aggfunc="first")
    return wide.dropna().to_numpy(float)


def cronbach(covariance: Floats) -> Floats:
    """Cronbach's α of items with these covariances, (…, items, items); NaN where their sum does not vary."""
    k = covariance.shape[-1]
    own = np.trace(covariance, axis1=-2, axis2=-1)
    return k / (k - 1) * (1 - ratio(own, covariance.sum(axis=(-2, -1))))


def omega(covariance: Floats) -> Floats:
    """McDonald's ω: the share of the variance of the items' sum that is explained by one common factor.

    Args:
        covariance: covariance of the items, (…, items, items).
    """
    own = np.diagonal(covariance, axis1=-2, axis2=-1)
    common, loadings = own / 2, np.zeros_like(own)
    for _ in range(_STEPS):
        reduced = covariance.copy()
        reduced[..., np.arange(own.shape[-1]), np.arange(own.shape[-1])] = common
        values, vectors = np.linalg.eigh(reduced)
        loadings = vectors[..., -1] * np.sqrt(np.maximum(values[..., -1:], 0.0))
        before, common = common, np.clip(loadings**2, 0.0, own)
        if float(np.abs(common - before).max()) <= _NONE:
            break
    factor = loadings.sum(axis=-1) ** 2
    return ratio(factor, factor + (own - common).sum(axis=-1))


def retest(study: "Study") -> Iterator[Row]:
    """Rows of retest_icc by topic and party and retest_noise by topic and role: the same agents, asked in other words.

    They exist only if nobody speaks (control=retest), so that only the wording differs between surveys.
    Source: McGraw & Wong (1996), Psychological Methods 1(1), ICC(1).
    """
    if study.control != "retest":
        yield Row("retest_icc", "", "", 0, ICC, "only control=retest asks the same agents again without a debate")
        yield Row("retest_noise", "", "", 0, NOISE, "only control=retest asks the same agents again without a debate")
        return
    varied = study.attitudes.groupby("item")["wording"].nunique().min() > 1 if len(study.attitudes) else False
    remark = "" if varied else "every survey used the same words, so this says nothing about wording"
    for topic in topics(study):
        for role in parties(study, topic):
            yield _icc(study, topic, role, remark)
    for topic in topics(study):
        for role in speakers(study, topic):
            yield _noise(study, topic, role, remark)


def _surveys(study: "Study", topic: str, role: str) -> Floats:
    """Agents with a valid answer at every survey, (agents, surveys)."""
    panel = study.panels.get(topic)
    if panel is None:
        return np.empty((0, 0))
    values = of_role(panel, role).reshape(-1, len(panel.times))
    return values[np.isfinite(values).all(axis=1)]


def _icc(study: "Study", topic: str, role: str, remark: str) -> Row:
    from scipy.stats import f

    values = _surveys(study, topic, role)
    n, k = values.shape
    if n < 2 or k < 2:
        return Row("retest_icc", topic, role, n, ICC, "there are fewer than two agents, or they were surveyed once")
    between = k * float(values.mean(axis=1).var(ddof=1))
    within = float(values.var(axis=1, ddof=1).mean())
    if between + within <= _NONE:
        return Row("retest_icc", topic, role, n, ICC, "every agent of the party gave the same answer every time")
    if within <= _NONE:
        return Row("retest_icc", topic, role, n, ICC, remark, estimate=1.0, ci_low=1.0, ci_high=1.0)
    ratio = between / within
    low, high = (ratio / float(f.ppf(1 - (1 - LEVEL) / 2, n - 1, n * (k - 1))),
                 ratio * float(f.ppf(1 - (1 - LEVEL) / 2, n * (k - 1), n - 1)))  # fmt: skip
    estimate, low, high = ((it - 1) / (it + k - 1) for it in (ratio, low, high))
    return Row("retest_icc", topic, role, n, ICC, remark, estimate=estimate, ci_low=low, ci_high=high)


def _noise(study: "Study", topic: str, role: str, remark: str) -> Row:
    from scipy.stats import chi2

    values = _surveys(study, topic, role)
    n, k = values.shape
    if n < 1 or k < 2:
        return Row("retest_noise", topic, role, n, NOISE, "no agent was surveyed twice")
    free = n * (k - 1)
    variance = float(values.var(axis=1, ddof=1).mean())
    low, high = ((variance * free / float(chi2.ppf(tail, free))) ** 0.5 for tail in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    return Row("retest_noise", topic, role, n, NOISE, remark, estimate=variance**0.5, ci_low=low, ci_high=high)


def _agree(what: str) -> Any:
    def sentence(row: Row, labels: Mapping[str, str]) -> str:
        agents = f"{who(row, labels)} (n = {row.n:,})"
        return f"{what} of {agents} on {where(row, labels)} is {interval(row, '', 2)}"

    return sentence


def _noise_said(row: Row, labels: Mapping[str, str]) -> str:
    agents = f"{whose(row, labels)} answers on {where(row, labels)} differ by an SD of {span(row)}"
    return f"Asked again without a debate, {agents} (n = {row.n:,})"


STATISTICS = (
    Statistic(
        name="omega",
        title="the reliability ω of the items",
        about="Do the items measure one thing (McDonald's ω)?",
        function=consistency,
        sentence=_agree("The reliability ω of the items"),
        order=100,
    ),
    Statistic(
        name="cronbach_alpha",
        title="the reliability α of the items",
        about="Do the items measure one thing (Cronbach's α)?",
        function=consistency,
        sentence=_agree("The reliability α of the items"),
        order=101,
    ),
    Statistic(
        name="retest_icc",
        title="the agreement of repeated surveys",
        about="Do the same agents answer alike when they are asked in other words?",
        function=retest,
        sentence=_agree("The agreement of repeated surveys (ICC)"),
        order=102,
    ),
    Statistic(
        name="retest_noise",
        title="the noise of repeated surveys",
        about="How much do answers vary when nobody speaks?",
        function=retest,
        sentence=_noise_said,
        order=103,
    ),
)
