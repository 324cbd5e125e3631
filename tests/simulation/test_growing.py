"""The page of a run that still plays: when it is drawn, what it says, and what is left of it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import left, settings

import hustings
from hustings import page, pipeline
from hustings.engine.planted import PlantedEngine
from hustings.errors import RecordError
from hustings.pipeline import Launch
from hustings.progress import Progress
from hustings.runfolder import REPORT
from hustings.simulation import growing
from hustings.simulation.job import run
from hustings.study import Study

RENEWS = '<meta http-equiv="refresh"'


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every page that is written, where one is drawn after each answer."""
    pages: list[str] = []
    monkeypatch.setattr(growing, "EVERY", 0.0)
    monkeypatch.setattr(growing, "_SHARE", 0)
    write = page.write_atomically

    def spy(path: Path, text: str) -> None:
        pages.append(text)
        write(path, text)

    monkeypatch.setattr(page, "write_atomically", spy)
    return pages


def play(folder: Path, *overrides: str) -> Path:
    of = settings(f"artifacts={folder / 'artifacts'}", "topic=racism", "rounds=1", *overrides)
    pipeline.simulate(of, Launch(folder / "run", ["simulate.py", *overrides], None, sweep=False))
    return folder / "run"


def stop_after(monkeypatch: pytest.MonkeyPatch, answers: int, how: BaseException) -> None:
    """Let the planted engine fail after so many answers."""
    stream = PlantedEngine.stream

    def failing(self: PlantedEngine, queue: Any) -> Iterator[Any]:
        for number, answered in enumerate(stream(self, queue)):
            if number == answers:
                raise how
            yield answered

    monkeypatch.setattr(PlantedEngine, "stream", failing)


def test_a_growing_page_says_how_far_the_run_is_renews_itself_and_is_replaced(
    tmp_path: Path, written: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = play(tmp_path, "repetitions=2")
    *growing_pages, final = written
    assert len(growing_pages) > 10
    assert all(RENEWS in text and 'id="data"' in text for text in growing_pages)
    assert "So far: 0 of 2 debates; this page is written again every minute" in growing_pages[0]
    assert "So far: 1 of 2 debates; " in "".join(growing_pages)
    assert "So far: 2 of 2 debates; " in growing_pages[-1]
    assert "2 debates and 6 replies" in growing_pages[-1]
    assert "Statistics are computed when all debates have ended." in growing_pages[-1]
    assert (folder / REPORT).read_text(encoding="utf-8") == final
    assert RENEWS not in final
    assert "So far" not in final
    said = capsys.readouterr().err
    assert said.count((folder / REPORT).as_uri()) == 1
    assert [name for name in left(folder) if name.startswith(".")] == []


def test_debates_that_still_play_are_drawn_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "EVERY", 0.0)
    monkeypatch.setattr(growing, "_SHARE", 0)
    drawn: list[tuple[int, int, int, int]] = []

    def draw(study: Study, ended: int, debates: int) -> None:
        drawn.append((study.agents["repetition"].nunique(), len(study.replies), ended, debates))

    of = settings(f"artifacts={tmp_path / 'artifacts'}", "topic=racism", "rounds=1", "repetitions=3")
    run(of, tmp_path / "run", [], draw)
    assert {debates for *_, debates in drawn} == {3}
    assert any(begun == 3 and ended == 0 and replies > 0 for begun, replies, ended, _ in drawn)
    assert drawn[-1] == (3, 9, 3, 3)


def test_a_run_without_a_growing_page_plays_as_before(tmp_path: Path, written: list[str]) -> None:
    of = settings(f"artifacts={tmp_path / 'artifacts'}", "topic=racism", "rounds=1", "repetitions=1")
    run(of, tmp_path / "run", [])
    assert written == []


@pytest.mark.parametrize("how", [KeyboardInterrupt(), RecordError("the model is gone")])
def test_a_stopped_run_leaves_a_page_that_says_so_and_no_run(
    tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch, how: BaseException
) -> None:
    with monkeypatch.context() as failing:
        stop_after(failing, 12, how)
        with pytest.raises(type(how)):
            play(tmp_path, "repetitions=2")
    assert left(tmp_path / "run") == [REPORT]
    stopped = (tmp_path / "run" / REPORT).read_text(encoding="utf-8")
    assert "Stopped: this page shows 0 of 2 debates. To finish the run, start the same command again" in stopped
    assert RENEWS not in stopped
    assert "while the run plays" not in stopped
    with pytest.raises(RecordError, match="not a run's folder"):
        hustings.load(tmp_path / "run")
    folder = play(tmp_path, "repetitions=2")
    assert "Stopped" not in (folder / REPORT).read_text(encoding="utf-8")
    assert len(hustings.load(folder).replies) == 6


def test_a_run_that_is_refused_leaves_no_page(tmp_path: Path, written: list[str]) -> None:
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(hustings.HustingsError):
        play(tmp_path, "repetitions=2", f"personas.file={tmp_path / 'none.jsonl'}")
    assert written == []
    assert not (tmp_path / "run").exists()


def test_the_page_of_a_finished_run_stays_until_another_run_in_its_folder_has_ended(
    tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (play(tmp_path, "repetitions=1") / REPORT).read_text(encoding="utf-8")
    stop_after(monkeypatch, 8, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, "repetitions=2")
    assert (tmp_path / "run" / REPORT).read_text(encoding="utf-8") == before
    assert len(hustings.load(tmp_path / "run").replies) == 3


def test_a_page_that_cannot_be_drawn_does_not_end_the_run(
    tmp_path: Path, written: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(study: Study, ended: int, debates: int) -> None:
        raise ValueError("no page today")

    of = settings(f"artifacts={tmp_path / 'artifacts'}", "topic=racism", "rounds=1", "repetitions=1")
    assert run(of, tmp_path / "run", [], draw).played == 1
    said = capsys.readouterr().err
    assert said.count("could not be written; the run goes on. ValueError: no page today") == 1


def test_drawing_takes_a_twentieth_of_the_time_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(growing, "time", SimpleNamespace(monotonic=lambda: now))
    drawn: list[float] = []

    def draw(*_: Any) -> None:
        nonlocal now
        now += 1.0 if len(drawn) < 2 else 30.0
        drawn.append(now)

    study: Any = object()
    page = growing.Growing(tmp_path, lambda: study, draw)
    progress = Progress("debates", 40, 0, 0)
    while now < 3000:
        page.look(progress)
        now += 1.0
    began = [drawn[0] - 1, drawn[1] - 1, drawn[2] - 30, drawn[3] - 30]
    assert began[:3] == [60, 121, 182], "at most every minute"
    assert began[3] == drawn[2] + 600, "20 times as long as the last one took"
