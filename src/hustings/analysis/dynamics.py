"""What moves attitudes from round to round: social pull α, model pull β, persona anchor κ; and the mixed model.

Here agents are not averaged, and debates are resampled whole. It does not know labels or sentences.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hustings.analysis.convergence import (
    DEFAULT,
    Floats,
    at_zero,
    generator,
    no_bias,
    ratio,
    row,
    tests,
    tidy,
)
from hustings.analysis.curves import Outcome

ALL = ""
"""The topic of a row that is about all topics together."""
LARGEST = 400
"""Debates that a mixed model is fitted to; of more, as many are drawn."""

_PULLS = ("beta", "alpha", "kappa")
_ROUNDED = "whole-number scores blur the pulls, so estimate them from the outcome expected where there is one"
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True)
class _Moments:
    """All that least squares needs to know of one topic, by repetition, before b is known."""

    zz: Floats
    """Σ zz', (repetitions, 4, 4), of z = (1, A, mean of the others − A, A(0) − A) over agents and rounds."""
    zy: Floats
    """Σ zy, (repetitions, 4), of y = A(t+1) − A(t)."""
    yy: Floats
    """Σ y², (repetitions,)."""
    asked: Floats
    """1 where the Default gave a valid answer at iteration 0, (repetitions,)."""
    own: Floats
    """That answer, or 0, (repetitions,)."""

    @property
    def bias(self) -> float:
        """b, over all debates."""
        return float(self.own.sum() / self.asked.sum())

    @property
    def debates(self) -> NDArray[np.bool_]:
        """True for repetitions with anything to fit, (repetitions,)."""
        return self.zz[:, 0, 0] > 0


def dynamics(attitudes: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """α, β and κ per round, by topic and over all topics (Source: protocol.md, dynamics).

    A(t+1) − A(t) = β(b − A(t)) + α(mean of the others(t) − A(t)) + κ(A(0) − A(t)) + ε by least squares over agents
    that speak and rounds. Intervals and two-sided p: Student's t with the cluster-jackknife standard error (CR3;
    MacKinnon, Nielsen & Webb 2023), each debate left out in turn and b estimated again; over all topics the debates
    of one repetition, which share personas, are left out together. A percentile bootstrap of 40 debates covered 93.3 %
    and its sign-flip test rejected 6.7 % of true nulls; see docs/validity.md for these.

    Args:
        attitudes: the tidy table of records.attitudes, of one run.

    Returns:
        Columns TESTS, without effect size; the topic over all topics is ALL.

    Raises:
        ValueError: the table mixes runs.
    """
    table = tidy(attitudes, outcome)
    topics = sorted({*table["topic"]})
    repetitions = np.unique(table["repetition"].to_numpy())
    parts: list[_Moments] = []
    rows: list[Any] = []
    for topic in topics:
        moments = _moments(table, topic, repetitions)
        if isinstance(moments, str):
            rows += _fit([], topic, moments)
            continue
        parts.append(moments)
        rows += _fit([moments], topic)
    if len(topics) > 1:
        rows += _fit(parts, ALL, "" if parts else "no topic can be used")
    if outcome == "score":
        for estimated in (one for one in rows if np.isfinite(one["estimate"])):
            estimated["remark"] = "; ".join(filter(None, (estimated["remark"], _ROUNDED)))
    return tests(rows)


def _moments(table: pd.DataFrame, topic: str, repetitions: Any) -> _Moments | str:
    """Moments of one topic, or why there are none."""
    default = at_zero(table, topic)
    if default.empty:
        return no_bias(table, topic)
    mine = table[table["topic"] == topic]
    speakers = np.unique(mine.loc[mine["iteration"] > 0, "agent"].to_numpy())
    if len(speakers) == 0:
        return "nobody was asked after iteration 0"
    if len(speakers) == 1:
        return "one speaker has no others"
    mine = mine[mine["agent"].isin(speakers)]
    times = np.unique(table["iteration"].to_numpy())
    a = np.full((len(repetitions), len(speakers), len(times)), np.nan)
    places = (
        np.searchsorted(repetitions, mine["repetition"].to_numpy()),
        np.searchsorted(speakers, mine["agent"].to_numpy()),
        np.searchsorted(times, mine["iteration"].to_numpy()),
    )
    a[places] = mine["value"].to_numpy(float)
    now, start = a[:, :, :-1], a[:, :, :1]
    others = (now.sum(axis=1, keepdims=True) - now) / (len(speakers) - 1)
    z = np.stack([np.ones_like(now), now, others - now, start - now], axis=-1).reshape(len(repetitions), -1, 4)
    y = np.diff(a, axis=2).reshape(len(repetitions), -1)
    known = np.isfinite(z).all(axis=-1) & np.isfinite(y)
    z, y = np.where(known[..., None], z, 0.0), np.where(known, y, 0.0)
    own = default.reindex(repetitions)
    return _Moments(
        zz=np.einsum("dmi,dmj->dij", z, z),
        zy=np.einsum("dmi,dm->di", z, y),
        yy=(y**2).sum(axis=1),
        asked=np.asarray(own.notna(), dtype=np.float64),
        own=own.fillna(0.0).to_numpy(float),
    )


def _normal(zz: Floats, zy: Floats, b: Floats) -> tuple[Floats, Floats]:
    """X'X (…, 3, 3) and X'y (…, 3) for X = (b − A, mean of the others − A, A(0) − A)."""
    change = np.zeros((*b.shape, 4, 3))
    change[..., 0, 0] = b
    change[..., 1, 0] = -1
    change[..., 2, 1] = 1
    change[..., 3, 2] = 1
    turned = np.swapaxes(change, -1, -2)
    return turned @ zz @ change, (turned @ zy[..., None])[..., 0]


def _fit(parts: list[_Moments], topic: str, why: str = "") -> list[Any]:
    """Rows of α, β and κ over the given topics."""
    method = "least squares; 95 % interval and two-sided p of Student's t with cluster-jackknife standard errors (CR3)"
    method += "; a cluster is a repetition on all topics" if topic == ALL else "; a cluster is a debate"
    parts = [part for part in parts if part.debates.any()]
    n = sum(int(part.debates.sum()) for part in parts)
    clusters = int(np.any([part.debates for part in parts], axis=0).sum()) if parts else 0
    why = why or _undetermined(parts, clusters)
    without = np.empty((0, 3)) if why else _left_out(parts)
    if not why and not np.isfinite(without).all():
        why = f"too few debates ({n})"
    if why:
        return [row(pull, topic, "", n, method, why) for pull in sorted(_PULLS)]
    estimate = _solved(parts)
    error = ((clusters - 1) / clusters * ((without - estimate) ** 2).sum(axis=0)) ** 0.5
    rows: list[Any] = []
    for place, pull in sorted(enumerate(_PULLS), key=lambda it: it[1]):
        if error[place] <= _SINGULAR:
            same = f"{estimate[place] + 0.0:.2f} whichever debate is left out, so that nothing tells how sure it is"
            rows.append(row(pull, topic, "", n, method, same))
            continue
        numbers = _student(float(estimate[place]), float(error[place]), clusters)
        rows.append(row(pull, topic, "", n, method, remark="", **numbers))
    return rows


def _student(estimate: float, error: float, clusters: int) -> dict[str, float]:
    from scipy.stats import t

    half = float(t.ppf(0.975, clusters - 1)) * error
    p = 2 * float(t.sf(abs(estimate) / error, clusters - 1))
    return {"estimate": estimate, "ci_low": estimate - half, "ci_high": estimate + half, "p": p}


def _undetermined(parts: list[_Moments], clusters: int) -> str:
    """Why α, β and κ cannot be told; empty when they can."""
    if not parts:
        return "no round has valid answers of every speaker"
    if clusters < 2:
        return "one debate only"
    if sum(float(part.yy.sum()) for part in parts) <= _SINGULAR:
        return "nobody's attitude moved"
    xx = sum(_normal(part.zz.sum(axis=0), part.zy.sum(axis=0), np.asarray(part.bias))[0] for part in parts)
    if not bool(_regular(np.asarray(xx)[None], np.asarray(xx))[0]):
        return "the three pulls cannot be told apart in these debates (collinear)"
    return ""


def _regular(xx: Floats, whole: Floats) -> Any:
    """True where X'X, scaled by the diagonal of the whole sample's, can be inverted, (…,)."""
    cells = sum(float(whole[i, i]) for i in range(3))
    if min(float(whole[i, i]) for i in range(3)) <= _SINGULAR * max(cells, 1e-300):
        return np.zeros(xx.shape[:-2], dtype=bool)
    scale = np.sqrt(np.diag(whole))
    return np.linalg.eigvalsh(xx / scale[:, None] / scale)[..., 0] > _SINGULAR


def _solved(parts: list[_Moments]) -> Floats:
    """β, α and κ of all debates, (3,)."""
    each = [_normal(part.zz.sum(axis=0), part.zy.sum(axis=0), np.asarray(part.bias)) for part in parts]
    xx, xy = np.sum([one for one, _ in each], axis=0), np.sum([two for _, two in each], axis=0)
    return np.asarray(np.linalg.solve(xx, xy), dtype=np.float64)


def _left_out(parts: list[_Moments]) -> Floats:
    """β, α and κ without each cluster in turn, b estimated again, (clusters, 3); NaN where they cannot be told."""
    used = np.any([part.debates | (part.asked > 0) for part in parts], axis=0)
    xx, xy = np.zeros((int(used.sum()), 3, 3)), np.zeros((int(used.sum()), 3))
    whole = sum(_normal(part.zz.sum(axis=0), part.zy.sum(axis=0), np.asarray(part.bias))[0] for part in parts)
    for part in parts:
        b = ratio(part.own.sum() - part.own[used], part.asked.sum() - part.asked[used])
        zz, zy = part.zz.sum(axis=0) - part.zz[used], part.zy.sum(axis=0) - part.zy[used]
        one, two = _normal(zz, zy, np.where(np.isnan(b), part.bias, b))
        xx, xy = xx + one, xy + two
    fine = _regular(xx, np.asarray(whole))
    solved = np.full_like(xy, np.nan)
    solved[fine] = np.linalg.solve(xx[fine], xy[fine][..., None])[..., 0]
    return solved


METHODS = ["bfgs", "lbfgs", "cg", "powell"]
"""How the likelihood is climbed, until one way converges: statsmodels' own, and then one without a gradient. Where
slopes hardly differ between debates the best fit lies on an edge, and gradients stop short of it on some processors."""


def mixed_model(attitudes: pd.DataFrame, outcome: Outcome, seed: int) -> pd.DataFrame:
    """score ~ iteration × role + topic, random intercept and slope by debate (Source: protocol.md, mixed model).

    Agents of one role in one debate are averaged first. Its Wald tests take what a role's answers share from one
    round to the next for independent noise, so they are too sure of themselves; read the sign-flip tests first.

    Args:
        attitudes: the tidy table of records.attitudes, of one run.

    Returns:
        Columns TESTS: `mixed_slope`, points an iteration, of the reference role (the Default if it speaks), and
        `mixed_slope_difference` of every other role that speaks. What statsmodels warned of is the remark.

    Raises:
        ValueError: the table mixes runs.
    """
    table = tidy(attitudes, outcome)
    asked = sorted({*table.loc[table["iteration"] > 0, "role"]}, key=lambda role: (role != DEFAULT, role))
    spoken = table[table["role"].isin(asked)].dropna(subset=["value"])
    means = spoken.groupby(["topic", "repetition", "role", "iteration"], sort=True)["value"].mean().reset_index()
    roles = [role for role in asked if role in {*means["role"]}]
    groups = means.groupby(["topic", "repetition"], sort=True).ngroup().to_numpy()
    debates = int(groups.max()) + 1 if len(groups) else 0
    reference = roles[0] if roles else DEFAULT
    method = f"statsmodels MixedLM (REML), {outcome} ~ iteration × role + topic, random intercept and slope by debate"
    method += f"; Wald; reference {reference}; outside the Holm family"
    why = _unfittable(means, debates, table)
    if debates > LARGEST:
        kept = generator(seed, "mixed").choice(debates, LARGEST, replace=False)
        means, groups = means[np.isin(groups, kept)], groups[np.isin(groups, kept)]
        method += f"; {LARGEST:,} of {debates:,} debates, drawn at random"
        debates = LARGEST
    fit, remark = (None, why) if why else _mixed(means, groups, roles)
    rows: list[Any] = []
    for place, role in enumerate(roles or [reference]):
        name = "mixed_slope_difference" if place else "mixed_slope"
        numbers = {} if fit is None else dict(zip(("estimate", "ci_low", "ci_high", "p"), fit[place], strict=True))
        rows.append(row(name, ALL, role, debates, method, remark, **numbers))
    return tests(rows)


def _unfittable(means: pd.DataFrame, debates: int, table: pd.DataFrame) -> str:
    """Why no mixed model can be fitted; empty when one can."""
    if not (table["iteration"] > 0).any():
        return "nobody was asked after iteration 0"
    if debates == 0:
        return "every answer was invalid"
    if debates == 1:
        return "one debate only"
    if means.groupby("role")["iteration"].nunique().min() < 2:
        return "a role has valid answers at one iteration only"
    if float(means.groupby(["topic", "role"])["value"].agg(np.ptp).max()) <= _SINGULAR:
        return "the scores of each role are constant (zero variance)"
    return ""


def _mixed(means: pd.DataFrame, groups: Any, roles: list[str]) -> tuple[list[list[float]] | None, str]:
    """Estimate, interval and p of each role's term, or None; and what statsmodels had to say."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    time = means["iteration"].to_numpy(float)
    is_role = [(means["role"] == role).to_numpy(float) for role in roles]
    slopes = [time, *(time * one for one in is_role[1:])]
    topics = [(means["topic"] == topic).to_numpy(float) for topic in sorted({*means["topic"]})]
    exog = np.column_stack([*slopes, np.ones_like(time), *is_role[1:], *topics[1:]])
    if np.linalg.matrix_rank(exog) < exog.shape[1]:
        return None, "its terms cannot be told apart in these debates (collinear)"
    random = np.column_stack([np.ones_like(time), time])
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            model = MixedLM(means["value"].to_numpy(float), exog, groups, exog_re=random)
            fit: Any = model.fit(reml=True, method=METHODS)
            terms = np.column_stack([fit.fe_params, fit.conf_int()[: exog.shape[1]], fit.pvalues[: exog.shape[1]]])
        except (np.linalg.LinAlgError, ValueError, ZeroDivisionError, FloatingPointError) as error:
            return None, f"statsmodels could not fit it ({_line(error)})"
    if not fit.converged:
        return None, "statsmodels' fit did not converge"
    wanted = terms[: len(slopes)]
    said = list(dict.fromkeys(_line(one.message) for one in caught))
    if not np.isfinite(wanted).all():
        return None, f"statsmodels gave no standard errors ({'; '.join(said) or 'no reason given'})"
    return wanted.tolist(), f"statsmodels warned: {'; '.join(said)}" if said else ""


def _line(message: object) -> str:
    return " ".join(str(message).split()).rstrip(".")
