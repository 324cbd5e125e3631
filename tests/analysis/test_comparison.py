"""Two planted runs beside each other: against scipy, under symmetries, and where nothing can be concluded."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import planted, study_of

from hustings.analysis.comparison import compare
from hustings.analysis.power import Design, power
from hustings.errors import SettingsError


def beside(one: pd.DataFrame, two: pd.DataFrame) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return compare(study_of(one), study_of(two), ("before", "after"))


def of(table: pd.DataFrame, statistic: str, role: str) -> Any:
    return table[(table["statistic"] == statistic) & (table["role"] == role)].iloc[0]


def last(table: pd.DataFrame, role: str) -> Any:
    mine = table[(table["role"] == role) & (table["iteration"] == 9)]
    return mine.set_index("repetition")["expected"].sort_index().to_numpy(float)


def test_paired_differences_agree_with_scipy() -> None:
    one, two = planted(seed=1), planted(seed=2, pulls=(0.1, 0.3, 0.0))
    mine = of(beside(one, two), "end", "democrat")
    changes = last(two, "democrat") - last(one, "democrat")
    assert (mine["n"], mine["estimate"]) == (40, pytest.approx(changes.mean()))
    test = stats.permutation_test((changes,), np.mean, permutation_type="samples", n_resamples=9_999, rng=1)
    assert mine["p"] == pytest.approx(test.pvalue, abs=0.01)
    level = 1 - 2 * stats.norm.cdf(-((40 / 39) ** 0.5) * stats.t.ppf(0.975, 39))
    theirs = stats.bootstrap((changes,), np.mean, confidence_level=level, method="percentile", rng=1)
    between = theirs.confidence_interval
    assert (mine["ci_low"], mine["ci_high"]) == pytest.approx((between.low, between.high), abs=0.02)


def test_runs_without_a_shared_persona_are_independent_samples() -> None:
    one, two = planted(seed=1), planted(debates=25, seed=2, pulls=(0.1, 0.25, 0.05)).assign(persona="other")
    mine = of(beside(one, two), "end", "republican")
    assert mine["method"].startswith("independent debates")
    assert mine["n"] == 65
    a, b = last(one, "republican"), last(two, "republican")
    test = stats.ttest_ind(b, a)
    assert mine["estimate"] == pytest.approx(b.mean() - a.mean())
    assert mine["p"] == pytest.approx(test.pvalue, abs=0.02)
    between = test.confidence_interval()
    assert (mine["ci_low"], mine["ci_high"]) == pytest.approx((between.low, between.high), abs=0.03)


def test_sentences_name_both_runs_and_the_direction() -> None:
    one, two = planted(seed=1), planted(seed=1).assign(persona="other")
    two["expected"] -= 1.0 + 0.1 * np.random.default_rng(1).normal(size=len(two))
    sentence = of(beside(one, two), "end", "democrat")["sentence"]
    assert sentence.startswith("Democrat agents ended 1.0 points [")
    assert "] lower on racism in after than in before (n = 80 debates, d = " in sentence
    paired = of(beside(one, two.assign(persona="")), "end", "democrat")["sentence"]
    assert "(n = 40 pairs of debates, d = " in paired


def test_one_pair_of_debates_is_a_singular() -> None:
    one, two = planted(seed=1), planted(seed=2)
    two["persona"] = np.where(two["repetition"] == 0, "", "other")
    paired = of(beside(one, two), "end", "democrat")["sentence"]
    assert "(n = 1 pair of debates" in paired


def test_the_other_way_round_is_the_mirror_image() -> None:
    one, two = planted(seed=1), planted(seed=2)
    there, back = beside(one, two), beside(two, one)
    for column in ("estimate", "effect_size"):
        assert there[column].to_numpy() == pytest.approx(-back[column].to_numpy(), nan_ok=True)
    assert there["ci_low"].to_numpy() == pytest.approx(-back["ci_high"].to_numpy(), abs=0.02, nan_ok=True)


def test_a_run_against_itself_differs_by_nothing() -> None:
    table = beside(planted(), planted())
    assert (table[["estimate", "ci_low", "ci_high"]] == 0).all(axis=None) and (table["p"] == 1).all()
    assert table["effect_size"].isna().all()
    assert table["sentence"].str.contains("every pair differs by the same, so there is no effect size").all()


def test_what_an_engine_rounds_makes_no_effect_size() -> None:
    one, two = planted(debates=8), planted(debates=8, seed=2)
    for table, value, seed in ((one, 4.4, 1), (two, 3.8, 2)):
        there = (table["role"] == "default") & (table["iteration"] == 0)
        table.loc[there, "expected"] = value + np.random.default_rng(seed).uniform(0, 1e-3, there.sum())
    start = of(beside(one, two), "start", "default")
    assert np.isnan(start["effect_size"]) and start["p"] == start["p_smallest"] == 2 / 2**8
    assert start["sentence"].startswith("Default agents started 0.60 points [0.60, 0.60] lower on racism")


@pytest.mark.parametrize("kind", ["one", "invalid", "no democrat", "only iteration 0", "empty"])
def test_what_cannot_be_compared_says_why_and_is_never_a_nan(kind: str) -> None:
    bad = planted(debates=6)
    match kind:
        case "one":
            bad = bad[bad["repetition"] == 0]
        case "invalid":
            bad = bad.assign(expected=np.nan, score=pd.NA, valid=False)
        case "no democrat":
            bad = bad[bad["role"] != "democrat"]
        case "only iteration 0":
            bad = bad[bad["iteration"] == 0]
        case _:
            bad = bad.iloc[:0]
    table = beside(planted(debates=6, seed=3), bad)
    table["sentence"] = table["sentence"].astype(str)
    said = table["sentence"].str.contains("not estimable: ")
    assert (table["estimate"].isna() == said).all()
    assert not table["sentence"].str.contains(r"\bnan\b|None|<NA>|\binf\b", case=False).any()


def test_both_runs_are_analysed_with_the_outcome_of_the_baseline_or_as_scores_where_one_has_no_other() -> None:
    one, two = planted(debates=6), planted(debates=6, seed=2)
    mixed = compare(study_of(one), study_of(two, outcome="score"), ("before", "after"))
    pd.testing.assert_frame_equal(mixed, beside(one, two))
    without = compare(study_of(one), study_of(two.assign(expected=np.nan)), ("before", "after"))
    assert set(without["outcome"]) == {"score"}
    scores = compare(study_of(one, outcome="score"), study_of(two), ("before", "after"))
    pd.testing.assert_frame_equal(without, scores)


def test_closing_is_the_primary_family_of_a_comparison() -> None:
    table = beside(planted(debates=12), planted(debates=12, seed=2, pulls=(0.1, 0.4, 0.0)))
    assert set(table.loc[table["family"] == "primary", "statistic"]) == {"closing"}
    assert set(table.loc[table["family"] == "secondary", "statistic"]) == {"start", "end", "echo", "convergence"}
    assert set(table.loc[table["role"] == "shadow", "statistic"]) == {"start", "end"}
    shadow = of(table, "end", "shadow")["sentence"]
    assert shadow.startswith("The shadow Default ended ")
    closing = of(table, "closing", "republican")
    assert "of their distance to the shadow Default on racism in after than in before" in closing["sentence"]


def test_closing_is_compared_where_both_runs_have_a_shadow() -> None:
    table = beside(planted(debates=6), planted(debates=6).query("role != 'shadow'"))
    assert "closing" not in {*table["statistic"]} and "shadow" not in {*table["role"]}


def test_echo_is_compared_between_like_minded_and_mixed_groups() -> None:
    mixed = planted(pulls=(0.3, 0.0, 0.0))
    alike = planted(first={"democrat": 9.0, "democrat2": 8.0, "default": 6.0}, pulls=(0.3, 0.0, 0.0), seed=2)
    table = beside(mixed, alike.assign(persona="other"))
    row = of(table, "echo", "democrat")
    assert set(table.loc[table["statistic"] == "echo", "role"]) == {"democrat"}
    assert row["estimate"] > 0 and "more towards their own pole on racism in after than in before" in row["sentence"]


def test_power_without_an_effect_is_the_level_of_the_test() -> None:
    table = power(Design(points=0.0, noise=0.5, spread=0.5, distance=4.5, level=0.05, rounds=3), seed=1)
    assert table["power"].iloc[-1] == pytest.approx(0.05, abs=0.015)


def test_power_agrees_with_the_t_test_of_theory() -> None:
    table = power(Design(points=1.0, noise=1.0, spread=0.0, distance=4.5, level=0.05, rounds=1), seed=1)
    shift = 1.0 * 20**0.5
    theory = stats.nct.sf(stats.t.ppf(0.95, 19), 19, shift)
    assert table.set_index("repetitions")["power"][20] == pytest.approx(theory, abs=0.03)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"points": 5.0}, "--points 5: this must be at least 0 and less than the distance, 4.5."),
        ({"noise": -1.0}, "--noise -1: this must be at least 0."),
        ({"level": 1.0}, "--level 1: this must be at least 0.001 and less than 1."),
        ({"rounds": 0}, "--rounds 0: this must be at least 1."),
    ],
)
def test_an_impossible_design_is_refused(wrong: dict[str, Any], rule: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Design(**{"points": 1.0, "noise": 0.5, "spread": 0.5, "distance": 4.5, "level": 0.05, "rounds": 3, **wrong})
    assert str(refused.value) == rule
