"""A sweep over mitigations and controls leaves a table, a picture of doses, and a section on the page."""

from pathlib import Path

import pandas as pd
import pytest
from helpers import simulate

from hustings import page, study
from hustings.report import mitigations, screen, together
from hustings.runfolder import MITIGATIONS

EFFECT = "++engine.effects={reminder: {alpha: -0.05, beta: -0.1, kappa: 0.2}}"
CONTROLS = ("none", "advocates_low", "advocates_high", "advocates_both")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a mitigation at two doses and of none, under four controls, put together."""
    folder = tmp_path_factory.mktemp("swept")
    words = ("topic=[racism,gun_violence]", "repetitions=3", "composition=rep_dem", "rounds=2", EFFECT)
    runs: list[Path] = []
    for treated in ((), ("mitigation=reminder",), ("mitigation=reminder", "treatments.reminder.dose=2")):
        for control in CONTROLS:
            tuned = "analysis.tuning_topics=[gun_violence]"
            runs.append(simulate(folder / str(len(runs)), *words, *treated, f"control={control}", tuned).folder)
    together.compare(runs, folder / "all")
    page.write(runs, folder / "all" / "report.html")
    return folder / "all"


def test_the_table_has_every_mitigation_by_topic_and_role(swept: Path) -> None:
    table = pd.read_csv(swept / MITIGATIONS)
    assert {*table["mitigation"]} == {"none", "reminder"} and {*table["dose"].dropna()} == {1.0, 2.0}
    assert {*table.loc[~table["held_out"], "topic"]} == {"gun_violence"}
    (found,) = mitigations.read(swept)
    assert [line.label for line in found.lines[:3]] == ["none", "reminder 1", "reminder 2"]
    assert len(found.lines) == 3 * 2 * 2
    assert {"U", "less drift than none", "S", "closing", "distinct-2"} <= {*found.columns}
    assert "perplexity" not in found.columns
    assert found.lines[0].cell("less drift than none") == "–" != found.lines[1].cell("less drift than none")


def test_page_and_picture_show_it(swept: Path) -> None:
    html = (swept / "report.html").read_text()
    assert "what keeps agents to their characters" in html and "reminder 2" in html
    assert "Doses were chosen on gun_violence" in html and "(held out)" in html
    assert (swept / "figures" / "doses.png").stat().st_size > 10_000


def test_the_terminal_shows_it(swept: Path) -> None:
    from rich.console import Console

    console = Console(width=160, record=True)
    console.print(screen.mitigations(mitigations.read(swept)[0]))
    assert "reminder 1" in console.export_text()


def test_runs_on_different_models_are_no_mitigation(swept: Path) -> None:
    one = study.load(next(it for it in swept.parent.iterdir() if it.name == "0") / "run")
    design = {**one.design, "cast": {"republican": {"model": {"other": 1}, "engine": one.design["engine"]}}}
    mixed = study.Study(one.folder, one.manifest.model_copy(update={"settings": design}), one.attitudes, one.replies,
                        one.agents)  # fmt: skip
    assert mitigations.mitigation(mixed) is None and mitigations.mitigation(one)[0] == "none"  # pyright: ignore


def test_what_is_left_out_of_a_comparison_of_mitigations_is_said_only_where_there_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = {
        str(place): study.load(simulate(tmp_path / str(place), "topic=racism", "rounds=1", *words).folder)
        for place, words in enumerate((["repetitions=2"], ["repetitions=3"], ["repetitions=2", "mitigation=reminder"]))
    }
    capsys.readouterr()
    assert mitigations.table({name: studies[name] for name in ("0", "1")}) is None
    assert capsys.readouterr().err == ""
    assert mitigations.table(studies) is not None
    assert "1: left out of the comparison of mitigations" in capsys.readouterr().err
