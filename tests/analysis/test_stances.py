"""What agents say beside what they answer: planted replies, and judges whose ratings are known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import leave, simulate
from judges import around, attitude, honest, judged, rows_of

from hustings import load, records
from hustings.analysis.blind import blind
from hustings.analysis.stances import by_round
from hustings.analysis.talk import changes, parted, talk
from hustings.engine.base import Request, Score
from hustings.runfolder import EVENTS, RunManifest, read_manifest


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty planted debates without statistics."""
    folder = tmp_path_factory.mktemp("forty")
    simulate(folder, "repetitions=40", "topic=racism", "engine.noise=0.8", "engine.bias=5")
    return folder / "run"


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_the_correlation_of_talk_and_survey_is_recovered(forty: Path, tmp_path: Path, noise: float) -> None:
    run, _ = judged(tmp_path, forty, honest(noise=noise))
    steps = changes(talk(load(run), "stub"))
    spread = 0.6 * steps["before"].std()
    truth = spread / np.sqrt(spread**2 + 2 * noise**2)
    found = rows_of(run, "stance_change").set_index(["role", "at"])
    one = found.loc["", "before"]
    assert one["n"] == 40
    assert one["estimate"] == pytest.approx(truth, abs=0.06)
    assert one["ci_low"] <= truth <= one["ci_high"] + 1e-6
    known = steps.dropna(subset=["stance", "before"])
    assert one["estimate"] == pytest.approx(np.corrcoef(known["stance"], known["before"])[0, 1])
    assert f"{len(known)} pairs of replies; judge: stub" in one["sentence"]
    assert found.loc["democrat", "after"]["estimate"] < found.loc["democrat", "before"]["estimate"]


def test_a_judge_that_rates_at_random_finds_no_agreement(forty: Path, tmp_path: Path) -> None:
    run, _ = judged(tmp_path, forty, lambda request: around(request.seed % 7 - 3))
    found = rows_of(run, "stance_change")
    assert found["estimate"].abs().max() < 0.4
    assert found.loc[found["role"] == "", "estimate"].abs().max() < 0.2


def test_a_reply_is_set_beside_the_surveys_around_it(forty: Path, tmp_path: Path) -> None:
    run, _ = judged(tmp_path, forty, honest())
    study = load(run)
    said = talk(study, "stub")
    assert sorted(said["round"].unique()) == [1, 2, 3]
    answers = study.answers.set_index(["topic", "repetition", "agent", "iteration"])["value"]
    for row in said.head(30).to_dict("records"):
        who = (row["topic"], row["repetition"], row["agent"])
        before = (row["iteration"] - 1) // 3 * 3
        assert (row["before"], row["after"]) == (answers[*who, before], answers[*who, before + 3])
        assert row["stance"] == pytest.approx(0.6 * (row["before"] - 5), abs=1e-3)


def test_mean_stances_are_those_of_each_role_and_round(forty: Path, tmp_path: Path) -> None:
    run, _ = judged(tmp_path, forty, honest())
    study = load(run)
    said, table = talk(study, "stub"), by_round(study, "stub")
    assert table["n"].tolist() == [40] * 9
    mine = table.set_index(["role", "round"])
    rows = rows_of(run, "stance").set_index(["role", "at"])
    for role in ("democrat", "republican", "default"):
        for at, number in (("start", 1), ("end", 3)):
            mean = said[(said["role"] == role) & (said["round"] == number)]["stance"].mean()
            assert mine.loc[role, number]["mean"] == pytest.approx(mean)
            assert rows.loc[role, at]["estimate"] == pytest.approx(mean)
    assert rows.loc["democrat", "start"]["estimate"] > 1 > -1 > rows.loc["republican", "start"]["estimate"]


def test_talk_and_survey_part_ways_where_they_are_clearly_on_different_sides(forty: Path, tmp_path: Path) -> None:
    def contrary(request: Request) -> Score:
        return around(-3.0) if request.seed % 2 else around(0.6 * (attitude(request) - 5))

    run, _ = judged(tmp_path, forty, contrary, "exchanged=false")
    study = load(run)
    found = parted(study, "stub")
    assert found["stance"].to_numpy() == pytest.approx(-3, abs=1e-3)
    assert (found[["before", "after"]].min(axis=1) >= 6).all()
    said = talk(study, "stub")
    truth = said[(said["stance"] < -2.9) & (said[["before", "after"]].min(axis=1) >= 6)]
    assert len(found) == len(truth) > 0
    assert found["apart"].is_monotonic_decreasing


def test_nobody_parts_ways_who_says_what_they_answer(forty: Path, tmp_path: Path) -> None:
    run, _ = judged(tmp_path, forty, honest())
    assert parted(load(run), "stub").empty


def test_a_run_that_nobody_judged_has_no_rows(forty: Path) -> None:
    assert rows_of(forty, "stance_change").empty
    assert rows_of(forty, "judge_bias").empty


def test_names_and_parties_are_left_out_and_other_words_stay(forty: Path, tmp_path: Path) -> None:
    study = load(forty)
    name = study.agents["name"].iloc[0]
    texts = (f"{name}s and {name}, the Democrats’ plan", "The republic is a democracy, Republican or not.")
    events = [
        it.model_copy(update={"text": texts[it.iteration % 2]}) if isinstance(it, records.Reply) else it
        for it in records.read(forty / EVENTS)
    ]
    run = leave(events, tmp_path / "run", read_manifest(forty, RunManifest))
    assert blind(load(run)).tolist()[:2] == [
        "The republic is a democracy, [party] or not.",
        f"{name}s and [name], the [party]’ plan",
    ]


def test_a_judge_who_finds_no_stance_leaves_rows_that_say_so(forty: Path, tmp_path: Path) -> None:
    run, _ = judged(tmp_path, forty, lambda _: Score(None, "none", 1, 1))
    rows = pd.concat([rows_of(run, name) for name in ("stance", "stance_change")])
    assert rows["estimate"].isna().all()
    assert rows["sentence"].str.contains("judge: stub").all()
    assert (rows_of(run, "stance_none")["estimate"] == 1).all()
