"""Time `evaluate.py` and the `lm_eval` command line on the same HellaSwag documents, as whole processes.

`python benchmarks/evaluate.py --data FOLDER` prints both times, the number of documents with the same predictions, and
the largest difference between two log-likelihoods. Both run the embedded SmolLM2 in float32 with batches of 16. FOLDER
is a folder filled by `hustings fetch benchmarks`.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hustings.evaluation import benchmarks
from hustings.models import as_folder, embedded

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run both and compare the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--documents", type=int, default=48)
    options = parser.parse_args()
    model = as_folder(embedded())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = seconds(
            folder, str(ROOT / "evaluate.py"), "benchmark.tasks=[hellaswag]", "benchmark.attitude=null",
            f"benchmark.limit={options.documents}", f"benchmark.data_dir={options.data.resolve()}",
            "benchmark.precision=exact", "benchmark.batch_size=16", "benchmark.device=cpu",
        )  # fmt: skip
        (kept,) = folder.glob("artifacts/benchmarks/*/samples.jsonl.gz")
        with gzip.open(kept, "rt") as file:
            mine = {row["doc_id"]: row for row in map(json.loads, file)}
        benchmarks.redirect(options.data.resolve(), folder / "tasks")
        theirs = seconds(
            folder, "-m", "lm_eval", "run", "--model", "hf", "--tasks", "hellaswag", "--device", "cpu",
            "--model_args", f"pretrained={model},dtype=float32,max_length=8192", "--batch_size", "16",
            "--include_path", "tasks", "--samples", json.dumps({"hellaswag": sorted(mine)}),
            "--output_path", "out", "--log_samples",
        )  # fmt: skip
        (log,) = folder.glob("out/**/samples_hellaswag_*.jsonl")
        other = {row["doc_id"]: row for row in map(json.loads, log.read_text().splitlines())}
    same = sum(all(mine[doc][metric] == other[doc][metric] for metric in ("acc", "acc_norm")) for doc in mine)
    pairs = (
        (float(one[0][0]), float(two[0][0]))
        for doc in mine
        for one, two in zip(mine[doc]["resps"], other[doc]["resps"], strict=True)
    )
    print(
        f"{len(mine)} documents: evaluate.py {ours:.1f} s, lm_eval {theirs:.1f} s, ratio {ours / theirs:.2f}; "
        f"{same} with the same predictions; log-likelihoods differ by at most {max(abs(a - b) for a, b in pairs):g}"
    )


def seconds(folder: Path, *command: str) -> float:
    """Run a Python process in the folder; return the seconds it took."""
    began = time.monotonic()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *command], check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
