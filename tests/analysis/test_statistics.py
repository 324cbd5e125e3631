"""Statistics of planted tables: against scipy and statsmodels, under symmetries, and on tables that say nothing."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tables import FLIPPED, POLES, planted, study_of

from hustings.analysis import statistics as registry
from hustings.analysis.measures import at_zero, ends
from hustings.analysis.resampling import sign_flip
from hustings.analysis.statistic import COLUMNS, Row, Statistic, holm
from hustings.analysis.statistics import all_statistics, get, register, statistics
from hustings.analysis.statistics.mixed_model import OPTIMIZERS
from hustings.errors import SettingsError
from hustings.study import Study

NUMBERS = ["estimate", "ci_low", "ci_high", "effect_size", "p", "p_holm"]
PULLS = ["alpha", "beta", "kappa"]
RING = {"republican": 0.0, "democrat": 4.0, "republican2": 3.0, "democrat2": 10.0, "default": 6.0}
"""Five speakers, whose neighbours are not like the others."""


def of(table: pd.DataFrame, *names: str, poles: Any = POLES, **options: Any) -> pd.DataFrame:
    """The statistics of a table, all of them unless some are named."""
    return statistics(study_of(table, poles, **options), names or None)


def one(table: pd.DataFrame, statistic: str, role: str = "") -> Any:
    return table[(table["statistic"] == statistic) & (table["role"] == role)].iloc[0]


def test_every_statistic_is_found_in_the_order_of_the_table() -> None:
    names = ["convergence", "echo", "crossing", *PULLS, "mixed_slope", "mixed_slope_difference", "bias", "diversity",
             "invalid"]  # fmt: skip
    assert [statistic.name for statistic in all_statistics()] == names
    assert [name for name in names if get(name).family == "tests"] == ["convergence", "echo", *PULLS]
    assert all(get(name).about.endswith("?") for name in names)
    assert list(dict.fromkeys(of(planted(debates=3))["statistic"])) == names


def test_an_unknown_statistic_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"statistic drift: there is no such statistic; there is convergence, echo"):
        of(planted(debates=2), "drift")


def test_chosen_statistics_are_the_rows_of_the_whole_table_and_adjusted_among_themselves() -> None:
    whole, some = of(planted(debates=12)), of(planted(debates=12), "kappa", "echo")
    same = [column for column in COLUMNS if column not in ("p_holm", "sentence")]
    expected = whole[whole["statistic"].isin(["kappa", "echo"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some[same], expected[same])
    pd.testing.assert_series_equal(some["p_holm"], holm(some["p"]), check_names=False)


@pytest.fixture
def registered() -> Iterator[Statistic]:
    """A statistic from outside of the package, with its own family."""

    def count(study: Study) -> Iterator[Row]:
        for topic, mine in study.agents.groupby("topic"):
            yield Row("debates", str(topic), "", mine["repetition"].nunique(), "counted", estimate=1.0, p=0.01)
        yield Row("debates", "gun_violence", "", 0, "counted", "nobody debated it")

    statistic = Statistic(
        name="debates",
        title="the number of debates",
        about="How many debates are there on each topic?",
        function=count,
        sentence=lambda row, labels: f"There are {row.n} debates on {labels[row.topic]}",
        family="mine",
    )
    register(statistic)
    yield statistic
    registry._registered.clear()


def test_a_statistic_from_elsewhere_is_in_the_table_and_its_family_is_its_own(registered: Statistic) -> None:
    whole = of(planted(debates=6))
    mine = whole[whole["statistic"] == "debates"]
    assert mine["sentence"].tolist() == [
        "There are 6 debates on racism.",
        "The number of debates on gun violence is not estimable: nobody debated it.",
    ]
    assert mine["p_holm"].iloc[0] == 0.01
    register(replace(registered, about="How many?"))
    assert get("debates").about == "How many?"
    registry._registered.clear()
    pd.testing.assert_frame_equal(whole[whole["statistic"] != "debates"], of(planted(debates=6)))


def test_a_statistic_cannot_take_the_name_of_a_shipped_one(registered: Statistic) -> None:
    with pytest.raises(SettingsError, match="statistic echo: Hustings already has a statistic of this name"):
        register(replace(registered, name="echo"))


def test_convergence_agrees_with_scipy() -> None:
    table = planted()
    table.loc[table["role"] == "default", "expected"] += np.random.default_rng(3).normal(size=160)
    mine = one(of(table, "convergence"), "convergence", "democrat")
    clean = study_of(table).answers
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
        fit = mixedlm(formula, table, groups=table["repetition"], re_formula="~iteration").fit(method=OPTIMIZERS)
    mine = of(table, "mixed_slope", "mixed_slope_difference")
    term = next(name for name in fit.params.index if "iteration" in name and "republican" in name)
    assert one(mine, "mixed_slope", "default")["estimate"] == pytest.approx(fit.params["iteration"], abs=1e-4)
    difference = one(mine, "mixed_slope_difference", "republican")
    assert difference["estimate"] == pytest.approx(fit.params[term], abs=1e-4)
    assert difference["p"] == pytest.approx(fit.pvalues[term], abs=1e-3)


def test_planted_dynamics_are_recovered() -> None:
    table = of(planted(debates=200, noise=0.1), *PULLS)
    for name, truth in (("alpha", 0.1), ("beta", 0.2), ("kappa", 0.05)):
        found = one(table, name)
        assert found["estimate"] == pytest.approx(truth, abs=0.03)
        assert found["ci_low"] < found["estimate"] < found["ci_high"]


def neighbours(speakers: int) -> dict[int, str]:
    """Whom each speaker of a ring hears, as in agents.csv."""
    return {agent: f"{(agent - 1) % speakers} {(agent + 1) % speakers}" for agent in range(speakers)}


def test_social_pull_is_towards_those_whom_an_agent_hears() -> None:
    hears = np.zeros((5, 5))
    for agent, others in neighbours(5).items():
        hears[agent, [int(other) for other in others.split()]] = 1
    table = planted(debates=200, noise=0.1, pulls=(0.2, 0.1, 0.05), first=RING, hears=hears)
    for name, truth in (("alpha", 0.2), ("beta", 0.1), ("kappa", 0.05)):
        ring = one(of(table, name, hears=neighbours(5)), name)
        assert ring["estimate"] == pytest.approx(truth, abs=0.03)
    everybody = one(of(table, "alpha"), "alpha")
    assert abs(everybody["estimate"] - 0.2) > 0.03
    assert not everybody["ci_low"] < 0.2 < everybody["ci_high"]


def test_hearing_every_other_position_is_hearing_all() -> None:
    table = planted(debates=12)
    named = of(table, hears={0: "1 2", 1: "0 2", 2: "0 1"})
    pd.testing.assert_frame_equal(named, of(table), rtol=1e-9)


def test_an_agent_that_hears_nobody_is_left_out_of_the_pulls_and_the_remark_says_so() -> None:
    table = planted(debates=30)
    deaf = of(table, *PULLS, hears={0: ""})
    assert deaf["sentence"].str.endswith("; agents that hear nobody are left out.").all()
    changed = table.copy()
    changed.loc[(table["agent"] == 0) & (table["iteration"] == 9), "expected"] += 1.0  # moves none of the others
    pd.testing.assert_frame_equal(deaf, of(changed, *PULLS, hears={0: ""}))
    nobody = of(table, *PULLS, hears={0: "", 1: "", 2: ""})
    assert nobody["sentence"].str.contains("not estimable: no agent hears another").all()


def test_pulls_that_explain_every_move_have_no_interval_of_zero_width() -> None:
    table = planted(debates=8)
    table["expected"] = np.where(table["iteration"] > 0, 1.0, 1.0 + (table["repetition"] % 3) * (table["agent"] < 2))
    found = of(table, *PULLS)
    assert found["sentence"].str.contains("whichever debate is left out").any()
    assert not ((found["ci_high"] - found["ci_low"]) < 1e-9).any()
    assert found.loc[found["estimate"].isna(), "sentence"].str.contains("not estimable: ").all()


def test_pulls_are_least_squares_with_a_jackknife_over_debates() -> None:
    import statsmodels.api as sm

    clean = study_of(planted()).answers
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
    table = of(planted(), *PULLS)
    for place, name in enumerate(("beta", "alpha", "kappa")):
        mine = one(table, name)
        assert mine["estimate"] == pytest.approx(whole[place])
        assert (mine["ci_low"], mine["ci_high"]) == pytest.approx(
            (whole[place] - half[place], whole[place] + half[place])
        )


def test_topics_may_have_unequal_numbers_of_debates() -> None:
    more = planted(debates=12).assign(topic="gun_violence")
    table = of(pd.concat([planted(debates=5), more]))
    moved = table[(table["statistic"] == "convergence") & (table["role"] == "democrat")]
    assert dict(zip(moved["topic"], moved["n"], strict=True)) == {"gun_violence": 12, "racism": 5}
    assert table.loc[table["statistic"] == "beta", "n"].tolist() == [12, 5, 17]


def test_crossing_counts_debates_that_end_beyond_the_line() -> None:
    table = planted(debates=4, noise=0.0)
    table.loc[(table["repetition"] == 0) & (table["role"] == "republican") & (table["iteration"] == 9), "expected"] = 9
    found = one(of(table, "crossing"), "crossing", "republican")
    assert (found["n"], found["estimate"]) == (4, 0.25)


def test_holm_is_holm() -> None:
    assert holm(pd.Series([0.01, np.nan, 0.04, 0.03])).fillna(-1).tolist() == pytest.approx([0.03, -1, 0.06, 0.06])


def two_items(table: pd.DataFrame) -> pd.DataFrame:
    """The table as answers to two items, one point below and one above it."""
    return pd.concat([table.assign(item=name, expected=table["expected"] + by) for name, by in (("a", -1), ("b", 1))])


def test_an_attitude_is_the_mean_of_its_items_and_missing_unless_all_are_valid() -> None:
    table = planted(debates=12)
    both = two_items(table)
    names = [it.name for it in all_statistics() if not it.name.startswith("mixed")]  # which magnifies rounding errors
    pd.testing.assert_frame_equal(of(both, *names, items=("a", "b")), of(table, *names), rtol=1e-9, atol=1e-9)
    last = (both["repetition"] < 3) & (both["agent"] == 1) & (both["iteration"] == 9)
    half = both.assign(valid=~(last & (both["item"] == "b")))
    half["expected"] = half["expected"].where(half["valid"])
    found = of(half, items=("a", "b"))
    assert one(found, "convergence", "democrat")["n"] == 9
    assert one(found, "invalid", "democrat")["estimate"] == pytest.approx(3 / (12 * 4 * 2))


@pytest.fixture(scope="module")
def twelve() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Twelve debates and their statistics."""
    table = planted(debates=12)
    return table, of(table)


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_shuffling_rows_changes_nothing(twelve: tuple[pd.DataFrame, pd.DataFrame], seed: int) -> None:
    table, statistics_of_it = twelve
    pd.testing.assert_frame_equal(statistics_of_it, of(table.sample(frac=1, random_state=seed)))


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_swapping_the_ends_of_the_scale_mirrors_every_result(seed: int) -> None:
    table = planted(debates=12, seed=seed)
    swapped = table.assign(expected=10 - table["expected"])
    names = ("convergence", "echo", "crossing", *PULLS)
    there, back = of(table, *names), of(swapped, *names, poles=FLIPPED)
    pd.testing.assert_frame_equal(there, back, rtol=1e-6, atol=1e-8)


@settings(max_examples=5)
@given(st.floats(-5, 5))
def test_a_constant_on_all_scores_leaves_convergence_unchanged(constant: float) -> None:
    table = planted(debates=12)
    moved = table.assign(expected=table["expected"] + constant)
    pd.testing.assert_frame_equal(of(table, "convergence"), of(moved, "convergence"), rtol=1e-6, atol=1e-8)


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
def test_what_cannot_be_estimated_says_why_and_is_never_a_nan(kind: str) -> None:
    table = of(bad(kind))
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
    assert one(of(table), "convergence", "democrat")["n"] == 8


def test_a_mixture_of_runs_is_refused() -> None:
    table = planted(debates=2)
    with pytest.raises(ValueError, match="model"):
        of(pd.concat([table, table.assign(model="other")]))
