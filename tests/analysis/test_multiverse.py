"""Balanced fractions of a grid, and the variance of a result by choice."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.anova import anova_lm

from hustings.analysis.multiverse import decomposed, fraction, summary

LEVELS = (2, 2, 3, 2, 2, 3, 2)
"""Those of conf/experiment/multiverse.yaml."""


@settings(max_examples=6)
@given(st.integers(0, 1000), st.sampled_from([16, 24, 36]))
def test_a_fraction_is_balanced_and_begins_with_the_first_of_everything(seed: int, count: int) -> None:
    chosen = np.array(fraction(LEVELS, count, seed))
    assert len(chosen) == len(np.unique(chosen, axis=0)) == count
    assert (chosen[0] == 0).all()
    for factor, size in enumerate(LEVELS):
        seen = np.bincount(chosen[:, factor], minlength=size)
        assert seen.max() - seen.min() <= 1
    for one, two in combinations(range(len(LEVELS)), 2):
        cells = np.bincount(chosen[:, one] * LEVELS[two] + chosen[:, two], minlength=LEVELS[one] * LEVELS[two])
        assert cells.min() >= 1
        assert np.abs(cells - count / len(cells)).max() <= 3


def test_a_fraction_is_drawn_by_seed_and_a_small_grid_is_whole() -> None:
    assert fraction(LEVELS, 16, 1) == fraction(LEVELS, 16, 1) != fraction(LEVELS, 16, 2)
    assert fraction((2, 3), 16, 1) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert len(fraction((5, 5), 2, 1)) == 2


def test_shares_are_those_of_type_two_sums_of_squares() -> None:
    rng = np.random.default_rng(1)
    design = np.array(fraction(LEVELS, 24, 1))
    choices = {f"f{place}": design[:, place] for place in range(len(LEVELS))}
    values = 2.0 * design[:, 0] - design[:, 2] + 0.3 * rng.normal(size=24)
    found = decomposed(values, choices)
    table = pd.DataFrame({"y": values, **choices})
    fit: Any = smf.ols(f"y ~ {' + '.join(f'C({name})' for name in choices)}", table).fit()
    squares = anova_lm(fit, typ=2)["sum_sq"].to_numpy()
    total = ((values - values.mean()) ** 2).sum()
    assert [*found.values()] == pytest.approx([*(squares / total)], abs=1e-9)
    assert max(found, key=lambda it: found[it]) == "f0"
    assert sum(found[it] for it in ("f1", "f3", "f4", "f5", "f6", "")) < 0.1


def test_choices_that_cannot_be_told_apart_get_nothing_and_a_constant_result_has_no_shares() -> None:
    one = np.array([0, 0, 1, 1])
    found = decomposed(np.array([0.0, 0.1, 1.0, 1.1]), {"a": one, "b": one})
    assert found["a"] == found["b"] == pytest.approx(0, abs=1e-9)
    assert decomposed(np.ones(4), {"a": one}) == {}


def test_the_summary_has_median_sign_shares_and_chance() -> None:
    table = pd.DataFrame({
        "run": list("abcd"), "topic": "racism", "role": "democrat", "n": 4, "estimate": [1.0, 2.0, -1.0, 3.0],
        "ci_low": np.nan, "ci_high": np.nan, "se": 0.5, "prompt": list("xxyy"), "seed": ["1", "2", "1", "2"],
    })  # fmt: skip
    rows = summary(table, {"democrat": "Democrat"}).set_index(["measure", "choice"])
    median = rows.loc["median", ""]
    assert (median["estimate"], median["low"], median["high"], median["n"]) == (1.5, -1.0, 3.0, 4)
    assert rows.loc["same_sign", ""]["estimate"] == 0.75
    variance = table["estimate"].var()
    assert rows.loc["variance", "seed"]["estimate"] == pytest.approx(2.5**2 / (3 * variance))
    assert rows.loc["sampling", ""]["estimate"] == pytest.approx(0.25 / variance)
    assert median["sentence"].startswith(
        "Over 4 specifications, closing of Democrat agents on racism has a median of 1.50"
    )
