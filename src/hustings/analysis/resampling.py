"""Bootstrap intervals and sign-flip tests, shared by all statistics.

The unit is the debate. This module works only on numbers: no tables, roles or sentences.
"""

import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SMALL = 10
"""With fewer debates than this, intervals are too narrow."""
BUNDLES = 500
"""With more units than this, random bundles of units are drawn or flipped: equally valid, at a bounded cost."""
INTERVAL = f"95 % expanded percentile bootstrap over debates ({RESAMPLES:,} resamples)"
SPREAD = 0.005
"""Values this close count as equal, points: engines round, so the answers to a repeated question differ by less."""
SAME = 1e-9
"""Tolerance for sums of equal numbers."""
LEVEL = 0.95
"""Confidence level of the intervals."""

Floats = NDArray[np.float64]
Alternative = Literal["greater", "two-sided"]

_CHUNK = 4_000_000


class Numbers(TypedDict, total=False):
    """The numbers of a Row, as keyword arguments."""

    estimate: float
    ci_low: float
    ci_high: float
    effect_size: float
    p: float
    p_smallest: float


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator for one test, independent of those for the other topics and roles of the run."""
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])


def resample(rng: np.random.Generator, units: int) -> Iterator[Floats]:
    """How often each unit is drawn in each of RESAMPLES bootstrap samples.

    Returns:
        Chunks of shape (samples, units); the chunk size limits memory and does not affect results.
    """
    bundles = min(units, BUNDLES)
    bundle = rng.permutation(np.arange(units) % bundles) if units > bundles else None
    left = RESAMPLES
    while left > 0:
        samples = min(left, max(1, _CHUNK // units))
        drawn = rng.integers(0, bundles, size=(samples, bundles))
        drawn += np.arange(samples)[:, None] * bundles
        counts = np.bincount(drawn.ravel(), minlength=samples * bundles).reshape(samples, bundles).astype(float)
        yield counts if bundle is None else counts[:, bundle]
        left -= samples


def bootstrap(rng: np.random.Generator, units: int, of: Callable[[Floats], Floats]) -> Floats:
    """Statistics of the bootstrap samples.

    Args:
        of: function from weights (samples, units) to statistics (samples,) or (samples, k); NaN where a sample has
            none.

    Returns:
        Shape (RESAMPLES,) or (RESAMPLES, k).
    """
    return np.concatenate([of(weights) for weights in resample(rng, units)])


@lru_cache(maxsize=2)
def _drawn(seed: int, units: int) -> Floats:
    """How often each unit is drawn, (RESAMPLES, units); identical for all means of a study."""
    rng = generator(seed, "means")
    drawn = rng.integers(0, units, size=(RESAMPLES, units)) + np.arange(RESAMPLES)[:, None] * units
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * units)
    return counts.reshape(RESAMPLES, units).astype(np.float64)


@lru_cache(maxsize=2)
def _flipped(seed: int, units: int) -> Floats:
    """1 where a sign is flipped, (ways, units): all 2ⁿ ways if there are few, otherwise RESAMPLES random ones."""
    if 2**units <= RESAMPLES:
        return ((np.arange(2**units)[:, None] >> np.arange(units)) & 1).astype(np.float64)
    return generator(seed, "signs").integers(0, 2, size=(RESAMPLES, units), dtype=np.int8).astype(np.float64)


def _bundled(values: Floats, seed: int) -> tuple[Floats, Floats]:
    """Sums and sizes of random bundles of the values, at most BUNDLES of them."""
    if len(values) <= BUNDLES:
        return values, np.ones(len(values))
    bundle = generator(seed, "bundles").permutation(np.arange(len(values)) % BUNDLES)
    sums = np.asarray(np.bincount(bundle, weights=values), dtype=np.float64)
    return sums, np.bincount(bundle).astype(np.float64)


def resampled_means(values: Floats, seed: int) -> Floats:
    """Means of RESAMPLES bootstrap samples of the values, one value for each debate, (n,)."""
    sums, sizes = _bundled(values, seed)
    drawn = _drawn(seed, len(sums))
    return (drawn @ sums) / (len(sums) if len(sums) == len(values) else drawn @ sizes)


def interval(samples: Floats, units: int, level: float = LEVEL) -> tuple[float, float]:
    """Expanded percentile interval of one statistic; samples without a value are ignored.

    Plain percentile intervals are too narrow for few units, because they use the tails of the normal distribution and
    divide by n. The percentiles are moved outwards to match Student's t and n − 1.
    Source: Hesterberg (2015), What Teachers Should Know About the Bootstrap, The American Statistician 69(4).

    Args:
        samples: resampled statistics, (samples,) or (samples, 1).
        units: number of units that were resampled.
    """
    if units < 2:
        return np.nan, np.nan
    tail = _tail(units, level)
    low, high = np.percentile(samples[np.isfinite(samples)], [tail, 100 - tail])
    return float(low), float(high)


@lru_cache
def _tail(units: int, level: float) -> float:
    """The lower percentile of the expanded interval."""
    from scipy.stats import norm, t

    return 100 * float(norm.cdf(-((units / (units - 1)) ** 0.5) * t.ppf((1 + level) / 2, units - 1)))


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below; NaN where below is 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def sign_flip(values: Floats, seed: int, alternative: Alternative) -> float:
    """Permutation p of a mean against 0 by sign flips: all 2ⁿ ways if there are few, otherwise 10,000 random ones.

    Args:
        values: one value for each debate, (n,).
    """
    sums, _ = _bundled(values, seed)
    flipped = _flipped(seed, len(sums))
    total = float(sums.sum())
    slack = SAME * max(float(np.abs(sums).sum()), 1e-300)
    flips = total - 2 * (flipped @ sums)
    if alternative == "greater":
        extreme = int((flips >= total - slack).sum())
    else:
        extreme = int((np.abs(flips) >= abs(total) - slack).sum())
    if 2 ** len(sums) <= RESAMPLES:
        return extreme / len(flipped)
    return (extreme + 1) / (RESAMPLES + 1)


def smallest_p(n: int, alternative: Alternative) -> float:
    """The smallest p that `sign_flip` can give for n debates."""
    sides = 1 if alternative == "greater" else 2
    return min(1.0, sides / 2**n) if 2 ** min(n, 60) <= RESAMPLES else 1 / (RESAMPLES + 1)


def effect_size(values: Floats) -> float:
    """Cohen's d_z; NaN if the values differ by no more than the engines' rounding."""
    return float(values.mean() / values.std(ddof=1)) if len(values) > 1 and np.ptp(values) > SPREAD else np.nan


def mean_test(values: Floats, seed: int, alternative: Alternative, samples: Floats | None = None) -> Numbers:
    """Interval, Cohen's d_z and sign-flip p for the mean of one value per debate, as fields of a Row.

    Args:
        values: one value for each debate, (n,), at least one.
        samples: resampled means, if they are not simply the means of resampled values.
    """
    low, high = interval(resampled_means(values, seed) if samples is None else samples, len(values))
    return {
        "estimate": float(values.mean()),
        "ci_low": low,
        "ci_high": high,
        "effect_size": effect_size(values),
        "p": sign_flip(values, seed, alternative),
        "p_smallest": smallest_p(len(values), alternative),
    }


def equivalence(values: Floats, seed: int, margin: float) -> Numbers:
    """Is a mean within ± margin? Two one-sided sign-flip tests and the matching 90 % interval, as fields of a Row.

    Args:
        values: one value for each debate, (n,), at least one.
        margin: points.
    """
    low, high = interval(resampled_means(values, seed), len(values), 0.9)
    p = max(sign_flip(values + margin, seed, "greater"), sign_flip(margin - values, seed, "greater"))
    smallest = smallest_p(len(values), "greater")
    return {"estimate": float(values.mean()), "ci_low": low, "ci_high": high, "p": p, "p_smallest": smallest}


def wilson(hits: int, n: int) -> Numbers:
    """A share and its 95 % Wilson interval, as fields of a Row.

    Args:
        n: at least 1.
    """
    from scipy.stats import norm

    z = float(norm.ppf((1 + LEVEL) / 2))
    share = hits / n
    centre, half = share + z**2 / (2 * n), z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = (max(0.0, (centre - half) / (1 + z**2 / n)), min(1.0, (centre + half) / (1 + z**2 / n)))
    return {"estimate": share, "ci_low": 0.0 if hits == 0 else low, "ci_high": 1.0 if hits == n else high}


def few(n: int) -> str:
    """The remark on a single debate; report.alerts warns once that intervals from few debates are too narrow."""
    return "there is only one debate, so there is no interval" if n == 1 else ""


def remarks(*each: str) -> str:
    """Several remarks joined into one, without the empty ones."""
    return "; ".join(filter(None, each))
