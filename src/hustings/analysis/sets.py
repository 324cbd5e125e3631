"""Several sets of life stories for the same names: `closing` with the set as a random effect.

A set is one draw from all the stories that the model could have written, so its debates are not independent: k sets
give k observations of the mean, however many debates they contain.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.measures import parties
from hustings.analysis.resampling import Floats
from hustings.analysis.statistics.movement import closed

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

SETS = ["statistic", "topic", "role", "sets", "n", "estimate", "ci_low", "ci_high", "p", "share", "share_low",
        "share_high", "means", "sentence"]  # fmt: skip
"""Columns of sets.csv. `share` is the part of the variance between debates that lies between sets, with interval."""


def random_effect(groups: Sequence[Floats]) -> dict[str, float]:
    """A mean over groups that are themselves a sample, and the share of the variance that lies between them.

    One-way random effects: the mean of the group means, with Student's t on k − 1 degrees of freedom, which is exact if
    the groups are equally large; and the intraclass correlation from the analysis of variance, with an interval from F.
    Source: Searle, Casella, McCulloch (1992), Variance Components, chapter 3.

    Args:
        groups: the values of each group, (n,); at least two groups.

    Returns:
        estimate, ci_low, ci_high, p (two-sided, against 0), share, share_low, share_high; NaN where undefined.
    """
    from scipy.stats import f, t

    k, sizes = len(groups), np.array([len(it) for it in groups], dtype=np.float64)
    means = np.array([it.mean() for it in groups])
    mean, spread = float(means.mean()), float(means.std(ddof=1)) / k**0.5
    reach = float(t.ppf(0.975, k - 1)) * spread
    total, within = float(sizes.sum()), sum(float(((it - it.mean()) ** 2).sum()) for it in groups)
    p = float(2 * t.sf(abs(mean) / spread, k - 1)) if spread > 0 else (1.0 if mean == 0 else 0.0)
    found = {"estimate": mean, "ci_low": mean - reach, "ci_high": mean + reach, "p": p}
    undefined = {"share": np.nan, "share_low": np.nan, "share_high": np.nan}
    if total <= k or within <= 0:
        return {**found, **undefined}
    grand = float(np.concatenate(groups).mean())
    between = float((sizes * (means - grand) ** 2).sum()) / (k - 1)
    inside = within / (total - k)
    each = (total - float((sizes**2).sum()) / total) / (k - 1)  # size of a group, if sizes differ
    ratio = between / inside
    upper, lower = (ratio / float(f.ppf(level, k - 1, total - k)) for level in (0.025, 0.975))
    share, low, high = (max(0.0, (it - 1) / (it - 1 + each)) for it in (ratio, lower, upper))
    return {**found, "share": share, "share_low": low, "share_high": high}


def sets(studies: Iterable["Study"], name: str = "") -> "pd.DataFrame":
    """`closing` by topic and role, over runs that differ only in their set of life stories and in their topics.

    Args:
        studies: two or more studies; no two may have the same set and topic.
        name: what distinguishes these runs from others, for the sentences; empty if there are no others.

    Returns:
        Columns SETS; only topics and roles with debates from at least two sets.
    """
    import pandas as pd

    each = list(studies)
    labels = {key: label for study in each for key, label in study.labels.items()}
    rows = [{**row, "sentence": _sentence(row, labels, name)} for row in _rows(each)]
    return pd.DataFrame(rows, columns=SETS)


def _rows(studies: Sequence["Study"]) -> Iterator[dict[str, Any]]:
    for topic in sorted({topic for study in studies for topic in study.design["topics"]}):
        for role in parties(studies[0], topic):
            values = [closed(study, topic, role) for study in studies]
            moved = [it for _, it, why in values if not why and len(it)]
            if len(moved) > 1:
                means = " ".join(f"{it.mean():.2f}" for it in moved)
                yield {"statistic": "closing", "topic": topic, "role": role, "sets": len(moved),
                       "n": sum(map(len, moved)), **random_effect(moved), "means": means}  # fmt: skip


def _sentence(row: Mapping[str, Any], labels: Mapping[str, str], name: str) -> str:
    """A row as a sentence that can be quoted."""
    way = "nearer to" if row["estimate"] >= 0 else "further from"
    sign = 1 if row["estimate"] >= 0 else -1
    low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
    of = f" ({name})" if name else ""
    said = (
        f"Over {row['sets']} sets of life stories{of}, {labels[row['role']]} agents ended {abs(row['estimate']):.1f} "
        f"points [{low:.1f}, {high:.1f}] {way} the shadow Default on {labels[row['topic']]} (sets as a random effect, "
        f"n = {row['n']} debates, p {_p(row['p'])})"
    )
    if np.isnan(row["share"]):
        return f"{said}."
    between = f"{100 * row['share']:.0f} % [{100 * row['share_low']:.0f}, {100 * row['share_high']:.0f}]"
    return f"{said}; {between} of the variance between debates is due to the set of stories."


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.{3 if p < 0.0995 else 2}f}"
