"""Results of a sweep over mitigations: a row for each, by topic and role, and drift and response as a function of dose.

It does not know how the numbers are computed (analysis.mitigations) or displayed (screen, page).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.files import read_table, write_table
from hustings.identity import canonical
from hustings.progress import say
from hustings.report.controls import joint
from hustings.report.naming import interventions, tell_apart
from hustings.report.numbers import Test, adjusted, bracketed, missing, steadfast
from hustings.runfolder import FIGURES, MITIGATIONS
from hustings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from hustings.analysis.figures import Look
    from hustings.analysis.mitigations import Mitigated

NONE = "none"
_ASIDE = ("control", "topics", "repetitions", "artifacts", "tracker", "analysis", "trainer", "dry_run", "watch")
_CHANGED = ("treatments", "cast", "adapter_scale")
"""Settings that a mitigation changes."""
COLUMNS = {
    "U": ("unwarranted_drift", "drift without a reason (advocates for both ends, an off-topic talk), points"),
    "less drift than none": ("drift_stopped", "how much less than without it, within repetitions, points"),
    "p (Holm)": ("drift_stopped", "of that difference, over all mitigations, topics and roles"),
    "within ± 0.3 of 10": ("equivalence", "whether the drift is shown to be as good as none"),
    "S": ("responsiveness", "how far agents follow advocates, points; near 0 is deaf, not steadfast"),
    "closing": ("closing", "how much nearer to the shadow Default agents ended in the debate itself, points"),
    "spread kept": ("spread_kept", "SD over debates at the end divided by that at the start"),
    "cut": ("truncated", "share of replies cut at the token limit"),
    "disclaimers": ("disclaimer", "share of replies in which the model speaks for itself"),
    "distinct-2": ("distinct_2", "share of word pairs in a debate's replies that differ"),
    "perplexity": ("perplexity", "of the replies, to the model as it is"),
    "s": ("seconds", "seconds for a debate"),
    "tokens": ("tokens", "tokens read and generated for a debate"),
}
"""Columns of the table: the statistic in each, and what it means."""
_DIGITS = {"spread_kept": 2, "truncated": 2, "disclaimer": 2, "distinct_2": 2, "seconds": 0, "tokens": 0}


@dataclass(frozen=True, slots=True)
class Line:
    """One mitigation for one role on one topic."""

    label: str
    """`contrast 1.5`."""
    topic: str
    role: str
    held_out: bool
    """Whether the topic was not used to choose doses."""
    tests: Mapping[str, Test]
    """Tests by statistic."""

    def cell(self, column: str) -> str:
        """The text of the table's cell in a column; a dash if nothing was measured."""
        statistic = COLUMNS[column][0]
        test = self.tests.get(statistic)
        if test is None or missing(test):
            return "–"
        if column == "p (Holm)":
            return adjusted(test)
        return steadfast(test) if statistic == "equivalence" else bracketed(test, _DIGITS.get(statistic, 1))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The results for one set of runs that differ in their mitigation."""

    name: str
    """What distinguishes this set from others; empty if it is the only one."""
    lines: Sequence[Line]
    sentences: Sequence[str]
    """Sentences on how much each mitigation reduces drift and response."""

    @property
    def columns(self) -> list[str]:
        """The columns that have any measurement."""
        return [column for column in COLUMNS if any(line.cell(column) != "–" for line in self.lines)]


def table(studies: Mapping[str, Study]) -> "pd.DataFrame | None":
    """The comparison for each set of runs that differ only in mitigation and control.

    Args:
        studies: studies by name.

    Returns:
        The columns of analysis.mitigations.mitigations after `run`, the name of the set; None if no runs differ in this
        way.
    """
    from hustings.analysis.mitigations import mitigations

    return joint({name: mitigations(group, _tuning(group)) for name, group in _sets(studies).items()})


def write(studies: Mapping[str, Study], look: "Look", folder: Path) -> None:
    """Write mitigations.csv, and a figure if a mitigation has several doses; write nothing if there are no mitigations.

    Args:
        studies: studies by name.
    """
    from hustings.analysis.doses import doses

    (folder / MITIGATIONS).unlink(missing_ok=True)
    made = table(studies)
    if made is None:
        return
    write_table(folder / MITIGATIONS, made)
    doses(made, look, folder / FIGURES, "doses")


def read(folder: Path) -> list[Comparison]:
    """The results on mitigations in a folder of several runs, one entry for each set of runs."""
    path = folder / MITIGATIONS
    return [*_read(read_table(path))] if path.exists() else []


def _read(made: "pd.DataFrame") -> Iterator[Comparison]:
    import pandas as pd

    text = {name: made[name].fillna("") for name in ("run", "role", "topic")}
    made = made.assign(**text, dose=pd.to_numeric(made["dose"]), held_out=made["held_out"].astype(str) == "True")
    for name, mine in made.groupby("run", sort=False):
        rows: list[dict[Any, Any]] = mine.to_dict("records")
        tests: dict[tuple[str, str, str], dict[str, Test]] = {}
        held_out: dict[str, bool] = {}
        for row in rows:
            label = row["mitigation"] if row["dose"] != row["dose"] else f"{row['mitigation']} {row['dose']:g}"
            tests.setdefault((label, row["topic"], row["role"]), {})[row["statistic"]] = row
            held_out[row["topic"]] = bool(row["held_out"])
        costs = {label: each for (label, topic, _), each in tests.items() if not topic}
        parties = {role for (_, topic, role), each in tests.items() if topic and "spread_kept" in each}
        lines = [
            Line(label, topic, role, held_out[topic], {**each, **costs.get(label, {})})
            for (label, topic, role), each in tests.items()
            if role in parties
        ]
        lines.sort(key=lambda line: (line.topic, line.role))
        said = [row["sentence"] for row in rows if row["statistic"] in ("drift_stopped", "response_lost")]
        yield Comparison(str(name), lines, said)


def _tuning(group: "Sequence[Mitigated]") -> set[str]:
    """Topics that any of the runs lists as used for tuning."""
    return {
        topic
        for it in group
        for study in it.studies.values()
        for topic in study.design["analysis"].get("tuning_topics", ())
    }


def _sets(studies: Mapping[str, Study]) -> "dict[str, list[Mitigated]]":
    """Sets of runs that differ only in mitigation, control and topic, by what distinguishes the sets."""
    from hustings.analysis.mitigations import Mitigated

    groups: dict[str, dict[tuple[str, float], dict[str, Study]]] = {}
    repeated: dict[str, list[str]] = {}
    for name, study in studies.items():
        key = mitigation(study)
        if key is None:
            continue
        rest = canonical({key: value for key, value in study.design.items() if key not in (*_ASIDE, *_CHANGED)})
        mine = groups.setdefault(rest, {}).setdefault(key, {})
        cells = {(it.control, topic) for it in mine.values() for topic in it.design["topics"]}
        if cells & {(study.control, topic) for topic in study.design["topics"]}:
            repeated.setdefault(rest, []).append(name)
        else:
            mine[name] = study
    compared = {rest: group for rest, group in groups.items() if len(group) > 1}
    for name in (name for rest in compared for name in repeated.get(rest, ())):
        say(f"{name}: left out of the comparison of mitigations, where an earlier run has the same settings.")
    found = [[Mitigated(name, dose, these) for (name, dose), these in _in_order(it)] for it in compared.values()]
    if len(found) == 1:
        return {"": found[0]}
    firsts = [next(iter(group[0].studies.values())) for group in found]
    return dict(zip(tell_apart(firsts, alike=("control", "topic", *_CHANGED)), found, strict=True)) if found else {}


def _in_order(group: dict[tuple[str, float], dict[str, Study]]) -> list[tuple[tuple[str, float], dict[str, Study]]]:
    """The runs without a mitigation first, the others by name and dose."""
    return sorted(group.items(), key=lambda it: (it[0][0] != NONE, it[0][0], it[0][1]))


_NO_DOSE = float("nan")


def mitigation(study: Study) -> tuple[str, float] | None:
    """The name and dose of the interventions that were meant to keep agents in character.

    Returns:
        None if roles run on different models, which does not count as a mitigation.
    """
    done = interventions(study)
    if done is None:
        return None
    doses = [*done.values()]
    return " and ".join(done) or NONE, float(doses[0]) if len(doses) == 1 and doses[0] is not None else _NO_DOSE
