"""How many repetitions a study needs, by planted simulation. It knows no model: noise is what you say it is."""

import numpy as np
import pandas as pd

from hustings.analysis.convergence import Floats, generator

REPETITIONS = (5, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320)
_STUDIES = 2_000
_FLIPS = 1_000


def power(
    points: float, noise: float, spread: float, distance: float, level: float, rounds: int, seed: int
) -> pd.DataFrame:
    """Share of planted studies whose one-sided sign-flip test finds the convergence (Source: protocol.md, dynamics).

    Each study plants debates whose role starts `distance` from the Default and is pulled to it by the β that makes
    it converge by `points` over all rounds; α and κ are 0. The test is that of analysis.convergence.

    Args:
        points: mean convergence over the whole debate.
        noise: standard deviation of ε, points a round.
        spread: standard deviation of first attitudes over personas, points.
        distance: mean distance of first attitudes from b, points.
        level: of the test.
        rounds: of a debate.

    Returns:
        Columns repetitions, power (share of studies with p at or under `level`).

    Raises:
        SettingsError: impossible numbers.
    """
    _possible(points, noise, spread, distance, level, rounds)
    pull = 1 - (1 - points / distance) ** (1 / rounds)
    rng = generator(seed, "power")
    most = REPETITIONS[-1]
    first = distance + spread * rng.normal(size=(_STUDIES, most))
    last = first
    for _ in range(rounds):
        last = last - pull * last + noise * rng.normal(size=last.shape)
    moved = np.abs(first) - np.abs(last)
    rows = [(n, float((_p(moved[:, :n], rng) <= level).mean())) for n in REPETITIONS]
    return pd.DataFrame(rows, columns=["repetitions", "power"])


def _p(moved: Floats, rng: np.random.Generator) -> Floats:
    """One-sided sign-flip p of each study's mean, (studies,), from its debates, (studies, n)."""
    signs = rng.integers(0, 2, size=(moved.shape[1], _FLIPS)) * 2.0 - 1.0
    return ((moved @ signs >= moved.sum(axis=1, keepdims=True) - 1e-9).sum(axis=1) + 1) / (_FLIPS + 1)


def _possible(points: float, noise: float, spread: float, distance: float, level: float, rounds: int) -> None:
    from hustings.errors import SettingsError

    for name, value, fine, rule in (
        ("points", points, 0 <= points < distance, f"must be at least 0 and less than the distance, {distance:g}"),
        ("noise", noise, noise >= 0, "must be at least 0"),
        ("spread", spread, spread >= 0, "must be at least 0"),
        ("distance", distance, 0 < distance <= 10, "must be above 0 and at most 10"),
        ("level", level, 1 / _FLIPS <= level < 1, f"must be at least {1 / _FLIPS:g} and less than 1"),
        ("rounds", rounds, rounds >= 1, "must be at least 1"),
    ):
        if not fine:
            raise SettingsError(f"--{name} {value:g}: this {rule}.")
