"""Controls as whole runs on the planted engine: who says what to whom, and what moves."""

from pathlib import Path

import pandas as pd
import pytest
from helpers import logs_of, settings, simulate

from hustings import records, study
from hustings.errors import SettingsError
from hustings.records import Reply, Start, Survey

SMALL = ("topic=racism", "repetitions=4", "rounds=2")


def changes(folder: Path, *overrides: str) -> pd.Series:
    """Mean change of each role from the first survey to the last."""
    simulate(folder, *SMALL, *overrides)
    table = study.load(folder / "run").attitudes
    ends = table.pivot_table(index="role", columns="iteration", values="expected")
    return ends.iloc[:, -1] - ends.iloc[:, 0]


def test_with_nobody_to_hear_nothing_but_survey_noise_moves_anybody(tmp_path: Path) -> None:
    assert changes(tmp_path / "quiet", "control=retest").abs().max() < 1e-5
    noisy = changes(tmp_path / "noisy", "control=retest", "engine.survey_noise=0.5", "instrument=battery")
    assert 0.01 < noisy.abs().max() < 1.0


def test_a_neutral_topic_is_debated_and_the_target_is_surveyed(tmp_path: Path) -> None:
    moved = changes(tmp_path, "control=off_topic")
    assert moved.abs().max() < 1e-5
    events = list(records.read(tmp_path / "run" / "events.jsonl"))
    assert sum(isinstance(event, Reply) for event in events) == 4 * 6


@pytest.mark.parametrize(("control", "lower"), [("advocates_low", True), ("advocates_high", False)])
def test_agents_that_follow_whoever_talks_move_to_the_advocates(tmp_path: Path, control: str, lower: bool) -> None:
    pulls = ("engine.alpha=0.5", "engine.beta=0", "engine.kappa=0", "engine.noise=0")
    moved = changes(tmp_path, f"control={control}", *pulls)
    assert (moved["default"] < -0.5) == lower and (moved["default"] > 0.5) != lower
    assert moved["shadow"] == pytest.approx(moved["default"], abs=0.2)


def test_opposite_advocates_cancel_where_agents_only_follow_them(tmp_path: Path) -> None:
    pulls = ("engine.alpha=0.5", "engine.beta=0", "engine.kappa=0", "engine.noise=0", "engine.bias=5.25")
    moved = changes(tmp_path, "control=advocates_both", *pulls)
    assert moved["default"] == pytest.approx(0, abs=1e-4)


def test_readers_are_surveyed_on_another_debate_that_is_played_first(tmp_path: Path) -> None:
    outcome = simulate(tmp_path, *SMALL, "control=reader")
    assert (outcome.debates, outcome.played) == (4, 8)
    assert len(logs_of(tmp_path / "artifacts")) == 2
    events = list(records.read(tmp_path / "run" / "events.jsonl"))
    starts = {event.debate: event for event in events if isinstance(event, Start)}
    reads = {key[-4:]: start.reads[-4:] for key, start in starts.items() if start.reads}
    assert reads == {"0000": "0001", "0001": "0000", "0002": "0003", "0003": "0002"}
    assert not any(isinstance(event, Reply) for event in events)
    assert sum(isinstance(event, Survey) for event in events) == 4 * 4 * 3
    again = simulate(tmp_path, *SMALL, "control=none")
    assert again.played == 0


def test_readers_move_as_far_as_those_who_hear_the_same(tmp_path: Path) -> None:
    quiet = ("engine.noise=0", "engine.start_spread=0", "engine.kappa=0", "engine.alpha=0")
    heard = changes(tmp_path / "heard", *quiet)
    read = changes(tmp_path / "read", "control=reader", *quiet)
    assert read.to_numpy() == pytest.approx(heard.to_numpy(), abs=1e-4)


def test_a_reader_never_reads_itself(tmp_path: Path) -> None:
    simulate(tmp_path, "topic=racism", "repetitions=5", "rounds=1", "control=reader", "composition=echo_rep")
    events = list(records.read(tmp_path / "run" / "events.jsonl"))
    whole = {event.debate: event for log in logs_of(tmp_path / "artifacts") for event in records.read(log)
             if isinstance(event, Start) and not event.reads}  # fmt: skip
    for start in (event for event in events if isinstance(event, Start)):
        assert start.reads is not None
        mine = {agent.persona for agent in start.agents} - {"default"}
        assert not mine & {agent.persona for agent in whole[start.reads].agents}
        spoken = {agent.name for agent in whole[start.reads].agents if agent.speaks}
        assert not spoken & {agent.name for agent in start.agents}


def test_reading_takes_two_repetitions() -> None:
    with pytest.raises(SettingsError, match=r"control=reader: .* set repetitions to at least 2"):
        settings("control=reader", "repetitions=1")


def test_more_agents_without_a_party_than_names_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"society\.default\.names: a debate has 4 agents without a party"):
        settings("control=advocates_both", "society.default.names=[Alex,Robin]")


def test_replies_that_are_cut_are_kept_in_full(tmp_path: Path) -> None:
    simulate(tmp_path, *SMALL, "engine.cut=0.5")
    replies = study.load(tmp_path / "run").replies
    cut = replies[replies["finish"] == "length"]
    assert 0.2 < len(cut) / len(replies) < 0.8
    assert (cut["full"] == cut["text"] + " And so I").all()
    assert replies.loc[replies["finish"] == "stop", "full"].isna().all()


def test_a_default_that_first_answers_apart_from_where_the_model_pulls(tmp_path: Path) -> None:
    simulate(tmp_path, "topic=racism", "repetitions=2", "rounds=6", "engine.bias=9", "engine.first_default=5",
             "engine.alpha=0", "engine.kappa=0", "engine.beta=0.5", "engine.noise=0")  # fmt: skip
    table = study.load(tmp_path / "run").attitudes
    means = table.pivot_table(index="role", columns="iteration", values="expected")
    assert means.loc[["default", "shadow"], 0].tolist() == pytest.approx([5.0, 5.0], abs=1e-4)
    assert means.iloc[:, -1].to_numpy() == pytest.approx(9.0, abs=0.2)


def test_drift_moves_everybody_and_clipping_stops_at_the_end(tmp_path: Path) -> None:
    pulls = ("engine.alpha=0", "engine.beta=0", "engine.kappa=0", "engine.noise=0", "engine.drift=1.0")
    moved = changes(tmp_path / "free", *pulls, "engine.start_spread=0", "engine.start_high=8")
    assert moved.to_numpy() == pytest.approx(2.0, abs=1e-4)
    clipped = changes(
        tmp_path / "clipped", *pulls, "engine.start_spread=0", "engine.start_high=9.5", "engine.clip=true"
    )
    assert clipped["democrat"] == pytest.approx(0.5, abs=1e-4)
