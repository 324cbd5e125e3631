"""Speed on a GPU, measured offline: `python benchmarks/gpu.py --minutes 8` on a machine that has one.

The model has the shape of Mistral-7B, random weights, and the tokenizer of the embedded SmolLM2 (or that in --tokenizer
FOLDER, if SmolLM2 is not available), so nothing is downloaded.
Debates have three agents, nine iterations and replies of 64 tokens. Each of these is measured in a separate process:
(a) as in the paper: bitsandbytes in 8 bits, one call for each reply and survey;
(b) engine=transformers in bfloat16, 8 and 4 bits, each with the fastest number of parallel debates;
(c) engine=vllm;
(d) QLoRA of rank 256 with 32 examples per step: plain TRL, and the code of train.py;
(e) documents of HellaSwag's length through the harness of evaluate.py;
(f) a product of two bfloat16 matrices and a copy in memory, from which the upper bounds of the others are computed.
If something is missing (vLLM, bitsandbytes), its row says so. --tiny tries everything with a tiny model on any machine.
"""

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from gpu_scale import MISTRAL, TINY, Scale, Task
from gpu_ways import WAYS, device_of, said, say

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "transformers", "bitsandbytes", "vllm", "trl", "peft", "lm_eval")
PROCESSES = multiprocessing.get_context("forkserver")
LOADING = 60
"""Seconds that a process may take in addition to its measurements."""


def main() -> None:
    """Run all processes, print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="for everything together")
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, on any machine")
    parser.add_argument("--ways", default="".join(WAYS), help="some of them only: bd")
    parser.add_argument("--json", type=Path, help="results/benchmark_gpu_CARD.json by default; .bench/ for --tiny")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer with as many tokens as SmolLM2's")
    parser.add_argument("--show", type=Path, metavar="JSON", help="only print the table of an earlier run")
    options = parser.parse_args()
    if options.show:
        return show(json.loads(options.show.read_text()))
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    }
    if not options.tiny and device_of() == "cpu":
        sys.exit("PyTorch finds no GPU on this machine, and a model of 7 billion weights needs one; try --tiny.")
    PROCESSES.set_forkserver_preload(["torch", "transformers.models.mistral.modeling_mistral"])
    scale = TINY if options.tiny else MISTRAL
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        task = Task(scale, Path(name), scale.seconds, options.tokenizer)
        rows = measured(task, options.ways, began + 60 * options.minutes)
    bounded(rows, scale)
    result = {
        "card": next((row["card"] for row in rows if "card" in row), "unknown"), "date": f"{date.today()}",
        "command": f"python benchmarks/gpu.py {' '.join(sys.argv[1:])}".strip(), "versions": versions(),
        "seconds": round(time.monotonic() - began), "rows": rows,
    }  # fmt: skip
    slug = re.sub(r"\W+", "_", str(result["card"])).strip("_").lower()
    path = options.json or (ROOT / (".bench/gpu.json" if options.tiny else f"results/benchmark_gpu_{slug}.json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    show(result)
    print(path)


def measured(task: Task, letters: str, end: float) -> list[dict[str, Any]]:
    """The rows of all ways, run one after the other.

    Args:
        end: deadline for everything, on the monotonic clock.
    """
    left = {letter: way for letter, way in WAYS.items() if letter in letters or letter == "f"}
    rows: list[dict[str, Any]] = []
    while left:
        time_left, shares = end - time.monotonic(), sum(share for _, _, share in left.values())
        letter, (title, _, share) = next(iter(left.items()))
        del left[letter]
        mine = max(2.0, time_left * share / shares)
        if time_left < 5:
            rows.append({"letter": letter, "way": title, "note": "no time was left for it"})
            continue
        seconds = max(1.0, min(task.seconds * share, mine - LOADING / 2))
        say(f"({letter}) {title}: {seconds:.0f} s, and what loading takes")
        rows += process(letter, replace(task, seconds=seconds), min(time_left, mine + LOADING))
    return rows


def process(letter: str, task: Task, limit: float) -> list[dict[str, Any]]:
    """The rows of one way, from a process that is killed after `limit` seconds."""
    file, title = task.folder / f"{letter}.jsonl", WAYS[letter][0]
    file.touch()
    child = PROCESSES.Process(target=work, args=(letter, task, file))
    child.start()
    child.join(max(1.0, limit))
    why = f"its process ended with exit code {child.exitcode}"
    if child.exitcode is None:
        child.kill()
        child.join()
        why = f"stopped after {limit:.0f} s"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    if child.exitcode:
        rows.append({"way": title, "note": why})
    for row in rows:
        row["letter"] = letter
        say(f"    {row['way']}: {shown(row)}")
    return rows


def work(letter: str, task: Task, file: Path) -> None:
    """The code of each process; every row is written to the file as soon as it is known."""
    from transformers.utils.logging import disable_progress_bar

    title, way, _ = WAYS[letter]
    disable_progress_bar()
    warnings.simplefilter("ignore")
    with file.open("a") as out:
        try:
            for row in way(task):
                print(json.dumps(row), file=out, flush=True)
        except Exception as error:  # something is missing, or does not fit into memory
            print(json.dumps({"way": title, "note": said(error)}), file=out, flush=True)


def bounded(rows: list[dict[str, Any]], scale: Scale) -> None:
    """Add each row's upper bound on this device, and its speed relative to that and to the first row of its unit.

    One generation step reads all weights once and multiplies each with every row. Per token, training multiplies each
    frozen weight twice, forward and backward (4 operations), and each adapter weight three times (6).
    """
    rate = {row["key"]: row["speed"] for row in rows if row.get("key") in ("product", "copy")}
    if len(rate) < 2:
        return
    product, copied, weights = rate["product"] * 1e12, rate["copy"] * 1e9, scale.linear + scale.head
    first: dict[str, float] = {}
    for row in rows:
        if "speed" not in row or row.get("key") in rate:
            continue
        if "bits" in row:
            row["gb_a_token"] = (scale.linear * row["bits"] / 8 + 2 * scale.head) / 1e9
            size = row["side_by_side"]
            row["bound"] = size / max(row["gb_a_token"] * 1e9 / copied, 2 * weights * size / product)
        elif row["key"] == "train":
            row["bound"] = product / (4 * weights + 6 * scale.adapter)
        else:
            row["bound"] = product / (2 * weights * row["tokens_a_document"])
        row["of_bound"] = row["speed"] / row["bound"]
        row["times_the_first"] = row["speed"] / first.setdefault(row["unit"], row["speed"])


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{result['card']}, {result['date']}, {result['seconds']} s, {result['versions']}\n")
    print(
        "| | way | speed | × first of its kind | of the bound | side by side | peak GB |\n|---|---|---|---|---|---|---|"
    )
    for row in result["rows"]:
        times, part = (f"{row[key]:.2f}" if key in row else "" for key in ("times_the_first", "of_bound"))
        memory = "" if row.get("peak_gb") is None else f"{row['peak_gb']:.1f}"
        print(
            f"| {row['letter']} | {row['way']} | {shown(row)} | {times} | {part} | {row.get('side_by_side', '')} "
            f"| {memory} |"
        )


def shown(row: dict[str, Any]) -> str:
    """A row's speed, or the reason why it has none."""
    if "speed" not in row:
        return row["note"]
    debate = f" ({row['seconds_a_debate']:.2f} s a debate)" if "seconds_a_debate" in row else ""
    return f"{row['speed']:,.1f} {row['unit']}{debate}"


def versions() -> str:
    """Versions of the packages that matter."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    main()
