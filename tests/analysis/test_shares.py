"""Shares and reliability: ends of the scale, personas, people, replies and answers that went wrong, items, retests."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import planted, study_of

from hustings.analysis.statistics import statistics
from hustings.analysis.statistics.conduct import DISCLAIMER
from hustings.analysis.statistics.reliability import cronbach, omega

HUMANS = {"source": "a poll", "share": {"democrat": {"racism": 55.0}, "republican": {"racism": 14.0}}}


def of(table: pd.DataFrame, *names: str, **options: Any) -> pd.DataFrame:
    return statistics(study_of(table, **options), names, beside=False)


def one(table: pd.DataFrame, statistic: str, role: str = "", at: str = "") -> Any:
    return table[(table["statistic"] == statistic) & (table["role"] == role) & (table["at"] == at)].iloc[0]


def at(table: pd.DataFrame, role: str, iteration: int, *values: float) -> None:
    """Set a role's attitudes in the first debates."""
    chosen = (table["role"] == role) & (table["iteration"] == iteration) & (table["repetition"] < len(values))
    table.loc[chosen, "expected"] = values


def test_floor_and_ceiling_are_within_half_a_point_of_ten_at_start_and_end() -> None:
    table = planted(debates=4)
    at(table, "republican", 0, 0.5, 0.0, 0.51, 3.0)
    at(table, "republican", 9, 9.5, 10.0, 9.49, 3.0)
    found = of(table, "floor", "ceiling")
    cells = (("floor", "start", 0.5), ("floor", "end", 0.0), ("ceiling", "start", 0.0), ("ceiling", "end", 0.5))
    for name, when, share in cells:
        assert one(found, name, "republican", when)["estimate"] == share
    assert set(found["role"]) == {"democrat", "republican", "default", "shadow"}
    scaled = of(table.assign(expected=1 + 0.4 * table["expected"]), "floor", values=(1, 2, 3, 4, 5))
    assert one(scaled, "floor", "republican", "start")["estimate"] == 0.5


def test_the_persona_check_is_the_share_on_the_own_side_of_the_middle() -> None:
    table = planted(debates=4)
    at(table, "republican", 0, 1.0, 4.99, 5.0, 7.0)
    at(table, "democrat", 0, 1.0, 5.01, 6.0, 7.0)
    found = of(table, "persona_check")
    assert one(found, "persona_check", "republican", "start")["estimate"] == 0.5
    assert one(found, "persona_check", "democrat", "start")["estimate"] == 0.75


def test_humans_are_beside_the_same_share_of_agents() -> None:
    table = planted(debates=4)
    at(table, "democrat", 0, 7.5, 7.49, 10.0, 2.0)
    found = of(table, "humans", humans=HUMANS)
    row = one(found, "humans", "democrat", "start")
    assert row["estimate"] == 0.5
    assert row["sentence"].endswith("; attitudes of 7.5 and more; 55 % among people (a poll).")
    assert "there is no poll" in of(table, "humans")["sentence"].iloc[0]


def replies(*finishes: tuple[int, str, str, str]) -> pd.DataFrame:
    """Replies: repetition, role, finish and text."""
    table = pd.DataFrame(finishes, columns=["repetition", "role", "finish", "text"])
    return table.assign(topic="racism", full=np.nan)


def test_truncated_and_disclaiming_replies_are_counted_by_role() -> None:
    said = replies(
        (0, "democrat", "length", "I think."),
        (0, "democrat", "stop", "As an AI language model, I have no views."),
        (1, "democrat", "stop", "I think so."),
        (1, "republican", "stop", "As a father of two, I disagree."),
    )
    found = of(planted(debates=2), "truncated", "disclaimer", replies=said)
    assert one(found, "truncated", "democrat")["estimate"] == pytest.approx(1 / 3)
    assert one(found, "disclaimer", "democrat")["estimate"] == pytest.approx(1 / 3)
    assert one(found, "disclaimer", "republican")["estimate"] == 0.0
    assert "nobody of this role spoke" in one(found, "truncated", "default")["sentence"]
    assert "shadow" not in set(found["role"])


def test_a_disclaimer_that_was_cut_off_counts() -> None:
    said = replies((0, "democrat", "length", "Well.")).assign(full="Well. As an AI")
    assert one(of(planted(debates=1), "disclaimer", replies=said), "disclaimer", "democrat")["estimate"] == 1.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("As an AI, I cannot say.", True),
        ("I'm a large language model.", True),
        ("I am an artificial intelligence.", True),
        ("as a language model", True),
        ("As an aide to the mayor, I know.", False),
        ("AI is a threat to jobs.", False),
        ("As an American, I worry about AI.", False),
    ],
)
def test_disclaimers_are_recognised(text: str, found: bool) -> None:
    assert bool(DISCLAIMER.search(text)) == found


def items(agents: int, loadings: Any, seed: int = 1) -> np.ndarray:
    """Answers (agents, items) with one factor of variance 1 and unique variances of 1."""
    rng = np.random.default_rng(seed)
    return np.outer(rng.normal(size=agents), loadings) + rng.normal(size=(agents, len(loadings)))


def test_alpha_and_omega_are_those_of_their_formulas() -> None:
    loadings = np.array([1.0, 2.0, 0.5])
    covariance = np.outer(loadings, loadings) + np.eye(3)
    assert omega(covariance) == pytest.approx(3.5**2 / (3.5**2 + 3), abs=1e-4)
    assert cronbach(covariance) == pytest.approx(3 / 2 * (1 - np.trace(covariance) / covariance.sum()))
    equal = np.ones((6, 6)) + np.eye(6)
    assert (omega(equal), cronbach(equal)) == pytest.approx((6 / 7, 6 / 7), abs=1e-4)


def test_reliability_is_within_the_party_at_the_start() -> None:
    table, answers = planted(debates=40), items(40, (1.0, 1.0, 1.0))
    three = pd.concat([table.assign(item=name) for name in "abc"])
    for place, name in enumerate("abc"):
        chosen = (three["item"] == name) & (three["role"] == "democrat") & (three["iteration"] == 0)
        three.loc[chosen, "expected"] = 5 + answers[:, place]
    found = of(three, "omega", "cronbach_alpha", items="abc")
    row = one(found, "cronbach_alpha", "democrat", "start")
    assert row["estimate"] == pytest.approx(cronbach(np.cov(answers, rowvar=False)))
    assert row["ci_low"] < 0.75 < row["ci_high"]
    assert one(found, "omega", "democrat", "start")["estimate"] == pytest.approx(omega(np.cov(answers, rowvar=False)))
    assert "the instrument has one item" in of(table, "omega")["sentence"].iloc[0]


def test_the_retest_icc_is_that_of_the_formula_and_its_noise_is_recovered() -> None:
    rng, table = np.random.default_rng(1), planted(debates=60, noise=0.0, pulls=(0, 0, 0))
    table["expected"] += 0.3 * rng.normal(size=len(table))
    asked = table.assign(wording=table["iteration"] // 3)
    found = of(asked, "retest_icc", "retest_noise", control="retest")
    mine = table[table["role"] == "democrat"].pivot_table(index="repetition", columns="iteration", values="expected")
    a = mine.to_numpy()
    between, within = 4 * a.mean(axis=1).var(ddof=1), a.var(axis=1, ddof=1).mean()
    row = one(found, "retest_icc", "democrat")
    assert row["estimate"] == pytest.approx((between - within) / (between + 3 * within))
    low = between / within / stats.f.ppf(0.975, 59, 180)
    assert row["ci_low"] == pytest.approx((low - 1) / (low + 3))
    noise = one(found, "retest_noise", "democrat")
    assert noise["estimate"] == pytest.approx(within**0.5)
    assert noise["ci_low"] < 0.3 < noise["ci_high"]
    assert "wording" not in noise["sentence"]
    same = of(table, "retest_icc", control="retest")
    assert same["sentence"].str.contains("used the same words").all()
    assert "only control=retest" in of(table, "retest_icc")["sentence"].iloc[0]
