"""What a sweep over controls leaves: sets of runs, U and S by role and topic, the picture, and the table on screen."""

import io
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import simulate
from rich.console import Console

from hustings.report import controls, screen, together
from hustings.study import Study, load

CONTROLS = ("none", "retest", "off_topic", "reader", "advocates_low", "advocates_high", "advocates_both")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep over all controls, put together."""
    folder = tmp_path_factory.mktemp("controls")
    for place, control in enumerate(CONTROLS):
        simulate(folder / "made", "topic=racism", "repetitions=4", "rounds=2", f"control={control}")
        shutil.move(folder / "made" / "run", folder / str(place))
    together.compare([folder / str(place) for place in range(len(CONTROLS))], folder)
    return folder


def run(folder: Path, *overrides: str) -> Study:
    simulate(folder, "topic=racism", "rounds=1", *overrides)
    return load(folder / "run")


def test_a_sweep_over_controls_leaves_its_table_and_the_plane(sweep: Path) -> None:
    (found,) = controls.read(sweep)
    assert (found.name, tuple(found.controls)) == ("", CONTROLS)
    assert [(agent.topic, agent.role) for agent in found.agents] == [
        ("racism", role) for role in ("democrat", "republican", "default", "shadow")
    ]
    for agent in found.agents:
        assert {*agent.changes} == {*CONTROLS}
        low, high = (agent.changes[f"advocates_{end}"]["estimate"] for end in ("low", "high"))
        assert agent.tests["responsiveness"]["estimate"] == pytest.approx((high - low) / 2)
        aside = [agent.changes[control]["estimate"] for control in ("off_topic", "advocates_both")]
        assert agent.tests["unwarranted_drift"]["estimate"] == pytest.approx(sum(aside) / 2)
        assert agent.tests["responsiveness"]["n"] == 4
    assert {*found.sentences} == {"retest", "reader", "U", "S"}
    drawn = pd.read_csv(sweep / "figures" / "plane.csv")
    assert {*drawn["statistic"]} == {"unwarranted_drift", "responsiveness"}
    assert (sweep / "figures" / "plane.png").exists()


def test_every_shipped_control_says_in_one_sentence_what_it_separates() -> None:
    assert (*controls.SEPARATES,) == CONTROLS
    assert all(said.endswith(".") and said.count(".") == 1 for said in controls.SEPARATES.values())


def test_the_terminal_shows_drift_and_response_of_every_role(sweep: Path) -> None:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(screen.controls(*controls.read(sweep)))
    lines = capture.get().splitlines()
    assert [line.split()[1] for line in lines if line.split()[:1] == ["racism"]] == [
        "democrat", "republican", "default", "shadow"]  # fmt: skip
    assert "Unwarranted drift U: mean change where nobody gave a reason to change" in capture.get()


def test_a_copied_sweep_is_put_together_again(sweep: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sweep, copy)
    shutil.rmtree(copy / "figures")
    (copy / "controls.csv").unlink()
    together.compare([copy / str(place) for place in range(len(CONTROLS))], copy)
    assert (copy / "controls.csv").read_text() == (sweep / "controls.csv").read_text()


def test_runs_without_another_control_leave_no_table_and_take_an_old_one_away(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "controls.csv").write_text((sweep / "controls.csv").read_text())
    together.compare([sweep / "0", sweep / "0"], tmp_path)
    assert controls.read(tmp_path) == []
    assert not (tmp_path / "figures" / "plane.png").exists()


def test_runs_that_differ_in_more_than_the_control_are_grouped_by_the_rest(tmp_path: Path) -> None:
    studies = {}
    for bias in ("3.0", "8.0"):
        for control in ("none", "advocates_low", "advocates_high"):
            name = f"{control}-{bias}"
            studies[name] = run(tmp_path / name, f"control={control}", f"engine.bias={bias}", "repetitions=2")
    found = controls.of(studies)
    assert [each.name for each in found] == ["bias 3.0", "bias 8.0"]
    assert all(each.controls == ["none", "advocates_low", "advocates_high"] for each in found)


def test_as_many_repetitions_are_put_together_and_equal_runs_count_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = {}
    for repetitions in (2, 3):
        for control in ("none", "retest"):
            name = f"{control}-{repetitions}"
            studies[name] = run(tmp_path / name, f"control={control}", f"repetitions={repetitions}")
    found = controls.of(studies)
    assert [each.name for each in found] == ["repetitions 2", "repetitions 3"]
    assert [each.agents[0].changes["retest"]["n"] for each in found] == [2, 3]
    twice = {name: studies[name] for name in ("none-2", "retest-2")} | {"again": studies["none-2"]}
    assert [each.name for each in controls.of(twice)] == [""]
    assert "again: left out of the table of controls" in capsys.readouterr().err
    assert controls.of({"none-2": studies["none-2"]}) == []


def test_a_missing_control_is_said_and_nothing_is_guessed(tmp_path: Path) -> None:
    studies = {name: run(tmp_path / name, f"control={name}", "repetitions=2") for name in ("none", "advocates_low")}
    (found,) = controls.of(studies)
    assert any("no run has control=advocates_high" in said for said in found.sentences["S"])
    assert controls.table(studies) is not None
    together.compare([study.folder for study in studies.values()], tmp_path / "both")
    assert not (tmp_path / "both" / "figures" / "plane.png").exists()
