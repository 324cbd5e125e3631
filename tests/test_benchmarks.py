"""Benchmarks that nobody runs for months still run: a tiny shape through all of benchmarks/gpu.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers import ROOT


def test_the_gpu_benchmark_measures_every_way_on_a_tiny_shape(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--tiny", "--minutes", "4", "--json", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=300)
    rows = json.loads(file.read_text())["rows"]
    assert [row["letter"] for row in rows] == [*"ffabbbcdde"]
    missing = {row["way"]: row["note"] for row in rows if "speed" not in row}
    assert not missing or missing == {"engine=vllm": "vLLM is not installed here"}
    assert all(row["speed"] > 0 for row in rows if "speed" in row)
    assert all(0 < row["of_bound"] < 1 for row in rows if "bound" in row)
    assert f"| c | engine=vllm | {missing.get('engine=vllm', '')}" in done.stdout
