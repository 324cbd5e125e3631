"""Claims of docs/replication.md computed again from the logs alone, by lines that share nothing with Hustings.

`python results/replication/recompute.py` needs no package. It prints each claim beside the committed table and fails
where they differ.
"""

import csv
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

RESULTS = Path(__file__).resolve().parents[1]
NEAR = 1e-4
"""Expected values are logged with six decimals."""

Debates = dict[str, dict[str, dict[int, float]]]
"""Attitudes by debate, role and iteration."""
Claim = tuple[str, str, str]
"""Statistic, topic, role."""
Found = tuple[str, dict[Claim, float], dict[Claim, float]]
"""A name, what was computed, and what the table says."""
PARTIES = ("republican", "democrat")


def main() -> None:
    """Compare."""
    wrong = 0
    for name, found, table in (mitigations(), figure("figure3"), figure("figure4"), controls(), figure11()):
        print(name)
        for claim, value in found.items():
            agrees = abs(value - table[claim]) < NEAR
            wrong += not agrees
            said = "agrees" if agrees else "DIFFERS"
            print(f"    {' '.join(filter(None, claim)):<46} {value:8.4f}   table {table[claim]:8.4f}   {said}")
    sys.exit(bool(wrong))


def mitigations() -> Found:
    """Closing, drift and responsiveness without a mitigation."""
    folder = RESULTS / "qwen_mitigations"
    logs = {control: debates for control, debates, treated in jobs(folder) if not treated}
    found = {("closing", "racism", role): closing(logs["none"]["racism"], role) for role in PARTIES}
    for role in (*PARTIES, "shadow"):
        found["unwarranted_drift", "racism", role] = rise(logs["advocates_both"]["racism"], role)
    for role in PARTIES:
        low, high = (rise(logs[f"advocates_{side}"]["racism"], role) for side in ("low", "high"))
        found["responsiveness", "racism", role] = (high - low) / 2
    return folder.name, found, estimates(folder / "mitigations.csv", mitigation="none")


def figure(name: str) -> Found:
    """Closing of each party, the rise of the shadow Default, and the gap between parties that shrinks."""
    folder = RESULTS / "replication" / name
    found: dict[Claim, float] = {}
    for topic, debates in attitudes(folder / "events.jsonl.gz").items():
        for role in PARTIES:
            found["closing", topic, role] = closing(debates, role)
        found["default_drift", topic, "shadow"] = rise(debates, "shadow")
        gap = rise(debates, "republican") - rise(debates, "democrat")
        found["party_gap", topic, ""] = -gap if topic == "illegal_immigration" else gap  # where Republicans are above
    return name, found, estimates(folder / "statistics.csv", outcome="expected")


def controls() -> Found:
    """Drift without a reason, the mean of two controls; and responsiveness to what advocates argue."""
    folder = RESULTS / "replication" / "controls"
    logs = {control: debates for control, debates, _ in jobs(folder)}
    found: dict[Claim, float] = {}
    for topic in logs["none"]:
        for role in (*PARTIES, "shadow"):
            low, high, both, off = (
                rise(logs[name][topic], role)
                for name in ("advocates_low", "advocates_high", "advocates_both", "off_topic")
            )
            found["unwarranted_drift", topic, role] = (both + off) / 2
            found["responsiveness", topic, role] = (high - low) / 2
    return folder.name, found, estimates(folder / "controls.csv", outcome="expected")


def figure11() -> Found:
    """Attitudes on the adapter of rank 16 less those on the base model, before and after the debates."""
    folder = RESULTS / "replication" / "figure11"
    base, bent = (attitudes(folder / job / "events.jsonl.gz") for job in ("0", "1"))
    found: dict[Claim, float] = {}
    for topic in base:
        for role in (*PARTIES, "default"):
            for name, at in (("start", min), ("end", max)):
                means = [fmean(it[role][at(it[role])] for it in log[topic].values()) for log in (base, bent)]
                found[name, topic, role] = means[1] - means[0]
    return folder.name, found, estimates(folder / "comparison.csv", outcome="expected", run="republican_nwp_r16_s1")


def estimates(path: Path, **values: str) -> dict[Claim, float]:
    """Estimates of a table, from the rows with these values."""
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if all(row[key] == value for key, value in values.items())]
    return {(row["statistic"], row["topic"], row["role"]): float(row["estimate"]) for row in rows if row["estimate"]}


def jobs(folder: Path) -> Iterator[tuple[str, dict[str, Debates], bool]]:
    """Control, attitudes by topic, and whether there was a treatment, of each job of a sweep."""
    for job in sorted(folder.glob("*/manifest.json")):
        settings = json.loads(job.read_text())["settings"]
        yield settings["control"]["name"], attitudes(job.with_name("events.jsonl.gz")), bool(settings["treatments"])


def attitudes(path: Path) -> dict[str, Debates]:
    """Expected values of a log by topic; the paper's instrument has one item."""
    roles: dict[str, list[str]] = {}
    found: dict[str, Debates] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event["kind"] == "start":
                roles[event["debate"]] = [agent["role"] for agent in event["agents"]]
            elif event["kind"] == "survey":
                role, topic = roles[event["debate"]][event["agent"]], event["debate"].split("/")[0]
                found[topic][event["debate"]][role][event["iteration"]] = event["expected"]
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
