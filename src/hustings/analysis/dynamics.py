"""Least squares for the forces that move attitudes from round to round, with a jackknife over clusters.

It works only on arrays. The equation (Source: protocol.md, statistics):

    A(t+1) − A(t) = c − βA(t) + α(mean of the others(t) − A(t)) + κ(A(0) − A(t)) + ε

c is free and differs between topics, so it absorbs any movement that all agents share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from hustings.analysis.resampling import LEVEL, Floats, Numbers, ratio

NAMES = ("beta", "alpha", "kappa")
"""Order of the three pulls in every array."""

_SINGULAR = 1e-9
_Y = 6
"""Position of the change in a vector (x, z, y): three regressors, three instruments, the change."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over the agents and rounds of one topic, by cluster: everything that least squares needs."""

    count: Floats
    """Number of observations, (clusters,)."""
    sums: Floats
    """Sums of (x, z, y), (clusters, 7)."""
    products: Floats
    """Sums of their products, (clusters, 7, 7)."""

    @classmethod
    def of(cls, values: Floats, hears: Floats, instrument: Floats | None = None) -> Self:
        """The moments of attitudes (debates, speakers, surveys), one cluster for each debate.

        Args:
            hears: 1 where a listener hears a speaker, (debates, listeners, speakers).
            instrument: the same attitudes measured by other items; by default the attitudes themselves.
        """
        x = _regressors(values, hears)
        z = x if instrument is None else _regressors(instrument, hears)
        u = np.concatenate([x, z, np.diff(values, axis=2)[..., None]], axis=-1)
        u = u.reshape(len(values), -1, 7)
        known = np.asarray(np.isfinite(u).all(axis=-1))
        u = np.where(known[..., None], u, 0.0)
        return cls(known.sum(axis=1).astype(float), u.sum(axis=1), np.swapaxes(u, 1, 2) @ u)

    @property
    def used(self) -> Floats:
        """1 for clusters with any observations, (clusters,)."""
        return (self.count > 0).astype(float)


def _regressors(values: Floats, hears: Floats) -> Floats:
    """−A, mean of the others − A, A(0) − A before each round, (debates, speakers, rounds, 3)."""
    now = values[:, :, :-1]
    return np.stack([-now, heard(now, hears) - now, values[:, :, :1] - now], axis=-1)


def heard(now: Floats, hears: Floats) -> Floats:
    """Mean attitude of the speakers that each listener hears; NaN if it hears none, or if one has no attitude.

    Args:
        now: attitudes, (debates, speakers, times).
        hears: (debates, listeners, speakers).

    Returns:
        (debates, listeners, times).
    """
    total = hears @ np.nan_to_num(now)
    count = np.broadcast_to(hears.sum(axis=2, keepdims=True), total.shape)
    return np.where(hears @ np.isnan(now) > 0, np.nan, ratio(total, count))


@dataclass(frozen=True, slots=True)
class Fit:
    """β, α, κ and the c of each topic, from all clusters and with each cluster left out."""

    pulls: Floats
    """Estimates, (3,), in the order of NAMES."""
    level: Floats
    """c, (topics,)."""
    pulls_without: Floats
    """Estimates with each cluster left out in turn, (clusters, 3)."""
    level_without: Floats
    """c with each cluster left out in turn, (clusters, topics)."""
    first_stage: float
    """Smallest Cragg–Donald F of the instruments; infinite if the regressors are their own instruments."""


def why_not(directions: Sequence[Sequence[Moments]], clusters: int) -> str:
    """Why the pulls cannot be estimated; empty if they can.

    Args:
        directions: as for `fit`.
    """
    parts = [part for each in directions for part in each]
    if not any(part.count.sum() for part in parts):
        return "no round has valid answers from an agent and everybody it hears"
    if clusters < 2:
        return "there is only one debate"
    if sum(float(part.products[:, _Y, _Y].sum()) for part in parts) <= _SINGULAR:
        return "nobody's attitude moved"
    if not all(bool(_regular(_whole(each)[None])[0]) for each in directions):
        return "the three pulls cannot be separated in these debates (collinear)"
    return ""


def fit(directions: Sequence[Sequence[Moments]]) -> Fit:
    """Least squares or, with instruments, θ = (Z′X)⁻¹Z′y, averaged over the directions.

    Args:
        directions: the moments of each topic, with the clusters of all topics aligned; with instruments, there are two
            directions, and each uses the other half of the survey as the instrument.
    """
    fits = [_fit(each) for each in directions]
    return Fit(
        *(np.mean([getattr(it, name) for it in fits], axis=0)
          for name in ("pulls", "level", "pulls_without", "level_without")),
        first_stage=min(it.first_stage for it in fits),
    )  # fmt: skip


def _fit(parts: Sequence[Moments]) -> Fit:
    counts = [part.count.sum() - part.count for part in parts]
    sums = [part.sums.sum(axis=0) - part.sums for part in parts]
    products = [part.products.sum(axis=0) - part.products for part in parts]
    without = np.sum([_centred(*it) for it in zip(counts, sums, products, strict=True)], axis=0)
    whole = _whole(parts)
    pulls, pulls_without = _solve(whole[None])[0], _solve(without)
    level = [_level(part.count.sum()[None], part.sums.sum(axis=0)[None], pulls[None])[0] for part in parts]
    level_without = [_level(count, total, pulls_without) for count, total in zip(counts, sums, strict=True)]
    observations = sum(float(part.count.sum()) for part in parts) - len(parts)
    return Fit(pulls, np.array(level), pulls_without, np.stack(level_without, axis=1),
               _first_stage(whole, observations))  # fmt: skip


def _whole(parts: Sequence[Moments]) -> Floats:
    """Centred products of all clusters, (7, 7)."""
    each = [_centred(it.count.sum()[None], it.sums.sum(axis=0)[None], it.products.sum(axis=0)[None]) for it in parts]
    return np.sum(each, axis=0)[0]


def _centred(count: Floats, sums: Floats, products: Floats) -> Floats:
    """Products around the means of each topic, (…, 7, 7), which gives each topic a free intercept."""
    outer = sums[..., :, None] * sums[..., None, :]
    return products - np.divide(
        outer, count[..., None, None], out=np.zeros_like(outer), where=count[..., None, None] > 0
    )


def _solve(centred: Floats) -> Floats:
    """(Z′X)⁻¹Z′y, (…, 3); NaN where it is undetermined."""
    zx, zy = centred[..., 3:6, 0:3], centred[..., 3:6, _Y]
    fine = _regular(centred)
    solved = np.full_like(zy, np.nan)
    solved[fine] = np.linalg.solve(zx[fine], zy[fine][..., None])[..., 0]
    return solved


def _regular(centred: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """True where Z′X, scaled to correlations, can be inverted, (…,)."""
    zx = centred[..., 3:6, 0:3]
    size = np.sqrt(np.maximum(np.diagonal(centred, axis1=-2, axis2=-1), 0.0))
    x, z = size[..., 0:3], size[..., 3:6]
    fine = (np.minimum(x.min(axis=-1), z.min(axis=-1)) > 1e-6 * np.maximum(x.max(axis=-1), 1e-300)) & (
        x.max(axis=-1) > 1e-6
    )
    scaled = np.where(fine[..., None, None], zx / np.where(z > 0, z, 1.0)[..., :, None], np.eye(3))
    scaled = np.where(fine[..., None, None], scaled / np.where(x > 0, x, 1.0)[..., None, :], np.eye(3))
    return fine & (np.linalg.svd(scaled, compute_uv=False)[..., -1] > _SINGULAR)


def _level(count: Floats, sums: Floats, pulls: Floats) -> Floats:
    """c = mean of y − mean of x · θ, (clusters,)."""
    return ratio(sums[:, _Y] - (sums[:, 0:3] * pulls).sum(axis=1), count)


def _first_stage(centred: Floats, observations: float) -> float:
    """The Cragg–Donald F: how well the instruments predict the regressors in their weakest combination.

    Source: Cragg & Donald (1993), Testing Identifiability and Specification in Instrumental Variable Models,
    Econometric Theory 9(2). With one regressor, it equals the F of the first stage.
    """
    xx, zx, zz = centred[0:3, 0:3], centred[3:6, 0:3], centred[3:6, 3:6]
    explained = zx.T @ np.linalg.solve(zz, zx)
    rest = (xx - explained) / max(observations - 3, 1.0)
    if np.linalg.eigvalsh(rest)[0] <= _SINGULAR * float(np.trace(xx)) / max(observations, 1.0):
        return np.inf
    root = np.linalg.cholesky(rest)
    half = np.linalg.solve(root, explained)
    return float(np.linalg.eigvalsh(np.linalg.solve(root, half.T))[0]) / 3


def jackknife(estimate: Floats, without: Floats) -> Floats:
    """The cluster-jackknife covariance (CR3) of several estimates, (k, k).

    Source: MacKinnon, Nielsen & Webb (2023), Cluster-robust inference: A guide to empirical practice, Journal of
    Econometrics 232(2).

    Args:
        estimate: (k,).
        without: estimates with each cluster left out in turn, (clusters, k).
    """
    away = without - estimate
    return (len(without) - 1) / len(without) * away.T @ away


def student(estimate: float, error: float, clusters: int) -> Numbers:
    """Interval and two-sided p from Student's t, as fields of a Row.

    Args:
        error: standard error of the estimate, above 0.
    """
    from scipy.stats import t

    half = float(t.ppf((1 + LEVEL) / 2, clusters - 1)) * error
    p = 2 * float(t.sf(abs(estimate) / error, clusters - 1))
    return {"estimate": estimate, "ci_low": estimate - half, "ci_high": estimate + half, "p": p}


def fieller(above: float, below: float, covariance: Floats, clusters: int) -> tuple[float, float]:
    """Fieller's 95 % interval of above/below; its ends are infinite if `below` is not clearly different from 0.

    Source: Fieller (1954), Some Problems in Interval Estimation, Journal of the Royal Statistical Society B 16(2).

    Args:
        covariance: covariance of above and below, (2, 2).
    """
    from scipy.stats import t

    squared = float(t.ppf((1 + LEVEL) / 2, clusters - 1)) ** 2
    a = below**2 - squared * covariance[1, 1]
    b = above * below - squared * covariance[0, 1]
    c = above**2 - squared * covariance[0, 0]
    if a <= 0:
        return -np.inf, np.inf
    root = max(b**2 - a * c, 0.0) ** 0.5
    return float((b - root) / a), float((b + root) / a)
