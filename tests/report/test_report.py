"""Reports of runs: again from a copied folder, names that tell runs apart, trainings that differ only in their seed."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import odd
import pandas as pd
import pytest
from helpers import LIKERT, leave, left, log, report, simulate
from rich.console import Console

import hustings as library
from hustings import page, records
from hustings.analysis.curves import curve
from hustings.analysis.statistics import COLUMNS, statistics
from hustings.cli.terminal import show_run
from hustings.errors import RecordError
from hustings.files import read_table, write_table
from hustings.progress import show
from hustings.report import naming, run, screen, together
from hustings.report.alerts import alerts, narrow
from hustings.runfolder import (
    AdapterName,
    ComparisonManifest,
    RunManifest,
    kind_of,
    pack,
    read_manifest,
    write_manifest,
)
from hustings.study import Study, load, read_statistics


def on_adapter(finished: Path, folder: Path, adapter: str | None, by: int) -> Path:
    """The finished run as if it had been played with an adapter that moves every score."""
    shutil.copytree(finished / "run", folder)
    manifest = read_manifest(folder, RunManifest)
    used = AdapterName(name=adapter, id=adapter) if adapter else None
    plain = {**manifest.settings, "adapter": adapter}
    write_manifest(folder, manifest.model_copy(update={"settings": plain, "adapter": used, "files": {}}))
    table = load(folder).attitudes
    for outcome in ("score", "expected"):
        table[outcome] += by * (table["repetition"] % 2 + 1) * (table["iteration"] > 0)
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
    drawn = pd.read_csv(tmp_path / "both" / "figures" / "curves.csv")
    assert {*drawn["run"]} == {"base model", "republican_nwp_r8, 3 trainings"}


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
    kept = read_table(tmp_path / "both" / "comparison.csv")
    assert kept["sentence"].tolist() == table["sentence"].tolist()
    assert {*read_table(tmp_path / "both" / "statistics.csv")["run"]} == {"base model", "dem_nwp_r8_s1"}
    assert len(pd.read_csv(tmp_path / "both" / "attitudes.csv")) == 2 * len(load(runs[0]).attitudes)
    figures = {path.name for path in (tmp_path / "both" / "figures").iterdir()}
    assert {"curves.png", "curves_score.png", "forest.png"} <= figures
    assert not (tmp_path / "both" / "controls.csv").exists() and "plane.png" not in figures


def test_a_copied_run_is_reported_again_without_the_artifact_store(tmp_path: Path) -> None:
    simulate(tmp_path / "made", "repetitions=4", "topic=racism")
    report(tmp_path / "made")
    copy = tmp_path / "elsewhere" / "run"
    shutil.copytree(tmp_path / "made" / "run", copy)
    assert not [path for path in copy.rglob("*") if path.is_symlink()]
    shutil.rmtree(tmp_path / "made")
    kept = read_table(copy / "statistics.csv")
    for made in ("statistics.csv", "figures", "report.html"):
        shutil.rmtree(copy / made) if (copy / made).is_dir() else (copy / made).unlink()
    again = run.again(load(copy))
    assert again["sentence"].tolist() == kept["sentence"].tolist()
    assert np.allclose(again["estimate"], kept["estimate"], equal_nan=True)
    assert (copy / "figures" / "curves.svg").exists()
    assert read_table(copy / "statistics.csv")["sentence"].tolist() == kept["sentence"].tolist()


def test_a_report_is_made_again_only_when_something_has_changed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(finished / "run", tmp_path / "copy"))
    table = run.again(load(folder))
    drawn = (folder / "figures" / "curves.png").read_bytes()
    tested: list[Path] = []

    def write(study: Study, tests_to: Path, figures: Path) -> pd.DataFrame:
        tested.append(tests_to)
        return original(study, tests_to, figures)

    original = run.write
    monkeypatch.setattr(run, "write", write)
    pd.testing.assert_frame_equal(run.again(load(folder)), read_statistics(folder / "statistics.csv"))
    assert not tested and len(table)
    (folder / "figures" / "curves.png").unlink()
    run.again(load(folder))
    assert len(tested) == 1
    assert (folder / "figures" / "curves.png").read_bytes() == drawn
    run.again(load(folder, "score"))
    assert len(tested) == 2
    (folder / "statistics.csv").unlink()
    run.again(load(folder))
    assert len(tested) == 3


def test_a_packed_run_is_a_manifest_and_a_log_and_makes_the_same_report(tmp_path: Path) -> None:
    simulate(tmp_path / "made", "repetitions=4", "topic=racism")
    report(tmp_path / "made")
    made = tmp_path / "made" / "run"
    assert pack(made, tmp_path / "packed") == [tmp_path / "packed"]
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {"manifest.json", "events.jsonl.gz"}
    again = run.again(load(tmp_path / "packed"))
    assert again["sentence"].tolist() == read_table(made / "statistics.csv")["sentence"].tolist()
    for file in ("events.jsonl", "attitudes.csv", "replies.csv", "agents.csv"):
        assert (tmp_path / "packed" / file).read_bytes() == (made / file).read_bytes()
    with pytest.raises(RecordError, match="no run here to pack"):
        pack(made / "figures", tmp_path / "nothing")


def test_another_outcome_is_written_into_the_manifest_with_its_statistics(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished / "run", copy)
    kept = read_table(copy / "statistics.csv")
    tests = run.again(load(copy, "score"))
    assert load(copy).outcome == "score"
    closing = [table[(table["statistic"] == "closing")].iloc[0] for table in (kept, tests)]
    assert [it["outcome"] for it in closing] == ["expected", "score"]
    assert closing[0]["estimate"] != closing[1]["estimate"]


def test_figures_are_of_the_outcome_that_is_analysed_and_curves_of_the_other_one_beside_it(
    finished: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished / "run", copy)
    study = load(copy)
    for outcome, name in (("expected", "curves"), ("score", "curves_score")):
        drawn = pd.read_csv(copy / "figures" / f"{name}.csv")["mean"]
        assert drawn.tolist() == pytest.approx(curve(study.analysed_as(outcome))["mean"].tolist())
    forest = pd.read_csv(copy / "figures" / "forest.csv")
    assert ({*forest["statistic"]}, {*forest["outcome"]}) == ({"closing"}, {"expected"})
    assert {*pd.read_csv(copy / "figures" / "pulls.csv")["statistic"]} == {"social_pull", "model_pull"}
    assert "shadow Default (listens, never speaks)" in (copy / "figures" / "curves.svg").read_text()
    run.again(load(copy, "score"))
    assert (copy / "figures" / "curves_expected.png").exists()
    assert not (copy / "figures" / "curves_score.png").exists()


def test_an_outcome_that_an_engine_did_not_give_is_refused(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished / "run", copy)
    write_table(copy / "attitudes.csv", load(copy).attitudes.assign(expected=None))
    write_manifest(copy, read_manifest(copy, RunManifest).model_copy(update={"files": {}}))
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
    assert naming.tell_apart(studies) == [
        "topology round_robin, no treatment",
        "topology ring, no treatment",
        "topology round_robin, reminder 1",
    ]
    for control in ("retest", "advocates_high"):
        simulate(tmp_path / control, "repetitions=1", "topic=racism", f"control={control}")
    simulate(tmp_path / "debate", "repetitions=1", "topic=racism")
    controlled = [load(tmp_path / name / "run") for name in ("debate", "retest", "advocates_high")]
    assert naming.tell_apart(controlled) == ["debate", "control retest", "control advocates_high"]


def renamed(study: Study, folder: str, **settings: Any) -> Study:
    manifest = study.manifest.model_copy(update={"settings": {**study.design, **settings}})
    return replace(study, folder=Path(folder), manifest=manifest)


def test_runs_that_differ_in_their_rounds_are_named_by_them(finished: Path) -> None:
    study = load(finished / "run")
    two, four = (renamed(study, f"sweep/{rounds}", rounds=rounds) for rounds in (2, 4))
    assert naming.tell_apart([two, four]) == ["rounds 2", "rounds 4"]
    three = {**study.design["composition"], "rounds": 3}
    shorter = renamed(study, "sweep/3", rounds=2, composition={**three, "rounds": 2})
    assert naming.tell_apart([renamed(study, "sweep/4", rounds=3, composition=three), shorter]) == [
        "rounds 3",
        "rounds 2",
    ]
    other = renamed(study, "sweep/5", rounds=5, composition={**three, "name": "rep_dem", "rounds": 5})
    assert naming.tell_apart([renamed(study, "sweep/6", rounds=3, composition=three), other]) == [
        f"composition {study.design['composition']['name']}",
        "composition rep_dem",
    ]
    assert naming.tell_apart([two, renamed(study, "sweep/7", rounds=2, composition={**three, "rounds": 5})]) == [
        "(2)",
        "(7)",
    ]


def test_runs_that_no_setting_tells_apart_have_unique_names(finished: Path) -> None:
    study = load(finished / "run")

    def names(*folders: str) -> list[str]:
        return naming.tell_apart([renamed(study, folder) for folder in folders])

    assert names("n1/0", "n1/1") == ["(0)", "(1)"]
    assert names("n1/0", "n2/0") == ["(n1/0)", "(n2/0)"]
    assert names("a/n1/0", "b/n1/0", "b/n1/1") == ["(n1/0, 1)", "(n1/0, 2)", "(n1/1, 3)"]
    assert names("n1/0", "n1/0") == ["(n1/0, 1)", "(n1/0, 2)"]


def test_no_run_of_two_sweeps_with_equal_settings_is_lost(finished: Path, tmp_path: Path) -> None:
    runs = [tmp_path / sweep / "0" for sweep in ("n1", "n2", "n3")]
    for folder in runs:
        shutil.copytree(finished / "run", folder)
    table = together.compare(runs, tmp_path / "all")
    assert [it["run"] for it in read_manifest(tmp_path / "all", ComparisonManifest).runs] == [
        "(n1/0)",
        "(n2/0)",
        "(n3/0)",
    ]
    assert {*table["run"]} == {"(n2/0)", "(n3/0)"} and {*table["baseline"]} == {"(n1/0)"}


def test_means_over_trainings_that_differ_in_a_setting_are_both_there(finished: Path, tmp_path: Path) -> None:
    runs = [on_adapter(finished, tmp_path / "base", None, 0)]
    for bias in (3, 8):
        for seed in (1, 2):
            folder = on_adapter(finished, tmp_path / f"{bias}-{seed}", f"rep_s{seed}", seed)
            manifest = read_manifest(folder, RunManifest)
            engine = {**manifest.settings["engine"], "bias": bias}
            write_manifest(folder, manifest.model_copy(update={"settings": {**manifest.settings, "engine": engine}}))
            runs.append(folder)
    means = [name for name in together.compare(runs, None)["run"].unique() if "trainings" in name]
    assert means == ["rep, 2 trainings (first: rep_s1, bias 3)", "rep, 2 trainings (first: rep_s1, bias 8)"]


def test_runs_on_different_scales_share_figures_and_are_not_tested_against_each_other(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(tmp_path, "repetitions=3", "topic=racism", *LIKERT)
    report(tmp_path)
    table = together.compare([finished / "run", tmp_path / "run"], tmp_path / "both")
    assert table.empty
    assert [*table.columns] == ["run", "baseline", *COLUMNS]
    assert "whose attitudes are on another scale" in capsys.readouterr().err
    drawn = pd.read_csv(tmp_path / "both" / "figures" / "curves.csv")
    assert drawn["run"].nunique() == 2
    assert read_table(tmp_path / "both" / "comparison.csv").empty


def test_runs_that_share_nothing_are_not_compared_and_screen_and_page_say_why(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [finished / "run"]
    for topic in ("gun_violence", "climate_change"):
        simulate(tmp_path / topic, "repetitions=2", f"topic={topic}")
        runs.append(tmp_path / topic / "run")
    assert together.compare(runs, tmp_path / "all").empty
    why = (
        "topic gun violence, repetitions 2; topic climate change, repetitions 2: not compared with topic racism, "
        "repetitions 6, because they have no topic and role in common."
    )
    assert why in capsys.readouterr().err.splitlines()
    assert why in page.write(runs, tmp_path / "all" / "report.html").read_text()


def test_the_terminal_shows_curves_on_the_scale_of_the_run(finished: Path, tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=3", "topic=racism", *LIKERT)
    likert, paper = load(tmp_path / "run"), load(finished / "run")
    assert "attitude, 1 … 5" in printed(screen.sketch(likert))
    assert "attitude, 0 … 10" in printed(screen.sketch(paper))
    assert screen._bars([1.0, 3.0, 5.0], likert.scale) == "▁▅█ 1.0 → 5.0"
    assert screen._bars([0.0, 5.0, 10.0], paper.scale) == "▁▅█ 0.0 → 10.0"
    shown = printed(screen.table(paper, statistics(paper)))
    assert "closing" in shown and "to the own pole" in shown
    assert shown.count("republican") == 1
    words = " ".join(shown.split())
    assert "social pull α" in words and "the shadow Default moved by" in words
    assert "expected value (mean over the options' probabilities), points" in words


def test_the_terminal_shows_both_outcomes_by_name_and_the_shadow_default(finished: Path) -> None:
    study = load(finished / "run")
    first, second, _ = (printed(part) for part in screen.run(study, statistics(study)))
    assert first.startswith("expected value (mean over the options' probabilities)")
    assert second.startswith("chosen option (the paper's score)")
    assert "shadow Default (listens, never speaks)" in first


def test_everybody_has_a_name_and_the_shadow_comes_last(finished: Path, tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=1", "topic=racism", "control=advocates_both")
    labels = {role: one.label for role, one in naming.roles(load(tmp_path / "run")).items()}
    assert [*labels] == ["republican", "democrat", "default", "advocate_low", "advocate_high", "shadow"]
    assert labels["advocate_high"] == "advocate for the high end"
    assert labels["shadow"] == "shadow Default (listens, never speaks)"
    assert "advocate_low" not in naming.roles(load(finished / "run"))


def test_the_terminal_shows_names_and_labels_as_they_are(oddly_named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = load(oddly_named)
    show_run(study, study.statistics)
    print(*study.statistics["sentence"], sep="\n")
    shown = "".join(capsys.readouterr().out.replace("│", "").split())
    for label in (*odd.TOPICS.values(), *odd.PARTIES.values()):
        assert "".join(label.split()) in shown
    console = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", console)
        show("[bold]x[/] [/] :smile: 0x1F [link=http://x]y[/link]")
    assert console.getvalue() == "[bold]x[/] [/] :smile: 0x1F [link=http://x]y[/link]\n"


def test_warnings_stay_in_one_line_whatever_is_in_a_label(oddly_named: Path) -> None:
    study = load(oddly_named)
    assert "\n" in odd.PARTIES["true"]
    assert not any("\n" in said for said in alerts(study, study.statistics))


def test_a_run_of_odd_names_is_read_back_with_them(oddly_named: Path, tmp_path: Path) -> None:
    study = load(oddly_named)
    log = list(records.read(oddly_named / "events.jsonl"))
    made = records.tables(log, "planted", "", study.design["seed"])
    for table, again in zip(made, (study.attitudes, study.replies, study.agents), strict=True):
        for column in table:
            texts = ["" if it is None and column != "full" else it for it in table[column].tolist()]
            whole = [None if it != it or it is pd.NA else it for it in texts]
            assert [None if it != it else it for it in again[column].tolist()] == whole, column
    assert {*study.attitudes["topic"]} == {"007", "null"} and {*study.attitudes["role"]} >= {"nan", "true"}
    assert {"NA", "None", "007", "1e5"} <= {*study.agents["name"]}
    tests = study.statistics
    closing = tests[(tests["statistic"] == "closing") & (tests["outcome"] == "expected")]
    assert closing[["topic", "role", "n"]].to_numpy().tolist() == [
        ["007", "nan", 3], ["007", "true", 3], ["null", "nan", 3], ["null", "true", 3]]  # fmt: skip
    assert closing["estimate"].notna().all()
    assert tests["sentence"].tolist() == statistics(study)["sentence"].tolist()
    copy = tmp_path / "NA"
    shutil.copytree(oddly_named, copy)
    assert {*together.compare([oddly_named, copy], tmp_path / "both")["run"]} == {"(NA)"}
    assert {*read_table(tmp_path / "both" / "statistics.csv")["run"]} == {"(run)", "(NA)"}


@pytest.mark.parametrize("answer", ["NaN", "", "null", "007", "a\rb", 'say "x", \n', "\x00", "True"])
def test_a_reply_and_an_answer_are_read_back_as_they_were(answer: str, finished: Path, tmp_path: Path) -> None:
    events = [
        it.model_copy(update={"text": answer, "full": f"{answer}!"}) if isinstance(it, records.Reply)
        else it.model_copy(update={"raw": answer, "value": None, "valid": False}) if isinstance(it, records.Survey)
        else it
        for it in log(2)
    ]  # fmt: skip
    study = load(leave(events, tmp_path / "run", read_manifest(finished / "run", RunManifest)), "expected")
    assert {*study.replies["text"]} == {answer}
    assert {*study.replies["full"]} == {f"{answer}!"}
    assert {*study.attitudes["raw"]} == {answer}
    assert study.attitudes["score"].isna().all() and not study.attitudes["valid"].any()


def test_several_runs_compared_without_a_folder_leave_nothing_behind(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    copy = tmp_path / "copy"
    shutil.copytree(finished / "run", copy)
    before = left(tmp_path)
    table = library.compare([load(finished / "run"), load(copy)])
    assert len(table) and left(tmp_path) == before
    assert together.compare([finished / "run", copy], tmp_path / "both").equals(table)


def test_that_intervals_are_narrow_is_said_once(finished: Path) -> None:
    study = load(finished / "run")
    tests = statistics(study)
    said = alerts(study, tests)
    assert (
        said.count("With fewer than 10 debates, bootstrap intervals are a little too narrow; p-values are right.") == 1
    )
    assert not any("narrow" in sentence for sentence in tests["sentence"])
    assert narrow(tests.assign(n=10)) == []
    assert narrow(tests.assign(ci_low=float("nan"))) == []


def warned(folder: Path, *overrides: str) -> list[str]:
    """Warnings on a run of 12 debates."""
    simulate(folder, "repetitions=12", "topic=racism", *overrides)
    study = load(folder / "run")
    return alerts(study, statistics(study))


def test_warnings_are_one_line_each(tmp_path: Path) -> None:
    still = ("engine.alpha=0", "engine.beta=0", "engine.kappa=0", "engine.noise=0", "engine.start_spread=0.1")
    assert warned(tmp_path / "still", *still) == []
    (taken,) = warned(tmp_path / "taken", *still, "engine.start_low=6")
    assert "republican" in taken.lower() and "the personas did not take" in taken
    (moved,) = warned(tmp_path / "moved", *still, "engine.drift=0.4", "engine.start_high=7")
    assert moved.startswith("The Default did not stay where it began on racism")
    (full,) = warned(tmp_path / "full", *still, "engine.start_low=0.2", "engine.start_high=9.8")
    assert full == (
        "The scale leaves little room on racism: Democrat began at its high end in 100 % of debates, Republican began "
        "at its low end in 100 % of debates, Democrat ended at its high end in 100 % of debates, Republican ended at "
        "its low end in 100 % of debates."
    )
    assert not any("\n" in said for said in (taken, moved, full))


def test_a_comparison_is_no_run(finished: Path, tmp_path: Path) -> None:
    together.compare([finished / "run", finished / "run"], tmp_path / "both")
    with pytest.raises(RecordError, match="another job's"):
        load(tmp_path / "both")
    assert json.loads((tmp_path / "both" / "manifest.json").read_text())["v"] == 2
