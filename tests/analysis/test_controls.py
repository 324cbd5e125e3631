"""Controls: agents that drift unasked, that follow whoever talks to them, and that rise whatever is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import planted, study_of

from hustings.analysis.controls import controls, sets
from hustings.analysis.figures import Look
from hustings.analysis.plane import plane
from hustings.analysis.statistic import COLUMNS
from hustings.study import Study

ADVOCATES = {"advocates_low": 1.0, "advocates_high": 9.0, "advocates_both": 5.0}


def play(control: str, drift: float = 0.0, follow: float = 0.0, pull: float = 0.0, seed: int = 1) -> Study:
    """Twenty debates under a control, from the same first attitudes.

    Args:
        drift: of everybody, points a round, whenever somebody speaks on the topic.
        follow: share of the distance to the advocates that is closed each round.
        pull: share of the distance to 9 that is closed each round, whenever somebody speaks.
    """
    table = planted(debates=20, noise=0.0, pulls=(0, 0, 0)).sort_values(["agent", "repetition", "iteration"])
    wide = table["expected"].to_numpy().reshape(-1, 4).copy()
    rng = np.random.default_rng([seed, *control.encode()])
    for t in range(3):
        now = wide[:, t]
        moved = drift + pull * (9 - now) if control not in ("retest",) else 0.0
        moved = moved + follow * (ADVOCATES[control] - now) if control in ADVOCATES else moved
        wide[:, t + 1] = now + moved + 0.1 * rng.normal(size=len(now))
    return study_of(table.assign(expected=wide.ravel()), control=control)


def all_of(**how: float) -> dict[str, Study]:
    names = ("none", "retest", "off_topic", "reader", *ADVOCATES)
    return {f"control {name}": play(name, **how) for name in names}


def one(table: pd.DataFrame, statistic: str, role: str = "democrat", control: str | None = None) -> Any:
    mine = table[(table["statistic"] == statistic) & (table["role"] == role)]
    return (mine if control is None else mine[mine["control"] == control]).iloc[0]


def test_salience_is_unwarranted_drift_and_no_responsiveness() -> None:
    table = controls(all_of(drift=0.2))
    for role in ("democrat", "republican", "default", "shadow"):
        assert one(table, "unwarranted_drift", role)["estimate"] == pytest.approx(0.6, abs=0.1)
        assert one(table, "unwarranted_drift", role)["p_holm"] < 0.05
        assert one(table, "equivalence", role)["p"] > 0.5
        assert one(table, "responsiveness", role)["ci_low"] < 0 < one(table, "responsiveness", role)["ci_high"]


def test_agreement_is_responsiveness_and_model_bias_is_drift_towards_it() -> None:
    agreement, bias = controls(all_of(follow=0.2)), controls(all_of(pull=0.2))
    closed = 1 - 0.8**3
    assert one(agreement, "responsiveness")["estimate"] == pytest.approx(4 * closed, abs=0.1)
    assert one(agreement, "change", control="advocates_high")["estimate"] == pytest.approx(0, abs=0.3)
    assert one(bias, "responsiveness")["estimate"] == pytest.approx(0, abs=0.1)
    assert one(bias, "unwarranted_drift", "republican")["estimate"] == pytest.approx(7 * closed, abs=0.3)


def test_a_steadfast_agent_is_equivalent_to_one_that_does_not_drift() -> None:
    row = one(controls(all_of()), "equivalence")
    assert row["p"] < 0.05 and -0.3 < row["ci_low"] < row["ci_high"] < 0.3
    assert "is equivalent to none" in row["sentence"] and "the margin is ± 0.3 points" in row["sentence"]


def test_the_margin_is_relative_to_the_scale() -> None:
    squeezed = {
        name: study_of(
            study.attitudes.assign(expected=1 + 0.4 * study.attitudes["expected"]), values=(1, 2, 3, 4, 5),
            control=study.control,
        )
        for name, study in all_of().items()
    }  # fmt: skip
    assert "± 0.12 points" in one(controls(squeezed), "equivalence")["sentence"]


def test_everything_is_paired_by_repetition() -> None:
    made = all_of(drift=0.2)
    table = controls(made)
    changes = {study.control: change(study) for study in made.values()}
    for name, of, control in (
        ("unwarranted_drift", (changes["advocates_both"] + changes["off_topic"]) / 2, None),
        ("responsiveness", (changes["advocates_high"] - changes["advocates_low"]) / 2, None),
        ("beyond_retest", changes["none"] - changes["retest"], "none"),
        ("reading", changes["reader"] - changes["none"], "reader"),
    ):
        row = one(table, name, control=control)
        between = stats.ttest_1samp(of, 0).confidence_interval()
        assert (row["n"], row["estimate"]) == (20, pytest.approx(of.mean()))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((between.low, between.high), abs=0.02)
    assert list(table.columns) == ["control" if it == "at" else it for it in COLUMNS]
    assert not table["sentence"].str.contains(r"\bnan\b|None|\binf\b").any()


def change(study: Study) -> np.ndarray:
    mine = study.answers[study.answers["role"] == "democrat"]
    wide = mine.pivot_table(index="repetition", columns="iteration", values="value")
    return (wide[9] - wide[0]).to_numpy()


def test_repetitions_with_other_personas_are_left_out() -> None:
    made = all_of()
    other = made["control reader"]
    agents = other.agents.assign(persona=[f"p{it}" if it < 5 else "" for it in other.agents["repetition"]])
    made["control reader"] = Study(other.folder, other.manifest, other.attitudes, other.replies, agents)
    assert one(controls(made), "reading")["n"] == 15


def test_what_the_sweep_lacks_is_named() -> None:
    made = all_of()
    table = controls({name: made[name] for name in ("control none", "control advocates_low")})
    assert "no run has control=advocates_high" in one(table, "responsiveness")["sentence"]
    assert "no run has control=advocates_both or off_topic" in one(table, "unwarranted_drift")["sentence"]
    with pytest.raises(ValueError, match="control none on racism: two studies have it"):
        controls({"a": made["control none"], "b": play("none", seed=2)})


def test_the_retest_is_the_null_at_the_end_of_the_scale() -> None:
    floor = planted(first={"republican": 0.2, "democrat": 9.0, "default": 6.0}, pulls=(0, 0, 0))
    again = planted(first={"republican": 0.2, "democrat": 9.0, "default": 6.0}, pulls=(0, 0, 0), seed=1)
    rng = np.random.default_rng(1)
    later = again["iteration"] > 0
    again.loc[later, "expected"] += 0.3 * rng.normal(size=int(later.sum()))
    made = {name: study_of(it.assign(expected=it["expected"].clip(0, 10)), control=name)
            for name, it in (("none", floor), ("retest", again))}  # fmt: skip
    table = controls(made)
    assert {"beyond_retest", "closing_beyond_retest", "retest_noise"} <= {*table["statistic"]}
    assert one(table, "closing_beyond_retest", "republican")["n"] == 40


def test_sets_are_studies_that_differ_in_their_control_only() -> None:
    made = all_of()
    other = play("none")
    design = {**other.design, "rounds": 7}
    odd = Study(other.folder, other.manifest.model_copy(update={"settings": design}), other.attitudes, other.replies,
                other.agents)  # fmt: skip
    assert [sorted(it) for it in sets({**made, "odd": odd})] == [sorted(made)]
    assert sets({"a": made["control none"], "b": odd}) == []


def test_the_plane_is_drawn_with_its_table(tmp_path: Path) -> None:
    made = all_of(follow=0.1)
    picture = plane(controls(made), Look.of(made["control none"]), tmp_path, "plane")
    drawn = pd.read_csv(tmp_path / "plane.csv")
    assert picture.exists() and set(drawn["statistic"]) == {"unwarranted_drift", "responsiveness"}
    assert len(drawn) == 2 * 4
