"""What `hustings doctor` says about this machine, and about others that are described to it."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import CONF, ROOT

from hustings import doctor
from hustings.doctor import Machine, Model

LAPTOP = Machine("a laptop", 4, 16.0, 8.0, 100.0, ())
SERVER = Machine("a server", 32, 256.0, 200.0, 1000.0, (("H100", 80.0),))


def test_it_describes_this_machine_without_loading_an_engine_and_never_prints_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    code = (
        "import sys; from hustings.cli.commands import main; sys.argv[1:] = ['doctor']; main(); "
        "print({'torch', 'transformers', 'openvino_genai', 'vllm'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert "canary" not in done.stdout + done.stderr
    words = done.stdout.split()
    assert {"processor", "memory", "GPU", "disk", "OPENAI_API_KEY", "smollm2", "llama2", "mistral"} <= {*words}
    assert any(
        line.split() == ["OPENAI_API_KEY", "set", "models", "of", "an", "API"] for line in done.stdout.splitlines()
    )
    assert "best here: python simulate.py model=qwen" in done.stdout


def known(**here: bool) -> list[Model]:
    found = {model.name: model for model in doctor.models(CONF)}
    return [
        Model(
            it.name, it.engine, it.source, it.licence, it.memory, here.get(it.name, False), it.retired, it.holds_persona
        )
        for it in found.values()
    ]


def test_models_run_where_their_memory_is() -> None:
    places = {model.name: (model.place(LAPTOP), model.place(SERVER)) for model in known()}
    assert places["smollm2"] == ("CPU", "CPU")
    assert places["mistral"] == ("CPU, slowly", "GPU")
    assert places["llama33_70b"] == ("no", "GPU")


def test_the_best_is_the_largest_at_full_speed_and_weights_that_are_here_come_first() -> None:
    assert doctor.advice(known(qwen=True), LAPTOP).splitlines() == [
        "best here: python simulate.py model=qwen",
        "(how long this takes here: python simulate.py model=qwen dry_run=true)",
    ]
    assert doctor.advice(known(), SERVER).startswith("best here: python simulate.py model=mistral_small (downloads")
    assert doctor.advice(known(mistral=True), SERVER).startswith("best here: python simulate.py model=mistral\n")


def test_a_model_that_drops_its_persona_is_recommended_only_where_no_other_fits() -> None:
    assert "model=qwen (downloads" in doctor.advice(known(smollm2=True), LAPTOP)
    tiny = Machine("an old laptop", 2, 2.0, 1.0, 10.0, ())
    assert "model=smollm2" in doctor.advice(known(smollm2=True), tiny)


def test_weights_of_the_hub_are_found_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models--mistralai--Mistral-7B-Instruct-v0.2" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert not {model.name: model.here for model in doctor.models(CONF)}["mistral"]
    (folder / "model.safetensors").write_bytes(b"")
    assert {model.name: model.here for model in doctor.models(CONF)}["mistral"]
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert not {model.name: model.here for model in doctor.models(CONF)}["mistral"]
    (tmp_path / "xdg" / "huggingface").mkdir(parents=True)
    (tmp_path / "xdg" / "huggingface" / "hub").symlink_to(tmp_path)
    assert {model.name: model.here for model in doctor.models(CONF)}["mistral"]
