"""The comparison of mitigations on planted debaters: it finds what a mitigation does, and only that."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hustings.analysis.mitigations import Mitigated, mitigations

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import mitigations as planted


@pytest.fixture(scope="module")
def exact() -> pd.DataFrame:
    """One study without noise, in which every estimate is what was planted."""
    compared = [
        Mitigated(name, np.nan, {
            control: planted.played(planted.settings(name, control, 4), 0.0) for control in planted.CONTROLS
        })
        for name in ("none", *planted.EFFECTS)
    ]  # fmt: skip
    return mitigations(compared, ("climate_change",))


def one(table: pd.DataFrame, mitigation: str, statistic: str, role: str = "republican") -> Any:
    mine = table[(table["mitigation"] == mitigation) & (table["statistic"] == statistic) & (table["role"] == role)]
    assert len(mine) == 1
    return mine.iloc[0]


def test_each_mitigation_is_measured_in_drift_response_and_speech(exact: pd.DataFrame) -> None:
    for name in ("none", *planted.EFFECTS):
        found = {*exact.loc[(exact["mitigation"] == name) & (exact["role"] == "republican"), "statistic"]}
        wanted = {"unwarranted_drift", "equivalence", "responsiveness", "closing", "truncated", "disclaimer",
                  "spread_kept", "distinct_2"}  # fmt: skip
        assert found == wanted | ({"drift_stopped", "response_lost"} if name != "none" else set())
    assert exact["held_out"].all()


def test_what_does_nothing_is_found_to_do_nothing(exact: pd.DataFrame) -> None:
    for statistic in ("drift_stopped", "response_lost"):
        assert one(exact, "nothing", statistic)["estimate"] == pytest.approx(0, abs=1e-6)


def test_an_anchor_stops_drift_and_deafness_is_no_steadfastness(exact: pd.DataFrame) -> None:
    anchored, deaf = one(exact, "anchor", "drift_stopped"), one(exact, "deaf", "response_lost")
    plain = one(exact, "none", "unwarranted_drift")["estimate"], one(exact, "none", "responsiveness")["estimate"]
    assert 0.2 * plain[0] < anchored["estimate"] < plain[0]
    assert 0.5 * plain[1] < deaf["estimate"] < plain[1]
    assert one(exact, "deaf", "drift_stopped")["estimate"] < anchored["estimate"] / 2
    assert "less without a reason" in anchored["sentence"] and anchored["sentence"].startswith("Under anchor, ")
    assert "followed advocates" in deaf["sentence"]


def test_differences_are_those_of_the_two_estimates(exact: pd.DataFrame) -> None:
    for role in ("republican", "democrat"):
        drift = [one(exact, name, "unwarranted_drift", role)["estimate"] for name in ("none", "anchor")]
        found = one(exact, "anchor", "drift_stopped", role)["estimate"]
        assert found == pytest.approx(np.sign(drift[0]) * (drift[0] - drift[1]), abs=1e-6)
        response = [one(exact, name, "responsiveness", role)["estimate"] for name in ("none", "deaf")]
        assert one(exact, "deaf", "response_lost", role)["estimate"] == pytest.approx(response[0] - response[1])


def test_all_tests_are_adjusted_together(exact: pd.DataFrame) -> None:
    tests = exact[exact["family"] == "mitigations"]
    assert len(tests) == 3 * 2 * 2
    assert exact.loc[exact["family"] != "mitigations", "p_holm"].isna().all()


def test_planted_effects_are_recovered_with_honest_intervals() -> None:
    studies = [planted.study(seed, 12) for seed in range(1, 13)]
    found = planted.summary(studies, planted.truth()).set_index(["mitigation", "statistic"])
    assert found["off"].abs().max() < 0.15
    assert found["covered"].mean() > 0.88
    assert found.loc["nothing", "rejected"].mean() < 0.2
    assert found.loc[("anchor", "drift_stopped"), "rejected"].max() > 0.5


def test_distinct_2_and_spread_are_their_definitions() -> None:
    from hustings.analysis.mitigations import _distinct, _spread  # pyright: ignore[reportPrivateUsage]

    assert _distinct(pd.Series(["a b a b", "A b"])) == pytest.approx(2 / 4)
    assert np.isnan(_distinct(pd.Series(["", "alone"])))
    values = np.array([[1.0, 2.0], [3.0, 2.5], [5.0, 3.0]])
    assert _spread(values, np.ones((1, 3)))[0] == pytest.approx(values[:, 1].std() / values[:, 0].std())
