"""Very large studies on one machine: planted debates are simulated, analysed and drawn.

`python benchmarks/scale.py` prints, for each size, the seconds and the peak memory of `simulate.py` and of a second
`hustings report`, and plots how they grow. Debates are on four topics; `--jobs 2` plays the topics as a sweep with two
jobs in parallel, instead of in one process. A size of 1,000,000 needs about 30 GB of disk.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
TOPICS = ("racism", "gun_violence", "illegal_immigration", "climate_change")
PARTIES = ("republican", "democrat")
OFTEN = 0.2
"""Seconds between two measurements of memory."""
SIZES = (10_000, 20_000, 50_000, 100_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debates", type=int, nargs="+", default=SIZES)
    parser.add_argument("--jobs", type=int, default=1, help="processes that play topics side by side (%(default)s)")
    parser.add_argument("--json", type=Path, help="where the numbers go")
    parser.add_argument("--picture", type=Path, help="where the growth is drawn (PNG)")
    parser.add_argument("--show", type=Path, help="only show and draw what is in this JSON file")
    arguments = parser.parse_args()
    if arguments.show:
        found = json.loads(arguments.show.read_text())
    else:
        found = [measured(debates, arguments.jobs) for debates in arguments.debates]
    show(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.picture:
        draw(found, arguments.picture)


def measured(debates: int, jobs: int) -> dict[str, float]:
    """Seconds and GB for a run with this many debates, and for its second report."""
    each = debates // len(TOPICS)
    with tempfile.TemporaryDirectory() as name:
        personas = Path(name) / "personas.jsonl"
        with personas.open("w") as file:
            for party in PARTIES:
                for index in range(each):
                    who = f"{party[:3].capitalize()}{index}"
                    story = f"You are {who}, a committed {party} voter."
                    file.write(json.dumps({"party": party, "name": who, "story": story}) + "\n")
        run = Path(name) / "run"
        settings = ["engine=planted", "watch=false", f"personas.file={personas}", f"repetitions={each}"]
        if jobs > 1:
            settings += ["-m", f"topic={','.join(TOPICS)}", f"hydra.sweep.dir={run}"]
            settings += ["cluster=joblib", f"hydra.launcher.n_jobs={jobs}"]
        else:
            settings += ["topic=all", f"hydra.run.dir={run}"]
        simulated = timed([str(ROOT / "simulate.py"), *settings], name)
        print(f"{debates:,} debates: {simulated['seconds']:.0f} s", file=sys.stderr, flush=True)
        reported = timed(["-m", "hustings", "report", str(run)], name)
        size = sum(file.stat().st_size for file in run.rglob("*") if file.is_file()) / 1e9
    report = {f"report_{key}": value for key, value in reported.items()}
    return {"debates": debates, "jobs": jobs, **simulated, **report, "folder_gb": size}


def timed(command: list[str], folder: str) -> dict[str, float]:
    """Seconds that a Python command takes, and peak memory of it and its children together."""
    began, peak = time.monotonic(), 0
    done = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL)
    watched = psutil.Process(done.pid)
    while done.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, sum(memory(it) for it in (watched, *watched.children(recursive=True))))
        time.sleep(OFTEN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return {"seconds": time.monotonic() - began, "gb": peak / 1e9}


def memory(process: psutil.Process) -> int:
    """Memory that a process uses, bytes; 0 if it has just ended."""
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def show(found: list[dict[str, float]]) -> None:
    print(f"{'debates':>10} {'seconds':>8} {'GB':>6} {'report s':>9} {'GB':>6} {'folder GB':>10}")
    for it in found:
        print(
            f"{it['debates']:>10,} {it['seconds']:>8.0f} {it['gb']:>6.2f} {it['report_seconds']:>9.0f}"
            f" {it['report_gb']:>6.2f} {it['folder_gb']:>10.2f}"
        )


def draw(found: list[dict[str, float]], path: Path) -> None:
    """Plot seconds and memory against debates; a straight line means linear growth."""
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
