"""From questions to an adapter that debates are played on, with a tiny random model."""

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import ROOT

from hustings import adapters, models
from hustings.adapters import Adapter
from hustings.artifacts import Place, locked
from hustings.errors import AdapterError, BusyError, HustingsError
from hustings.huggingface import with_adapter
from hustings.merging import ADAPTER_FILE
from hustings.progress import Progress
from hustings.runfolder import ADAPTER, TrainingManifest, read_manifest
from hustings.settings import TrainSettings
from hustings.training import data, job, loss, trainer

DPO = ("method=dpo", "method.learning_rate=1e-3", "method.epochs=5")
"""A random model's parties cannot be told apart, so that only pairs that it has seen show whether it learns."""

Words = Callable[..., list[str]]
Settings = Callable[..., TrainSettings]
Tune = Callable[..., tuple[job.Outcome, Adapter]]
Simulate = Callable[..., pd.DataFrame]


def weights_of(adapter: Adapter) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(adapter.folder / ADAPTER_FILE)


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
def test_questions_answers_nwp_and_dpo_make_an_adapter_that_debates_are_played_on(
    tune: Tune, simulate: Simulate, bench: Path, quantization: str
) -> None:
    outcome, dpo = tune(bench, *DPO, f"quantization={quantization}")
    assert outcome.trained
    assert outcome.first_loss == pytest.approx(math.log(2), abs=1e-4 if quantization == "none" else 0.02)
    history = pd.read_csv(dpo.folder / "loss.csv")
    assert history["rewards/margins"].iloc[-1] > 0.001
    assert {"README.md", "loss.csv", "loss.png", "adapter_config.json", ADAPTER_FILE} <= set(dpo.manifest["files"])
    assert not (dpo.folder / trainer.CHECKPOINTS).exists()
    base = simulate(bench, "engine.device=cpu")
    tuned = simulate(bench, "engine.device=cpu", f"adapter={dpo}")
    assert (base["persona"] == tuned["persona"]).all()
    assert base["adapter"].isna().all()
    assert set(tuned["adapter"]) == {"republican_dpo_r4_s1"}
    assert not base["expected"].equals(tuned["expected"])


def test_a_finished_training_run_again_trains_nothing(tune: Tune, bench: Path) -> None:
    tune(bench)
    outcome, adapter = tune(bench, "batch_size=8", "checkpoint=3")
    assert not outcome.trained
    assert outcome.last_loss == adapter.manifest["last_loss"]


def test_the_runs_folder_describes_the_adapter_without_its_weights(tune: Tune, tmp_path: Path, bench: Path) -> None:
    outcome, adapter = tune(bench)
    assert read_manifest(outcome.folder, TrainingManifest).adapter == outcome.adapter == str(adapter)
    copied = outcome.folder / ADAPTER
    assert not copied.is_symlink()
    assert not (copied / ADAPTER_FILE).exists()
    for name in ("manifest.json", "README.md", "loss.csv", "loss.png"):
        assert (copied / name).read_bytes() == (adapter.folder / name).read_bytes()
    assert "{" not in (copied / "README.md").read_text(encoding="utf-8")


def test_dpo_starts_from_the_nwp_adapter_which_stays_its_reference(
    tiny: Path, tune: Tune, settings: Settings, bench: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, dpo = tune(bench, *DPO)
    _, nwp = tune(bench)
    assert dpo.manifest["of"]["start"] == nwp.id
    before, after = weights_of(nwp), weights_of(dpo)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    of = settings(bench)
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    loaded = with_adapter(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), nwp.folder)
    rows = [json.loads(line) for line in answers_file(bench, "republican").read_text().splitlines()]
    held_out = [row for row in rows if row["question"] >= of.questions]
    by_hand = loss.answer_loss(loaded, tokenizer, held_out, of)
    assert dpo.manifest["held_out_loss"]["nwp"]["republican"] == pytest.approx(by_hand, abs=1e-5)
    assert dpo.manifest["held_out_loss"]["adapter"]["republican"] != pytest.approx(by_hand, abs=1e-4)


def answers_file(folder: Path, party: str) -> Path:
    (path,) = (folder / "artifacts" / "answers").glob(f"*-{party}-*/answers.jsonl")
    return path


def test_a_killed_training_resumes_from_its_checkpoint_to_the_same_loss(
    tune: Tune, bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = tune(bench, "seed=2", "precision=fast")
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
            tune(twin, *words)
    (folder,) = (twin / "artifacts" / "adapters").iterdir()
    assert [path.name for path in (folder / trainer.CHECKPOINTS).glob("checkpoint-*")] == ["checkpoint-2"]
    (folder / trainer.CHECKPOINTS / "checkpoint-3").mkdir()  # begun, not complete
    outcome, resumed = tune(twin, *words)
    assert outcome.last_loss == pytest.approx(whole.manifest["last_loss"], abs=1e-3)
    assert len(pd.read_csv(resumed.folder / "loss.csv")) == 3
    assert resumed.id == whole.id


def test_two_processes_of_accelerate_train_as_one_does(
    tune: Tune, small: Words, settings: Settings, bench: Path, tmp_path: Path
) -> None:
    _, alone = tune(bench)
    words = small(tmp_path, "batch_size=2")
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
    weights = models.resolve(settings(bench).model)
    together = adapters.find(tmp_path / "artifacts", weights, "republican_nwp_r4")
    assert together.manifest["last_loss"] == pytest.approx(alone.manifest["last_loss"], abs=2e-3)


REFUSED = {
    ("lora.r=65",): "lora.r=65: no layer of tiny has a rank above 64",
    ("lora.targets=[q_proj,c_attn]",): "no layer called c_attn; it has down_proj, gate_proj, k_proj",
    ("device=cuda",): "device=cuda: PyTorch finds no GPU",
    ("~society.parties.democrat",): "society us has one party, and fine-tuning towards it needs another",
    ("quantization=3bit",): "quantization='3bit': must be 'none', '8bit' or '4bit'",
    ("batch_size=3",): "batch_size=3: method.batch=8 must be a multiple of it",
    ("party=labour",): "party=labour: society us has no such party; it has republican, democrat",
    ("method.warmup=1",): "method.warmup=1: must be less than 1",
    ("interview.more='{{ oops'", "questions=20"): "interview.more: this Jinja template does not compile",
    ("batch_size=2000", "method.batch=2000", "interview.answer_tokens=100000"): "GB of memory, and",
}


@pytest.mark.parametrize(("words", "said"), REFUSED.items(), ids=[" ".join(words) for words in REFUSED])
def test_what_cannot_be_trained_is_refused_before_anything_is_loaded(
    tune: Tune, tmp_path: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words == ("device=cuda",):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(HustingsError) as refused:
        tune(tmp_path, *words)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "artifacts").exists()


def test_an_adapter_that_is_being_trained_is_busy_and_not_yet_found(
    tune: Tune, settings: Settings, bench: Path
) -> None:

    of = settings(bench, "seed=7")
    weights = models.resolve(of.model)
    slug = f"{weights.name}-{adapters.name_of(of)}"
    place = Place(bench / "artifacts", adapters.KIND, slug, job.of_adapter(of, weights.fingerprint))
    with locked(place, wait=False):
        with pytest.raises(BusyError):
            tune(bench, "seed=7")
        with pytest.raises(AdapterError):
            adapters.find(bench / "artifacts", weights, "republican_nwp_r4_s7")


def test_openvino_plays_the_merged_model_and_chooses_as_transformers_does(
    tune: Tune, simulate: Simulate, bench: Path
) -> None:
    _, one = tune(bench)
    simulate(bench, "engine.device=cpu")
    (file,) = (bench / "artifacts" / "personas").glob("tiny-republican-*/personas.jsonl")
    (rival,) = (bench / "artifacts" / "personas").glob("tiny-democrat-*/personas.jsonl")
    everybody = bench / "everybody.jsonl"
    everybody.write_text(file.read_text() + rival.read_text())
    words = [f"personas.file={everybody}", f"adapter={one}", "engine.precision=exact", "control=retest"]
    by_peft = simulate(bench, "engine.device=cpu", *words)
    by_openvino = simulate(bench, "engine=openvino", "engine.cache_gb=1", *words)
    assert (by_peft["score"] == by_openvino["score"]).mean() >= 0.95
    assert (by_peft["expected"] - by_openvino["expected"]).abs().max() < 0.05


def test_reference_log_probabilities_are_those_of_the_nwp_adapter(
    tiny: Path, tune: Tune, settings: Settings, bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, nwp = tune(bench)
    rows = [json.loads(line) for line in answers_file(bench, "republican").read_text().splitlines()][:10]
    pairs = data.pairs(rows, rows[::-1], 1)
    kept: list[Any] = []
    monkeypatch.setattr(trainer, "_train", lambda made, *_: kept.append(made))
    of = settings(tmp_path, *DPO, "batch_size=8")
    trainer.dpo(trainer.Task(tiny, "tiny", tmp_path, of, {}), pairs, nwp.folder)
    (made,) = kept
    plain = with_adapter(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), nwp.folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    batches = list(made.get_train_dataloader())
    with trainer._quiet():
        theirs = torch.cat([torch.cat(made.compute_ref_log_probs(made.model.eval(), it)) for it in batches])
    written = [
        {"prompt": pair["prompt"], "completion": pair[name]} for name in ("chosen", "rejected") for pair in pairs
    ]
    by_hand = [-loss.answer_loss(plain, tokenizer, [row], of) * len(loss.encoded(row, tokenizer)[1]) for row in written]
    assert len(theirs) == 20
    assert sorted(theirs.tolist()) == pytest.approx(sorted(by_hand), abs=1e-3)


def test_a_checkpoint_whose_state_was_cut_is_not_resumed_from(tmp_path: Path) -> None:
    for step, state in ((1, '{"global_step": 1}'), (2, '{"global_st'), (3, "")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert trainer._last(tmp_path) == tmp_path / "checkpoint-1"
