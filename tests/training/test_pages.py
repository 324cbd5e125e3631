"""A training as its report, a sweep's table and the tracker show it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import cli, hustings
from wandb_files import items, records_of

from hustings import page, tracking
from hustings.adapters import Adapter
from hustings.runfolder import REPORT
from hustings.settings import TrainSettings
from hustings.training import job

DPO = ("method=dpo", "method.learning_rate=1e-3", "method.epochs=5")

Words = Callable[..., list[str]]
Settings = Callable[..., TrainSettings]
Tune = Callable[..., tuple[job.Outcome, Adapter]]
Simulate = Callable[..., pd.DataFrame]


def test_a_training_is_seen_in_its_report_and_in_that_of_debates_on_its_adapter(
    tune: Tune, simulate: Simulate, bench: Path
) -> None:
    _, nwp = tune(bench)
    _, dpo = tune(bench, *DPO)
    html = page.write_trainings([bench / "run"], bench / "run" / REPORT).read_text(encoding="utf-8")
    losses = dpo.manifest["held_out_loss"]
    assert "tiny was fine-tuned towards Republican views by next-word prediction and then DPO at rank 4" in html
    for state, words in (("base", "base"), ("nwp", "nwp adapter (the reference)"), ("adapter", "this adapter")):
        cells = "".join(f'<td class="number">{losses[state][party]:.3f}</td>' for party in ("republican", "democrat"))
        assert f'<th scope="row">{words}</th>{cells}' in html
    assert "python train.py method=dpo method.learning_rate=1e-3" in html
    assert f'alt="Figure: loss of {dpo} over its steps"' in html
    assert html.count("<tr><td>") == len(pd.read_csv(dpo.folder / "loss.csv"))
    assert "must not be put before users undisclosed" in " ".join(html.split())
    simulate(bench, "engine.device=cpu", f"adapter={nwp}", "control=retest")
    tuned = page.write([bench / "run"], bench / "run" / REPORT).read_text(encoding="utf-8")
    assert "tiny was fine-tuned towards Republican views by next-word prediction at rank 4" in tuned
    assert 'href="#training"' in tuned


def test_a_sweep_of_trainings_ends_with_one_page_and_one_table(small: Words, bench: Path, tmp_path: Path) -> None:
    done = cli(tmp_path, "-m", *small(bench), "seed=1,2", script="train.py")
    assert done.returncode == 0, done.stderr
    sweep = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    table = pd.read_csv(sweep / page.TRAININGS)
    assert table["seed"].tolist() == [1, 2]
    html = (sweep / REPORT).read_text(encoding="utf-8")
    assert "2 trainings compared" in html
    assert all(name in html for name in table["adapter"])
    assert (sweep / "0" / REPORT).exists()
    both = hustings("report", str(sweep / "0"), str(sweep / "1"), "--output", str(tmp_path / "both"))
    assert both.returncode == 0, both.stderr
    assert pd.read_csv(tmp_path / "both" / page.TRAININGS).equals(table)


def test_a_tracked_training_has_curves_summary_and_lineage(
    tune: Tune, settings: Settings, bench: Path, tmp_path: Path
) -> None:
    tune(bench)
    of = settings(bench, *DPO, "tracker=wandb", f"tracker.folder={tmp_path}", "tracker.tags=[pilot]")
    with tracking.tracked(of, "train", "ranks") as track:
        job.run(of, tmp_path / "run", ["train.py"])
        track(tmp_path / "run")
    adapter = json.loads((tmp_path / "run" / "adapter" / "manifest.json").read_text())
    runs = {}
    for path in tmp_path.glob("wandb/offline-run-*/run-*.wandb"):
        found = records_of(path)
        (begun,) = [it.run for it in found if it.HasField("run")]
        runs[begun.run_id] = (begun, found)
    begun, found = runs.pop(tracking.id_of(of.model_dump(mode="json")))
    assert (begun.job_type, begun.run_group) == ("train", "ranks")
    assert set(begun.tags) == {"local", "republican", "dpo", "r4", "pilot"}
    assert items(begun.config.update)["lora.r"] == 4
    metrics = {it.metric.name or it.metric.glob_name: it.metric for it in found if it.HasField("metric")}
    assert metrics["train/*"].step_metric == "step"
    rows = [items(it.history.item) for it in found if it.HasField("history")]
    losses = pd.read_csv(tmp_path / "run" / "adapter" / "loss.csv")
    assert [row["train/loss"] for row in rows if "step" in row] == pytest.approx(losses["loss"].tolist())
    assert [row["train/rewards/margins"] for row in rows if "step" in row] == losses["rewards/margins"].tolist()
    summary: dict[str, Any] = {}
    for it in found:
        if it.HasField("summary"):
            summary |= items(it.summary.update)
    assert summary["held_out/adapter/democrat"] == adapter["held_out_loss"]["adapter"]["democrat"]
    assert (summary["last_loss"], summary["rows"]) == (adapter["last_loss"], 24)
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/figures/loss_*.png"))
    used, made = lineage(found)
    assert made == {f"adapters-{adapter['id']}"}
    answers = {f"answers-{place}" for place in adapter["answers"].values()}
    assert used == {*answers, f"adapters-{adapter['of']['start']}"}
    assert {f"answers-{name}" for name in runs} == answers
    for name, (begun, found) in runs.items():
        assert begun.job_type == "answers"
        assert lineage(found) == ({f"questions-{adapter['questions']}"}, {f"answers-{name}"})


def lineage(found: list[Any]) -> tuple[set[str], set[str]]:
    """Names of the artifacts that a run used and made."""
    stored = [it.artifact for it in found if it.HasField("artifact") and it.artifact.type != "run_table"]
    return ({it.name for it in stored if it.use_after_commit}, {it.name for it in stored if not it.use_after_commit})
