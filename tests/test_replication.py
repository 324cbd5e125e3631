"""results/replication/replicate.py: a step is played, packed and drawn, and what is missing is said."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from helpers import ROOT

SCRIPT = ROOT / "results" / "replication" / "replicate.py"


def replicate(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_step_is_played_packed_and_drawn_again_from_its_log(tmp_path: Path) -> None:
    into, own = tmp_path / "mine", ("engine=planted", "repetitions=2", "rounds=1")
    replicate(tmp_path, "figure4", "--topic", "racism", "--into", "mine", "--set", *own)
    drawn = into / "figure4" / "figures" / "curves.csv"
    first = drawn.read_bytes()
    for file in (into / "figure4").iterdir():
        if file.is_file() and file.name not in ("manifest.json", "events.jsonl.gz"):
            file.unlink()
    drawn.unlink()
    said = replicate(tmp_path, "--into", "mine", "--set", *own)
    assert "figure4: racism played\n    missing: gun_violence, illegal_immigration, climate_change, " in said
    assert "controls: nothing played" in said
    assert drawn.read_bytes() == first


def test_what_was_played_is_known_from_its_folders() -> None:
    spec = importlib.util.spec_from_file_location("replicate", SCRIPT)
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    sys.modules["replicate"] = script
    spec.loader.exec_module(script)
    missing = {name for name, step in script.STEPS.items() if script.played(script.HERE / name) != step.topics}
    assert missing == {"figure12"}


def test_claims_computed_again_from_the_logs_alone_agree_with_the_tables() -> None:
    done = subprocess.run([sys.executable, "-I", SCRIPT.with_name("recompute.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" agrees") >= 3
