"""Bootstrap intervals and sign-flip tests over debates, which every statistic shares.

The debate is the unit. It knows numbers only: no tables, roles or sentences.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SMALL = 10
"""Debates below which a percentile interval is clearly too narrow."""
BUNDLES = 2_000
"""Units beyond which a bootstrap draws random bundles of units: equally wide intervals at a bounded cost."""
INTERVAL = f"95 % expanded percentile bootstrap over debates ({RESAMPLES:,} resamples)"
SPREAD = 0.005
"""Points within which values count as equal: engines round, so the same question asked twice differs by less."""
SAME = 1e-9
"""What sums of equal numbers may differ by."""

Floats = NDArray[np.float64]
Alternative = Literal["greater", "two-sided"]

_CHUNK = 4_000_000


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers of one test, which do not depend on the other topics and roles of the run."""
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])


def resample(rng: np.random.Generator, units: int) -> Iterator[Floats]:
    """How often each unit is drawn in each of RESAMPLES bootstrap samples.

    Returns:
        Chunks of shape (samples, units); the size of a chunk bounds memory and does not change results.
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
    """Resampled statistics.

    Args:
        of: from weights (samples, units) to statistics (samples,) or (samples, k); NaN where a sample has none.

    Returns:
        Shape (RESAMPLES,) or (RESAMPLES, k).
    """
    return np.concatenate([of(weights) for weights in resample(rng, units)])


def interval(samples: Floats, units: int) -> tuple[float, float]:
    """95 % expanded percentile interval of one statistic; samples without a value are left out.

    Plain percentiles are too narrow when there are few units: they use the normal distribution's tails and divide by
    n. The percentiles are moved out to where Student's t and n − 1 would put them.
    Source: Hesterberg (2015), What Teachers Should Know About the Bootstrap, The American Statistician 69(4).

    Args:
        samples: resampled statistics, (samples,) or (samples, 1).
        units: how many were resampled.
    """
    from scipy.stats import norm, t

    tail = 100 * float(norm.cdf(-((units / (units - 1)) ** 0.5) * t.ppf(0.975, units - 1)))
    low, high = np.percentile(samples[np.isfinite(samples)], [tail, 100 - tail])
    return float(low), float(high)


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, NaN where below is 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def sign_flip(values: Floats, rng: np.random.Generator, alternative: Alternative) -> float:
    """Permutation p of a mean against 0, by flipping signs: all 2ⁿ ways if there are few, else 10,000 random ones.

    Args:
        values: one for each debate, (n,).
    """
    n = len(values)
    total = float(values.sum())
    slack = SAME * max(float(np.abs(values).sum()), 1e-300)

    def extreme(flipped: Floats) -> int:
        sums = total - 2 * (flipped @ values)
        if alternative == "greater":
            return int((sums >= total - slack).sum())
        return int((np.abs(sums) >= abs(total) - slack).sum())

    if 2**n <= RESAMPLES:
        ways = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return extreme(ways.astype(float)) / 2**n
    left, count = RESAMPLES, 0
    while left > 0:
        samples = min(left, max(1, _CHUNK // n))
        count += extreme(rng.integers(0, 2, size=(samples, n), dtype=np.int8).astype(float))
        left -= samples
    return (count + 1) / (RESAMPLES + 1)


def mean_test(values: Floats, samples: Floats, rng: np.random.Generator, alternative: Alternative) -> dict[str, float]:
    """The mean of one value for each debate: interval, Cohen's d_z and sign-flip p, as fields of a Row.

    Args:
        values: one for each debate, (n,).
        samples: resampled means.
    """
    low, high = interval(samples, len(values))
    mean = float(values.mean())
    effect = mean / float(values.std(ddof=1))
    p = sign_flip(values, rng, alternative)
    return {"estimate": mean, "ci_low": low, "ci_high": high, "effect_size": effect, "p": p}


def few(n: int) -> str:
    """The remark on a percentile interval from few debates."""
    return f"with fewer than {SMALL} debates the bootstrap interval is too narrow" if n < SMALL else ""
