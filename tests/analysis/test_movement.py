"""closing, party_gap, drift, echo, convergence and crossing: by hand, against scipy, and at the edges."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import FLIPPED, POLES, planted, study_of

from hustings.analysis.measures import ends, first_default
from hustings.analysis.resampling import RESAMPLES, bootstrap, equivalence, generator, sign_flip, smallest_p, wilson
from hustings.analysis.statistics import statistics
from hustings.report.alerts import alerts


def of(table: pd.DataFrame, *names: str, poles: Any = POLES, **options: Any) -> pd.DataFrame:
    return statistics(study_of(table, poles, **options), names, beside=False)


def one(table: pd.DataFrame, statistic: str, role: str = "") -> Any:
    return table[(table["statistic"] == statistic) & (table["role"] == role)].iloc[0]


def debates(*each: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """Debates by role: the first attitude and the last."""
    rows = [
        ("racism", d, agent, role, when, value)
        for d, debate in enumerate(each)
        for agent, (role, both) in enumerate(debate.items())
        for when, value in zip((0, 9), both, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["topic", "repetition", "agent", "role", "iteration", "expected"])
    return table.assign(valid=True, score=table["expected"].round().astype("Float64"))


TWO = debates(
    {"republican": (2, 6), "democrat": (9, 9), "default": (5, 7), "shadow": (5, 8)},
    {"republican": (1, 3), "democrat": (8, 10), "default": (5, 5), "shadow": (5, 9)},
)


@pytest.mark.parametrize(
    ("statistic", "role", "expected"),
    [
        ("closing", "republican", ((3 - 2) + (4 - 6)) / 2),
        ("closing", "democrat", ((4 - 1) + (3 - 1)) / 2),
        ("party_gap", "", ((7 - 3) + (7 - 7)) / 2),
        ("drift", "", ((4 + 0 + 2) / 3 + (2 + 2 + 0) / 3) / 2),
        ("default_drift", "shadow", (3 + 4) / 2),
        ("echo", "republican", -(4 + 2) / 2),
        ("echo", "democrat", (0 + 2) / 2),
        ("convergence", "republican", ((3 - 1) + (4 - 2)) / 2),
        ("convergence", "democrat", ((4 - 4) + (3 - 5)) / 2),
        ("crossing", "republican", 0.0),
    ],
)
def test_two_debates_by_hand(statistic: str, role: str, expected: float) -> None:
    assert one(of(TWO, statistic), statistic, role)["estimate"] == pytest.approx(expected)


def test_two_agents_of_one_role_are_averaged_in_each_debate() -> None:
    table = debates({"republican": (1, 5), "democrat": (9, 9), "shadow": (5, 5)})
    second = table[table["role"] == "republican"].assign(agent=7, expected=lambda it: it["expected"] + 2)
    both = of(pd.concat([table, second]), "closing", "party_gap")
    assert one(both, "closing", "republican")["estimate"] == pytest.approx(abs(2 - 5) - abs(6 - 5))
    assert one(both, "party_gap")["estimate"] == pytest.approx((9 - 2) - (9 - 6))
    assert both["n"].tolist() == [1, 1, 1]


def test_parties_at_one_pole_count_equally_in_the_gap() -> None:
    poles = {**POLES, ("labour", "racism"): "high"}
    table = debates({"republican": (2, 3), "democrat": (9, 8), "labour": (7, 4), "shadow": (5, 5)})
    assert one(of(table, "party_gap", poles=poles), "party_gap")["estimate"] == pytest.approx((8 - 2) - (6 - 3))


def test_closing_follows_a_default_that_moves_and_convergence_does_not() -> None:
    moved = debates(*({"republican": (1.2, 10), "democrat": (8, 10), "default": (5, 8.8), "shadow": (5, 8.8)},) * 8)
    table = of(moved, "closing", "convergence", "drift", "default_drift")
    assert one(table, "closing", "republican")["estimate"] == pytest.approx(3.8 - 1.2)
    assert one(table, "convergence", "republican")["estimate"] == pytest.approx(3.8 - 5)
    assert one(table, "convergence", "democrat")["estimate"] == pytest.approx(3 - 5)
    assert one(table, "drift")["estimate"] == pytest.approx((8.8 + 2 + 3.8) / 3)
    assert one(table, "convergence", "democrat")["sentence"].startswith("In the paper's reading, Democrat agents moved")


def test_forty_equal_debates_have_an_estimate_an_interval_and_the_smallest_p_but_no_effect_size() -> None:
    table = debates(*({"republican": (0, 8), "democrat": (10, 10), "default": (8, 8), "shadow": (8, 8)},) * 40)
    row = one(of(table, "closing"), "closing", "republican")
    assert (row["estimate"], row["ci_low"], row["ci_high"]) == pytest.approx((8.0, 8.0, 8.0))
    assert np.isnan(row["effect_size"])
    assert row["p"] == row["p_smallest"] == 1 / (RESAMPLES + 1)
    assert (row["family"], row["p_holm"]) == ("primary", pytest.approx(2 / (RESAMPLES + 1)))
    assert "[8.0, 8.0]" in row["sentence"] and "there is no effect size" in row["sentence"]


def test_one_debate_has_an_estimate_and_no_interval() -> None:
    row = one(of(TWO[TWO["repetition"] == 0], "closing"), "closing", "republican")
    assert (row["estimate"], row["p"], row["p_smallest"]) == (1.0, 0.5, 0.5)
    assert np.isnan(row["ci_low"]) and "so there is no interval" in row["sentence"]


def test_closing_without_a_shadow_says_why() -> None:
    row = one(of(TWO[TWO["role"] != "shadow"], "closing"), "closing", "republican")
    assert "not estimable: no shadow Default listened to these debates (shadow=false)" in row["sentence"]
    drift = one(of(TWO[TWO["role"] != "shadow"], "default_drift"), "default_drift", "shadow")
    assert "shadow=false" in drift["sentence"]


def test_the_shadow_is_b_and_the_line_where_no_other_default_was_surveyed() -> None:
    table = TWO[TWO["role"] != "default"]
    assert first_default(study_of(table), "racism")[0].tolist() == [5, 5]
    assert one(of(table, "convergence"), "convergence", "republican")["estimate"] == pytest.approx(2.0)
    crossed = debates({"republican": (2, 9), "democrat": (9, 7), "shadow": (5, 8)})
    table = of(crossed, "crossing")
    assert table["estimate"].tolist() == [1.0, 1.0]
    speaking = of(crossed.assign(role=crossed["role"].replace("shadow", "default")), "crossing")
    assert speaking["estimate"].tolist() == [1.0, 1.0]


def test_crossing_counts_debates_that_end_beyond_the_line() -> None:
    table = planted(debates=4, noise=0.0)
    table.loc[(table["repetition"] == 0) & (table["role"] == "republican") & (table["iteration"] == 9), "expected"] = 9
    found = one(of(table, "crossing"), "crossing", "republican")
    assert (found["n"], found["estimate"]) == (4, 0.25)


@pytest.mark.parametrize("n", [1, 8, 40])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_wilson_is_that_of_scipy(n: int, share: float) -> None:
    hits = round(n * share)
    theirs = stats.binomtest(hits, n).proportion_ci(method="wilson")
    mine = wilson(hits, n)
    assert (mine["ci_low"], mine["ci_high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_convergence_agrees_with_scipy() -> None:
    table = planted()
    default = table["role"] == "default"
    table.loc[default, "expected"] += np.random.default_rng(3).normal(size=160)
    study = study_of(table)
    mine = one(of(table, "convergence"), "convergence", "democrat")
    pairs, own = ends(study, "racism", "democrat"), first_default(study, "racism")[0]

    def mean(first: Any, last: Any, own: Any, axis: int = -1) -> Any:
        b = own.mean(axis=axis, keepdims=True)
        return (np.abs(first - b) - np.abs(last - b)).mean(axis=axis)

    theirs = stats.bootstrap(
        (pairs.first, pairs.last, own), mean, paired=True, vectorized=True, n_resamples=10_000, method="percentile",
        confidence_level=1 - 2 * stats.norm.cdf(-((40 / 39) ** 0.5) * stats.t.ppf(0.975, 39)), rng=2,
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert mine["estimate"] == pytest.approx(mean(pairs.first, pairs.last, own))
    assert (mine["ci_low"], mine["ci_high"]) == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)


@pytest.mark.parametrize("n", [8, 40])
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_sign_flips_agree_with_scipy(n: int, alternative: Any) -> None:
    values = np.random.default_rng(n).normal(0.3, 1, n)
    mine = sign_flip(values, 1, alternative)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=9_999, alternative=alternative, rng=2
    ).pvalue
    assert mine == pytest.approx(theirs, abs=1e-12 if n == 8 else 0.02)


@pytest.mark.parametrize("n", [1, 3, 8, 13, 14, 40, 5000])
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_the_smallest_p_is_reached_where_all_debates_agree(n: int, alternative: Any) -> None:
    assert sign_flip(np.ones(n), 1, alternative) == smallest_p(n, alternative)


def test_many_debates_are_flipped_and_drawn_in_bundles_with_the_same_result() -> None:
    values = np.random.default_rng(1).normal(0.02, 1, 8000)
    theirs = stats.ttest_1samp(values, 0)
    mine = one_mean(values)
    assert mine["p"] == pytest.approx(theirs.pvalue, abs=0.02)
    between = theirs.confidence_interval()
    assert (mine["ci_low"], mine["ci_high"]) == pytest.approx((between.low, between.high), abs=0.003)


def one_mean(values: Any) -> Any:
    from hustings.analysis.resampling import mean_test

    return mean_test(values, 1, "two-sided")


def test_the_general_bootstrap_and_that_of_means_agree() -> None:
    from hustings.analysis.resampling import interval, resampled_means

    values = np.random.default_rng(1).normal(size=40)
    drawn = bootstrap(generator(1, "x"), 40, lambda weights: weights @ values / 40)
    assert interval(drawn, 40) == pytest.approx(interval(resampled_means(values, 1), 40), abs=0.02)


def test_equivalence_agrees_with_two_t_tests() -> None:
    values = np.random.default_rng(4).normal(0.1, 0.4, 40)
    low, high = (
        stats.ttest_1samp(values, at, alternative=way).pvalue for at, way in ((-0.3, "greater"), (0.3, "less"))
    )
    mine = equivalence(values, 1, 0.3)
    assert mine["p"] == pytest.approx(max(low, high), abs=0.01)
    between = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (mine["ci_low"], mine["ci_high"]) == pytest.approx((between.low, between.high), abs=0.02)


def test_the_row_says_so_where_many_attitudes_begin_at_an_end_of_the_scale() -> None:
    table = planted(first={"republican": 0.2, "democrat": 7.0, "default": 6.0})
    table["expected"] = table["expected"].clip(0, 10)
    found = of(table, "closing", "echo", "party_gap", "drift")
    warned = found["sentence"].str.contains("at an end of the scale") & found["sentence"].str.contains("control=retest")
    assert warned.tolist() == [role != "democrat" for role in found["role"]]
    squeezed = table.assign(expected=1 + 0.4 * table["expected"])
    again = of(squeezed, "closing", values=(1, 2, 3, 4, 5))
    assert again["sentence"].str.contains("at an end of the scale").tolist() == [False, True]


def test_alerts_name_personas_that_did_not_take_and_a_default_that_moved() -> None:
    def said(table: pd.DataFrame) -> list[str]:
        study = study_of(table)
        return alerts(study, statistics(study))

    assert said(planted(noise=0.05)) == []
    (moved,) = said(planted(noise=0.05, first={"republican": 2, "democrat": 9, "default": 5}, bias=9.0))
    assert moved.startswith("The Default did not stay where it began on racism: it moved by ")
    (untaken,) = said(planted(noise=0.05, first={"republican": 5.5, "democrat": 9, "default": 6}))
    assert untaken.startswith("Only ") and "of Republican agents start on their party's side of the scale" in untaken


def test_poles_decide_what_is_echo() -> None:
    table = of(TWO, "echo", "party_gap", poles=FLIPPED)
    assert one(table, "echo", "republican")["estimate"] == pytest.approx(3.0)
    assert one(table, "party_gap")["estimate"] == pytest.approx(-2.0)
