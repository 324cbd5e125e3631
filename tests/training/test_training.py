"""From questions to an adapter that debates are played on, with a tiny random model."""

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from helpers import ROOT, cli, config, hustings
from test_tracking import items, records_of
from tiny import tiny_model

from hustings import adapters, bending, dataset, models, page, simulation, tracking, training
from hustings.adapters import Adapter
from hustings.debate import personas
from hustings.engine.transformers import with_adapter
from hustings.errors import AdapterError, BusyError, HustingsError, TrainingError
from hustings.progress import Progress
from hustings.settings import SimulateSettings, TrainSettings, load

SMALL = (
    "questions=6",
    "held_out=2",
    "answers_per_question=4",
    "interview.answer_tokens=16",
    "lora.r=4",
    "method.batch=8",
    "batch_size=4",
    "device=cpu",
    "engine.device=cpu",
    "engine.precision=exact",
    "precision=exact",
)


DPO = ("method=dpo", "method.learning_rate=1e-3", "method.epochs=5")
"""A random model's parties cannot be told apart, so that only pairs that it has seen show whether it learns."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUSTINGS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store has questions and answers already, once the first training has made them."""
    return tmp_path_factory.mktemp("bench")


def model(tiny: Path) -> list[str]:
    return ["model=hf", "model.source=local", f"model.path={tiny}", "model.context=2048"]


def settings(tiny: Path, folder: Path, *overrides: str) -> TrainSettings:
    words = [*model(tiny), f"artifacts={folder / 'artifacts'}", *SMALL, *overrides]
    if "method=dpo" in overrides:
        words += ["method.nwp.batch=8"]
    return load(TrainSettings, config(*words, name="train"))


def bend(tiny: Path, folder: Path, *overrides: str) -> tuple[bending.Outcome, Adapter]:
    """A whole run of train.py in this process."""
    of = settings(tiny, folder, *overrides)
    outcome = bending.run(of, folder / "run", ["train.py", *overrides])
    weights = models.resolve(of.model)
    return outcome, adapters.find(folder / "artifacts", weights, outcome.adapter)


def simulate(tiny: Path, folder: Path, *overrides: str) -> pd.DataFrame:
    words = [*model(tiny), "topic=racism", "repetitions=2", "rounds=1", "sampling.max_tokens=8", "engine.device=cpu"]
    words += [f"artifacts={folder / 'artifacts'}", "personas.max_tokens=32", *overrides]
    of = load(SimulateSettings, config(*words))
    outcome = simulation.run(of, folder / "run", ["simulate.py"])
    return pd.read_csv(outcome.folder / "attitudes.csv")


def weights_of(adapter: Adapter) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(adapter.folder / adapters.FILE)


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
def test_questions_answers_nwp_and_dpo_make_an_adapter_that_debates_are_played_on(
    tiny: Path, bench: Path, quantization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personas, "flaw", lambda *_: None)
    outcome, dpo = bend(tiny, bench, *DPO, f"quantization={quantization}")
    assert outcome.trained
    assert outcome.first_loss == pytest.approx(math.log(2), abs=1e-4 if quantization == "none" else 0.02)
    history = pd.read_csv(dpo.folder / "loss.csv")
    assert history["rewards/margins"].iloc[-1] > 0.001
    assert {"README.md", "loss.csv", "loss.png", "adapter_config.json", adapters.FILE} <= set(dpo.manifest["files"])
    assert not (dpo.folder / training.CHECKPOINTS).exists()
    base = simulate(tiny, bench, "engine.quantization=none")
    bent = simulate(tiny, bench, "engine.quantization=none", f"adapter={dpo.name}-{dpo.id}")
    assert (base["persona"] == bent["persona"]).all()
    assert base["adapter"].isna().all()
    assert set(bent["adapter"]) == {"republican_dpo_r4_s1"}
    assert not base["expected"].equals(bent["expected"])


def test_a_finished_training_run_again_trains_nothing(tiny: Path, bench: Path) -> None:
    bend(tiny, bench)
    outcome, adapter = bend(tiny, bench, "batch_size=8", "checkpoint=3")
    assert not outcome.trained
    assert (bench / "run" / "adapter").resolve() == adapter.folder.resolve()
    assert outcome.last_loss == adapter.manifest["last_loss"]


def test_dpo_starts_from_the_nwp_adapter_which_stays_its_reference(tiny: Path, bench: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, dpo = bend(tiny, bench, *DPO)
    _, nwp = bend(tiny, bench)
    assert dpo.manifest["of"]["start"] == nwp.id
    before, after = weights_of(nwp), weights_of(dpo)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    of = settings(tiny, bench)
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    loaded = with_adapter(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), nwp.folder)
    rows = [json.loads(line) for line in answers_file(bench, "republican").read_text().splitlines()]
    held_out = [row for row in rows if row["question"] >= of.questions]
    by_hand = training.answer_loss(loaded, tokenizer, held_out, of)
    assert dpo.manifest["held_out_loss"]["nwp"]["republican"] == pytest.approx(by_hand, abs=1e-5)
    assert dpo.manifest["held_out_loss"]["adapter"]["republican"] != pytest.approx(by_hand, abs=1e-4)


def answers_file(folder: Path, party: str) -> Path:
    (path,) = (folder / "artifacts" / "answers").glob(f"*-{party}-*/answers.jsonl")
    return path


def test_only_answers_count_in_the_loss_and_their_loss_is_trls_own(tiny: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    answers = ["The climate is changing.", "I don't think so, and we've said it ten times.", "10"]
    rows = [
        {
            "prompt": [{"role": "user", "content": "How big a problem is racism? " * (1 + place)}],
            "completion": [{"role": "assistant", "content": text}],
        }
        for place, text in enumerate(answers)
    ]
    arguments = SFTConfig(
        str(tmp_path), max_length=None, use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none"
    )
    losses: list[float] = []
    for kind in (SFTTrainer, training.answers_only()):
        of: Any = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
        trainer = kind(model=of, args=arguments, train_dataset=training.dataset_of(rows), processing_class=tokenizer)
        losses.append(trainer.evaluate(training.dataset_of(rows))["eval_loss"])
    plain = load(TrainSettings, config("precision=exact", name="train"))
    of = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    losses.append(training.answer_loss(of, tokenizer, rows, plain))
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)


def test_cheaper_dropout_drops_as_many_and_keeps_the_mean() -> None:
    import torch

    torch.manual_seed(1)
    layer = training.cheaper_dropout(0.05)
    ones = torch.ones(400, 1001)
    dropped = layer(ones)
    assert float((dropped == 0).double().mean()) == pytest.approx(0.05, abs=0.002)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.002)
    assert torch.equal(layer.eval()(ones), ones)


def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_loss(
    tiny: Path, bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = bend(tiny, bench, "seed=2", "precision=fast")
    words = ("seed=2", "precision=fast", "checkpoint=1")
    twin = bench / "killed"
    twin.mkdir()
    for kind in ("questions", "answers"):
        (twin / "artifacts").mkdir(exist_ok=True)
        (twin / "artifacts" / kind).symlink_to(bench / "artifacts" / kind)
    show = Progress.show

    def killed(self: Progress) -> None:
        show(self)
        if self.title == "steps" and self.done == 3 and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "show", killed)
        with pytest.raises(KeyboardInterrupt):
            bend(tiny, twin, *words)
    (folder,) = (twin / "artifacts" / "adapters").iterdir()
    assert [path.name for path in (folder / training.CHECKPOINTS).glob("checkpoint-*")] == ["checkpoint-2"]
    (folder / training.CHECKPOINTS / "checkpoint-3").mkdir()  # begun, and not written to its end
    outcome, resumed = bend(tiny, twin, *words)
    assert outcome.last_loss == pytest.approx(whole.manifest["last_loss"], abs=1e-3)
    assert len(pd.read_csv(resumed.folder / "loss.csv")) == 3
    assert resumed.id == whole.id


def test_two_processes_of_accelerate_train_as_one_does(tiny: Path, bench: Path, tmp_path: Path) -> None:
    _, alone = bend(tiny, bench)
    words = [*model(tiny), *SMALL, "batch_size=2", f"artifacts={tmp_path / 'artifacts'}"]
    (tmp_path / "artifacts").mkdir()
    for kind in ("questions", "answers"):
        (tmp_path / "artifacts" / kind).symlink_to(bench / "artifacts" / kind)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--num_cpu_threads_per_process", "1", str(ROOT / "train.py"), *words]
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run: ") == 1
    weights = models.resolve(settings(tiny, bench).model)
    together = adapters.find(tmp_path / "artifacts", weights, "republican_nwp_r4")
    assert together.manifest["last_loss"] == pytest.approx(alone.manifest["last_loss"], abs=2e-3)


REFUSED = {
    ("lora.r=65",): "lora.r=65: no layer of tiny has a rank above 64",
    ("lora.targets=[q_proj,c_attn]",): "no layer called c_attn; it has down_proj, gate_proj, k_proj",
    ("device=cuda",): "device=cuda: PyTorch finds no GPU here",
    ("~society.parties.democrat",): "society us has one party, and bending towards it needs another",
    ("quantization=3bit",): "quantization='3bit': must be 'none', '8bit' or '4bit'",
    ("batch_size=3",): "batch_size=3: method.batch=8 must be a multiple of it",
    ("party=labour",): "party=labour: society us has no such party; it has republican, democrat",
    ("method.warmup=1",): "method.warmup=1: must be less than 1",
    ("interview.more='{{ oops'", "questions=20"): "interview.more: this Jinja template does not compile",
    ("batch_size=2000", "method.batch=2000", "interview.answer_tokens=100000"): "GB of memory, and",
}


@pytest.mark.parametrize(("words", "said"), REFUSED.items(), ids=[" ".join(words) for words in REFUSED])
def test_what_cannot_be_trained_is_refused_before_anything_is_loaded(
    tiny: Path, tmp_path: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words == ("device=cuda",):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(HustingsError) as refused:
        bend(tiny, tmp_path, *words)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "artifacts" / "adapters").exists()


def test_a_training_too_large_for_the_memory_is_told_the_largest_batch_that_fits(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    def check(*words: str) -> None:
        adapters.check(tiny, "tiny", settings(tiny, tmp_path, "method.batch=96", *words))

    check("batch_size=96")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=7.0e8))
    with pytest.raises(
        TrainingError, match=r"0\.7 GB are free; quantization=none batch_size=\d+ recompute=false"
    ) as told:
        check("batch_size=96")
    batch = int(str(told.value).partition("batch_size=")[2].split()[0])
    assert 1 < batch < 96
    check(f"batch_size={batch}")
    with pytest.raises(TrainingError):
        check(f"batch_size={next(size for size in range(batch + 1, 97) if 96 % size == 0)}")


def test_a_model_that_cannot_be_quantized_is_refused(tmp_path: Path) -> None:
    odd = tiny_model(tmp_path / "odd", hidden=96)
    with pytest.raises(TrainingError, match=r"quantization=4bit: .* rows of 96 numbers; set quantization=none"):
        bend(odd, tmp_path / "bench", "quantization=4bit")
    assert list((tmp_path / "bench").iterdir()) == []


def test_an_adapter_is_found_by_its_name_and_only_for_its_model(tiny: Path, bench: Path) -> None:
    store = bench / "artifacts"
    weights = models.resolve(settings(tiny, bench).model)
    _, one = bend(tiny, bench)
    bend(tiny, bench, "seed=2", "precision=fast")
    assert adapters.find(store, weights, f"{one.name}-{one.id}").id == one.id
    assert adapters.find(store, weights, str(one.folder)).id == one.id
    with pytest.raises(AdapterError, match=r"several; choose one of republican_nwp_r4_s1-.*republican_nwp_r4_s2-"):
        adapters.find(store, weights, "republican_nwp_r4")
    with pytest.raises(AdapterError, match=r"has no such adapter.*there is .*republican_nwp_r4_s1-.*train\.py"):
        adapters.find(store, weights, "democrat_nwp_r4")
    other = models.Weights("other", "1" * 64, None, tiny)
    with pytest.raises(AdapterError, match="trained on another model, tiny"):
        adapters.find(store, other, str(one.folder))
    assert one.name in adapters.table(adapters.listed(store))


def test_an_adapter_that_is_being_trained_is_busy_and_not_yet_found(tiny: Path, bench: Path) -> None:
    from hustings.artifacts import held

    of = settings(tiny, bench, "seed=7")
    weights = models.resolve(of.model)
    slug = f"{weights.name}-{adapters.name_of(of)}"
    with held(bench / "artifacts", adapters.KIND, slug, bending.of_adapter(of, weights.fingerprint), wait=False):
        with pytest.raises(BusyError):
            bend(tiny, bench, "seed=7")
        with pytest.raises(AdapterError):
            adapters.find(bench / "artifacts", weights, "republican_nwp_r4_s7")


def test_openvino_plays_the_merged_model_and_chooses_as_transformers_does(
    tiny: Path, bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personas, "flaw", lambda *_: None)
    _, one = bend(tiny, bench)
    simulate(tiny, bench)
    (file,) = (bench / "artifacts" / "personas").glob("tiny-republican-*/personas.jsonl")
    (rival,) = (bench / "artifacts" / "personas").glob("tiny-democrat-*/personas.jsonl")
    everybody = bench / "everybody.jsonl"
    everybody.write_text(file.read_text() + rival.read_text())
    words = [f"personas.file={everybody}", f"adapter={one.name}-{one.id}", "engine.precision=exact", "silent=true"]
    by_peft = simulate(tiny, bench, *words)
    # the engine's own keys differ, so that only what both have is named
    by_openvino = simulate_on_openvino(tiny, bench, *words)
    assert (by_peft["score"] == by_openvino["score"]).mean() >= 0.95
    assert (by_peft["expected"] - by_openvino["expected"]).abs().max() < 0.05


def simulate_on_openvino(tiny: Path, folder: Path, *overrides: str) -> pd.DataFrame:
    words = [*model(tiny), "engine=openvino", "engine.cache_gb=1", "topic=racism", "repetitions=2", "rounds=1"]
    of = load(SimulateSettings, config(*words, f"artifacts={folder / 'artifacts'}", *overrides))
    return pd.read_csv(simulation.run(of, folder / "run", ["simulate.py"]).folder / "attitudes.csv")


def test_a_training_is_seen_in_its_report_and_in_that_of_debates_on_its_adapter(
    tiny: Path, bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personas, "flaw", lambda *_: None)
    _, nwp = bend(tiny, bench)
    _, dpo = bend(tiny, bench, *DPO)
    html = page.write_trainings([bench / "run"], bench / "run" / page.NAME).read_text(encoding="utf-8")
    losses = dpo.manifest["held_out_loss"]
    assert "tiny was bent towards Republican views by next-word prediction and then DPO, at rank 4" in html
    for state, words in (("base", "base"), ("nwp", "nwp adapter (the reference)"), ("adapter", "this adapter")):
        cells = "".join(f'<td class="number">{losses[state][party]:.3f}</td>' for party in ("republican", "democrat"))
        assert f'<th scope="row">{words}</th>{cells}' in html
    assert "python train.py method=dpo method.learning_rate=1e-3" in html
    assert f'alt="Figure: loss of {dpo.name}-{dpo.id} over its steps"' in html
    assert html.count("<tr><td>") == len(pd.read_csv(dpo.folder / "loss.csv"))
    assert "must not be put before users undisclosed" in " ".join(html.split())
    simulate(tiny, bench, f"adapter={nwp.name}-{nwp.id}", "silent=true")
    assert (bench / "run" / "adapter").resolve() == nwp.folder.resolve()
    bent = page.write([bench / "run"], bench / "run" / page.NAME).read_text(encoding="utf-8")
    assert "tiny was bent towards Republican views by next-word prediction, at rank 4" in bent
    assert 'href="#bent"' in bent


def test_a_sweep_of_trainings_ends_with_one_page_and_one_table(tiny: Path, bench: Path, tmp_path: Path) -> None:
    words = [*model(tiny), f"artifacts={bench / 'artifacts'}", *SMALL]
    done = cli(tmp_path, "-m", *words, "seed=1,2", script="train.py")
    assert done.returncode == 0, done.stderr
    sweep = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    table = pd.read_csv(sweep / page.TRAININGS)
    assert table["seed"].tolist() == [1, 2]
    html = (sweep / page.NAME).read_text(encoding="utf-8")
    assert "2 trainings compared" in html
    assert all(name in html for name in table["adapter"])
    assert (sweep / "0" / page.NAME).exists()
    told = hustings("report", str(sweep / "0"), str(sweep / "1"), "--output", str(tmp_path / "both"))
    assert told.returncode == 0, told.stderr
    assert pd.read_csv(tmp_path / "both" / page.TRAININGS).equals(table)


def test_a_tracked_training_has_curves_summary_and_lineage(tiny: Path, bench: Path, tmp_path: Path) -> None:
    bend(tiny, bench)
    of = settings(tiny, bench, *DPO, "tracker=wandb", f"tracker.folder={tmp_path}", "tracker.tags=[pilot]")
    with tracking.tracked(of, "train", "ranks") as track:
        bending.run(of, tmp_path / "run", ["train.py"])
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


def test_reference_log_probabilities_are_those_of_the_nwp_adapter(
    tiny: Path, bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, nwp = bend(tiny, bench)
    rows = [json.loads(line) for line in answers_file(bench, "republican").read_text().splitlines()][:10]
    pairs = dataset.pairs(rows, rows[::-1], 1)
    kept: list[Any] = []
    monkeypatch.setattr(training, "_train", lambda trainer, *_: kept.append(trainer))
    of = settings(tiny, bench, *DPO, "batch_size=8")
    training.dpo(training.Task(tiny, "tiny", tmp_path, of, {}), pairs, nwp.folder)
    (trainer,) = kept
    plain = with_adapter(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), nwp.folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    batches = list(trainer.get_train_dataloader())
    with training._quiet():
        theirs = torch.cat([torch.cat(trainer.compute_ref_log_probs(trainer.model.eval(), it)) for it in batches])
    written = {name: [{"prompt": pair["prompt"], "completion": pair[name]} for pair in pairs]
               for name in ("chosen", "rejected")}  # fmt: skip
    by_hand = [
        -training.answer_loss(plain, tokenizer, [row], of) * len(training._encoded(row, tokenizer)[1])
        for row in (*written["chosen"], *written["rejected"])
    ]
    assert len(theirs) == 20
    assert sorted(theirs.tolist()) == pytest.approx(sorted(by_hand), abs=1e-3)
