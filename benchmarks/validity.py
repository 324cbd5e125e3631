"""How well calibrated are the statistics? Many planted studies, from simulation through records to statistics.

Each study is `python simulate.py engine=planted topic=racism` with known α, β, κ, b and noise, and a seed of its own:
the log is written, read back, and tested. There are two kinds: *moving*, whose intervals must cover what was planted,
and *still*, where nothing pulls and every rejection is a false one. `python benchmarks/validity.py` writes
docs/validity.md. It tests the statistics that Holm's adjustment covers; the mixed model, which is slow and not covered,
is left out.
"""

import argparse
import contextlib
import functools
import io
import json
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PULLS = {"alpha": 0.10, "beta": 0.15, "kappa": 0.05}
COMMON = ["engine.bias=5.5", "engine.noise=0.3", "engine.start_low=2.0", "engine.start_high=8.0"]
COMMON += ["engine.start_spread=0.5", "topic=racism", "experiment=figure3", "rounds=3", "engine=planted"]
COMMON += ["analysis.outcome=expected"]
KINDS = {
    "moving": [f"engine.{name}={value}" for name, value in PULLS.items()],
    "still": [f"engine.{name}=0.0" for name in PULLS],
}


@functools.cache
def settings(kind: str, debates: int) -> Any:
    from hydra import compose, initialize_config_dir

    from hustings.settings import SimulateSettings, load

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return load(SimulateSettings, compose("simulate", [*COMMON, *KINDS[kind], f"repetitions={debates}"]))


def study(task: tuple[str, int, int]) -> list[dict[str, Any]]:
    """The rows of one study's statistics."""
    from hustings.analysis.statistics import all_statistics, statistics
    from hustings.simulation import job
    from hustings.study import load

    kind, seed, debates = task
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        chosen = settings(kind, debates).model_copy(update={"seed": seed, "artifacts": f"{name}/artifacts"})
        job.run(chosen, Path(name) / "run", ["benchmarks/validity.py"])
        table = statistics(load(Path(name) / "run"), [it.name for it in all_statistics() if it.family == "tests"])
    keep = ["statistic", "role", "estimate", "ci_low", "ci_high", "p", "p_holm"]
    return [{"kind": kind, "study": seed, **row} for row in table[keep].to_dict("records")]


def truth(kind: str) -> dict[tuple[str, str], float]:
    """What was planted; for convergence and echo the mean over 400,000 debates played with the same numbers."""
    rng = np.random.default_rng(0)
    pulls = PULLS if kind == "moving" else dict.fromkeys(PULLS, 0.0)
    first = np.array([2.0, 8.0, 5.5]) + np.array([0.5, 0.5, 0.0]) * rng.normal(size=(400_000, 3))
    now = first
    for _ in range(3):
        others = (now.sum(axis=1, keepdims=True) - now) / 2
        pull = pulls["beta"] * (5.5 - now) + pulls["alpha"] * (others - now) + pulls["kappa"] * (first - now)
        now = now + pull + 0.3 * rng.normal(size=now.shape)
    moved = (np.abs(first - 5.5) - np.abs(now - 5.5)).mean(axis=0)
    signed = ((now - first) * np.array([-1, 1, 0])).mean(axis=0)
    roles = ("republican", "democrat")
    return {
        **{(name, ""): value for name, value in pulls.items()},
        **{("convergence", role): float(moved[place]) for place, role in enumerate(roles)},
        **{("echo", role): float(signed[place]) for place, role in enumerate(roles)},
    }


def table(rows: Any, studies: int, debates: int) -> str:
    """The page."""
    lines = [
        "# How well calibrated are the statistics?",
        "",
        f"`python benchmarks/validity.py --studies {studies} --debates {debates}` plays {studies:,} planted studies of",
        f"each kind, {debates} debates each (Republican, Democrat, Default; one topic, three rounds), through the",
        "whole pipeline: simulation, event log, statistics (on `expected`). *Moving* plants "
        + ", ".join(f"{name} {value}" for name, value in PULLS.items())
        + ";",
        "*still* plants none. Noise is 0.3 points a round, first attitudes 2.0 and 8.0 ± 0.5, b is 5.5.",
        "",
        f"A share of 5 % of {studies:,} studies has a standard error of "
        f"{100 * (0.05 * 0.95 / studies) ** 0.5:.1f} percentage points.",
        "",
        "| statistic | role | planted | mean estimate | bias | coverage of the 95 % interval | power (p ≤ 0.05) "
        "| false positives (p ≤ 0.05) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    planted, nothing = truth("moving"), truth("still")
    for (name, role), value in planted.items():
        mine = rows[(rows["statistic"] == name) & (rows["role"].fillna("") == role)]
        moving, still = mine[mine["kind"] == "moving"], mine[mine["kind"] == "still"]
        mean = moving["estimate"].mean()
        inside = (moving["ci_low"] <= value) & (value <= moving["ci_high"])
        idle = nothing[name, role]
        quiet = (still["ci_low"] <= idle) & (idle <= still["ci_high"])
        lines.append(
            f"| {name} | {role or 'all'} | {value:.3f} | {mean:.3f} | {100 * (mean / value - 1):+.1f} % "
            f"| {100 * inside.mean():.1f} % (still: {100 * quiet.mean():.1f} %) "
            f"| {100 * (moving['p'] <= 0.05).mean():.1f} % | {100 * (still['p'] <= 0.05).mean():.1f} % |"
        )
    still = rows[rows["kind"] == "still"]
    any_at_all = still.groupby("study")["p_holm"].min() <= 0.05
    missing = rows["estimate"].isna().sum()
    lines += [
        "",
        f"With nothing planted, {100 * any_at_all.mean():.1f} % of studies have at least one p ≤ 0.05 after Holm's",
        f"adjustment (family-wise error). {missing} of {len(rows):,} tests were not estimable.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="of each kind")
    parser.add_argument("--debates", type=int, default=40)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "validity.md")
    options = parser.parse_args()
    tasks = [(kind, seed, options.debates) for seed in range(options.studies) for kind in KINDS]
    rows: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for done, found in enumerate(pool.imap_unordered(study, tasks), 1):
            rows += found
            if done % 100 == 0:
                print(f"{done}/{len(tasks)} studies", file=sys.stderr, flush=True)
    page = table(pd.DataFrame(rows), options.studies, options.debates)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(page)
    (ROOT / ".bench").mkdir(exist_ok=True)
    (ROOT / ".bench" / "validity.json").write_text(json.dumps(rows))
    print(page)


if __name__ == "__main__":
    main()
