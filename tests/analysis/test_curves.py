"""Tables and curves of a run, computed again from its event log by other code."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tables import planted, study_of

from hustings.analysis.curves import curve, gaps, per_debate
from hustings.study import Study


def rows_from_the_log(path: Path) -> dict[tuple[str, int, int, int], tuple[str, str, str, str, str]]:
    """(topic, repetition, iteration, agent) → role, persona, score, expected, valid; straight from the JSON."""
    seats: dict[str, list[dict[str, Any]]] = {}
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["kind"] == "start":
            seats[event["debate"]] = event["agents"]
        elif event["kind"] == "survey":
            topic, _, repetition = event["debate"].split("/")
            seat = seats[event["debate"]][event["agent"]]
            score, expected = ("" if event[key] is None else str(event[key]) for key in ("value", "expected"))
            key = (topic, int(repetition), event["iteration"], event["agent"])
            rows[key] = (seat["role"], seat["persona"], score, expected, str(event["valid"]))
    return rows


def test_the_table_of_attitudes_is_what_the_log_says(finished: Path) -> None:
    rows = rows_from_the_log(finished / "run" / "events.jsonl")
    with (finished / "run" / "attitudes.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) == 6 * 4 * 4
    for row in table:
        key = (row["topic"], int(row["repetition"]), int(row["iteration"]), int(row["agent"]))
        role, persona, score, expected, valid = rows[key]
        assert (row["role"], row["persona"], row["score"], row["valid"]) == (role, persona, score, valid)
        assert float(row["expected"]) == float(expected)
        assert (row["composition"], row["model"], row["adapter"], row["seed"]) == (
            "rep_dem_default", "planted", "", "1")  # fmt: skip
    order = [(it["topic"], int(it["repetition"]), int(it["iteration"]), int(it["agent"])) for it in table]
    assert order == sorted(order)


def test_means_and_standard_errors_of_the_figure_are_those_of_the_log(finished: Path) -> None:
    values: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    log = rows_from_the_log(finished / "run" / "events.jsonl")
    for (topic, _, iteration, _), (role, _, _, expected, _) in log.items():
        values[topic, role, iteration].append(float(expected))
    with (finished / "run" / "figures" / "curves.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(values) == 4 * 4
    for row in table:
        cell = values[row["topic"], row["role"], int(row["iteration"])]
        mean = sum(cell) / len(cell)
        variance = sum((value - mean) ** 2 for value in cell) / (len(cell) - 1)
        assert int(row["n"]) == len(cell) == 6
        assert float(row["mean"]) == pytest.approx(mean)
        assert float(row["se"]) == pytest.approx((variance / len(cell)) ** 0.5)


def study(*rows: tuple[int, str, int, float | None]) -> Study:
    """A study of (repetition, role, agent, score), all at iteration 0."""
    made = pd.DataFrame(rows, columns=["repetition", "role", "agent", "score"])
    made = made.assign(topic="racism", iteration=0, valid=made["score"].notna())
    return study_of(made.astype({"score": "Float64"}), outcome="score")


def test_the_debate_is_the_unit_not_the_agent() -> None:
    one = curve(study((0, "democrat", 0, 2), (0, "democrat", 1, 4), (1, "democrat", 0, 9))).iloc[0]
    assert (one["n"], one["mean"]) == (2, 6.0)
    assert one["se"] == pytest.approx(3.0)


def test_invalid_answers_are_missing_and_not_zero() -> None:
    one = curve(study((0, "default", 0, 8), (1, "default", 0, None), (2, "default", 0, 6))).iloc[0]
    assert (one["n"], one["mean"], one["se"]) == (2, 7.0, pytest.approx(1.0))


def test_a_role_without_a_valid_answer_has_no_point() -> None:
    assert per_debate(study((0, "default", 0, None), (0, "democrat", 1, 3)))["role"].tolist() == ["democrat"]


def test_a_single_debate_has_a_mean_and_no_standard_error() -> None:
    one = curve(study((0, "default", 0, 8))).iloc[0]
    assert (one["n"], one["mean"], pd.isna(one["se"])) == (1, 8.0, True)


HUMANS = {"source": "a poll", "share": {"democrat": {"racism": 55.0}, "republican": {"racism": 14.0}}}


@pytest.mark.parametrize("width", [10, 4])
def test_gaps_are_of_the_share_that_calls_it_a_very_big_problem(width: int) -> None:
    table = planted()
    of = study_of(table.assign(expected=table["expected"] * width / 10), values=range(width + 1), humans=HUMANS)
    (row,) = gaps(of).to_dict("records")
    assert row["humans"] == 41.0
    for when, iteration in (("start", 0), ("end", 9)):
        share = [
            100 * (table.query(f"role == '{role}' and iteration == {iteration}")["expected"] >= 7.5).mean()
            for role in ("democrat", "republican")
        ]
        assert row[when] == pytest.approx(share[0] - share[1])


def test_there_are_no_gaps_without_a_poll_or_a_curve() -> None:
    assert gaps(study_of(planted(debates=2))).empty
    assert gaps(study_of(planted(debates=2).iloc[:0], humans=HUMANS)).empty
