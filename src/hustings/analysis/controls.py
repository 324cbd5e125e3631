"""What a sweep over controls shows about an agent: does it drift without a reason, and does it respond to arguments?

All values are paired by repetition: the same personas debate under every control (Source: protocol.md, controls).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.comparison import measured, personas, shared
from hustings.analysis.measures import check_one_run, has, margin, parties, topics
from hustings.analysis.resampling import INTERVAL, SPREAD, equivalence, few, mean_test, remarks
from hustings.analysis.statistic import SECONDARY, Row, tabulate
from hustings.analysis.statistics.reliability import retest
from hustings.analysis.wording import evidence, sentence, size, span, where, who, whose
from hustings.identity import canonical
from hustings.settings.debate import DEFAULT, SHADOW

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Outcome, Study

UNWARRANTED = ("advocates_both", "off_topic")
"""Controls under which no agent has a reason to change its attitude."""
EQUIVALENT = 0.3
"""Largest unwarranted drift, in points of ten, with which an agent still counts as steadfast."""
FAMILY = "controls"
"""Family of the tests of unwarranted drift and responsiveness, which are adjusted together."""
PAIRED = (
    f"repetitions with the same personas; {INTERVAL}; two-sided sign-flip permutation test; effect size: Cohen's d_z"
)
TOST = "repetitions with the same personas; 90 % expanded percentile bootstrap; two one-sided sign-flip tests (TOST)"

ASIDE = ("control", "topics", "repetitions", "artifacts", "tracker", "analysis", "trainer", "dry_run")
_TITLES = {
    "change": "the change",
    "unwarranted_drift": "unwarranted drift U",
    "equivalence": "the equivalence of unwarranted drift with none",
    "responsiveness": "responsiveness S",
    "beyond_retest": "the change beyond that of repeated surveys",
    "closing_beyond_retest": "the closing of the distance to the shadow Default beyond that of repeated surveys",
    "reading": "the difference between reading and speaking",
    "retest_noise": "the noise of repeated surveys",
}


@dataclass(frozen=True, slots=True)
class _Cell:
    """One role on one topic, under every control that includes both."""

    topic: str
    role: str
    values: "Mapping[str, pd.DataFrame]"
    """Measures of each debate, by control and repetition; only repetitions with the same personas everywhere."""
    study: "Study"

    def row(self, name: str, control: str, values: "pd.Series | None", family: str = "") -> Row:
        """The row for the mean of one value per repetition; `values` is None if a control is missing."""
        if values is None:
            return Row(name, self.topic, self.role, 0, PAIRED, f"no run has control={control}", control)
        made = values.dropna().to_numpy(float)
        if len(made) == 0:
            why = "no repetition has valid answers at the first and last survey under each of these controls"
            return Row(name, self.topic, self.role, 0, PAIRED, why, control)
        same = len(made) > 1 and float(np.ptp(made)) <= SPREAD
        remark = remarks(few(len(made)), "every repetition gave the same, so there is no effect size" if same else "")
        numbers = mean_test(made, self.study.seed, "two-sided")
        return Row(name, self.topic, self.role, len(made), PAIRED, remark, control, family=family, **numbers)


def sets(studies: "Mapping[str, Study]") -> "list[dict[str, Study]]":
    """Groups of studies that differ only in their control (and topics), with at least two controls each.

    Args:
        studies: studies by name; the groups keep the names.
    """
    groups: dict[str, dict[str, Study]] = {}
    for name, study in studies.items():
        design = {key: value for key, value in study.design.items() if key not in ASIDE}
        groups.setdefault(canonical(design), {})[name] = study
    return [group for group in groups.values() if len({study.control for study in group.values()}) > 1]


def controls(studies: "Mapping[str, Study]") -> "pd.DataFrame":
    """Unwarranted drift U, responsiveness S and their components, by topic and role.

    U is the mean change under advocates_both and off_topic (or whichever was run), averaged within each repetition; two
    one-sided tests check whether it is within ± 0.3 of 10 points. S = [Δ(advocates_high) − Δ(advocates_low)]/2. The
    table also has the change under each control; the difference between debate and retest, in change and in closing;
    reading compared with speaking; and the noise of repeated surveys. All runs are analysed with the same outcome:
    `expected` if all of them have it.

    Args:
        studies: studies by name; no two may have the same control and topic.

    Returns:
        Columns of statistics.COLUMNS, with `control` in place of `at`; `statistic` is one of change, unwarranted_drift,
        equivalence, responsiveness, beyond_retest, closing_beyond_retest, reading, retest_noise.

    Raises:
        ValueError: two studies have the same control and topic, or a study's tables contain several runs.
    """
    chosen = [*studies.values()]
    wanted: Outcome = chosen[0].outcome if all(chosen[0].outcome in study.outcomes for study in chosen) else "score"
    chosen = [study.analysed_as(wanted) for study in chosen]
    labels: dict[str, str] = {}
    by_topic: dict[str, dict[str, Study]] = {}
    for study in chosen:
        check_one_run(study)
        labels |= study.labels
        for topic in topics(study):
            if study.control in by_topic.setdefault(topic, {}):
                raise ValueError(f"control {study.control} on {topic}: two studies have it; give one of each.")
            by_topic[topic][study.control] = study
    rows = [row for topic, these in sorted(by_topic.items()) for cell in _cells(topic, these) for row in _rows(cell)]
    for study in chosen:
        noise = [row for row in retest(study) if row.statistic == "retest_noise" and study.control == "retest"]
        rows += [replace(row, at="retest") for row in noise]
    rows = sorted(rows, key=lambda row: [*_TITLES].index(row.statistic))
    return tabulate((replace(row, outcome=wanted) for row in rows), lambda row: _sentence(row, labels)).rename(
        columns={"at": "control"}
    )


Changes = Mapping[str, "pd.Series"]
"""Change of a role on a topic under each control: one value for each repetition."""


def changes(studies: "Mapping[str, Study]") -> dict[tuple[str, str], Changes]:
    """Changes under each control, by topic and role, in repetitions with the same personas under every control.

    Args:
        studies: studies by name; no two may have the same control and topic.
    """
    chosen = [*studies.values()]
    wanted: Outcome = chosen[0].outcome if all(chosen[0].outcome in study.outcomes for study in chosen) else "score"
    by_topic: dict[str, dict[str, Study]] = {}
    for study in chosen:
        for topic in topics(study):
            by_topic.setdefault(topic, {})[study.control] = study.analysed_as(wanted)
    return {
        (cell.topic, cell.role): {control: table["change"] for control, table in cell.values.items()}
        for topic, these in by_topic.items()
        for cell in _cells(topic, these)
    }


def _cells(topic: str, studies: "Mapping[str, Study]") -> Iterator[_Cell]:
    """Every role on a topic, with the repetitions that have the same personas under every control."""
    any_of = next(iter(studies.values()))
    seated = {control: personas(study) for control, study in studies.items()}
    roles = [*parties(any_of, topic), *(role for role in (DEFAULT, SHADOW) if has(any_of, role))]
    for role in roles:
        asked = {control: study for control, study in studies.items()
                 if topic in study.panels and any(role == other for _, other in study.panels[topic].seats)}  # fmt: skip
        if not asked:
            continue
        first = next(iter(asked))
        values: dict[str, pd.DataFrame] = {}
        for control, study in asked.items():
            same = shared(*(seated[it].get((topic, role), {}) for it in (first, control)))
            found = measured(study, topic, role)
            values[control] = found[found.index.isin(same)]
        yield _Cell(topic, role, values, asked[first])


def _rows(cell: _Cell) -> Iterator[Row]:
    """All rows for one role on one topic."""
    changes = {control: table["change"] for control, table in cell.values.items()}
    for control, change in changes.items():
        yield cell.row("change", control, change)
    unwarranted = [control for control in UNWARRANTED if control in changes]
    drift = _mean([changes[control] for control in unwarranted])
    names = " and ".join(unwarranted) or " or ".join(UNWARRANTED)
    yield cell.row("unwarranted_drift", names, drift, FAMILY)
    yield _equivalence(cell, names, drift)
    low, high = (changes.get(f"advocates_{end}") for end in ("low", "high"))
    missing = "advocates_low" if low is None else "advocates_high"
    both = None if low is None or high is None else (high - low) / 2
    yield cell.row("responsiveness", missing if both is None else "advocates_high and advocates_low", both, FAMILY)
    if "none" in changes and "retest" in changes:
        yield cell.row("beyond_retest", "none", changes["none"] - changes["retest"], SECONDARY)
        if cell.role != SHADOW and "closing" in cell.values["none"] and has(cell.study, SHADOW):
            closed = [cell.values[control]["closing"] for control in ("none", "retest")]
            if cell.role != DEFAULT:
                yield cell.row("closing_beyond_retest", "none", closed[0] - closed[1], SECONDARY)
    if "none" in changes and "reader" in changes:
        yield cell.row("reading", "reader", changes["reader"] - changes["none"], SECONDARY)


def _mean(changes: "Sequence[pd.Series]") -> "pd.Series | None":
    """The mean over controls, for repetitions that have values under all of them."""
    import pandas as pd

    return pd.concat(changes, axis=1).mean(axis=1, skipna=False) if changes else None


def _equivalence(cell: _Cell, names: str, drift: "pd.Series | None") -> Row:
    """The row of the equivalence test: is unwarranted drift within the margin?"""
    row = replace(cell.row("equivalence", names, drift), method=TOST)
    if np.isnan(row.estimate) or drift is None:
        return row
    most = margin(cell.study, EQUIVALENT)
    numbers = equivalence(drift.dropna().to_numpy(float), cell.study.seed, most)
    said = f"the margin is ± {most:g} points"
    return Row("equivalence", row.topic, row.role, row.n, TOST, remarks(said, few(row.n)), row.at, **numbers)


def _sentence(row: Row, labels: Mapping[str, str]) -> str:
    """A row as a sentence that can be quoted."""
    agents, topic = who(row, labels), where(row, labels)
    if np.isnan(row.estimate):
        return f"For {agents}, {_TITLES[row.statistic]} on {topic} is not estimable: {row.remark}."
    seen = evidence(row, "repetitions")
    way = "up" if row.estimate >= 0 else "down"
    match row.statistic:
        case "change":
            said = f"Under control={row.at}, {agents} moved {size(row)} {way} the scale on {topic} ({seen})"
        case "unwarranted_drift":
            said = f"Without a reason, {agents} moved {size(row)} {way} the scale on {topic} ({seen}; {row.at})"
        case "equivalence":
            sure = row.p <= 0.05
            is_it = "is" if sure else "cannot be shown to be"
            said = f"The unwarranted drift of {agents} on {topic} {is_it} equivalent to none ({span(row)}; {seen})"
        case "responsiveness":
            follow = "followed" if row.estimate >= 0 else "moved against"
            said = f"{agents} {follow} advocates by {size(row)} on {topic} ({seen})"
        case "beyond_retest":
            said = f"Beyond repeated surveys, {agents} moved {size(row)} {way} the scale on {topic} ({seen})"
        case "closing_beyond_retest":
            nearer = "nearer to" if row.estimate >= 0 else "further from"
            said = (
                f"Beyond repeated surveys, {agents} ended {size(row)} {nearer} the shadow Default on {topic} ({seen})"
            )
        case "reading":
            higher = "higher" if row.estimate >= 0 else "lower"
            said = (
                f"After reading another debate, {agents} ended {size(row)} {higher} on {topic} than after the debate "
                f"itself ({seen})"
            )
        case _:
            said = (
                f"Asked again without a debate, {whose(row, labels)} answers on {topic} differ by an SD of {span(row)}"
            )
    return sentence(said, row.remark)
