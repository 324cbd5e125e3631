"""Statistics of planted tables: against scipy and statsmodels, under symmetries, and on tables that tell nothing."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hustings.analysis.convergence import at_zero, convergence, crossing, echo, ends, sign_flip, tidy
from hustings.analysis.dynamics import METHODS, dynamics, mixed_model
from hustings.analysis.statistics import COLUMNS, holm, statistics

POLES: Any = {("republican", "racism"): "low", ("democrat", "racism"): "high"}
FLIPPED: Any = {("republican", "racism"): "high", ("democrat", "racism"): "low"}
LABELS = {"republican": "Republican", "democrat": "Democrat", "default": "Default"}
NUMBERS = ["estimate", "ci_low", "ci_high", "effect_size", "p", "p_holm"]


def planted(debates: int = 40, noise: float = 0.3, seed: int = 1, pulls: Any = (0.1, 0.2, 0.05)) -> pd.DataFrame:
    """A Republican, a Democrat and a Default on racism, 3 rounds, with known alpha, beta, kappa."""
    alpha, beta, kappa = pulls
    rng = np.random.default_rng(seed)
    roles = ["republican", "democrat", "default"]
    first = np.array([2.0, 9.0, 6.0]) + np.array([0.5, 0.5, 0.0]) * rng.normal(size=(debates, 3))
    a, rows = first, []
    for t in range(4):
        rows += [("racism", d, i, roles[i], 3 * t, a[d, i]) for d in range(debates) for i in range(3)]
        others = (a.sum(axis=1, keepdims=True) - a) / 2
        a = a + beta * (6 - a) + alpha * (others - a) + kappa * (first - a) + noise * rng.normal(size=a.shape)
    table = pd.DataFrame(rows, columns=["topic", "repetition", "agent", "role", "iteration", "expected"])
    table["score"] = table["expected"].round().clip(0, 10).astype("Int64")
    return table.assign(valid=True, composition="x", persona="", model="planted", adapter="", seed=1)


def all_of(table: pd.DataFrame, poles: Any = POLES) -> pd.DataFrame:
    return statistics(table, poles, LABELS, "expected", 1)


def one(table: pd.DataFrame, statistic: str, role: str = "") -> Any:
    return table[(table["statistic"] == statistic) & (table["role"] == role)].iloc[0]


def test_convergence_agrees_with_scipy() -> None:
    table = planted()
    table.loc[table["role"] == "default", "expected"] += np.random.default_rng(3).normal(size=160)
    mine = one(convergence(table, POLES, "expected", 1), "convergence", "democrat")
    clean = tidy(table, "expected")
    pairs, own = ends(clean, "racism", "democrat", 9), at_zero(clean, "racism").to_numpy()
    first, last = pairs["first"].to_numpy(), pairs["last"].to_numpy()

    def mean(first: Any, last: Any, own: Any, axis: int = -1) -> Any:
        b = own.mean(axis=axis, keepdims=True)
        return (np.abs(first - b) - np.abs(last - b)).mean(axis=axis)

    theirs = stats.bootstrap(
        (first, last, own), mean, paired=True, vectorized=True, n_resamples=10_000, method="percentile", rng=2
    ).confidence_interval
    width = theirs.high - theirs.low
    assert mine["estimate"] == pytest.approx(mean(first, last, own))
    assert (mine["ci_low"], mine["ci_high"]) == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)


@pytest.mark.parametrize("n", [8, 40])
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_sign_flips_agree_with_scipy(n: int, alternative: Any) -> None:
    values = np.random.default_rng(n).normal(0.3, 1, n)
    mine = sign_flip(values, np.random.default_rng(1), alternative)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=9_999, alternative=alternative, rng=2
    ).pvalue
    assert mine == pytest.approx(theirs, abs=1e-12 if n == 8 else 0.02)


def test_the_mixed_model_is_that_of_statsmodels_by_hand() -> None:
    from statsmodels.formula.api import mixedlm

    table = planted()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        formula = "expected ~ iteration * C(role, Treatment('default'))"
        fit = mixedlm(formula, table, groups=table["repetition"], re_formula="~iteration").fit(method=METHODS)
    mine = mixed_model(table, "expected", 1)
    term = next(name for name in fit.params.index if "iteration" in name and "republican" in name)
    assert one(mine, "mixed_slope", "default")["estimate"] == pytest.approx(fit.params["iteration"], abs=1e-4)
    difference = one(mine, "mixed_slope_difference", "republican")
    assert difference["estimate"] == pytest.approx(fit.params[term], abs=1e-4)
    assert difference["p"] == pytest.approx(fit.pvalues[term], abs=1e-3)


def test_planted_dynamics_are_recovered() -> None:
    table = dynamics(planted(debates=200, noise=0.1), "expected")
    for name, truth in (("alpha", 0.1), ("beta", 0.2), ("kappa", 0.05)):
        found = one(table, name)
        assert found["estimate"] == pytest.approx(truth, abs=0.03)
        assert found["ci_low"] < found["estimate"] < found["ci_high"]


def test_pulls_that_explain_every_move_have_no_interval_of_zero_width() -> None:
    table = planted(debates=8)
    table["expected"] = np.where(table["iteration"] > 0, 1.0, 1.0 + (table["repetition"] % 3) * (table["agent"] < 2))
    told = dynamics(table, "expected")
    assert told["remark"].str.contains("whichever debate is left out").any()
    assert not ((told["ci_high"] - told["ci_low"]) < 1e-9).any()
    assert told.loc[told["estimate"].isna(), "remark"].all()


def test_pulls_are_least_squares_with_a_jackknife_over_debates() -> None:
    import statsmodels.api as sm

    clean = tidy(planted(), "expected")
    a = (
        clean.pivot_table(index=["repetition", "agent"], columns="iteration", values="value")
        .to_numpy()
        .reshape(40, 3, 4)
    )
    now, first = a[:, :, :3], a[:, :, :1]
    others = (now.sum(axis=1, keepdims=True) - now) / 2
    x = np.stack([6.0 - now, others - now, first - now], axis=-1).reshape(40, 9, 3)
    y = np.diff(a, axis=2).reshape(40, 9)
    whole = sm.OLS(y.ravel(), x.reshape(-1, 3)).fit().params
    kept = [np.arange(40) != d for d in range(40)]
    without = np.array([sm.OLS(y[one].ravel(), x[one].reshape(-1, 3)).fit().params for one in kept])
    half = stats.t.ppf(0.975, 39) * (39 / 40 * ((without - whole) ** 2).sum(axis=0)) ** 0.5
    table = dynamics(planted(), "expected")
    for place, name in enumerate(("beta", "alpha", "kappa")):
        mine = one(table, name)
        assert mine["estimate"] == pytest.approx(whole[place])
        assert (mine["ci_low"], mine["ci_high"]) == pytest.approx(
            (whole[place] - half[place], whole[place] + half[place])
        )


def test_topics_may_have_unequal_numbers_of_debates() -> None:
    more = planted(debates=12).assign(topic="gun_violence")
    table = statistics(pd.concat([planted(debates=5), more]), POLES, LABELS, "expected", 1)
    moved = table[(table["statistic"] == "convergence") & (table["role"] == "democrat")]
    assert dict(zip(moved["topic"], moved["n"], strict=True)) == {"gun_violence": 12, "racism": 5}
    assert table.loc[table["statistic"] == "beta", "n"].tolist() == [12, 5, 17]


def test_crossing_counts_debates_that_end_beyond_the_line() -> None:
    table = planted(debates=4, noise=0.0)
    table.loc[(table["repetition"] == 0) & (table["role"] == "republican") & (table["iteration"] == 9), "expected"] = 9
    found = one(crossing(table, POLES, "expected"), "crossing", "republican")
    assert (found["n"], found["estimate"]) == (4, 0.25)


def test_holm_is_holm() -> None:
    assert holm(pd.Series([0.01, np.nan, 0.04, 0.03])).fillna(-1).tolist() == pytest.approx([0.03, -1, 0.06, 0.06])


@pytest.fixture(scope="module")
def twelve() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Twelve debates and their statistics."""
    table = planted(debates=12)
    return table, all_of(table)


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_shuffling_rows_changes_nothing(twelve: tuple[pd.DataFrame, pd.DataFrame], seed: int) -> None:
    table, statistics_of_it = twelve
    pd.testing.assert_frame_equal(statistics_of_it, all_of(table.sample(frac=1, random_state=seed)))


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_swapping_the_ends_of_the_scale_mirrors_every_result(seed: int) -> None:
    table = planted(debates=12, seed=seed)
    swapped = table.assign(expected=10 - table["expected"])
    for name, there, back in (
        ("c", convergence(table, POLES, "expected", 1), convergence(swapped, FLIPPED, "expected", 1)),
        ("e", echo(table, POLES, "expected", 1), echo(swapped, FLIPPED, "expected", 1)),
        ("x", crossing(table, POLES, "expected"), crossing(swapped, FLIPPED, "expected")),
        ("d", dynamics(table, "expected"), dynamics(swapped, "expected")),
    ):
        assert name
        pd.testing.assert_frame_equal(there, back, rtol=1e-6, atol=1e-8)


@settings(max_examples=5)
@given(st.floats(-5, 5))
def test_a_constant_on_all_scores_leaves_convergence_unchanged(constant: float) -> None:
    table = planted(debates=12)
    moved = table.assign(expected=table["expected"] + constant)
    pd.testing.assert_frame_equal(
        convergence(table, POLES, "expected", 1), convergence(moved, POLES, "expected", 1), rtol=1e-6, atol=1e-8
    )


def bad(kind: str) -> pd.DataFrame:
    table = planted(debates=6)
    match kind:
        case "one debate":
            return table[table["repetition"] == 0]
        case "invalid":
            return table.assign(expected=np.nan, score=pd.NA, valid=False)
        case "constant":
            return table.assign(expected=5.0, score=5)
        case "no default":
            return table[table["role"] != "default"]
        case "no democrat":
            return table[table["role"] != "democrat"]
        case "only iteration 0":
            return table[table["iteration"] == 0]
        case "empty":
            return table.iloc[:0]
        case _:
            return table[(table["iteration"] == 0) | ((table["iteration"] < 9) & (table["repetition"] < 3))]


KINDS = ["one debate", "invalid", "constant", "no default", "no democrat", "only iteration 0", "empty", "cut short"]


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_said_and_never_a_nan(kind: str) -> None:
    table = all_of(bad(kind))
    assert list(table.columns) == COLUMNS
    said = table["sentence"].str.contains("not estimable: ")
    assert (table["estimate"].isna() == said).all()
    assert table.loc[said, NUMBERS].isna().all(axis=None)
    assert not table["sentence"].str.contains(r"\bnan\b|None|<NA>|\binf\b", case=False).any()
    convergences = table[table["statistic"] == "convergence"]
    missing = {"no democrat": 1, "cut short": 0}.get(kind, 2)
    assert convergences["sentence"].str.contains("not estimable: ").sum() == missing


def test_debates_cut_short_are_dropped_and_n_says_so() -> None:
    table = planted(debates=12)
    table = table[(table["repetition"] < 8) | (table["iteration"] < 9)]
    assert one(all_of(table), "convergence", "democrat")["n"] == 8


def test_a_mixture_of_runs_is_refused() -> None:
    table = planted(debates=2)
    with pytest.raises(ValueError, match="model"):
        all_of(pd.concat([table, table.assign(model="other")]))
