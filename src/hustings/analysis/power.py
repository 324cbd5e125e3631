"""How many repetitions a study needs, from simulations with planted effects. No model is used: you set the noise."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.resampling import SAME, Floats, generator
from hustings.errors import SettingsError

if TYPE_CHECKING:
    import pandas as pd

REPETITIONS = (5, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320)
_STUDIES = 2_000
_FLIPS = 1_000


@dataclass(frozen=True, slots=True)
class Design:
    """A study that has not been run yet.

    Raises:
        SettingsError: the numbers are impossible.
    """

    points: float
    """Mean closing of the distance to the shadow Default over the whole debate."""
    noise: float
    """Standard deviation of ε, points per round."""
    spread: float
    """Standard deviation of first attitudes over personas, points."""
    distance: float
    """Mean distance of first attitudes from the shadow Default, points."""
    level: float
    """Significance level of the test."""
    rounds: int
    """Number of rounds in a debate."""

    def __post_init__(self) -> None:
        for name, fine, rule in (
            ("points", 0 <= self.points < self.distance, f"at least 0 and less than the distance, {self.distance:g}"),
            ("noise", self.noise >= 0, "at least 0"),
            ("spread", self.spread >= 0, "at least 0"),
            ("distance", self.distance > 0, "above 0"),
            ("level", 1 / _FLIPS <= self.level < 1, f"at least {1 / _FLIPS:g} and less than 1"),
            ("rounds", self.rounds >= 1, "at least 1"),
        ):
            if not fine:
                raise SettingsError(f"--{name} {getattr(self, name):g}: this must be {rule}.")


def power(design: Design, seed: int) -> "pd.DataFrame":
    """Share of planted studies whose one-sided sign-flip test detects the closing (Source: protocol.md, statistics).

    Each study plants debates in which the role starts `distance` points from the shadow Default, which does not move,
    and is pulled towards it by the β that closes `points` over all rounds; α and κ are 0. The test is that of
    `closing`.

    Returns:
        Columns repetitions, power (share of studies with p at or below `level`).
    """
    import pandas as pd

    pull = 1 - (1 - design.points / design.distance) ** (1 / design.rounds)
    rng = generator(seed, "power")
    first = design.distance + design.spread * rng.normal(size=(_STUDIES, REPETITIONS[-1]))
    last = first
    for _ in range(design.rounds):
        last = last - pull * last + design.noise * rng.normal(size=last.shape)
    moved = np.abs(first) - np.abs(last)
    rows = [(n, float((_p(moved[:, :n], rng) <= design.level).mean())) for n in REPETITIONS]
    return pd.DataFrame(rows, columns=["repetitions", "power"])


def _p(moved: Floats, rng: np.random.Generator) -> Floats:
    """One-sided sign-flip p of each study's mean, (studies,), from one value per debate, (studies, n)."""
    signs = rng.integers(0, 2, size=(moved.shape[1], _FLIPS)) * 2.0 - 1.0
    return ((moved @ signs >= moved.sum(axis=1, keepdims=True) - SAME).sum(axis=1) + 1) / (_FLIPS + 1)
