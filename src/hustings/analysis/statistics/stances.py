"""What agents say, as rated by a judge: stance, its agreement with the survey, and how far the judge can be trusted."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.resampling import INTERVAL, Floats, Numbers, bootstrap, few, generator, interval, ratio, remarks
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.talk import changes, judges, talk
from hustings.analysis.wording import evidence, share, where, who, whose
from hustings.analysis.wording import interval as span

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

_MEAN = f"mean over replies, rated from −3 to +3; {INTERVAL}"
_CORRELATION = (
    "Pearson correlation, over pairs of consecutive replies of one agent, of the change in stance and the change in "
    f"{{}}; {INTERVAL}"
)
_SURVEYS = {"before": "the survey before each reply", "after": "the survey after each reply"}
LARGE = 0.5
"""The most points of stance by which a judge may favour one end of the scale without a remark."""
CONSISTENT = 0.5
"""If stances with and without exchanged poles correlate less than this, the judge cannot be trusted."""
_FEWEST = 3
"""The fewest rows that a correlation needs."""


def stances(study: "Study") -> Iterator[Row]:
    """Rows of STATISTICS by topic, role and judge (Source: protocol.md, judge).

    n counts debates, and the intervals resample debates. There are no rows if no judge has read the replies.
    """
    for judge in judges(study):
        said = talk(study, judge)
        moved = changes(said)
        for topic in sorted(said["topic"].unique()):
            mine, steps = said[said["topic"] == topic], moved[moved["topic"] == topic]
            roles = [str(it) for it in sorted(mine["role"].unique())]
            for role in roles:
                yield from _means(study, judge, mine[mine["role"] == role])
            for role in ("", *roles):
                yield from _agreement(study, judge, steps[(steps["role"] == role) | (role == "")], (topic, role))
            yield _bias(study, judge, mine)
            yield _consistency(study, judge, mine)


def _means(study: "Study", judge: str, mine: "pd.DataFrame") -> Iterator[Row]:
    """A role's mean stance in its first and last reply, and the share of its replies that take no stance."""
    topic, role = str(mine["topic"].iloc[0]), str(mine["role"].iloc[0])
    for at, number in (("start", 1), ("end", int(mine["round"].max()))):
        then = mine[mine["round"] == number]
        yield _mean(study, Row("stance", topic, role, 0, _MEAN, f"judge: {judge}", at=at), then, then["stance"])
    none = (mine["rating"] == "none") & mine["exchanged"].isin(("none", ""))
    method = f"share of replies that are rated as taking no stance; {INTERVAL}"
    yield _mean(study, Row("stance_none", topic, role, 0, method, f"judge: {judge}"), mine, none.astype(float))


def _bias(study: "Study", judge: str, mine: "pd.DataFrame") -> Row:
    """How much higher stances are than those given with the topic's poles exchanged."""
    method = f"mean over replies of the stance less that with the poles exchanged; {INTERVAL}"
    row = Row("judge_bias", str(mine["topic"].iloc[0]), "", 0, method, f"judge: {judge}")
    if mine["pole_bias"].notna().any():
        return _mean(study, row, mine, mine["pole_bias"])
    return replace(row, remark=f"no reply was rated with the poles exchanged, too (judge: {judge})")


def _consistency(study: "Study", judge: str, mine: "pd.DataFrame") -> Row:
    """Whether replies get the same stance with the topic's poles exchanged."""
    method = f"Pearson correlation, over replies, of the stance and that with the poles exchanged; {INTERVAL}"
    row = Row("judge_consistency", str(mine["topic"].iloc[0]), "", 0, method)
    both: Any = mine.dropna(subset=["pole_bias", "stance"])
    pairs = both.assign(one=both["stance"] + both["pole_bias"] / 2, two=both["stance"] - both["pole_bias"] / 2)
    return _correlated(study, row, pairs, ("one", "two"), (f"judge: {judge}", "replies"))


def _mean(study: "Study", row: Row, replies: "pd.DataFrame", values: "pd.Series") -> Row:
    """The row with a mean over replies; its interval resamples debates."""
    known: Any = values.dropna().astype(float)
    groups: Any = known.groupby(replies.loc[known.index, "repetition"])
    sums, counts = (np.asarray(it, dtype=np.float64) for it in (groups.sum(), groups.count()))
    n = len(sums)
    if n == 0:
        return replace(row, remark=f"no stance was found in any of these replies ({row.remark})")
    numbers: Numbers = {"estimate": float(sums.sum() / counts.sum())}
    rng = generator(study.seed, row.statistic, row.topic, row.role, row.at)
    if n > 1:
        numbers["ci_low"], numbers["ci_high"] = interval(bootstrap(rng, n, partial(_ratio, sums, counts)), n)
    return replace(row, n=n, remark=remarks(row.remark, few(n)), **numbers)


def _ratio(above: Floats, below: Floats, weights: Floats) -> Floats:
    return ratio(weights @ above, weights @ below)


def _agreement(study: "Study", judge: str, steps: "pd.DataFrame", cell: tuple[str, str]) -> Iterator[Row]:
    """Correlations of changes in stance with changes in the survey before and after each reply."""
    for at, words in _SURVEYS.items():
        row = Row("stance_change", *cell, 0, _CORRELATION.format(words), at=at)
        yield _correlated(study, row, steps, ("stance", at), (f"judge: {judge}", "pairs of replies"))


def _correlated(
    study: "Study", row: Row, table: "pd.DataFrame", columns: tuple[str, str], words: tuple[str, str]
) -> Row:
    """The row with a correlation over the rows of a table; its interval resamples debates.

    Args:
        words: a phrase that names the judge, and what the table's rows are called.
    """
    by, what = words
    known: Any = table.dropna(subset=[*columns])
    n = int(known["repetition"].nunique())
    if len(known) < _FEWEST:
        return replace(row, n=n, remark=f"there are only {len(known)} {what} with both ({by})")
    sums = _moments(known, columns)
    estimate = float(_correlation(sums.sum(axis=0)[None])[0])
    if np.isnan(estimate):
        return replace(row, n=n, remark=f"one of the two is the same in all {what} ({by})")
    numbers: Numbers = {"estimate": estimate}
    if n > 1:
        rng = generator(study.seed, row.statistic, row.topic, row.role, row.at)
        samples = bootstrap(rng, n, lambda weights: _correlation(weights @ sums))
        numbers["ci_low"], numbers["ci_high"] = np.clip(interval(samples, n), -1, 1)
    return replace(row, n=n, remark=remarks(f"{len(known)} {what}", by, few(n)), **numbers)


def _moments(known: "pd.DataFrame", columns: tuple[str, str]) -> Floats:
    """Sums from which a correlation is computed, (debates, 6): 1, x, y, x², y², xy."""
    x, y = (known[column].to_numpy(float) for column in columns)
    terms = np.column_stack([np.ones_like(x), x, y, x * x, y * y, x * y])
    _, debate = np.unique(known["repetition"].to_numpy(), return_inverse=True)
    sums = np.zeros((debate.max() + 1, 6))
    np.add.at(sums, debate, terms)
    return sums


def _correlation(sums: Floats) -> Floats:
    """Correlations (samples,) from moments (samples, 6); NaN if one side does not vary."""
    n, x, y, xx, yy, xy = sums.T
    spread = np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0)
    return ratio(n * xy - x * y, np.sqrt(np.where(spread > 1e-12, spread, 0.0)))


def _stance(row: Row, labels: Mapping[str, str]) -> str:
    when = {"start": "first", "end": "last"}[row.at]
    said = span(row, "", 2)
    return f"{whose(row, labels)} {when} replies on {where(row, labels)} have a mean stance of {said} ({evidence(row)})"


def _change(row: Row, labels: Mapping[str, str]) -> str:
    agents = who(row, labels) or "all agents"
    return (
        f"On {where(row, labels)}, what {agents} say and what they answer in {_SURVEYS[row.at]} change together with a "
        f"correlation of {span(row, '', 2)} ({evidence(row)})"
    )


def _none(row: Row, labels: Mapping[str, str]) -> str:
    return f"{share(row)} of {whose(row, labels)} replies on {where(row, labels)} take no stance ({evidence(row)})"


def _sided(row: Row, labels: Mapping[str, str]) -> str:
    said, way = (span(row, "", 2), "higher") if row.estimate >= 0 else (span(row.negated(), "", 2), "lower")
    trust = ", so it likes one end of the scale, whatever is said" if abs(row.estimate) > LARGE else ""
    about = where(row, labels)
    return f"The judge rates replies on {about} {said} {way} than with the poles exchanged ({evidence(row)}){trust}"


def _consistent(row: Row, labels: Mapping[str, str]) -> str:
    said = f"Stances on {where(row, labels)} correlate by {span(row, '', 2)} with those with the poles exchanged"
    trust = (
        "" if row.estimate >= CONSISTENT else ", so the judge follows what the scale looks like and not what is said"
    )
    return f"{said} ({evidence(row)}){trust}"


def untrusted(study: "Study", row: Row) -> str:
    """The warning that a judge's ratings depend on which pole is called +3; empty if they hardly do."""
    about = f"A judge's ratings on {where(row, study.labels)}"
    distrust = "do not trust what is made of them"
    if row.statistic == "judge_bias" and abs(row.estimate) > LARGE:
        return f"{about} differ by {abs(row.estimate):.1f} when the poles are exchanged, whatever is said; {distrust}"
    if row.statistic == "judge_consistency" and row.estimate < CONSISTENT:
        return f"{about} correlate by only {row.estimate:.2f} with those with the poles exchanged; {distrust}"
    return ""


STATISTICS = (
    Statistic(
        name="stance",
        title="the mean stance of replies",
        about="What do agents say, in the eyes of a judge (−3 to +3)?",
        function=stances,
        sentence=_stance,
        order=120,
    ),
    Statistic(
        name="stance_change",
        title="the correlation of changes in talk and survey",
        about="Does what an agent says change with what it answers (−1 to 1)?",
        function=stances,
        sentence=_change,
        order=121,
    ),
    Statistic(
        name="stance_none",
        title="the share of replies that take no stance",
        about="How many replies say nothing about the question?",
        function=stances,
        sentence=_none,
        order=122,
    ),
    Statistic(
        name="judge_bias",
        title="the judge's liking for one end of the scale",
        about="How much do ratings depend on which pole is called +3?",
        function=stances,
        sentence=_sided,
        order=123,
    ),
    Statistic(
        name="judge_consistency",
        title="the judge's agreement with itself when the poles are exchanged",
        about="Does a reply get the same stance when the poles are exchanged (−1 to 1)?",
        function=stances,
        sentence=_consistent,
        order=124,
    ),
)
