"""Rating replies: what the judge is shown, what is kept, and what the table says."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import Recorder, Scripted, hustings, leave, simulate
from judges import around, honest, judged, rows_of, settings

from hustings import load, records
from hustings.engine.base import Request, Score
from hustings.errors import ArtifactError, EngineError, SettingsError
from hustings.judging.job import Bench, check_other, estimate, judge
from hustings.judging.question import RATINGS, read
from hustings.report.alerts import alerts
from hustings.runfolder import EVENTS, STANCES, RunManifest, read_manifest


def said(run: Path, target: Path, *texts: str) -> Path:
    """A copy of a run whose first replies are these."""
    rest = iter(texts)
    events = [
        event.model_copy(update={"text": next(rest, event.text)}) if isinstance(event, records.Reply) else event
        for event in records.read(run / EVENTS)
    ]
    return leave(events, target, read_manifest(run, RunManifest))


def texts(run: Path) -> int:
    """How many different things are said in a run."""
    return load(run).replies["text"].nunique()


def test_a_judge_reads_one_reply_without_name_party_round_or_neighbours(finished: Path, tmp_path: Path) -> None:
    names = load(finished / "run").agents["name"].tolist()
    text = f"{names[0]}, I hear you, but we Republicans and every Democrat know: it is 3.000000."
    run = said(finished / "run", tmp_path / "said", text)
    _, engine = judged(tmp_path, run, honest())
    assert any("[name], I hear you, but we [party] and every [party] know" in it.prompt for it in engine.asked)
    replies = load(run).replies["text"].tolist()
    for request in engine.asked:
        words = request.prompt.partition("What was said:")[2].split()
        assert not any(word in request.prompt for word in ("Republican", "Democrat", "rep_dem", "Default"))
        assert not {*names} & {word.strip(',."') for word in words}
        assert sum(other in request.prompt for other in {*replies}) <= 1
        assert request.options == RATINGS
        assert request.sampling.temperature == 0


def test_replies_are_read_in_an_order_that_is_drawn_by_seed(finished: Path, tmp_path: Path) -> None:
    study = load(finished / "run")
    orders = [[key for key, _ in Bench.of(settings(tmp_path, f"seed={seed}"), study).missing({})] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    assert len(orders[0]) == 2 * texts(finished / "run")


def test_no_reply_is_rated_twice_by_one_judge_and_another_judge_asks_for_itself(finished: Path, tmp_path: Path) -> None:
    run, first = judged(tmp_path, finished / "run", honest())
    _, again = judged(tmp_path, finished / "run", honest())
    assert len(first.asked) == 2 * texts(run)
    assert again.asked == []
    _, other = judged(tmp_path, finished / "run", honest(noise=1.0), "model.id=other")
    assert len(other.asked) == len(first.asked)
    table = load(run).stances
    assert table is not None
    assert table["judge"].unique().tolist() == ["stub", "other"]
    judged(tmp_path, finished / "run", honest())
    table = load(run).stances
    assert table is not None
    assert table["judge"].unique().tolist() == ["other", "stub"]


def test_the_same_words_in_another_run_are_known(finished: Path, tmp_path: Path) -> None:
    judged(tmp_path, finished / "run", honest())
    simulate(tmp_path / "more", "repetitions=7", "topic=racism")
    engine = Recorder(Scripted(honest()))
    judge(Bench.of(settings(tmp_path / "artifacts"), load(tmp_path / "more" / "run"), engine))
    assert len(engine.asked) == 2 * (texts(tmp_path / "more" / "run") - texts(finished / "run"))


def test_a_judge_that_is_stopped_resumes_and_keeps_what_was_answered(finished: Path, tmp_path: Path) -> None:
    count = 0

    def answer(request: Request) -> Any:
        nonlocal count
        count += 1
        if count == 11:
            raise EngineError("engine.budget_tokens=500: the budget is used up.")
        return honest()(request)

    with pytest.raises(EngineError, match="budget is used up"):
        judged(tmp_path, finished / "run", answer)
    assert not (tmp_path / "run" / STANCES).exists()
    study = load(finished / "run")
    bench = Bench.of(settings(tmp_path / "artifacts"), study)
    left = 2 * texts(finished / "run") - 10
    assert f"{left} ratings are not in the store yet" in estimate(bench)
    run, engine = judged(tmp_path, finished / "run", honest())
    assert len(engine.asked) == left
    assert "0 ratings are not in the store yet: about 0 calls, 0 tokens" in estimate(bench)
    assert len(pd.DataFrame(load(run).stances)) == len(study.replies)


def test_the_estimate_has_the_price_of_an_api(finished: Path, tmp_path: Path) -> None:
    words = ("model.price={input: 1.0, output: 2.0, date: '2026-11-26'}", "engine=openai")
    said = estimate(Bench.of(settings(tmp_path, *words), load(finished / "run")))
    assert "54 replies to be rated by stub, 2 × each" in said
    assert "dollars at the prices of 2026-11-26" in said


def test_a_liking_for_one_end_is_cancelled_and_reported(finished: Path, tmp_path: Path) -> None:
    fair, _ = judged(tmp_path / "fair", finished / "run", honest())
    biased, _ = judged(tmp_path / "biased", finished / "run", honest(liking=0.4))
    inside = pd.DataFrame(load(fair).stances)["stance"].abs() < 2.5
    one, two = (pd.DataFrame(load(run).stances)[inside] for run in (fair, biased))
    assert one["pole_bias"].abs().max() < 1e-6
    assert two["pole_bias"].to_numpy() == pytest.approx(0.8, abs=1e-6)
    assert two["stance"].to_numpy() == pytest.approx(one["stance"].to_numpy(), abs=1e-6)
    said = rows_of(biased, "judge_bias")["sentence"].item()
    assert said.startswith("The judge rates replies on racism 0.80 [0.80, 0.80] higher than with the poles exchanged")
    assert "likes one end of the scale, whatever is said; judge: stub." in said
    warned = alerts(load(biased), rows_of(biased, "judge_bias"))
    assert "A judge's ratings on racism differ by 0.8 when the poles are exchanged" in warned[0]
    assert not any("judge" in it for it in alerts(load(fair), rows_of(fair, "judge_bias")))


def test_a_judge_that_follows_the_number_and_not_the_words_is_found_out(finished: Path, tmp_path: Path) -> None:
    fair, _ = judged(tmp_path / "words", finished / "run", honest())

    def by_number(request: Request) -> Score:
        """As likely +3 as the words are long, whichever pole that is."""
        return around(len(request.prompt.partition("What was said:")[2]) % 7 - 3.0)

    number, _ = judged(tmp_path / "blind", finished / "run", by_number)
    found = rows_of(number, "judge_consistency")
    assert found["estimate"].item() == pytest.approx(-1)
    assert "follows what the scale looks like and not what is said" in found["sentence"].item()
    assert rows_of(number, "judge_bias")["estimate"].abs().item() < 3
    assert rows_of(fair, "judge_consistency")["estimate"].item() == pytest.approx(1)
    (warned,) = alerts(load(number), found)[:1]
    assert "correlate by only -1.00 with those with the poles exchanged; do not trust" in warned


def test_without_the_exchange_there_is_one_question_and_no_bias(finished: Path, tmp_path: Path) -> None:
    run, engine = judged(tmp_path, finished / "run", honest(), "exchanged=false")
    assert len(engine.asked) == texts(run)
    assert "no reply was rated with the poles exchanged" in rows_of(run, "judge_bias")["sentence"].item()


def test_a_reply_without_a_stance_is_missing_and_counted(finished: Path, tmp_path: Path) -> None:
    def answer(request: Request) -> Any:
        of = honest()(request)
        return Score((*[-9.0] * 7, -0.1), "none", 100, 1) if "family" in request.prompt else of

    run, _ = judged(tmp_path, finished / "run", answer)
    study = load(run)
    table = pd.DataFrame(study.stances)
    none = study.replies["text"].str.contains("family").to_numpy()
    assert 0 < none.sum() < len(none)
    assert (table["stance"].isna().to_numpy() == none).all()
    shares = rows_of(run, "stance_none").set_index("role")["estimate"]
    for role, share in shares.items():
        assert share == pytest.approx(none[(study.replies["role"] == role).to_numpy()].mean())


@pytest.mark.parametrize(
    ("text", "rating"),
    [("+2", "+2"), ("-3", "-3"), ("−1", "-1"), ("2", "+2"), ("0", "0"), ("None.", "none"), ("Rating: +1", "+1"),
     ("I would say 3", "+3"), ("between 1 and 3", None), ("7", None), ("", None)],
)  # fmt: skip
def test_an_answer_in_words_is_read(text: str, rating: str | None) -> None:
    assert read(Score(None, text, 1, 1), "normal").rating == rating


def test_an_answer_with_exchanged_poles_is_turned_back() -> None:
    rated = read(around(2.25), "exchanged")
    assert (rated.rating, rated.turned) == ("+2", "-2")
    assert rated.stance == pytest.approx(-2.25, abs=1e-6)


def test_ratings_that_were_damaged_are_named(finished: Path, tmp_path: Path) -> None:
    judged(tmp_path, finished / "run", honest())
    (kept,) = (tmp_path / "artifacts").glob("ratings/*/ratings.jsonl")
    kept.write_text(json.dumps({"text": "x"}) + "\n")
    manifest = kept.with_name("manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "state": "growing", "files": {}}))
    with pytest.raises(ArtifactError, match=r"line 1: this is not a rating"):
        judged(tmp_path, finished / "run", honest())


def test_a_table_that_was_changed_is_not_read(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = judged(tmp_path, finished / "run", honest())
    (run / STANCES).write_text((run / STANCES).read_text().replace("+", "-"))
    assert load(run).stances is None
    assert "was changed after `hustings judge` wrote it" in capsys.readouterr().err


def test_a_run_without_replies_and_the_debaters_own_model_are_refused(finished: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "quiet", "repetitions=2", "topic=racism", "control=retest")
    with pytest.raises(SettingsError, match="nobody speaks in this run"):
        Bench.of(settings(tmp_path), load(tmp_path / "quiet" / "run"))
    bench = Bench.of(settings(tmp_path, "model.id=planted"), load(finished / "run"))
    object.__setattr__(bench.study.manifest.model, "sha256", bench.weights.fingerprint)
    with pytest.raises(SettingsError, match="A model is a poor judge of itself; name another with --model"):
        check_other(bench)


def test_the_command_says_what_it_would_take_and_refuses_what_cannot_judge(finished: Path, tmp_path: Path) -> None:
    run = str(finished / "run")
    done = hustings("judge", run, "--model", "smollm2", "--dry-run", "--set", f"artifacts={tmp_path}")
    assert done.stdout.startswith("54 replies to be rated by smollm2, 2 × each")
    for words, why in (
        (("--set", "engine=planted"), "there is no model behind it that could read a reply"),
        (("--model", "nobody"), "model=nobody: there is no such option"),
        (("--set", "sed=1"), "sed: there is no such setting; did you mean seed?"),
    ):
        done = hustings("judge", run, *words)
        assert (done.returncode, why in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr
    done = hustings("judge", str(tmp_path))
    assert "this is not a run's folder" in done.stderr
