"""What is logged to Weights & Biases, read back from its offline files; and that `tracker=none` writes nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import odd
import pandas as pd
import pytest
from helpers import LIKERT, ROOT, cli, config, hustings, left, report, settings, tuned
from wandb_files import items, records_of

from hustings import page, records, tracking
from hustings.analysis.curves import curve
from hustings.errors import ArtifactError, RecordError, SettingsError
from hustings.evaluation import table
from hustings.runfolder import REPORT, AdapterName, EvaluationManifest, RunManifest, read_manifest, write_manifest
from hustings.settings import EvaluateSettings, WandbSettings, load
from hustings.simulation import job
from hustings.study import load as study
from hustings.tracking import wandb_report
from hustings.tracking.session import Session

WANDB = ("tracker=wandb", "tracker.group=mine", "tracker.tags=[pilot]")


def follow(folder: Path, *overrides: str) -> Path:
    """A tracked planted run in `folder`; its `.wandb` file."""
    of = settings(f"artifacts={folder / 'artifacts'}", f"tracker.folder={folder}", *WANDB, *overrides)
    with tracking.tracked(of, "simulate", None) as track:
        job.run(of, folder / "run", ["simulate.py", *overrides])
        report(folder)
        track(folder / "run")
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return path


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The folder of a tracked run, and the records that it left."""
    folder = tmp_path_factory.mktemp("tracked")
    path = follow(folder, "repetitions=5", "topic=[racism,gun_violence]")
    return folder, records_of(path)


def test_curves_have_the_iteration_as_their_step(tracked: tuple[Path, list[Any]]) -> None:
    folder, found = tracked
    metrics = {it.metric.name or it.metric.glob_name: it.metric for it in found if it.HasField("metric")}
    assert metrics["attitude/*"].step_metric == "iteration"
    history = [items(it.history.item) for it in found if it.HasField("history")]
    rows = [row for row in history if "iteration" in row]
    assert [row["iteration"] for row in rows] == [0, 3, 6, 9]
    made = study(folder / "run")
    for outcome in ("expected", "score"):
        for line in curve(made.analysed_as(outcome)).to_dict("records"):
            row = rows[[0, 3, 6, 9].index(line["iteration"])]
            name = f"attitude/{outcome}/{line['topic']}/{line['role']}"
            assert row[name] == pytest.approx(line["mean"])
            assert row[f"{name}/se"] == pytest.approx(line["se"])
            assert row[f"{name}/n"] == 5
    assert "attitude/expected/racism/shadow" in rows[0]


def test_the_run_has_project_group_tags_and_flat_settings(tracked: tuple[Path, list[Any]]) -> None:
    (run,) = [it.run for it in tracked[1] if it.HasField("run")]
    assert (run.project, run.run_group, run.job_type) == ("hustings", "mine", "simulate")
    assert set(run.tags) == {"planted", "rep_dem_default", "racism", "gun_violence", "pilot"}
    config = items(run.config.update)
    assert (config["repetitions"], config["engine.alpha"], config["composition.name"]) == (5, 0.1, "rep_dem_default")
    assert not any(isinstance(value, dict) for key, value in config.items() if key != "_wandb")
    assert not any(key.startswith(("tracker", "artifacts")) for key in config)


def test_tables_and_pictures_are_there(tracked: tuple[Path, list[Any]]) -> None:
    folder, _ = tracked
    (media,) = folder.glob("wandb/offline-run-*/files/media")
    tables = {path.name.split("_")[0]: json.loads(path.read_text()) for path in (media / "table").glob("*.json")}
    assert set(tables) == {"attitudes", "transcripts", "statistics"}
    assert "sentence" in tables["statistics"]["columns"]
    log = records.read(folder / "run" / "events.jsonl")
    said = sorted((it.debate, it.iteration, it.text) for it in log if isinstance(it, records.Reply))
    columns = [tables["transcripts"]["columns"].index(name) for name in ("debate", "iteration", "text")]
    assert sorted(tuple(row[it] for it in columns) for row in tables["transcripts"]["data"]) == said
    assert len(tables["attitudes"]["data"]) == 5 * 2 * 4 * 4
    pictures = {path.stem.split("_")[0] for path in media.glob("images/figures/*.png")}
    assert {"curves", "forest", "gaps"} <= pictures
    assert any(path.name.startswith("curves_score") for path in media.glob("images/figures/*.png"))


def test_personas_are_the_input_and_debates_the_output(tracked: tuple[Path, list[Any]]) -> None:
    found = {it.artifact.type: it.artifact for it in tracked[1] if it.HasField("artifact")}
    assert {"personas", "debates"} <= set(found)
    assert found["personas"].use_after_commit
    assert not found["debates"].use_after_commit
    assert [it.path for it in found["debates"].manifest.contents] == ["events.jsonl"]
    assert [it.path for it in found["personas"].manifest.contents] == ["personas.jsonl"]
    assert json.loads(found["debates"].metadata)["model_name"] == "planted"


def test_the_summary_counts_and_the_run_ends_well(tracked: tuple[Path, list[Any]]) -> None:
    summary: dict[str, Any] = {}
    for it in tracked[1]:
        if it.HasField("summary"):
            summary |= items(it.summary.update)
    assert (summary["debates"], summary["invalid"]) == (10, 0)
    statistics = pd.read_csv(tracked[0] / "run" / "statistics.csv").set_index(["statistic", "topic", "role", "outcome"])
    for outcome, ending in (("expected", ""), ("score", "/score")):
        (moved,) = statistics.loc[[("closing", "racism", "democrat", outcome)], "estimate"]
        assert summary[f"closing/racism/democrat{ending}"] == pytest.approx(moved)
    assert {"floor/racism/democrat/start", "floor/racism/democrat/end"} <= {*summary}
    assert isinstance(summary["warnings"], list)
    assert [it.exit.exit_code for it in tracked[1] if it.HasField("exit")] == [0]


LONG = "an-organisation/" + "a-very-long-name-" * 10
PLAIN_TRACKER = {"kind": "wandb", "mode": "offline", "project": "hustings", "entity": None, "group": None}


def test_names_and_tags_are_within_the_limits_of_wandb(oddly_named: Path, tmp_path: Path) -> None:
    tags = ["", "  ", "a" * 64, "b" * 65, LONG, f"{LONG}x", "a,b", "[bold]", "'\"<script>", "pilot", "pilot"]
    tracker = {**PLAIN_TRACKER, "group": LONG, "tags": [*filter(None, tags)], "folder": str(tmp_path)}
    of = odd.settings(
        tmp_path,
        tracker=tracker,
        composition={**odd.settings(tmp_path).composition.model_dump(), "name": LONG.replace("/", ".")},
    )
    with tracking.tracked(of, "simulate", None) as track:
        track(oddly_named)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    found = records_of(path)
    (run,) = [it.run for it in found if it.HasField("run")]
    cut = f"{LONG[:63]}…"
    name = f"{LONG.replace('/', '.')[:63]}…"
    assert [*run.tags] == [
        "planted",
        name,
        "007",
        "null",
        "a" * 64,
        "b" * 63 + "…",
        cut,
        "a,b",
        "[bold]",
        "'\"<script>",
        "pilot",
    ]
    assert len(run.display_name) == len(run.run_group) == 128
    assert run.display_name.startswith("planted-an-organisation") and run.display_name.endswith("…")
    assert items(run.config.update)["topics.007.label"] == odd.TOPICS["007"]
    assert [it.exit.exit_code for it in found if it.HasField("exit")] == [0]
    (agents,) = tmp_path.glob("wandb/offline-run-*/files/media/table/transcripts_*.json")
    table = json.loads(agents.read_text())
    names = {row[table["columns"].index("name")] for row in table["data"]}
    assert {"NA", "None", "007", "1e5"} <= names
    assert {row[table["columns"].index("topic")] for row in table["data"]} == {"007", "null"}


def test_short_names_and_tags_are_as_they_were() -> None:
    plain = settings().model_dump(mode="json")
    tracker = WandbSettings.model_validate({**PLAIN_TRACKER, "tags": ["pilot", "racism"], "folder": "x"})
    session = Session.of(plain, tracker, "simulate", None)
    assert session.labels == tuple(dict.fromkeys(("planted", "rep_dem_default", *plain["topics"], "pilot")))


@pytest.mark.parametrize("project", ["a/b", "what?", "x" * 129, "a%20b", "a:b", "a#b", "a\\b"])
def test_a_project_that_wandb_refuses_is_refused_at_once(project: str) -> None:
    with pytest.raises(SettingsError, match=r"tracker\.project.*must be a name of at most 128 characters without"):
        load(
            EvaluateSettings,
            {
                **config(*WANDB, name="evaluate"),
                "tracker": {**PLAIN_TRACKER, "project": project, "tags": [], "folder": "x"},
            },
        )


def test_names_are_text_in_a_report_of_wandb(oddly_named: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(oddly_named, run)
    manifest = read_manifest(run, RunManifest)
    tracker = {**PLAIN_TRACKER, "tags": [], "folder": "x"}
    (run / "own.csv").write_text('a|b,"c\nd"\n`e`,<b>NA</b>\nNA,"*f*"\n')
    write_manifest(run, manifest.model_copy(update={"settings": {**manifest.settings, "tracker": tracker}}))
    spec = json.loads(wandb_report.report([run], None)._to_model().model_dump_json())
    written = [*texts(spec)]
    assert any(odd.TOPICS["007"] in text and odd.PARTIES["nan"] in text for text in written)
    assert "| a\\|b | c d |\n| --- | --- |\n| \\`e\\` | \\<b>NA\\</b> |\n| NA | \\*f* |" in written


def texts(spec: Any) -> Iterator[str]:
    """Every text in a Report's JSON."""
    if isinstance(spec, str):
        yield spec
    elif isinstance(spec, dict | list):
        for value in spec.values() if isinstance(spec, dict) else spec:
            yield from texts(value)


def test_a_crashed_run_is_marked_failed_and_goes_on_under_its_id(tmp_path: Path) -> None:
    of = settings(f"artifacts={tmp_path / 'artifacts'}", f"tracker.folder={tmp_path}", *WANDB, "repetitions=1")
    with pytest.raises(RuntimeError), tracking.tracked(of, "simulate", None):
        raise RuntimeError("a bug")
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    failed = records_of(path)
    assert [it.exit.exit_code for it in failed if it.HasField("exit")] == [1]
    (tmp_path / "again").mkdir()
    resumed = records_of(follow(tmp_path / "again", "repetitions=1"))
    ids = {it.run.run_id for it in (*failed, *resumed) if it.HasField("run")}
    assert ids == {tracking.id_of(of.model_dump(mode="json"))}


def test_without_a_tracker_nothing_is_written_and_wandb_is_not_imported(tmp_path: Path) -> None:
    done = cli(tmp_path, "engine=planted", "repetitions=1", "topic=racism")
    assert done.returncode == 0, done.stderr
    assert not [path for path in left(tmp_path) if "wandb" in path]
    code = (
        "import sys; from hustings import tracking; from helpers import settings\n"
        "with tracking.tracked(settings(), 'simulate', None) as track: track(None)\n"
        "sys.exit('wandb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tests", check=False).returncode == 0


def test_a_tracked_command_prints_its_run_last_and_how_to_send_it(tmp_path: Path) -> None:
    done = cli(tmp_path, "engine=planted", "repetitions=1", "topic=racism", "tracker=wandb")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("run: outputs/")
    assert "to upload it: wandb sync wandb/offline-run-" in done.stderr
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    (run,) = [it.run for it in records_of(path) if it.HasField("run")]
    assert run.run_group == "quickstart"


def test_going_online_without_a_login_is_one_paragraph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    done = cli(tmp_path, "engine=planted", "repetitions=1", "topic=racism", "tracker=wandb", "tracker.mode=online")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "tracker.mode=online: W&B could not begin a run" in done.stderr
    assert "tracker.mode=offline" in done.stderr


def test_a_run_of_two_items_on_another_scale_is_tracked_and_reported(tmp_path: Path) -> None:
    found = records_of(follow(tmp_path, "repetitions=2", "topic=racism", *LIKERT))
    history = [items(it.history.item) for it in found if it.HasField("history")]
    means = curve(study(tmp_path / "run")).set_index(["role", "iteration"])["mean"]
    rows = {row["iteration"]: row for row in history if "iteration" in row}
    assert [rows[at]["attitude/expected/racism/republican"] for at in (0, 9)] == pytest.approx(
        [means["republican", 0], means["republican", 9]]
    )
    (attitudes,) = tmp_path.glob("wandb/offline-run-*/files/media/table/attitudes_*.json")
    table = json.loads(attitudes.read_text())
    assert {row[table["columns"].index("item")] for row in table["data"]} == {"problem", "exaggerated"}
    spec = wandb_report.report([tmp_path / "run"], None)._to_model().model_dump_json()
    assert '"y_axis_min":1.0' in spec
    assert '"y_axis_max":5.0' in spec


def test_an_adapter_is_tracked_with_its_weights_from_the_store(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    manifest = read_manifest(run, RunManifest)
    plain = {**manifest.settings, "artifacts": str(tmp_path / "artifacts")}
    used = AdapterName(name="republican_nwp_r8_s1", id="0123456789ab")
    write_manifest(run, manifest.model_copy(update={"settings": plain, "adapter": used}))
    kept = tmp_path / "artifacts" / "adapters" / "tiny-republican_nwp_r8_s1-0123456789ab"
    tuned(tmp_path / "trained", "a card")
    (tmp_path / "trained" / "adapter").rename(run / "adapter")
    of = settings(f"artifacts={tmp_path / 'artifacts'}", f"tracker.folder={tmp_path}", *WANDB, "topic=racism")
    with pytest.raises(ArtifactError, match="has no adapters 0123456789ab"), tracking.tracked(of, "x", None) as track:
        track(run)
    kept.mkdir(parents=True)
    sealed = {"kind": "adapters", "id": used.id, "files": {"adapter_model.safetensors": "0" * 64}}
    (kept / "manifest.json").write_text(json.dumps(sealed))
    (kept / "adapter_model.safetensors").write_bytes(b"weights")
    again = settings(*WANDB, f"tracker.folder={tmp_path / 'again'}", "topic=racism", "seed=2")
    (tmp_path / "again").mkdir()
    with tracking.tracked(again, "x", None) as track:
        track(run)
    (path,) = tmp_path.glob("again/wandb/offline-run-*/run-*.wandb")
    artifacts = {it.artifact.type: it.artifact for it in records_of(path) if it.HasField("artifact")}
    assert [it.path for it in artifacts["adapters"].manifest.contents] == ["adapter_model.safetensors"]
    assert artifacts["adapters"].use_after_commit


def evaluated(folder: Path) -> Path:
    """The folder of an evaluation, without its store."""
    of = load(EvaluateSettings, config("row=base", *WANDB, f"tracker.folder={folder}", name="evaluate"))
    lines = [("hellaswag", "acc_norm", 0.40, 0.02, "400,,"), ("attitude/racism", "score", 6.5, 0.4, "40,0,10")]
    rows = [
        f"{row},smollm2,,,,{name},{metric},{score + place},{error},{rest}"
        for place, row in enumerate(("base", "a<b>"))
        for name, metric, score, error, rest in lines
    ]
    run = folder / "run"
    run.mkdir()
    head = "row,model,adapter,adapter_id,seed,benchmark,metric,score,stderr,n,low,high"
    (run / "scores.csv").write_text("\n".join([head, *rows]) + "\n")
    manifest = EvaluationManifest(
        command=["evaluate.py", "row=base"],
        versions={"lm_eval": "0.4.13"},
        settings=of.model_dump(mode="json"),
        results={},
        models={"smollm2": "f" * 64},
        adapters=[],
        seconds=1.0,
        commit=None,
    )
    write_manifest(run, manifest)
    return run


def test_benchmark_scores_are_in_the_summary_of_a_tracked_evaluation(tmp_path: Path) -> None:
    run = evaluated(tmp_path)
    of = load(EvaluateSettings, config("row=base", *WANDB, f"tracker.folder={tmp_path}", name="evaluate"))
    with tracking.tracked(of, "evaluate", "table1") as track:
        track(run)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    found = records_of(path)
    (begun,) = [it.run for it in found if it.HasField("run")]
    assert (begun.job_type, begun.run_group) == ("evaluate", "mine")
    assert {"smollm2", "base", "hellaswag", "mmlu"} <= set(begun.tags)
    summary: dict[str, Any] = {}
    for it in found:
        if it.HasField("summary"):
            summary |= items(it.summary.update)
    assert summary["hellaswag/acc_norm"] == pytest.approx(0.9)
    assert summary["attitude/racism/score"] == pytest.approx(7.0)
    (scores,) = tmp_path.glob("wandb/offline-run-*/files/media/table/scores_*.json")
    assert len(json.loads(scores.read_text())["data"]) == 4


def test_an_evaluation_has_a_page_of_its_scores(tmp_path: Path) -> None:
    run = evaluated(tmp_path)
    made, tests = table.write([run], run)
    html = page.write_evaluation([run], table.shown(made, tests), run / REPORT).read_text(encoding="utf-8")
    assert "Benchmark scores of 2 models" in html
    assert '<td class="number">40.0 ± 2.0</td><td class="number">6.5 ± 0.4</td>' in html
    assert "<b>" not in html
    assert "python evaluate.py row=base" in html
    assert 'src="data:image/png;base64,' in html


def test_the_report_of_several_runs_is_built_without_a_network(tmp_path: Path) -> None:
    runs = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        follow(folder, "repetitions=2", "topic=[racism,gun_violence]", f"seed={seed}")
        runs.append(folder / "run")
    (runs[0] / "table1.csv").write_text("model,attitude\nbase,6.5\n")
    (runs[0] / "statistics.csv").write_text(
        "statistic,topic,role,n,estimate,sentence\nclosing,racism,democrat,2,1.5,Democrats moved.\n"
    )
    spec = tmp_path / "report.json"
    done = hustings("wandb-report", "--spec", str(spec), *map(str, runs))
    assert (done.returncode, done.stdout.strip()) == (0, str(spec)), done.stderr
    text = spec.read_text()
    for run in runs:
        plain = json.loads((run / "manifest.json").read_text())["settings"]
        assert tracking.id_of(plain) in text
    for part in ("attitude/expected/racism/republican", "attitude/score/gun_violence/default", "Democrats moved.",
                 "| base | 6.5 |", "racism: expected value (mean over the options' probabilities)",
                 "racism: chosen option (the paper's score)"):  # fmt: skip
        assert part in text
    shadow = f"{tracking.id_of(plain)}:attitude/expected/racism/shadow"
    (panel,) = (it for it in panels(json.loads(text)) if shadow in it.get("overrideMarks", {}))
    assert panel["overrideMarks"][shadow] == "dashed"
    assert panel["overrideSeriesTitles"][shadow] == "shadow Default (listens, never speaks)"


def panels(spec: Any) -> Iterator[dict[str, Any]]:
    """The settings of every panel in a Report's JSON."""
    if isinstance(spec, dict):
        if "metrics" in spec:
            yield spec
        for value in spec.values():
            yield from panels(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from panels(value)


def test_the_report_of_a_sweep_over_controls_has_drift_and_response(tmp_path: Path) -> None:
    runs = []
    for control in ("advocates_low", "advocates_high", "off_topic"):
        of = settings(
            f"artifacts={tmp_path / 'artifacts'}", *WANDB, "repetitions=2", "topic=racism", f"control={control}"
        )
        runs.append(tmp_path / control)
        job.run(of, runs[-1], ["simulate.py"])
    text = wandb_report.report(runs, None)._to_model().model_dump_json()
    assert "| topic | role | U | S |" in text
    assert "| racism | republican | " in text
    assert "Responsiveness S: half the difference" in text
    assert "racism/advocate_low" not in text


def test_the_report_has_losses_by_rank_and_the_table_of_scores(tmp_path: Path) -> None:
    scores = evaluated(tmp_path)
    made, tests = table.write([scores], scores)
    assert len(made) == 4 and len(tests) >= 0
    trained = tuned(tmp_path / "trained", "a card", *WANDB)
    text = wandb_report.report([trained, scores], None)._to_model().model_dump_json()
    for part in ("train/loss", "| republican_nwp_r8_s1-0123456789ab | tiny |", "table1", "| base |"):
        assert part in text


def test_a_report_of_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not a run's folder"):
        wandb_report.report([tmp_path], None)


def test_a_report_of_runs_that_were_not_tracked_is_refused(finished: Path) -> None:
    with pytest.raises(SettingsError, match="not tracked"):
        wandb_report.report([finished / "run"], None)
