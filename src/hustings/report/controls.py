"""Results of a sweep over controls: U and S by role and topic, the change under each control, and their figure.

It does not know how they are computed (analysis.controls) or displayed (screen, page, tracking).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.files import read_table, write_table
from hustings.report.grouping import Factor, groups
from hustings.report.numbers import Test
from hustings.runfolder import CONTROLS, FIGURES
from hustings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from hustings.analysis.figures import Look

SEPARATES = {
    "none": "The debate itself, with which the controls are compared.",
    "retest": "Nobody speaks and the same questions are asked again in other words: a change is survey noise, or "
    "extreme answers that fall back to the middle.",
    "off_topic": "The same agents debate something neutral: a change comes from the length of the conversation, in "
    "which personas fade, and not from arguments.",
    "reader": "Agents read a debate in which they do not speak: what they change less than in the debate, they talked "
    "themselves into.",
    "advocates_low": "Partners argue only for the low end of the scale: agents that follow them move down, agents that "
    "the model pulls move to where it stands anyway.",
    "advocates_high": "Partners argue only for the high end of the scale: agents that follow them move up; if agents "
    "move up whatever is argued, the topic merely became more salient.",
    "advocates_both": "Partners argue equally for both ends: arguments cancel, so agents have no reason to move.",
}
"""What each control isolates, in one sentence."""
SYMBOLS = {"unwarranted_drift": "U", "responsiveness": "S"}
MEANINGS = {
    "U": "Unwarranted drift U: mean change where nobody gave a reason to change (advocates_both, off_topic). A "
    "believable agent is near 0.",
    "S": "Responsiveness S: half the difference between the changes under advocates_high and advocates_low. A "
    "believable agent is clearly above 0; one near 0 is deaf, not steadfast.",
}
_OF = {
    "beyond_retest": "retest",
    "closing_beyond_retest": "retest",
    "retest_noise": "retest",
    "reading": "reader",
    "unwarranted_drift": "U",
    "equivalence": "U",
    "responsiveness": "S",
}
"""Where the sentence of each statistic is shown: under a control, U or S."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One role on one topic."""

    topic: str
    role: str
    tests: Mapping[str, Test]
    """The agent's row for each statistic except `change`."""
    changes: Mapping[str, Test]
    """The agent's row `change` for each control."""


@dataclass(frozen=True, slots=True)
class Controls:
    """The results for one set of runs that differ in their control."""

    name: str
    """What distinguishes this set from others; empty if it is the only one."""
    controls: Sequence[str]
    """The controls that were run, in the order of SEPARATES."""
    agents: Sequence[Agent]
    sentences: Mapping[str, Sequence[str]]
    """Sentences of the tests, by control, `U` or `S`."""


def table(studies: Mapping[str, Study]) -> "pd.DataFrame | None":
    """U, S and their components, for each set of runs that differ only in their control (and topics).

    Args:
        studies: studies by name.

    Returns:
        The columns of analysis.controls.controls after `run`, the name of the set; None if no runs differ in this way.
    """
    from hustings.analysis.controls import controls

    return joint({name: controls(group) for name, group in _sets(studies).items()})


def joint(tables: Mapping[str, "pd.DataFrame"]) -> "pd.DataFrame | None":
    """The tables as one, with each name in the first column, `run`; None if there are no tables."""
    import pandas as pd

    if not tables:
        return None
    whole = pd.concat([table.assign(run=name) for name, table in tables.items()], ignore_index=True)
    return whole[["run", *whole.columns.drop("run")]]


def write(studies: Mapping[str, Study], look: "Look", folder: Path) -> None:
    """Write controls.csv and the figure of the U–S plane into a folder, if any runs differ in their control.

    Args:
        studies: studies by name.
    """
    from hustings.analysis.plane import plane

    (folder / CONTROLS).unlink(missing_ok=True)
    made = table(studies)
    if made is None:
        return
    write_table(folder / CONTROLS, made)
    placed: Any = made[made["statistic"].isin(SYMBOLS) & made["estimate"].notna()]
    if placed.groupby(["run", "topic", "role"])["statistic"].nunique().eq(len(SYMBOLS)).any():
        plane(made, look, folder / FIGURES, "plane")


def read(folder: Path) -> list[Controls]:
    """The results on controls in a folder of several runs, one entry for each set of runs; empty if there are none."""
    path = folder / CONTROLS
    return [*_read(read_table(path))] if path.exists() else []


def of(studies: Mapping[str, Study]) -> list[Controls]:
    """The results on controls from studies, one entry for each set.

    Args:
        studies: studies by name.
    """
    made = table(studies)
    return [] if made is None else [*_read(made)]


def _read(made: "pd.DataFrame") -> Iterator[Controls]:
    for name, mine in made.groupby("run", sort=False):
        sentences: dict[str, list[str]] = {}
        tests: dict[tuple[str, str], dict[str, Test]] = {}
        changes: dict[tuple[str, str], dict[str, Test]] = {}
        for row in mine.to_dict("records"):
            key = (row["topic"], row["role"])
            if row["statistic"] == "change":
                changes.setdefault(key, {})[row["control"]] = row
            else:
                tests.setdefault(key, {})[row["statistic"]] = row
                sentences.setdefault(_OF[row["statistic"]], []).append(row["sentence"])
        run = {control for each in changes.values() for control in each}
        agents = [Agent(*key, tests.get(key, {}), each) for key, each in changes.items()]
        yield Controls(str(name), [*sorted(run, key=_place)], agents, sentences)


def _place(control: str) -> tuple[int, str]:
    known = list(SEPARATES)
    return known.index(control) if control in known else len(known), control


def _sets(studies: Mapping[str, Study]) -> dict[str, dict[str, Study]]:
    """Sets of runs that differ only in their control and topic, by what distinguishes the sets."""
    from hustings.analysis.controls import sets

    return groups(studies, Factor("control", "the table of controls", "control", lambda study: study.control, sets))
