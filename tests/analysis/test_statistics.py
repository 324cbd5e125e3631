"""The table of all statistics: what is found, adjusted and said, under symmetries and on tables that say nothing."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import FLIPPED, POLES, planted, study_of

from hustings.analysis import statistics as registry
from hustings.analysis.statistic import COLUMNS, Row, Statistic, holm
from hustings.analysis.statistics import all_statistics, get, register, statistics
from hustings.analysis.statistics.mixed_model import OPTIMIZERS
from hustings.errors import RecordError, SettingsError
from hustings.study import Study

NUMBERS = ["estimate", "ci_low", "ci_high", "effect_size", "p", "p_smallest", "p_holm"]
PULLS = ["model_pull", "social_pull", "anchor"]
SECONDARY = ["party_gap", "drift", "default_drift", "echo", "convergence", "model_pull", "attractor_bias",
             "social_pull", "anchor", "mixed_slope"]  # fmt: skip
TEXTS = ["stance", "stance_change", "stance_none", "judge_bias", "judge_consistency"]
"""Statistics of runs that were judged."""
HUMANS = {"source": "a poll", "share": {"democrat": {"racism": 55.0}, "republican": {"racism": 14.0}}}


def of(table: pd.DataFrame, *names: str, poles: Any = POLES, beside: bool = False, **options: Any) -> pd.DataFrame:
    """The statistics of a table, all of them unless some are named."""
    return statistics(study_of(table, poles, **options), names or None, beside=beside)


def one(table: pd.DataFrame, statistic: str, role: str = "", at: str = "") -> Any:
    rows = table[(table["statistic"] == statistic) & (table["role"] == role) & (table["at"] == at)]
    return rows.iloc[0]


def test_every_statistic_is_found_in_the_order_of_the_table() -> None:
    names = ["closing", "party_gap", "drift", "default_drift", "echo", "convergence", "crossing", "model_pull",
             "attractor", "attractor_bias", "social_pull", "anchor", "mixed_slope", "bias", "diversity", "floor",
             "ceiling", "persona_check", "truncated", "invalid", "disclaimer", "humans", "omega", "cronbach_alpha",
             "retest_icc", "retest_noise", *TEXTS]  # fmt: skip
    assert [statistic.name for statistic in all_statistics()] == names
    assert all(get(name).about.endswith("?") for name in names)
    made = of(planted(debates=3))["statistic"]
    assert [*dict.fromkeys(made), *TEXTS] == names


def test_closing_is_the_primary_family_and_every_other_test_is_secondary() -> None:
    assert {it.name for it in all_statistics() if it.family == "primary"} == {"closing"}
    assert [it.name for it in all_statistics() if it.family == "secondary"] == SECONDARY
    table = of(planted(debates=12))
    for family in ("primary", "secondary"):
        mine = table[table["family"] == family]
        assert mine["p_holm"].tolist() == pytest.approx(holm(mine["p"].tolist()), nan_ok=True)
    assert table.loc[table["family"] == "", "p_holm"].isna().all()


def test_an_unknown_statistic_is_refused_with_those_that_exist() -> None:
    with pytest.raises(
        SettingsError, match=r"statistic alpha: there is no such statistic; there is closing, party_gap"
    ):
        of(planted(debates=2), "alpha")


def test_chosen_statistics_are_the_rows_of_the_whole_table_and_adjusted_among_themselves() -> None:
    whole, some = of(planted(debates=12)), of(planted(debates=12), "anchor", "echo")
    same = [column for column in COLUMNS if column not in ("p_holm", "sentence")]
    expected = whole[whole["statistic"].isin(["anchor", "echo"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some[same], expected[same])
    assert some["p_holm"].tolist() == pytest.approx(holm(some["p"].tolist()))


def test_the_other_outcome_is_beside_the_primary_one_and_in_no_family() -> None:
    table = of(planted(debates=12), beside=True)
    beside = table[table["outcome"] == "score"]
    assert list(dict.fromkeys(beside["statistic"])) == ["closing", "party_gap", "drift", "default_drift", "convergence"]
    assert set(beside["family"]) == {""} and beside["p_holm"].isna().all() and beside["p"].notna().all()
    assert (
        beside["sentence"].str.endswith("; this is for the scores, as in the paper, beside the expected values.").all()
    )
    pd.testing.assert_frame_equal(table[table["outcome"] == "expected"], of(planted(debates=12)))
    swapped = of(planted(debates=12), "closing", outcome="score", beside=True)
    theirs = swapped.loc[swapped["outcome"] == "score", NUMBERS[:6]].reset_index(drop=True)
    mine = beside.loc[beside["statistic"] == "closing", NUMBERS[:6]].reset_index(drop=True)
    pd.testing.assert_frame_equal(theirs, mine)


def test_scores_are_analysed_where_a_role_has_no_expected_values() -> None:
    table = planted(debates=6)
    table.loc[table["role"] == "democrat", "expected"] = np.nan
    study = study_of(table)
    assert (study.outcome, study.outcomes) == ("score", ("score",))
    assert study.analysed_as(None) is study
    assert set(statistics(study)["outcome"]) == {"score"}
    with pytest.raises(RecordError, match="gave no probabilities"):
        study.analysed_as("expected")


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
    assert (mine["family"].iloc[0], mine["p_holm"].iloc[0]) == ("mine", 0.01)
    register(replace(registered, about="How many?"))
    assert get("debates").about == "How many?"
    registry._registered.clear()
    pd.testing.assert_frame_equal(whole[whole["statistic"] != "debates"], of(planted(debates=6)))


def test_a_statistic_cannot_take_the_name_of_a_shipped_one(registered: Statistic) -> None:
    with pytest.raises(SettingsError, match="statistic echo: Hustings already has a statistic of this name"):
        register(replace(registered, name="echo"))


def test_holm_is_that_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    assert holm([0.01, np.nan, 0.04, 0.03]) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    p = np.random.default_rng(1).uniform(0, 0.2, 12)
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_the_mixed_model_is_that_of_statsmodels_by_hand_with_attitudes_towards_the_own_pole() -> None:
    from statsmodels.formula.api import mixedlm

    table = pd.concat([planted(), planted(seed=2).assign(topic="gun_violence")])
    poles = {**POLES, ("republican", "gun_violence"): "low", ("democrat", "gun_violence"): "high"}
    asked = table[table["role"] != "shadow"].copy()
    low = asked["role"] == "republican"
    asked["own"] = asked["expected"].where(~low, 10 - asked["expected"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        formula = "own ~ iteration * C(role) * C(topic)"
        fit: Any = mixedlm(formula, asked, groups=asked["repetition"], re_formula="~iteration").fit(method=OPTIMIZERS)
    mine = of(table, "mixed_slope", poles=poles)
    reference = mine[(mine["topic"] == "gun_violence") & (mine["role"] == "default")].iloc[0]
    assert reference["estimate"] == pytest.approx(fit.params["iteration"], abs=1e-4)
    assert reference["p"] == pytest.approx(fit.pvalues["iteration"], abs=1e-3)
    terms = ["iteration", "iteration:C(role)[T.republican]", "iteration:C(topic)[T.racism]",
             "iteration:C(role)[T.republican]:C(topic)[T.racism]"]  # fmt: skip
    republican = mine[(mine["topic"] == "racism") & (mine["role"] == "republican")].iloc[0]
    assert republican["estimate"] == pytest.approx(sum(fit.params[term] for term in terms), abs=1e-4)
    assert "away from their own pole" in republican["sentence"]


def two_items(table: pd.DataFrame) -> pd.DataFrame:
    """The table as answers to two items, one point below and one above it."""
    return pd.concat([table.assign(item=name, expected=table["expected"] + by) for name, by in (("a", -1), ("b", 1))])


def test_an_attitude_is_the_mean_of_its_items_and_missing_unless_all_are_valid() -> None:
    table = planted(debates=12)
    both = two_items(table)
    left_out = ("mixed_slope", "omega", "cronbach_alpha")  # which magnify rounding errors, or need several items
    names = [it.name for it in all_statistics() if it.name not in left_out]
    pd.testing.assert_frame_equal(of(both, *names, items=("a", "b")), of(table, *names), rtol=1e-9, atol=1e-9)
    last = (both["repetition"] < 3) & (both["agent"] == 1) & (both["iteration"] == 9)
    half = both.assign(valid=~(last & (both["item"] == "b")))
    half["expected"] = half["expected"].where(half["valid"])
    found = of(half, items=("a", "b"))
    assert one(found, "closing", "democrat")["n"] == 9
    assert one(found, "invalid", "democrat")["estimate"] == pytest.approx(3 / (12 * 4 * 2))


@pytest.fixture(scope="module")
def twelve() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Twelve debates and their statistics."""
    table = planted(debates=12)
    return table, of(table)


@settings(max_examples=4)
@given(st.integers(0, 1000))
def test_shuffling_rows_changes_nothing(twelve: tuple[pd.DataFrame, pd.DataFrame], seed: int) -> None:
    table, statistics_of_it = twelve
    pd.testing.assert_frame_equal(statistics_of_it, of(table.sample(frac=1, random_state=seed)))


MIRRORED = ["closing", "party_gap", "echo", "convergence", "crossing", *PULLS]
TURNED = ["drift", "default_drift", "attractor_bias"]


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_swapping_the_ends_of_the_scale_mirrors_every_result(seed: int) -> None:
    table = planted(debates=12, seed=seed)
    swapped = table.assign(expected=10 - table["expected"])
    there, back = of(table, *MIRRORED), of(swapped, *MIRRORED, poles=FLIPPED)
    pd.testing.assert_frame_equal(there, back, rtol=1e-6, atol=1e-8)
    there, back = of(table, *TURNED), of(swapped, *TURNED, poles=FLIPPED)
    assert there["estimate"].to_numpy() == pytest.approx(-back["estimate"].to_numpy())
    assert there["p"].to_numpy() == pytest.approx(back["p"].to_numpy())
    assert there["ci_low"].to_numpy() == pytest.approx(-back["ci_high"].to_numpy(), abs=0.05)
    floor, ceiling = of(table, "floor"), of(swapped, "ceiling", poles=FLIPPED)
    assert floor["estimate"].tolist() == ceiling["estimate"].tolist()


@settings(max_examples=5)
@given(st.floats(-1, 1))
def test_a_constant_on_all_attitudes_changes_no_movement(constant: float) -> None:
    table = planted(debates=12)
    moved = table.assign(expected=table["expected"] + constant)
    names = ("closing", "party_gap", "drift", "default_drift", "echo", "convergence", *PULLS, "attractor_bias")
    there, back = (of(it, *names).drop(columns="sentence") for it in (table, moved))
    pd.testing.assert_frame_equal(there, back, rtol=1e-6, atol=1e-8)
    before, after = (one(of(it, "attractor"), "attractor")["estimate"] for it in (table, moved))
    assert after - before == pytest.approx(constant)


def test_names_of_the_shadow_do_not_make_it_a_party() -> None:
    table = of(planted(debates=4))
    assert set(table.loc[table["role"] == "shadow", "statistic"]) == {"default_drift", "floor", "ceiling", "invalid"}
    assert set(table.loc[table["statistic"] == "closing", "role"]) == {"democrat", "republican"}


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
            return table[~table["role"].isin(["default", "shadow"])]
        case "no shadow":
            return table[table["role"] != "shadow"]
        case "no democrat":
            return table[table["role"] != "democrat"]
        case "only iteration 0":
            return table[table["iteration"] == 0]
        case "empty":
            return table.iloc[:0]
        case _:
            return table[(table["iteration"] == 0) | ((table["iteration"] < 9) & (table["repetition"] < 3))]


KINDS = ["one debate", "invalid", "constant", "no default", "no shadow", "no democrat", "only iteration 0", "empty",
         "cut short"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_estimated_says_why_and_is_never_a_nan(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = of(bad(kind), humans=HUMANS, beside=True)
    assert list(table.columns) == COLUMNS
    said = table["sentence"].str.contains("not estimable: ")
    assert (table["estimate"].isna() == said).all()
    assert table.loc[said, NUMBERS].isna().all(axis=None)
    assert not table["sentence"].str.contains(r"\bnan\b|None|<NA>|\binf\b", case=False).any()
    closings = table[(table["statistic"] == "closing") & (table["outcome"] == "expected")]
    missing = {"no democrat": 1, "cut short": 0, "one debate": 0, "constant": 0}.get(kind, 2)
    assert closings["sentence"].str.contains("not estimable: ").sum() == missing


def test_debates_cut_short_are_dropped_and_n_says_so() -> None:
    table = planted(debates=12)
    table = table[(table["repetition"] < 8) | (table["iteration"] < 9)]
    assert one(of(table), "closing", "democrat")["n"] == 8


def test_topics_may_have_unequal_numbers_of_debates() -> None:
    more = planted(debates=12).assign(topic="gun_violence")
    table = of(pd.concat([planted(debates=5), more]))
    moved = table[(table["statistic"] == "convergence") & (table["role"] == "democrat")]
    assert dict(zip(moved["topic"], moved["n"], strict=True)) == {"gun_violence": 12, "racism": 5}
    assert table.loc[table["statistic"] == "model_pull", "n"].tolist() == [12, 5, 17]


def test_a_mixture_of_runs_is_refused() -> None:
    table = planted(debates=2)
    with pytest.raises(ValueError, match="model"):
        of(pd.concat([table, table.assign(model="other")]))
