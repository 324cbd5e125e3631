"""Reports of runs: again from a copied folder, names that tell runs apart, trainings that differ only in their seed."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import LIKERT, report, simulate
from rich.console import Console

from hustings.analysis.statistics import COLUMNS, statistics
from hustings.errors import RecordError
from hustings.files import write_table
from hustings.report import run, screen, together
from hustings.runfolder import AdapterName, ComparisonManifest, RunManifest, kind_of, read_manifest, write_manifest
from hustings.study import load, read_statistics


def on_adapter(finished: Path, folder: Path, adapter: str | None, by: int) -> Path:
    """The finished run as if it had been played with an adapter that moves every score."""
    shutil.copytree(finished / "run", folder)
    manifest = read_manifest(folder, RunManifest)
    used = AdapterName(name=adapter, id=adapter) if adapter else None
    plain = {**manifest.settings, "adapter": adapter}
    write_manifest(folder, manifest.model_copy(update={"settings": plain, "adapter": used}))
    table = load(folder).attitudes
    table["score"] += by * (table["repetition"] % 2 + 1) * (table["iteration"] > 0)
    write_table(folder / "attitudes.csv", table.assign(adapter=adapter or ""))
    (folder / "statistics.csv").unlink()
    return folder


def printed(table: Any) -> str:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_three_trainings_are_compared_as_their_mean_with_their_spread_beside_it(finished: Path, tmp_path: Path) -> None:
    runs = [on_adapter(finished, tmp_path / "base", None, 0)]
    runs += [on_adapter(finished, tmp_path / f"s{seed}", f"republican_nwp_r8_s{seed}", -seed) for seed in (1, 2, 3)]
    table = together.compare(runs, tmp_path / "both")
    ends = table[(table["statistic"] == "end") & (table["role"] == "default")].set_index("run")
    each = [f"republican_nwp_r8_s{seed}" for seed in (1, 2, 3)]
    assert ends.loc[each, "estimate"].tolist() == pytest.approx([-1.5, -3.0, -4.5])
    mean = ends.loc["republican_nwp_r8, 3 trainings"]
    assert mean["estimate"] == pytest.approx(-3.0)
    assert mean["sd_over_trainings"] == pytest.approx(1.5)
    assert "n = 6 pairs of debates" in mean["sentence"]
    assert mean["sentence"].endswith("; the 3 trainings gave -1.5, -3.0, -4.5 points.")
    curve = pd.read_csv(tmp_path / "both" / "figures" / "curves.csv")
    assert {*curve["run"]} == {"base model", "republican_nwp_r8, 3 trainings"}


def test_the_baseline_is_never_averaged_with_what_it_is_compared_to(finished: Path, tmp_path: Path) -> None:
    runs = [on_adapter(finished, tmp_path / f"s{seed}", f"republican_nwp_r8_s{seed}", -seed) for seed in (1, 2)]
    table = together.compare(runs, tmp_path / "both")
    assert {*table["run"]} == {"republican_nwp_r8_s2"}
    assert {*table["baseline"]} == {"republican_nwp_r8_s1"}


def test_runs_together_leave_tables_figures_and_a_manifest_that_finds_them(finished: Path, tmp_path: Path) -> None:
    runs = [on_adapter(finished, tmp_path / "base", None, 0), on_adapter(finished, tmp_path / "s1", "dem_nwp_r8_s1", 1)]
    table = together.compare(runs, tmp_path / "both")
    assert kind_of(tmp_path / "both") == "comparison"
    members = read_manifest(tmp_path / "both", ComparisonManifest).runs
    assert members == [{"run": "base model", "folder": "../base"}, {"run": "dem_nwp_r8_s1", "folder": "../s1"}]
    assert [*table.columns] == ["run", "baseline", *COLUMNS]
    kept = read_statistics(tmp_path / "both" / "comparison.csv")
    assert kept["sentence"].tolist() == table["sentence"].tolist()
    assert {*read_statistics(tmp_path / "both" / "statistics.csv")["run"]} == {"base model", "dem_nwp_r8_s1"}
    assert len(pd.read_csv(tmp_path / "both" / "attitudes.csv")) == 2 * len(load(runs[0]).attitudes)
    assert {"curves.png", "forest.png"} <= {path.name for path in (tmp_path / "both" / "figures").iterdir()}


def test_a_copied_run_is_reported_again_without_the_artifact_store(tmp_path: Path) -> None:
    simulate(tmp_path / "made", "repetitions=4", "topic=racism")
    report(tmp_path / "made")
    copy = tmp_path / "elsewhere" / "run"
    shutil.copytree(tmp_path / "made" / "run", copy)
    assert not [path for path in copy.rglob("*") if path.is_symlink()]
    shutil.rmtree(tmp_path / "made")
    kept = read_statistics(copy / "statistics.csv")
    for made in ("statistics.csv", "figures", "report.html"):
        shutil.rmtree(copy / made) if (copy / made).is_dir() else (copy / made).unlink()
    again = run.again(load(copy))
    assert again["sentence"].tolist() == kept["sentence"].tolist()
    assert np.allclose(again["estimate"], kept["estimate"], equal_nan=True)
    assert (copy / "figures" / "curves.svg").exists()
    assert read_statistics(copy / "statistics.csv")["sentence"].tolist() == kept["sentence"].tolist()


def test_another_outcome_is_written_into_the_manifest_with_its_statistics(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished / "run", copy)
    tests = run.again(load(copy, "expected"))
    assert load(copy).outcome == "expected"
    assert tests["estimate"].tolist() != read_statistics(finished / "run" / "statistics.csv")["estimate"].tolist()


def test_an_outcome_that_an_engine_did_not_give_is_refused(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished / "run", copy)
    write_table(copy / "attitudes.csv", load(copy).attitudes.assign(expected=None))
    with pytest.raises(RecordError, match="no expected values; set outcome to score"):
        load(copy, "expected")
    manifest = read_manifest(copy, RunManifest)
    plain = {**manifest.settings, "analysis": {"outcome": "expected", "spaghetti": False}}
    write_manifest(copy, manifest.model_copy(update={"settings": plain}))
    assert len(run.again(load(copy, "score")))
    assert load(copy).outcome == "score"


def test_a_finished_report_is_taken_from_the_store_and_made_again_for_other_settings(tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=2", "topic=racism")
    first = run.finish(tmp_path / "run", tmp_path / "artifacts")
    (made,) = (tmp_path / "artifacts" / "reports").iterdir()
    stamp = (made / "curves.svg").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "run" / "figures")
    assert run.finish(tmp_path / "run", tmp_path / "artifacts").equals(first)
    assert (made / "curves.svg").stat().st_mtime_ns == stamp
    assert (tmp_path / "run" / "figures" / "curves.png").exists()
    simulate(tmp_path, "repetitions=2", "topic=racism", "analysis.spaghetti=true")
    run.finish(tmp_path / "run", tmp_path / "artifacts")
    assert len([*(tmp_path / "artifacts" / "reports").iterdir()]) == 2


def test_runs_are_named_by_the_settings_in_which_they_differ(tmp_path: Path) -> None:
    four = ("repetitions=1", "topic=racism", "composition.roles=[republican,democrat,republican,democrat]")
    deltas: list[tuple[str, ...]] = [(), ("topology=ring",), ("mitigation=reminder",)]
    studies = []
    for place, delta in enumerate(deltas):
        simulate(tmp_path / str(place), *four, *delta)
        studies.append(load(tmp_path / str(place) / "run"))
    assert together.tell_apart(studies) == [
        "topology round_robin, no treatment",
        "topology ring, no treatment",
        "topology round_robin, reminder",
    ]
    assert together.tell_apart([studies[0], studies[0]]) == ["(run)", "(run)"]


def test_runs_on_different_scales_share_figures_and_are_not_tested_against_each_other(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(tmp_path, "repetitions=3", "topic=racism", *LIKERT)
    report(tmp_path)
    table = together.compare([finished / "run", tmp_path / "run"], tmp_path / "both")
    assert table.empty
    assert [*table.columns] == ["run", "baseline", *COLUMNS]
    assert "whose attitudes are on another scale" in capsys.readouterr().err
    curve = pd.read_csv(tmp_path / "both" / "figures" / "curves.csv")
    assert curve["run"].nunique() == 2
    assert read_statistics(tmp_path / "both" / "comparison.csv").empty


def test_the_terminal_shows_curves_on_the_scale_of_the_run(finished: Path, tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=3", "topic=racism", *LIKERT)
    likert, paper = load(tmp_path / "run"), load(finished / "run")
    assert "attitude, 1 … 5" in printed(screen.sketch(likert))
    assert "attitude, 0 … 10" in printed(screen.sketch(paper))
    assert screen._bars([1.0, 3.0, 5.0], likert.scale) == "▁▅█ 1.0 → 5.0"
    assert screen._bars([0.0, 5.0, 10.0], paper.scale) == "▁▅█ 0.0 → 10.0"
    shown = printed(screen.table(statistics(paper)))
    assert "to the own pole" in shown
    assert shown.count("republican") == 1
    assert "social pull α" in " ".join(shown.split())


def test_a_comparison_is_no_run(finished: Path, tmp_path: Path) -> None:
    together.compare([finished / "run", finished / "run"], tmp_path / "both")
    with pytest.raises(RecordError, match="another job's"):
        load(tmp_path / "both")
    assert json.loads((tmp_path / "both" / "manifest.json").read_text())["v"] == 2
