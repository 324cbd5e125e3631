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
Found = tuple[str, dict[tuple[str, str], float], dict[tuple[str, str], float]]
"""A name, what was computed, and what the table says, by statistic and role."""
PARTIES = ("republican", "democrat")


def main() -> None:
    """Compare."""
    wrong = 0
    for name, found, table in (mitigations(), figure4()):
        print(name)
        for claim, value in found.items():
            agrees = abs(value - table[claim]) < NEAR
            wrong += not agrees
            said = "agrees" if agrees else "DIFFERS"
            print(f"    {' of '.join(filter(None, claim)):<34} {value:8.4f}   table {table[claim]:8.4f}   {said}")
    sys.exit(bool(wrong))


def mitigations() -> Found:
    """Closing, drift and responsiveness without a mitigation."""
    folder = RESULTS / "qwen_mitigations"
    logs: dict[str, Debates] = {}
    for job in folder.glob("*/manifest.json"):
        settings = json.loads(job.read_text())["settings"]
        if not settings["treatments"]:
            logs[settings["control"]["name"]] = attitudes(job.with_name("events.jsonl.gz"))
    found = {("closing", role): closing(logs["none"], role) for role in PARTIES}
    for role in (*PARTIES, "shadow"):
        found["unwarranted_drift", role] = rise(logs["advocates_both"], role)
    for role in PARTIES:
        low, high = (rise(logs[f"advocates_{side}"], role) for side in ("low", "high"))
        found["responsiveness", role] = (high - low) / 2
    return folder.name, found, estimates(folder / "mitigations.csv", "mitigation", "none")


def figure4() -> Found:
    """Closing of each party, the rise of the shadow Default and of everybody who speaks, and the gap that shrinks."""
    folder = RESULTS / "replication" / "figure4"
    debates = attitudes(folder / "events.jsonl.gz")
    found = {("closing", role): closing(debates, role) for role in PARTIES}
    found["default_drift", "shadow"] = rise(debates, "shadow")
    found["drift", ""] = fmean(rise(debates, role) for role in PARTIES)
    found["party_gap", ""] = rise(debates, "republican") - rise(debates, "democrat")
    return folder.name, found, estimates(folder / "statistics.csv", "outcome", "expected")


def estimates(path: Path, column: str, value: str) -> dict[tuple[str, str], float]:
    """Estimates of a table by statistic and role, from the rows with this value."""
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[column] == value and row["estimate"]]
    return {(row["statistic"], row["role"]): float(row["estimate"]) for row in rows}


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
