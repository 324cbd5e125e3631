"""What a run found, in three sentences: each sentence is read here as a person would read it."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import LIKERT, simulate
from tables import POLES, planted, study_of

from hustings.analysis.power import _p
from hustings.analysis.resampling import smallest_p
from hustings.analysis.statistic import COLUMNS, PRIMARY, Row, tabulate
from hustings.analysis.statistics import statistics
from hustings.report.finding import _needed, finding
from hustings.study import Study, load

CONTROLS = "-m control=none,retest,off_topic,advocates_low,advocates_high,advocates_both"
TWO = {**POLES, ("republican", "tax"): "low", ("democrat", "tax"): "high"}


def found(study: Study) -> list[str]:
    return finding(study, statistics(study))


def said(*rows: Row, study: Study | None = None) -> list[str]:
    """The finding of a table made by hand."""
    complete = [replace(row, outcome="expected", family=PRIMARY if row.statistic == "closing" else "") for row in rows]
    return finding(study or study_of(planted(2)), tabulate(complete, lambda _: ""))


def closing(role: str, estimate: float, p: float, n: int = 40, topic: str = "racism", d: float = 0.5) -> Row:
    return Row("closing", topic, role, n, "", estimate=estimate, ci_low=estimate - 0.5, ci_high=estimate + 0.5,
               effect_size=math.copysign(d, estimate), p=p, p_smallest=smallest_p(n, "greater"))  # fmt: skip


def over_topics(*estimates: float, p: Sequence[float] = (0.0001,), n: int = 40, **other: float) -> list[Row]:
    """Closings on racism and tax, of a Democrat and a Republican each, as far as there are estimates."""
    cells = [(topic, role) for topic in ("racism", "tax") for role in ("democrat", "republican")]
    ps = [*p] * len(estimates) if len(p) == 1 else p
    return [
        closing(role, estimate, p, n, topic, **other)
        for (topic, role), estimate, p in zip(cells, estimates, ps, strict=False)
    ]


def two_topics(debates: int) -> Study:
    tables = [planted(debates), planted(debates, seed=2).assign(topic="tax")]
    return study_of(pd.concat(tables, ignore_index=True), poles=TWO)


def test_forty_debates_on_one_topic() -> None:
    study = study_of(planted(40))
    table = statistics(study).set_index(["statistic", "role", "outcome"])
    ends = {role: table.loc[("closing", role, "expected")] for role in ("democrat", "republican")}
    gap, drift = (table.loc[(name, "", "expected"), "estimate"] for name in ("party_gap", "drift"))
    moved, sure, then = found(study)
    size = {role: f"{of['estimate']:.1f} points [{of['ci_low']:.1f}, {of['ci_high']:.1f}]" for role, of in ends.items()}
    assert moved.startswith(
        f"On racism, Democrat agents ended {size['democrat']} nearer to the model's own attitude than they began, and "
        f"Republican agents {size['republican']} nearer; the gap between the parties shrank by {gap:.1f} points ["
    )
    assert f"; the speakers as a whole moved {abs(drift):.1f} points {'up' if drift > 0 else 'down'}, while" in moved
    assert moved.endswith("(on a scale of 0 to 10).")
    assert sure == (
        "With 40 debates, both movements towards the model are statistically significant (p < 0.001, one-sided, after "
        "Holm's correction for 2 tests)."
    )
    assert then == f"To learn what moves the agents, run the same command with {CONTROLS}."


def test_four_debates_on_two_topics_cannot_rule_out_chance() -> None:
    study = two_topics(4)
    moved, sure, then = found(study)
    assert moved.startswith(
        "Across 2 topics, agents ended nearer to the model's own attitude than they began in all 4 combinations of "
        "topic and party ("
    )
    mean = statistics(study, ["closing"], beside=False)["estimate"].mean()
    assert f"({mean:.1f} points nearer on average); the gap between the parties shrank by " in moved
    assert sure == (
        "With 4 debates on each topic, chance cannot be ruled out: the smallest possible p is 0.0625, before the "
        "correction for 4 tests."
    )
    assert then.startswith("If the movements towards the model are as large as they look here, repetitions=10 would ")
    assert "(only the new debates are played); to learn what moves the agents, " in then


def test_one_debate_shows_what_can_happen() -> None:
    moved, sure, then = found(study_of(planted(1)))
    assert "[" not in moved, "there is no interval"
    assert sure == "A single debate shows what can happen, but not how often it does."
    assert then == ("To see how often, run the same command with repetitions=40; only the 39 new debates are played.")
    _, sure, then = found(two_topics(1))
    assert sure == "One debate on each topic shows what can happen, but not how often it does."
    assert then.endswith("only the 39 new debates on each topic are played.")


def test_more_debates_than_the_users_own_personas_allow_are_not_recommended_without_saying_so(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    rows = [
        {"party": party, "name": f"{party}{n}", "story": "You vote."}
        for party in ("republican", "democrat")
        for n in (0, 1)
    ]
    mine.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    simulate(tmp_path, "repetitions=2", "topic=racism", "rounds=1", f"personas.file={mine}")
    study = load(tmp_path / "run")
    assert "; the file of personas needs " in found(study)[2]


def test_agents_that_keep_to_themselves() -> None:
    moved, sure, then = found(study_of(planted(20, pulls=(0, 0, 0), noise=0.0)))
    assert moved == (
        "On racism, Democrat agents ended as far from the model's own attitude as they began, and Republican agents as "
        "far from it as they began; the gap between the parties stayed as it was; neither the speakers as a whole nor "
        "the silent Default moved (on a scale of 0 to 10)."
    )
    assert "there is no statistically significant movement towards the model's attitude (smallest p = 1.000" in sure
    assert then.startswith("To learn what moves the agents")


def test_an_effect_that_is_not_significant_is_not_found() -> None:
    _, sure, then = said(closing("democrat", -0.4, 0.9), closing("republican", 0.6, 0.04))
    assert sure == (
        "With 40 debates, there is no statistically significant movement towards the model's attitude (smallest p = "
        "0.080, one-sided, after Holm's correction for 2 tests)."
    )
    assert then.startswith("If the movement towards the model is as large as it looks here, repetitions=50 would ")
    assert "are played; first add names to society.parties.democrat.names, which has 40); to learn" in then
    _, sure, _ = said(closing("republican", 0.6, 0.2))
    assert "(p = 0.200, one-sided)." in sure


def test_agents_that_move_away_are_not_said_to_approach_the_model() -> None:
    moved, sure, then = said(closing("democrat", -1.24, 1.0), closing("republican", 0.6, 0.001))
    assert moved == (
        "On racism, Democrat agents ended 1.2 points [0.7, 1.7] further from the model's own attitude than they began, "
        "and Republican agents 0.6 points [0.1, 1.1] nearer (on a scale of 0 to 10)."
    )
    assert sure == (
        "With 40 debates, only the movement of Republican agents towards the model is statistically significant (p = "
        "0.002, one-sided, after Holm's correction for 2 tests)."
    )
    assert then.startswith("To learn what moves the agents"), "more debates cannot confirm a movement the other way"
    moved, _, _ = said(closing("democrat", 0.02, 0.4), closing("republican", -0.6, 1.0))
    assert "Democrat agents ended as far from the model's own attitude as they began, and" in moved
    assert "Republican agents 0.6 points [0.1, 1.1] further away (" in moved


def test_movements_over_topics_are_counted_and_averaged() -> None:
    study = two_topics(2)
    moved, _, _ = said(*over_topics(1.0, 2.0, -5.0, 1.0, p=(0.1,)), study=study)
    assert "in 3 of the 4 combinations of topic and party (0.2 points further away on average)" in moved
    moved, _, _ = said(*over_topics(-1.0, -2.0, -5.0, p=(0.9,)), study=study)
    assert "in none of the 3 combinations of topic and party (2.7 points further away on average)" in moved


def test_significant_movements_are_named_or_counted() -> None:
    study = two_topics(2)
    _, sure, then = said(*over_topics(1.0, 2.0, 1.0, 0.2, p=(0.0001, 0.001, 0.012, 0.3)), study=study)
    assert "on each topic, only the movement of Democrat agents on racism, Republican agents on racism and " in sure
    assert "Democrat agents on tax towards the model is statistically significant (p ≤ 0.024, one-sided, after" in sure
    assert then.startswith("If the remaining movement towards the model is as large as it looks here, repetitions=50 ")
    _, sure, _ = said(*over_topics(1.0, 2.0, 1.0, 0.2), study=study)
    assert "all 4 movements towards the model are statistically significant (p < 0.001, one-sided" in sure
    more = [closing(f"party{number}", 1.0, 0.0001) for number in range(5)]
    wide = study_of(planted(2), poles={**POLES, **{(row.role, "racism"): "low" for row in more}})
    _, sure, _ = said(*more, closing("democrat", 0.1, 0.5), study=wide)
    assert "in 5 of the 6 combinations the movement towards the model is statistically significant" in sure


def test_debates_differ_in_number_where_answers_are_invalid() -> None:
    _, sure, _ = said(closing("democrat", 1.0, 0.0001, n=38), closing("republican", 1.0, 0.0001, n=40))
    assert sure.startswith("With 38 to 40 debates, both ")


def test_a_gap_that_grows_has_its_interval_the_right_way_round() -> None:
    gap = Row("party_gap", "racism", "", 40, "", estimate=-1.0, ci_low=-1.5, ci_high=-0.5)
    moved, _, _ = said(closing("democrat", 1.0, 0.001), gap)
    assert "; the gap between the parties grew by 1.0 points [0.5, 1.5] (on" in moved


def test_effects_too_small_for_any_advice_say_so() -> None:
    _, _, then = said(closing("democrat", 0.1, 0.3, d=0.05), closing("republican", 0.6, 0.2, d=0.4))
    assert then.startswith(
        "To confirm the smallest of the movements towards the model would take more than 400 debates;"
    )
    _, _, then = said(closing("republican", 0.1, 0.3, n=900, d=0.05))
    assert then.startswith("To confirm the movement towards the model would take more than 900 debates; to learn ")


def test_a_control_is_named_and_compared_with_a_debate(tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=2", "topic=racism", "control=retest")
    moved, _, then = found(load(tmp_path / "run"))
    assert moved.startswith("On racism, with control=retest, Democrat agents ended ")
    assert then == (
        "To see what a debate adds, run the same command with control=none and compare the two folders with hustings "
        "report."
    )


def test_short_scales_have_more_digits(tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=3", "topic=racism", *LIKERT)
    study = load(tmp_path / "run")
    estimate = statistics(study, ["closing"], beside=False)["estimate"].abs().iloc[0]
    moved = found(study)[0]
    assert f" ended {estimate:.2f} points [" in moved
    assert moved.endswith("(on a scale of 1 to 5).")


def test_there_is_no_finding_without_a_shadow_or_from_a_table_of_another_version() -> None:
    table = planted(5)
    assert found(study_of(table[table["role"] != "shadow"])) == []
    study = study_of(table)
    assert finding(study, statistics(study)[["statistic", "topic", "role", "n", "estimate"]]) == []
    assert finding(study, pd.DataFrame(columns=COLUMNS)) == []


@pytest.mark.parametrize(("d", "tests"), [(0.3, 1), (0.3, 8), (0.5, 2), (1.0, 4), (1.5, 8)])
def test_as_many_debates_are_advised_as_the_power_needs(d: float, tests: int) -> None:
    """By simulation with the test itself; the advice is in tens, so ten fewer must not suffice."""
    rng = np.random.default_rng(1)
    effect = {"effect_size": d, "estimate": d, "n": 2}
    n = _needed(effect, tests)
    for debates, enough in ((n, True), (n - 10, False)):
        if debates >= 10:
            drawn = d + rng.normal(size=(2000, debates))
            power = float((_p(drawn, rng) <= 0.05 / tests).mean())
            assert power >= 0.77 if enough else power < 0.83


def test_debates_that_all_agree_need_only_as_many_as_the_smallest_p_needs() -> None:
    same = {"effect_size": math.nan, "estimate": 1.0, "n": 2}
    assert _needed(same, 2) == 10
    assert _needed(same, 100) == 20, "2 ** -10 is more than 0.05 / 100"
    assert _needed({**same, "effect_size": 0.01}, 2) > 400
