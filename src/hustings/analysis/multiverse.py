"""One result under many specifications that should not matter: which ones to try, how the result varies, and why.

A specification has one value for every choice. This module does not know what the choices are.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.measures import parties
from hustings.analysis.resampling import Floats
from hustings.analysis.statistic import PRIMARY
from hustings.analysis.statistics import statistics
from hustings.analysis.statistics.movement import closed

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

SPECIFICATION = ["run", "topic", "role", "n", "estimate", "ci_low", "ci_high", "se"]
"""The first columns of specifications.csv; a column for each choice follows."""
SUMMARY = ["topic", "role", "measure", "choice", "n", "estimate", "low", "high", "sentence"]
"""Columns of multiverse.csv; n counts specifications. `measure` is one of median (low and high are the extremes),
same_sign, variance (by choice), unexplained and sampling; the last four are shares."""
_SWAPS = 3000


def fraction(levels: Sequence[int], count: int, seed: int) -> list[tuple[int, ...]]:
    """A balanced fraction of a grid: each level of a factor equally often, and each pair of levels nearly so.

    The first specification has the first level of every factor. Levels start in random order and are swapped within
    their factor wherever that makes the pairs more even.

    Args:
        levels: number of levels of each factor.
        count: number of specifications; if the grid has no more than that, all of it is returned.

    Returns:
        Level indices, one tuple for each specification, all different.
    """
    grid = int(np.prod(levels, dtype=np.int64))
    if grid <= count:
        return list(np.ndindex(*levels))
    rng = np.random.default_rng(seed)
    design = np.zeros((count, len(levels)), dtype=np.int64)
    for factor, size in enumerate(levels):
        design[1:, factor] = rng.permutation(np.arange(1, count) % size)
    worst = _unevenness(design, levels)
    for _ in range(_SWAPS if count > 2 else 0):
        factor, (one, two) = int(rng.integers(len(levels))), rng.choice(np.arange(1, count), 2, replace=False)
        if design[one, factor] == design[two, factor]:
            continue
        design[[one, two], factor] = design[[two, one], factor]
        now = _unevenness(design, levels)
        if now > worst:
            design[[one, two], factor] = design[[two, one], factor]
        else:
            worst = now
    return list(dict.fromkeys(tuple(map(int, row)) for row in design))


def _unevenness(design: Any, levels: Sequence[int]) -> float:
    """How unevenly pairs of levels occur; duplicate specifications are penalised most."""
    count, total = len(design), 0.0
    for one in range(len(levels)):
        for two in range(one):
            cells = levels[one] * levels[two]
            pairs = np.bincount(design[:, one] * levels[two] + design[:, two], minlength=cells)
            total += float(((pairs - count / cells) ** 2).sum())
    return total + count * count * (count - len(np.unique(design, axis=0)))


def specifications(studies: "Mapping[str, Study]", chosen: Mapping[str, Mapping[str, str]]) -> "pd.DataFrame":
    """The primary statistic of every run.

    Args:
        studies: studies by name.
        chosen: the value of each choice, by the same names.

    Returns:
        Columns SPECIFICATION and one for each choice; `se` is the standard error over debates, points.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for name, study in studies.items():
        made = statistics(study, ["closing"], beside=False)
        tests = {(row["topic"], row["role"]): row for row in made.to_dict("records") if row["family"] == PRIMARY}
        for topic in study.design["topics"]:
            for role in parties(study, topic):
                _, moved, why = closed(study, topic, role)
                if why:
                    continue
                test = tests[topic, role]
                se = float(moved.std(ddof=1)) / len(moved) ** 0.5 if len(moved) > 1 else np.nan
                numbers = {column: test[column] for column in ("n", "estimate", "ci_low", "ci_high")}
                rows.append({"run": name, "topic": topic, "role": role, **numbers, "se": se, **chosen[name]})
    choices = list(dict.fromkeys(choice for each in chosen.values() for choice in each))
    return pd.DataFrame(rows, columns=[*SPECIFICATION, *choices])


def summary(table: "pd.DataFrame", labels: Mapping[str, str]) -> "pd.DataFrame":
    """How the result varies over specifications, by topic and role, and how much of that is due to each choice.

    Args:
        table: the table of `specifications`.
        labels: labels of roles and topics.

    Returns:
        Columns SUMMARY.
    """
    import pandas as pd

    choices = [it for it in table.columns if it not in SPECIFICATION]
    rows: list[tuple[Any, ...]] = []
    groups: Any = table.groupby(["topic", "role"], sort=True)
    for (topic, role), mine in groups:
        where = f"{labels.get(role, role)} agents on {labels.get(topic, topic)}"
        for measure, choice, *numbers, sentence in (*_result(mine, where), *_parts(mine, choices, where)):
            rows.append((topic, role, measure, choice, len(mine), *numbers, sentence))
    return pd.DataFrame(rows, columns=SUMMARY)


_Row = tuple[str, str, float, float, float, str]
"""Measure, choice, estimate, low, high, sentence."""


def _result(mine: "pd.DataFrame", where: str) -> Iterator[_Row]:
    """The median, and how many specifications have the same sign."""
    values = mine["estimate"].to_numpy(float)
    median, low, high = (float(it) for it in (np.median(values), values.min(), values.max()))
    said = (
        f"Over {len(values)} specifications, closing of {where} has a median of {median:.2f} points, from {low:.2f} to "
        f"{high:.2f}."
    )
    yield "median", "", median, low, high, said
    same = float((np.sign(values) == np.sign(median)).mean())
    said = f"{100 * same:.0f} % of the specifications have the sign of the median for {where}."
    yield "same_sign", "", same, np.nan, np.nan, said


def _parts(mine: "pd.DataFrame", choices: Sequence[str], where: str) -> Iterator[_Row]:
    """Shares of the variance over specifications; empty if there is no variance."""
    values = mine["estimate"].to_numpy(float)
    for choice, share in decomposed(values, {it: mine[it].to_numpy() for it in choices}).items():
        what = f"The choice of {choice} accounts for" if choice else "The choices one by one leave unexplained"
        said = f"{what} {100 * share:.0f} % of the variance of closing over specifications for {where}."
        yield "variance" if choice else "unexplained", choice, share, np.nan, np.nan, said
    variance = float(values.var(ddof=1)) if len(values) > 1 else 0.0
    noise = float((mine["se"] ** 2).mean())
    if variance > 0 and np.isfinite(noise):
        share = noise / variance
        part = "all" if share >= 1 else f"{100 * share:.0f} %"
        said = f"Chance alone, with {_debates(mine)} debates in each, can explain {part} of that variance for {where}."
        yield "sampling", "", share, np.nan, np.nan, said


def _debates(mine: "pd.DataFrame") -> str:
    counts = sorted({int(n) for n in mine["n"]})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def decomposed(values: Floats, choices: Mapping[str, Any]) -> dict[str, float]:
    """Shares of a result's variance that are due to each choice: main effects, each adjusted for all others.

    Type II sums of squares without interactions, divided by the total. In a balanced design, they and the unexplained
    share add up to 1; in a fraction of the grid, they nearly do.

    Args:
        values: one value for each specification, (n,).
        choices: the value of each choice in each specification, by name, (n,).

    Returns:
        Shares by choice, in the given order; the empty name has the unexplained share, which includes interactions and
        chance. Empty if the result does not vary.
    """
    total = float(((values - values.mean()) ** 2).sum())
    if total <= 1e-12:
        return {}
    columns = {name: _dummies(each) for name, each in choices.items()}
    left = _residual(values, [*columns.values()])
    shares = {
        name: (_residual(values, [it for other, it in columns.items() if other != name]) - left) / total
        for name in columns
    }
    return {**{name: max(0.0, share) for name, share in shares.items()}, "": max(0.0, left / total)}


def _dummies(values: Any) -> Floats:
    """Indicator variables for all values but the first, (n, values − 1)."""
    _, place = np.unique(np.asarray(values, dtype=str), return_inverse=True)
    return np.eye(place.max() + 1)[place][:, 1:]


def _residual(values: Floats, columns: Sequence[Floats]) -> float:
    """Residual sum of squares of a linear model."""
    exog = np.column_stack([np.ones(len(values)), *columns])
    fitted = exog @ np.linalg.lstsq(exog, values, rcond=None)[0]
    return float(((values - fitted) ** 2).sum())
