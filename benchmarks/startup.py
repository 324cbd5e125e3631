"""Seconds from the start of `python simulate.py model=smollm2 …` to its first request, as a whole process and by step.

    python benchmarks/startup.py [--repeats 5] [overrides]

The first start is not counted, because it fills the caches of Hustings and of the operating system. Personas come from
a file, so that the first request belongs to a debate. It prints the median of each step, and median and range of the
total.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from debates import personas

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("Python and Hydra: a composed config", "settings, plan and store", "the model", "the first request")


def main() -> None:
    """Start it several times in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("overrides", nargs="*", default=[], help="as for simulate.py; model=smollm2 by default")
    options = parser.parse_args()
    words = options.overrides or ["model=smollm2", "topic=racism"]
    with tempfile.TemporaryDirectory() as name:
        stories = personas(Path(name), 4)
        command = [*words, "repetitions=4", f"personas.file={stories}"]
        runs = [start(Path(name) / str(number), command) for number in range(options.repeats + 1)][1:]
    print(f"python simulate.py {' '.join(words)}, {len(runs)} warm starts\n\n| until | seconds |\n|---|---|")
    for step, each in zip(STEPS, zip(*runs, strict=True), strict=True):
        print(f"| {step} | {statistics.median(each):.2f} |")
    whole = [run[-1] for run in runs]
    print(f"\nto the first request: {statistics.median(whole):.2f} s ({min(whole):.2f} to {max(whole):.2f})")


def start(folder: Path, words: list[str]) -> list[float]:
    """Seconds from the start of a process to the end of each step, in a new folder."""
    folder.mkdir()
    began = time.time()
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); import startup; startup.watched()"
    process = subprocess.run([sys.executable, "-c", code, *words], cwd=folder, check=True, capture_output=True)
    return [moment - began for moment in json.loads(process.stdout.splitlines()[-1])]


def watched() -> None:
    """Run simulate.py in this process up to its first request, and print when each step is done."""
    from hustings.cli import jobs
    from hustings.cli.entry import main as start_job
    from hustings.engine.lazy import LazyEngine

    moments: list[float] = []
    simulate, load, stream = jobs.simulate, LazyEngine.load, LazyEngine.stream

    def composed(config: Any) -> None:
        moments.append(time.time())
        simulate(config)

    def loaded(self: LazyEngine) -> Any:
        moments.append(time.time())
        engine = load(self)
        moments.append(time.time())
        LazyEngine.load = load
        return engine

    def asked(self: LazyEngine, queue: Any) -> Any:
        if queue:
            self.load()
            print(json.dumps([*moments, time.time()]), flush=True)
            os._exit(0)
        return stream(self, queue)

    jobs.JOBS["simulate"], LazyEngine.load, LazyEngine.stream = composed, loaded, asked
    start_job("simulate")


if __name__ == "__main__":
    main()
