"""Very large studies on one machine: planted debates simulated, analysed and drawn by one process.

`python benchmarks/scale.py` prints, for each size, the seconds and the peak memory of `simulate.py` and of a second
`hustings report`, and draws how they grow. A size of 1,000,000 needs about 30 GB of disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOPICS, PARTIES = 4, ("republican", "democrat")
SIZES = (10_000, 20_000, 50_000, 100_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debates", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json", type=Path, help="where the numbers go")
    parser.add_argument("--picture", type=Path, help="where the growth is drawn (PNG)")
    parser.add_argument("--show", type=Path, help="only show and draw what is in this JSON file")
    arguments = parser.parse_args()
    if arguments.show:
        found = json.loads(arguments.show.read_text())
    else:
        found = [measured(debates) for debates in arguments.debates]
    show(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.picture:
        draw(found, arguments.picture)


def measured(debates: int) -> dict[str, float]:
    """Seconds and GB of a run of so many debates, and of its second report."""
    with tempfile.TemporaryDirectory() as name:
        personas = Path(name) / "personas.jsonl"
        with personas.open("w") as file:
            for party in PARTIES:
                for index in range(debates // TOPICS):
                    who = f"{party[:3].capitalize()}{index}"
                    story = f"You are {who}, a committed {party} voter."
                    file.write(json.dumps({"party": party, "name": who, "story": story}) + "\n")
        run = Path(name) / "run"
        settings = ["engine=planted", "topic=all", "watch=false", f"personas.file={personas}"]
        command = [str(ROOT / "simulate.py"), *settings, f"repetitions={debates // TOPICS}", f"hydra.run.dir={run}"]
        simulated = timed(command, name)
        reported = timed(["-m", "hustings", "report", str(run)], name)
        size = sum(file.stat().st_size for file in run.rglob("*") if file.is_file()) / 1e9
    return {"debates": debates, **simulated, **{f"report_{key}": it for key, it in reported.items()}, "folder_gb": size}


def timed(command: list[str], folder: str) -> dict[str, float]:
    """Seconds and peak memory of a command of Python's."""
    began = time.monotonic()
    done = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(done.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return {"seconds": time.monotonic() - began, "gb": usage.ru_maxrss / 2**20}


def show(found: list[dict[str, float]]) -> None:
    print(f"{'debates':>10} {'seconds':>8} {'GB':>6} {'report s':>9} {'GB':>6} {'folder GB':>10}")
    for it in found:
        print(
            f"{it['debates']:>10,} {it['seconds']:>8.0f} {it['gb']:>6.2f} {it['report_seconds']:>9.0f}"
            f" {it['report_gb']:>6.2f} {it['folder_gb']:>10.2f}"
        )


def draw(found: list[dict[str, float]], path: Path) -> None:
    """Seconds and memory over debates; a straight line is linear growth."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    debates = [it["debates"] for it in found]
    for axis, keys, title in (
        (axes[0], ("seconds", "report_seconds"), "Seconds"),
        (axes[1], ("gb", "report_gb"), "Peak memory, GB"),
    ):
        for key, label, marker in zip(keys, ("simulate.py", "hustings report, second time"), "os", strict=True):
            axis.plot(debates, [it[key] for it in found], marker=marker, label=label)
        axis.set(title=title, xlabel="Debates", xlim=(0, None), ylim=(0, None))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.tick_params("x", rotation=20)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
