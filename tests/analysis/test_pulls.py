"""Model pull, attractor, social pull and anchor: by independent code, with instruments, and where they are unknown."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import POLES, planted, study_of

from hustings.analysis.dynamics import fieller
from hustings.analysis.statistics import statistics

PULLS = ["model_pull", "social_pull", "anchor"]
ALL = [*PULLS, "attractor", "attractor_bias"]
RING = {"republican": 0.0, "democrat": 4.0, "republican2": 3.0, "democrat2": 10.0, "default": 6.0}
"""Five speakers, whose neighbours are not like the others."""
WRONG = {"republican": 2.0, "democrat": 8.0, "default": 5.0}


def of(table: pd.DataFrame, *names: str, poles: Any = POLES, **options: Any) -> pd.DataFrame:
    return statistics(study_of(table, poles, **options), names or ALL, beside=False)


def one(table: pd.DataFrame, statistic: str, topic: str = "racism") -> Any:
    return table[(table["statistic"] == statistic) & (table["topic"] == topic)].iloc[0]


def test_planted_dynamics_are_recovered() -> None:
    table = of(planted(debates=200, noise=0.1))
    for name, truth in (("social_pull", 0.1), ("model_pull", 0.2), ("anchor", 0.05), ("attractor", 6.0)):
        found = one(table, name)
        assert found["estimate"] == pytest.approx(truth, abs=0.03 if name in PULLS else 0.3)
        assert found["ci_low"] < truth < found["ci_high"]
    assert one(table, "attractor_bias")["p"] > 0.05


def test_a_wrong_first_answer_of_the_default_deceives_nobody() -> None:
    table = of(planted(first=WRONG, bias=9.0, pulls=(0.0, 0.3, 0.0)))
    for name, truth in (("model_pull", 0.3), ("social_pull", 0.0), ("anchor", 0.0), ("attractor", 9.0),
                        ("attractor_bias", 4.0)):  # fmt: skip
        found = one(table, name)
        assert found["ci_low"] < truth < found["ci_high"]
    assert one(table, "social_pull")["p"] > 0.05
    assert one(table, "attractor_bias")["p"] < 0.001
    assert "towards a point" in one(table, "attractor_bias")["sentence"]


def arrays(table: pd.DataFrame) -> np.ndarray:
    """Attitudes of the speakers, (debates, speakers, surveys)."""
    speakers = table[table["role"] != "shadow"]
    wide = speakers.pivot_table(index=["repetition", "agent"], columns="iteration", values="expected")
    return wide.to_numpy().reshape(table["repetition"].nunique(), -1, 4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_three_studies_give_the_numbers_of_independent_code(seed: int) -> None:
    table = planted(seed=seed, first=WRONG, bias=9.0, pulls=(0.05, 0.3, 0.1))
    # twenty lines of numpy, which share nothing with the package
    a, b, n = arrays(table), table.query("role == 'shadow'"), 40
    x, y, cluster = [], [], []
    for d in range(n):
        for i in range(3):
            for t in range(3):
                others = np.mean([a[d, j, t] for j in range(3) if j != i])
                x.append([1.0, -a[d, i, t], others - a[d, i, t], a[d, i, 0] - a[d, i, t]])
                y.append(a[d, i, t + 1] - a[d, i, t])
                cluster.append(d)
    x, y, cluster = np.array(x), np.array(y), np.array(cluster)
    theta = np.linalg.lstsq(x, y, rcond=None)[0]
    without = np.array([np.linalg.lstsq(x[cluster != d], y[cluster != d], rcond=None)[0] for d in range(n)])
    cov = (n - 1) / n * (without - theta).T @ (without - theta)
    q = stats.t.ppf(0.975, n - 1)
    grid = np.linspace(5, 15, 200_001)
    inside = (theta[0] - grid * theta[1]) ** 2 <= q**2 * (cov[0, 0] - 2 * grid * cov[0, 1] + grid**2 * cov[1, 1])
    shadow = b.pivot_table(index="repetition", columns="iteration", values="expected").to_numpy()
    closing = np.abs(a[:, 0, 0] - shadow[:, 0]) - np.abs(a[:, 0, 3] - shadow[:, 3])
    t = (theta[0] - 5 * theta[1]) / (cov[0, 0] - 10 * cov[0, 1] + 25 * cov[1, 1]) ** 0.5
    # their numbers are ours
    found = of(table, *ALL, "closing")
    for name, place in (("model_pull", 1), ("social_pull", 2), ("anchor", 3)):
        row, half = one(found, name), q * cov[place, place] ** 0.5
        assert row["estimate"] == pytest.approx(theta[place], abs=1e-9)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((theta[place] - half, theta[place] + half), abs=1e-9)
    row = one(found, "attractor")
    assert row["estimate"] == pytest.approx(theta[0] / theta[1])
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((grid[inside][0], grid[inside][-1]), abs=1e-4)
    assert one(found, "attractor_bias")["p"] == pytest.approx(2 * stats.t.sf(abs(t), n - 1))
    mine = found[(found["statistic"] == "closing") & (found["role"] == "republican")].iloc[0]
    assert mine["estimate"] == pytest.approx(closing.mean())
    half = q * closing.std(ddof=1) / n**0.5
    between = (closing.mean() - half, closing.mean() + half)
    assert (mine["ci_low"], mine["ci_high"]) == pytest.approx(between, abs=0.02)


def test_the_intercept_of_each_topic_is_its_own_and_repetitions_are_the_clusters() -> None:
    import statsmodels.api as sm

    tables = {"racism": planted(), "gun_violence": planted(seed=2, bias=3.0)}
    table = of(pd.concat([it.assign(topic=topic) for topic, it in tables.items()]))
    x, y = [], []
    for place, it in enumerate(tables.values()):
        a = arrays(it)
        now, first = a[:, :, :3], a[:, :, :1]
        others = (now.sum(axis=1, keepdims=True) - now) / 2
        each = np.stack([-now, others - now, first - now, *(np.full_like(now, place == at) for at in (0, 1))], axis=-1)
        x.append(each.reshape(40, 9, 5))
        y.append(np.diff(a, axis=2).reshape(40, 9))
    x, y = np.concatenate(x, axis=1), np.concatenate(y, axis=1)
    whole = sm.OLS(y.ravel(), x.reshape(-1, 5)).fit().params
    kept = [np.arange(40) != d for d in range(40)]
    without = np.array([sm.OLS(y[it].ravel(), x[it].reshape(-1, 5)).fit().params for it in kept])
    half = stats.t.ppf(0.975, 39) * (39 / 40 * ((without - whole) ** 2).sum(axis=0)) ** 0.5
    for place, name in enumerate(PULLS):
        row = one(table, name, "")
        assert (row["n"], row["estimate"]) == (80, pytest.approx(whole[place]))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(
            (whole[place] - half[place], whole[place] + half[place])
        )
    assert set(table.loc[table["statistic"] == "attractor", "topic"]) == {"racism", "gun_violence"}


def neighbours(speakers: int) -> dict[int, str]:
    """Whom each speaker of a ring hears, as in agents.csv."""
    return {agent: f"{(agent - 1) % speakers} {(agent + 1) % speakers}" for agent in range(speakers)}


def test_social_pull_is_towards_those_whom_an_agent_hears() -> None:
    hears = np.zeros((5, 5))
    for agent, others in neighbours(5).items():
        hears[agent, [int(other) for other in others.split()]] = 1
    table = planted(debates=200, noise=0.1, pulls=(0.2, 0.1, 0.05), first=RING, hears=hears)
    for name, truth in (("social_pull", 0.2), ("model_pull", 0.1), ("anchor", 0.05)):
        assert one(of(table, name, hears=neighbours(5)), name)["estimate"] == pytest.approx(truth, abs=0.03)
    everybody = one(of(table, "social_pull"), "social_pull")
    assert abs(everybody["estimate"] - 0.2) > 0.03
    assert not everybody["ci_low"] < 0.2 < everybody["ci_high"]


def test_hearing_every_other_position_is_hearing_all() -> None:
    table = planted(debates=12)
    named = of(table, hears={0: "1 2", 1: "0 2", 2: "0 1"})
    pd.testing.assert_frame_equal(named, of(table), rtol=1e-9)


def test_an_agent_that_hears_nobody_is_left_out_of_the_pulls_and_the_remark_says_so() -> None:
    table = planted(debates=30)
    deaf = of(table, *PULLS, hears={0: ""})
    assert deaf["sentence"].str.contains("; agents that hear nobody are left out").all()
    changed = table.copy()
    changed.loc[(table["agent"] == 0) & (table["iteration"] == 9), "expected"] += 1.0  # moves none of the others
    pd.testing.assert_frame_equal(deaf, of(changed, *PULLS, hears={0: ""}))
    nobody = of(table, *PULLS, hears={0: "", 1: "", 2: ""})
    assert nobody["sentence"].str.contains("not estimable: no agent hears another").all()


@pytest.mark.parametrize(
    ("control", "why"), [("retest", "nobody spoke"), ("reader", "nobody spoke"), ("off_topic", "about something else")]
)
def test_there_are_no_pulls_where_nobody_debates_the_topic(control: str, why: str) -> None:
    assert of(planted(debates=4), control=control)["sentence"].str.contains(f"not estimable: .*{why}").all()


def test_advocates_are_heard_but_not_surveyed_so_there_is_no_social_pull() -> None:
    table = of(planted(debates=4), hears=dict.fromkeys(range(3), "4 5"), control="advocates_both")
    assert table["sentence"].str.contains("hear only advocates, who are not surveyed").all()


def test_the_shadow_pulls_nobody() -> None:
    table = planted(debates=12)
    moved = table.copy()
    moved.loc[(table["role"] == "shadow") & (table["iteration"] > 0), "expected"] += 2.0
    pd.testing.assert_frame_equal(of(table), of(moved))


def test_pulls_that_explain_every_move_have_an_estimate_and_no_interval() -> None:
    found = of(planted(debates=8, noise=0.0))
    assert found["estimate"].tolist() == pytest.approx([0.2, 6.0, 0.0, 0.1, 0.05], abs=1e-6)
    assert found["ci_low"].isna().all()
    assert found["sentence"].str.contains("whichever debate is left out, so its uncertainty is unknown").all()


def test_an_attractor_without_a_clear_pull_has_no_bounded_interval_and_says_so() -> None:
    table = of(planted(pulls=(0.1, 0.0, 0.0), seed=4))
    row = one(table, "attractor")
    assert (row["ci_low"], row["ci_high"]) == (-np.inf, np.inf)
    assert "its 95 % interval is unbounded" in row["sentence"] and "inf" not in row["sentence"].replace("inflates", "")


def test_fieller_solves_its_equation() -> None:
    covariance = np.array([[0.5, 0.02], [0.02, 0.01]])
    q = stats.t.ppf(0.975, 39)
    for end in fieller(3.0, 0.6, covariance, 40):
        variance = covariance[0, 0] - 2 * end * covariance[0, 1] + end**2 * covariance[1, 1]
        assert (3.0 - end * 0.6) ** 2 == pytest.approx(q**2 * variance)
    assert fieller(3.0, 0.1, covariance, 40) == (-np.inf, np.inf)


def two_parcels(table: pd.DataFrame, noise: float, seed: int = 7) -> pd.DataFrame:
    """The table as answers to two items, each with survey noise of its own."""
    rng = np.random.default_rng(seed)
    return pd.concat(
        [table.assign(item=name, expected=table["expected"] + noise * rng.normal(size=len(table))) for name in "ab"]
    )


def test_two_parcels_undo_survey_noise_and_one_does_not() -> None:
    table = two_parcels(planted(debates=300, pulls=(0.1, 0.2, 0.0)), 0.5)
    one_parcel = of(table, items=("a", "b"))
    both = of(table, items=("a", "b"), parcels=(1, 2))
    for name, truth in (("model_pull", 0.2), ("social_pull", 0.1), ("anchor", 0.0)):
        found = one(both, name)
        assert found["ci_low"] < truth < found["ci_high"]
        assert "first-stage F = " in found["sentence"] and "survey noise inflates" not in found["sentence"]
        assert found["method"].startswith("instrumental variables")
        assert "survey noise inflates the pulls" in one(one_parcel, name)["sentence"]
    anchor = one(one_parcel, "anchor")
    assert not anchor["ci_low"] < 0.0 < anchor["ci_high"]


def test_the_instrumental_fit_is_the_formula_in_both_directions() -> None:
    table = two_parcels(planted(), 0.3)
    halves = [arrays(table[table["item"] == item]) for item in ("a", "b")]

    def matrix(a: np.ndarray) -> np.ndarray:
        now, first = a[:, :, :3], a[:, :, :1]
        others = (now.sum(axis=1, keepdims=True) - now) / 2
        return np.stack([np.ones_like(now), -now, others - now, first - now], axis=-1).reshape(-1, 4)

    x = [matrix(half) for half in halves]
    y = [np.diff(half, axis=2).reshape(-1) for half in halves]
    theta = np.mean([np.linalg.solve(x[1 - k].T @ x[k], x[1 - k].T @ y[k]) for k in (0, 1)], axis=0)
    found = of(table, items=("a", "b"), parcels=(1, 2))
    assert [one(found, name)["estimate"] for name in PULLS] == pytest.approx(theta[1:].tolist())
    assert one(found, "attractor")["estimate"] == pytest.approx(theta[0] / theta[1])


def test_weak_instruments_are_called_weak() -> None:
    still = two_parcels(planted(noise=0.0, pulls=(0.0, 0.0, 0.0)), 0.5)
    found = of(still, *PULLS, items=("a", "b"), parcels=(1, 2))
    assert found["sentence"].str.contains("hardly predict each other").all()


def test_pulls_at_the_end_of_the_scale_carry_a_remark() -> None:
    table = planted(first={"republican": 0.2, "democrat": 7.0, "default": 6.0})
    found = of(table.assign(expected=table["expected"].clip(0, 10)), *PULLS)
    assert found["sentence"].str.contains("at an end of the scale, where pulls are not what they seem").all()


def test_scores_in_whole_steps_carry_a_remark() -> None:
    assert of(planted(debates=12), *PULLS, outcome="score")["sentence"].str.contains("whole steps blur the pulls").all()
