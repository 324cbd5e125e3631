"""A very large study on one machine: 100,000 planted debates simulated, analysed and drawn by one process.

`python benchmarks/scale.py` prints how many seconds `simulate.py` took, and its peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOPICS, PARTIES = 4, ("republican", "democrat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--debates", type=int, default=100_000)
    debates = parser.parse_args().debates
    with tempfile.TemporaryDirectory() as name:
        personas = Path(name) / "personas.jsonl"
        with personas.open("w") as file:
            for party in PARTIES:
                for index in range(debates // TOPICS):
                    who = f"{party[:3].capitalize()}{index}"
                    story = f"You are {who}, a committed {party} voter."
                    file.write(json.dumps({"party": party, "name": who, "story": story}) + "\n")
        command = [sys.executable, str(ROOT / "simulate.py"), "engine=planted", f"personas.file={personas}"]
        began = time.monotonic()
        subprocess.run([*command, f"repetitions={debates // TOPICS}"], check=True, cwd=name)
        seconds = time.monotonic() - began
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{debates:,} debates: {seconds:.0f} s, {memory:.2f} GB")


if __name__ == "__main__":
    main()
