"""Tables and curves of a run, computed again from its event log by other code."""

import csv
import json
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pytest

from hustings.analysis.curves import curve, per_debate


def rows_from_the_log(path: Path) -> dict[tuple[str, int, int, int], tuple[str, str, str, str, str]]:
    """(topic, repetition, iteration, agent) → role, persona, score, expected, valid; straight from the JSON."""
    seats: dict[str, list[dict[str, str]]] = {}
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["kind"] == "start":
            seats[event["debate"]] = event["agents"]
        elif event["kind"] == "survey":
            topic, _, repetition = event["debate"].split("/")
            seat = seats[event["debate"]][event["agent"]]
            score, expected = ("" if event[key] is None else str(event[key]) for key in ("score", "expected"))
            key = (topic, int(repetition), event["iteration"], event["agent"])
            rows[key] = (seat["role"], seat["persona"], score, expected, str(event["valid"]))
    return rows


def test_the_table_of_attitudes_is_what_the_log_says(finished: Path) -> None:
    rows = rows_from_the_log(finished / "run" / "events.jsonl")
    with (finished / "run" / "attitudes.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) == 6 * 3 * 4
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
    values: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for (topic, _, iteration, _), (role, _, score, _, _) in rows_from_the_log(finished / "run/events.jsonl").items():
        values[topic, role, iteration].append(int(score))
    with (finished / "run" / "figures" / "curves.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(values) == 3 * 4
    for row in table:
        cell = values[row["topic"], row["role"], int(row["iteration"])]
        mean = sum(cell) / len(cell)
        variance = sum((value - mean) ** 2 for value in cell) / (len(cell) - 1)
        assert int(row["n"]) == len(cell) == 6
        assert float(row["mean"]) == pytest.approx(mean)
        assert float(row["se"]) == pytest.approx((variance / len(cell)) ** 0.5)


def table(*rows: tuple[int, str, int, int | None]) -> pd.DataFrame:
    """A tidy table of (repetition, role, agent, score), all at iteration 0."""
    made = pd.DataFrame(rows, columns=["repetition", "role", "agent", "score"])
    return made.assign(topic="racism", composition="x", iteration=0).astype({"score": "Int64"})


def test_the_debate_is_the_unit_not_the_agent() -> None:
    one = curve(table((0, "democrat", 0, 2), (0, "democrat", 1, 4), (1, "democrat", 0, 9)), "score").iloc[0]
    assert (one["n"], one["mean"]) == (2, 6.0)
    assert one["se"] == pytest.approx(3.0)


def test_invalid_answers_are_missing_and_not_zero() -> None:
    one = curve(table((0, "default", 0, 8), (1, "default", 0, None), (2, "default", 0, 6)), "score").iloc[0]
    assert (one["n"], one["mean"], one["se"]) == (2, 7.0, pytest.approx(1.0))


def test_a_role_without_a_valid_answer_has_no_point() -> None:
    assert per_debate(table((0, "default", 0, None), (0, "democrat", 1, 3)), "score")["role"].tolist() == ["democrat"]


def test_a_single_debate_has_a_mean_and_no_standard_error() -> None:
    one = curve(table((0, "default", 0, 8)), "score").iloc[0]
    assert (one["n"], one["mean"], pd.isna(one["se"])) == (1, 8.0, True)
