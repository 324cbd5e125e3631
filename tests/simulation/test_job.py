"""A run's folder and its place in the store: topics apart, copies, mixed models, topologies."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from helpers import Recorder, logs_of, report, settings, simulate

from hustings import engine, records, study
from hustings.errors import ArtifactError, RecordError
from hustings.runfolder import RunManifest, read_manifest
from hustings.settings import CastSettings
from hustings.simulation import disk, job
from hustings.simulation.estimate import estimate
from hustings.simulation.plan import Plan


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """Every engine that is built from now on."""
    engines: list[Recorder] = []
    build = engine.build

    def recorded(*arguments: object) -> Recorder:
        engines.append(Recorder(build(*arguments)))  # type: ignore[arg-type]
        return engines[-1]

    monkeypatch.setattr(engine, "build", recorded)
    return engines


def test_one_topic_after_all_topics_plays_nothing(tmp_path: Path, built: list[Recorder]) -> None:
    assert simulate(tmp_path, "topic=all", "repetitions=2").played == 8
    outcome = simulate(tmp_path, "topic=racism", "repetitions=2")
    assert (outcome.debates, outcome.played, len(built)) == (2, 0, 1)
    assert len(logs_of(tmp_path / "artifacts")) == 4


def test_all_topics_after_one_play_the_others_only(tmp_path: Path, built: list[Recorder]) -> None:
    simulate(tmp_path, "topic=racism", "repetitions=2")
    assert simulate(tmp_path, "topic=all", "repetitions=2").played == 6
    debates = {it.turn.debate.split("/")[0] for it in built[1].asked}
    assert debates == {"climate_change", "gun_violence", "illegal_immigration"}


def test_what_a_run_took_is_kept_for_each_topic(tmp_path: Path) -> None:
    simulate(tmp_path, "topic=[racism,gun_violence]", "repetitions=2")
    manifest = read_manifest(tmp_path / "run", RunManifest)
    spent = [
        json.loads(path.with_name("manifest.json").read_text())["spent"] for path in logs_of(tmp_path / "artifacts")
    ]
    assert [(it["played"], it["replies"]) for it in spent] == [(2, 18), (2, 18)]
    assert (manifest.spent["replies"], manifest.played["replies"]) == (36, 36)
    assert set(manifest.debates) == {"racism", "gun_violence"}


def test_the_log_in_a_runs_folder_is_a_file_of_its_own_debates(tmp_path: Path) -> None:
    simulate(tmp_path, "topic=[racism,gun_violence]", "repetitions=3")
    simulate(tmp_path, "topic=racism", "repetitions=2")
    log = tmp_path / "run" / "events.jsonl"
    assert not log.is_symlink()
    keys = {event.debate for event in records.read(log)}
    assert keys == {f"racism/rep_dem_default/{n:04d}" for n in range(2)}


def test_a_copied_folder_is_read_where_the_store_is_not(tmp_path: Path) -> None:
    simulate(tmp_path / "here", "topic=racism", "repetitions=2")
    first = study.load(tmp_path / "here" / "run")
    shutil.copytree(tmp_path / "here" / "run", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    copied = study.load(tmp_path / "there")
    for name in ("attitudes", "replies", "agents", "answers"):
        assert getattr(copied, name).equals(getattr(first, name))
    assert len(list(records.read(tmp_path / "there" / "events.jsonl"))) == 2 * (2 + 9 + 16)


def test_other_life_stories_are_announced_before_debates_are_played_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(tmp_path, "topic=racism", "repetitions=1")
    assert "other life stories" not in capsys.readouterr().err
    tax = "+society.parties.democrat.stances.tax={pole: low, position: taxes are no problem}"
    assert simulate(tmp_path, "topic=racism", "repetitions=1", tax).played == 1
    said = capsys.readouterr().err
    assert "racism: debates with these settings are in planted-rep_dem_default-racism-" in said
    assert "with other life stories" in said


@pytest.mark.parametrize("file", ["attitudes.csv", "replies.csv", "agents.csv"])
def test_a_folder_that_lacks_a_table_is_refused(tmp_path: Path, file: str) -> None:
    simulate(tmp_path, "topic=racism", "repetitions=1")
    (tmp_path / "run" / file).unlink()
    with pytest.raises(RecordError, match=rf"not a whole run's folder \({file} is missing or damaged\)"):
        study.load(tmp_path / "run")


def test_a_folder_of_another_version_says_so(tmp_path: Path) -> None:
    simulate(tmp_path, "topic=racism", "repetitions=1")
    path = tmp_path / "run" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "v": 1}))
    with pytest.raises(RecordError, match="made by another version of Hustings"):
        study.load(tmp_path / "run")


def test_a_role_with_an_engine_of_its_own_is_played_by_it(tmp_path: Path, built: list[Recorder]) -> None:
    of = settings("topic=racism", "repetitions=2", "rounds=1", f"artifacts={tmp_path / 'artifacts'}")
    other = of.engine.model_copy(update={"start_low": 4.0, "start_spread": 0.0})
    mixed = of.model_copy(
        update={"cast": {"republican": CastSettings(model=of.model, engine=other, adapter=None, scope="both")}}
    )
    job.run(mixed, tmp_path / "run", [])
    asked = [Counter(it.turn.role for it in one.asked if it.turn.purpose != "persona") for one in built]
    assert sorted(map(sorted, asked)) == [["default", "democrat", "shadow"], ["republican"]]
    table = study.load(tmp_path / "run").attitudes
    first = table[(table["role"] == "republican") & (table["iteration"] == 0)]
    assert first["expected"].tolist() == pytest.approx([4.0, 4.0], abs=1e-4)
    (path,) = logs_of(tmp_path / "artifacts")
    assert "republican" in json.loads(path.with_name("manifest.json").read_text())["of"]["cast"]
    job.run(of, tmp_path / "plain", [])
    assert len(logs_of(tmp_path / "artifacts")) == 2


def test_who_hears_whom_is_in_the_log_and_in_the_table_of_agents(tmp_path: Path) -> None:
    five = "composition.roles=[republican,democrat,republican,democrat,default]"
    simulate(tmp_path, "topic=racism", "repetitions=1", "topology=ring", five)
    table = study.load(tmp_path / "run").agents
    assert table["hears"].tolist() == ["1 4", "0 2", "1 3", "2 4", "0 3", "all"]
    assert {*table["topology"]} == {"ring"}


def test_agents_that_hear_nobody_are_named_and_play_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hustings.debate import protocol

    monkeypatch.setitem(protocol.TOPOLOGIES, "silence", lambda listener, other, speakers: listener == 2)
    outcome = simulate(tmp_path, "topic=racism", "repetitions=1", "topology.name=silence")
    assert (outcome.played, outcome.replies) == (1, 9)
    said = capsys.readouterr().err
    assert "topology=silence: these agents hear nobody but themselves: 0 (republican), 1 (democrat)." in said
    assert study.load(tmp_path / "run").agents["hears"].tolist() == ["", "", "all", "all"]


def test_treatments_and_control_are_in_the_log(tmp_path: Path) -> None:
    simulate(tmp_path, "topic=racism", "repetitions=1", "mitigation=reminder", "control=retest")
    start = next(records.read(tmp_path / "run" / "events.jsonl"))
    assert isinstance(start, records.Start)
    assert (start.treatments, start.control, start.topology) == (("reminder",), "retest", "round_robin")
    assert {agent.runs_on for agent in start.agents} == {"planted on planted"}


def test_what_does_not_fit_on_the_disk_is_refused_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(
        ArtifactError, match=r"about \d+ MB, and the disk has 1 MB left; free some disk space, ask for f"
    ):
        simulate(tmp_path, "repetitions=2", "topic=racism")
    assert list(tmp_path.glob("artifacts/debates/*/*.jsonl")) == []


def test_a_run_writes_at_most_what_was_estimated_and_not_far_less(tmp_path: Path) -> None:
    of = settings(f"artifacts={tmp_path / 'artifacts'}", "repetitions=40", "topic=racism", "sampling.max_tokens=20")
    estimated = sum(size for _, size in disk.needed(Plan.of(of), tmp_path / "run"))
    simulate(tmp_path, "repetitions=40", "topic=racism", "sampling.max_tokens=20")
    report(tmp_path)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert estimated / 4 < written < estimated


@pytest.mark.parametrize("table", ["attitudes.csv", "replies.csv", "agents.csv"])
def test_a_table_that_was_changed_after_the_run_is_made_again_from_the_log(
    tmp_path: Path, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(tmp_path, "topic=racism", "repetitions=1")
    path = tmp_path / "run" / table
    right = path.read_bytes()
    path.write_bytes(right.replace(b"0", b"1", 1))
    study.load(tmp_path / "run")
    assert path.read_bytes() == right
    assert f"{table} changed after the run, and is made again from events.jsonl" in capsys.readouterr().err
    path.write_bytes(right[:100])
    log = tmp_path / "run" / "events.jsonl"
    log.write_bytes(log.read_bytes()[:-9])
    with pytest.raises(RecordError, match=rf"events\.jsonl and {table} were changed after the run; restore the folder"):
        study.load(tmp_path / "run")


def test_a_manifest_of_which_one_digit_was_changed_is_refused(tmp_path: Path) -> None:
    simulate(tmp_path, "topic=racism", "repetitions=1")
    for path in (tmp_path / "run" / "manifest.json", logs_of(tmp_path / "artifacts")[0].with_name("manifest.json")):
        path.write_text(path.read_text().replace('"replies":9', '"replies":8').replace('"replies": 9', '"replies": 8'))
    with pytest.raises(RecordError, match=r"manifest\.json is missing, damaged"):
        study.load(tmp_path / "run")
    with pytest.raises(ArtifactError, match=r"the manifest is damaged; delete"):
        simulate(tmp_path, "topic=racism", "repetitions=1")


def test_what_a_dry_run_says_of_the_disk(tmp_path: Path) -> None:
    said = estimate(settings(f"artifacts={tmp_path}", "repetitions=4", "topic=racism"), tmp_path / "run")
    assert re.search(r"It writes about \d+ MB to a disk with [\d.]+ [GM]B left\.$", said)
