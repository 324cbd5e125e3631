"""Claims of docs/replication.md computed again from the logs alone, by lines that share nothing with Hustings.

`python results/replication/recompute.py` needs no package. It prints each claim beside the committed table and fails
where they differ.
"""

import csv
import gzip
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

RESULTS = Path(__file__).resolve().parents[1]
NEAR = 1e-4
"""Expected values are logged with six decimals."""

Debates = dict[str, dict[str, dict[int, float]]]
"""Attitudes by debate, role and iteration."""


def main() -> None:
    """Compare."""
    folder = RESULTS / "qwen_mitigations"
    logs: dict[str, Debates] = {}
    for job in folder.glob("*/manifest.json"):
        settings = json.loads(job.read_text())["settings"]
        if not settings["treatments"]:
            logs[settings["control"]["name"]] = attitudes(job.with_name("events.jsonl.gz"))
    with (folder / "mitigations.csv").open() as file:
        table = {
            (row["statistic"], row["role"]): float(row["estimate"])
            for row in csv.DictReader(file)
            if row["mitigation"] == "none" and row["estimate"]
        }
    found = {("closing", role): closing(logs["none"], role) for role in ("republican", "democrat")}
    for role in ("republican", "democrat", "shadow"):
        found["unwarranted_drift", role] = rise(logs["advocates_both"], role)
    for role in ("republican", "democrat"):
        low, high = (rise(logs[f"advocates_{side}"], role) for side in ("low", "high"))
        found["responsiveness", role] = (high - low) / 2
    wrong = 0
    for claim, value in found.items():
        agrees = abs(value - table[claim]) < NEAR
        wrong += not agrees
        print(
            f"{' of '.join(claim):<34} {value:8.4f}   table {table[claim]:8.4f}   {'agrees' if agrees else 'DIFFERS'}"
        )
    sys.exit(bool(wrong))


def attitudes(path: Path) -> Debates:
    """Expected values of a log; the paper's instrument has one item."""
    roles: dict[str, list[str]] = {}
    found: Debates = defaultdict(lambda: defaultdict(dict))
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event["kind"] == "start":
                roles[event["debate"]] = [agent["role"] for agent in event["agents"]]
            elif event["kind"] == "survey":
                role = roles[event["debate"]][event["agent"]]
                found[event["debate"]][role][event["iteration"]] = event["expected"]
    return found


def rise(debates: Debates, role: str) -> float:
    """Last attitude minus first, mean over debates."""
    return fmean(it[role][max(it[role])] - it[role][min(it[role])] for it in debates.values())


def closing(debates: Debates, role: str) -> float:
    """How much nearer to the shadow at the end than at the beginning, mean over debates."""
    nearer: list[float] = []
    for it in debates.values():
        first, last = min(it[role]), max(it[role])
        nearer.append(abs(it[role][first] - it["shadow"][first]) - abs(it[role][last] - it["shadow"][last]))
    return fmean(nearer)


if __name__ == "__main__":
    main()
