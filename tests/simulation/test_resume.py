"""A run can be stopped anywhere and goes on: nothing is lost, nothing is asked twice, nothing is doubled."""

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from helpers import (
    Recorder,
    cli,
    log_of,
    logs_of,
    planted,
    play_all,
    settings,
    simulate,
    start_forked,
)

from hustings import engine
from hustings.artifacts import Place, locked
from hustings.errors import BusyError, RecordError
from hustings.records import End, Event, Reply, Start, Survey

LONG = ("engine=planted", "repetitions=20", "topic=all", "composition=rep_dem_default", "rounds=6")


def lines_of(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines()


def all_lines(store: Path) -> list[str]:
    """Lines of the logs on all topics."""
    return [line for log in logs_of(store) for line in lines_of(log)]


def manifests(store: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(store.glob("*/*/manifest.json"))]


def written(store: Path) -> int:
    """Bytes of personas and events in a store."""
    return sum(path.stat().st_size for path in store.glob("*/*/*.jsonl"))


def test_a_run_that_is_killed_twenty_times_ends_as_if_it_never_was(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    assert cli(whole, *LONG).returncode == 0
    expected = all_lines(whole / "artifacts")
    draw, total, killed = random.Random(7), written(whole / "artifacts"), 0
    for growth in [5_000, *(draw.randrange(1, total // 20) for _ in range(19))]:
        process, target = start_forked(broken, *LONG), written(broken / "artifacts") + growth
        while process.is_alive() and written(broken / "artifacts") < target:
            time.sleep(0.002)
        process.kill()
        process.join()
        killed += process.exitcode == -9
    assert killed >= 15
    assert cli(broken, *LONG).returncode == 0
    lines = all_lines(broken / "artifacts")
    assert set(lines) == set(expected)
    assert len(lines) == len(expected)
    assert sum('"kind":"end"' in line for line in lines) == 80
    assert [made["state"] for made in manifests(broken / "artifacts")] == ["sealed"] * 7
    aside = dict.fromkeys(("files", "spent", "sha256"))
    assert [made | aside for made in manifests(broken / "artifacts")] == [
        made | aside for made in manifests(whole / "artifacts")
    ]


SMALL = ("repetitions=2", "topic=racism", "composition=rep_dem", "rounds=3")


def test_at_every_line_of_the_log_only_what_is_not_there_is_asked() -> None:
    of = settings(*SMALL)
    full = Recorder(planted(of))
    events = play_all(of, full)
    for length in range(len(events) + 1):
        logged: dict[str, list[Event]] = {}
        for event in events[:length]:
            logged.setdefault(event.debate, []).append(event)
        starts = [
            event
            for event in events
            if isinstance(event, Start) and not any(isinstance(it, End) for it in logged.get(event.debate, ()))
        ]
        resumed = Recorder(planted(of))
        new = play_all(of, resumed, logged, starts)
        answered = sum(isinstance(event, Reply | Survey) for event in events[:length])
        assert len(resumed.asked) == len(full.asked) - answered
        assert Counter(resumed.asked) <= Counter(full.asked)
        assert Counter(map(repr, [*events[:length], *new])) == Counter(map(repr, events))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """Every engine that is built from now on."""
    built: list[Recorder] = []
    build = engine.build

    def recorded(*arguments: object) -> Recorder:
        built.append(Recorder(build(*arguments)))  # type: ignore[arg-type]
        return built[-1]

    monkeypatch.setattr(engine, "build", recorded)
    return built


def unsealed(folder: Path) -> None:
    """Leave an artifact as a killed process does."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "growing", "files": {}}))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5, 0.77, 0.98])
def test_a_run_goes_on_from_any_byte_of_its_log(tmp_path: Path, asked: list[Recorder], share: float) -> None:
    simulate(tmp_path, *SMALL)
    log = log_of(tmp_path / "artifacts")
    before, table = lines_of(log), (tmp_path / "run" / "attitudes.csv").read_text()
    questions = sum(it.turn.purpose != "persona" for it in asked[0].asked)
    content = log.read_bytes()[: int(log.stat().st_size * share)]
    log.write_bytes(content)
    unsealed(log.parent)
    outcome = simulate(tmp_path, *SMALL)
    kept = [json.loads(line)["kind"] for line in content.split(b"\n")[:-1]]
    assert len(asked[1].asked) == questions - kept.count("reply") - kept.count("survey")
    assert sorted(lines_of(log)) == sorted(before)
    assert (tmp_path / "run" / "attitudes.csv").read_text() == table
    assert outcome.played == 2 - kept.count("end")


def test_a_finished_run_loads_no_engine_and_writes_nothing_to_the_store(tmp_path: Path, asked: list[Recorder]) -> None:
    simulate(tmp_path, *SMALL)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "artifacts").rglob("*.json*")}
    outcome = simulate(tmp_path, *SMALL)
    assert len(asked) == 1
    assert (outcome.played, outcome.debates, outcome.replies) == (0, 2, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "artifacts").rglob("*.json*")} == stamps


def test_a_run_that_was_killed_before_its_seal_is_sealed_without_a_model(tmp_path: Path, asked: list[Recorder]) -> None:
    simulate(tmp_path, *SMALL)
    folder = log_of(tmp_path / "artifacts").parent
    sealed = json.loads((folder / "manifest.json").read_text())
    unsealed(folder)
    simulate(tmp_path, *SMALL)
    assert len(asked) == 1
    assert json.loads((folder / "manifest.json").read_text()) == sealed
    assert sealed["promise"].startswith("planted: ")


def test_personas_are_written_on_after_a_line_that_was_cut(tmp_path: Path, asked: list[Recorder]) -> None:
    simulate(tmp_path, *SMALL)
    (path,) = (tmp_path / "artifacts").glob("personas/*-republican-*/personas.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    unsealed(path.parent)
    simulate(tmp_path, *SMALL, "rounds=2")
    assert path.read_bytes() == whole
    assert sum(it.turn.purpose == "persona" for it in asked[1].asked) == 1


def test_more_repetitions_extend_what_is_there(tmp_path: Path, asked: list[Recorder]) -> None:
    simulate(tmp_path, *SMALL)
    old = lines_of(log_of(tmp_path / "artifacts"))
    more = simulate(tmp_path, *SMALL, "repetitions=5")
    new = lines_of(log_of(tmp_path / "artifacts"))
    assert new[: len(old)] == old
    assert (more.debates, more.played) == (5, 3)
    assert {it.turn.debate[-4:] for it in asked[1].asked if it.turn.purpose != "persona"} == {"0002", "0003", "0004"}
    assert sum(it.turn.purpose == "persona" for it in asked[1].asked) == 6
    fresh = simulate(tmp_path / "fresh", *SMALL, "repetitions=5")
    assert set(lines_of(log_of(tmp_path / "fresh" / "artifacts"))) == set(new)
    tables = [(outcome.folder / "attitudes.csv").read_text() for outcome in (more, fresh)]
    assert tables[0] == tables[1]


def test_fewer_repetitions_show_fewer_debates_of_the_same_log(tmp_path: Path, asked: list[Recorder]) -> None:
    five = simulate(tmp_path, *SMALL, "repetitions=5")
    table = (five.folder / "attitudes.csv").read_text().splitlines()
    two = simulate(tmp_path, *SMALL)
    assert (two.debates, two.played, len(asked)) == (2, 0, 1)
    rows = (two.folder / "attitudes.csv").read_text().splitlines()
    assert rows == [row for row in table if row.split(",")[2] in ('"repetition"', "0", "1")]


def test_partners_of_logged_debates_stay_when_an_echo_run_is_extended(tmp_path: Path) -> None:
    few = simulate(tmp_path / "few", "repetitions=3", "topic=racism", "composition=echo_rep", "rounds=1")
    rows = set((few.folder / "attitudes.csv").read_text().splitlines())
    many = simulate(tmp_path / "few", "repetitions=12", "topic=racism", "composition=echo_rep", "rounds=1")
    assert rows <= set((many.folder / "attitudes.csv").read_text().splitlines())


def test_two_processes_on_one_run_the_second_is_told_to_wait(tmp_path: Path) -> None:
    outcome = simulate(tmp_path, *SMALL)
    manifest = json.loads(log_of(tmp_path / "artifacts").with_name("manifest.json").read_text())
    slug = log_of(tmp_path / "artifacts").parent.name.rpartition("-")[0]
    with locked(Place(tmp_path / "artifacts", "debates", slug, manifest["of"]), wait=False):
        second = cli(tmp_path, "engine=planted", *SMALL)
        with pytest.raises(BusyError, match="another process is writing these debates"):
            simulate(tmp_path, *SMALL)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert "another process is writing these debates; wait for it to finish" in second.stderr
    assert not (tmp_path / "outputs").exists()
    assert (outcome.folder / "attitudes.csv").exists()


def test_a_damaged_line_inside_the_log_is_named_and_not_skipped(tmp_path: Path) -> None:
    simulate(tmp_path, *SMALL)
    log = log_of(tmp_path / "artifacts")
    log.write_text("\n".join(["{broken", *lines_of(log)[1:]]) + "\n")
    unsealed(log.parent)
    with pytest.raises(RecordError, match=r"events\.jsonl, line 1: "):
        simulate(tmp_path, *SMALL)
