"""Results of a sweep over sets of life stories: the primary statistic, with the set as a random effect.

It does not know how they are computed (analysis.sets).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hustings.analysis.controls import ASIDE
from hustings.files import read_table, write_table
from hustings.identity import canonical
from hustings.report import grouping
from hustings.report.controls import joint
from hustings.report.grouping import Factor
from hustings.runfolder import SETS
from hustings.study import Study


def groups(studies: Mapping[str, Study]) -> dict[str, dict[str, Study]]:
    """Groups of runs that differ only in their set of life stories and topic, by what distinguishes the groups.

    Args:
        studies: studies by name.

    Returns:
        Studies by name, by name of the group; at least two sets in each group, and no set twice on one topic.
    """
    factor = Factor("set of life stories", "the results on life stories", "personas.set", set_of, _split)
    return grouping.groups(studies, factor)


def _split(studies: Mapping[str, Study]) -> list[dict[str, Study]]:
    """Groups of runs that differ only in their set of life stories, topics and repetitions."""
    found: dict[str, dict[str, Study]] = {}
    for name, study in studies.items():
        design = {key: value for key, value in study.design.items() if key not in ASIDE}
        design["personas"] = {**design["personas"], "set": None}
        found.setdefault(canonical([design, study.control]), {})[name] = study
    return [group for group in found.values() if len({set_of(study) for study in group.values()}) > 1]


def set_of(study: Study) -> int:
    """The set of life stories of a run; runs made by earlier versions used set 1."""
    return study.design["personas"].get("set", 1)


def write(studies: Mapping[str, Study], folder: Path) -> None:
    """Write sets.csv into a folder, if any runs differ in their set of life stories.

    Args:
        studies: studies by name.
    """
    from hustings.analysis.sets import sets

    (folder / SETS).unlink(missing_ok=True)
    tables = {name: sets(group.values(), name) for name, group in groups(studies).items()}
    made = joint({name: table for name, table in tables.items() if len(table)})
    if made is not None:
        write_table(folder / SETS, made)


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder's sets.csv; empty if there is no such file."""
    path = folder / SETS
    found = read_table(path).to_dict("records") if path.exists() else []
    return [{str(key): value for key, value in row.items()} for row in found]
