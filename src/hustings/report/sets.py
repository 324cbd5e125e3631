"""Results of a sweep over sets of life stories: the primary statistic, with the set as a random effect.

It does not know how they are computed (analysis.sets).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hustings.analysis.controls import ASIDE
from hustings.files import read_table, write_table
from hustings.identity import canonical
from hustings.runfolder import SETS
from hustings.study import Study


def groups(studies: Mapping[str, Study]) -> list[list[Study]]:
    """Runs that differ only in their set of life stories, with at least two sets in each group.

    Args:
        studies: studies by name.
    """
    found: dict[str, dict[int, Study]] = {}
    for study in studies.values():
        design = {key: value for key, value in study.design.items() if key not in ASIDE}
        design["personas"] = {**design["personas"], "set": None}
        found.setdefault(canonical([design, study.control]), {})[set_of(study)] = study
    return [[*each.values()] for each in found.values() if len(each) > 1]


def set_of(study: Study) -> int:
    """The set of life stories of a run; runs made by earlier versions used set 1."""
    return study.design["personas"].get("set", 1)


def write(studies: Mapping[str, Study], folder: Path) -> None:
    """Write sets.csv into a folder, if any runs differ in their set of life stories.

    Args:
        studies: studies by name.
    """
    import pandas as pd

    from hustings.analysis.sets import sets

    (folder / SETS).unlink(missing_ok=True)
    tables = [sets(each) for each in groups(studies)]
    if any(len(it) for it in tables):
        write_table(folder / SETS, pd.concat(tables, ignore_index=True))


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder's sets.csv; empty if there is no such file."""
    path = folder / SETS
    found = read_table(path).to_dict("records") if path.exists() else []
    return [{str(key): value for key, value in row.items()} for row in found]
