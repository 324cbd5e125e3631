"""Every statistic of a study in one table, with a sentence that a reader can quote.

A statistic is found where it is defined: each module in this folder has a tuple `STATISTICS`, and `register` adds one
from elsewhere.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from hustings.analysis.measures import check_one_run
from hustings.analysis.statistic import COLUMNS, Row, Statistic, tabulate
from hustings.analysis.wording import where, who
from hustings.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from hustings.study import Study

__all__ = ["COLUMNS", "all_statistics", "get", "register", "statistics"]

_registered: dict[str, Statistic] = {}


@cache
def _shipped() -> dict[str, Statistic]:
    """The statistics of the modules in this folder, by name."""
    import importlib
    import pkgutil

    modules = [importlib.import_module(f"{__name__}.{it.name}") for it in pkgutil.iter_modules(__path__)]
    found: list[Statistic] = [statistic for module in modules for statistic in module.STATISTICS]
    return {statistic.name: statistic for statistic in found}


def all_statistics() -> tuple[Statistic, ...]:
    """Every statistic there is, in the order of the table."""
    found = [*_shipped().values(), *_registered.values()]
    return tuple(sorted(found, key=lambda statistic: statistic.order))


def register(statistic: Statistic) -> None:
    """Add a statistic of your own to every table made from now on; one of the same name is replaced.

    Raises:
        SettingsError: Hustings has a statistic of this name.
    """
    if statistic.name in _shipped():
        raise SettingsError(
            f"statistic {statistic.name}: Hustings already has a statistic of this name; give yours another name."
        )
    _registered[statistic.name] = statistic


def get(name: str) -> Statistic:
    """The statistic of this name.

    Raises:
        SettingsError: there is none.
    """
    known = {statistic.name: statistic for statistic in all_statistics()}
    if name not in known:
        raise SettingsError(f"statistic {name}: there is no such statistic; there is {', '.join(known)}.")
    return known[name]


def statistics(study: "Study", names: Sequence[str] | None = None) -> "pd.DataFrame":
    """The statistics of a study (Source: protocol.md, statistics).

    Args:
        names: which statistics; None for all. Holm's adjustment covers the rows in the table, so fewer names can mean
            smaller adjusted p-values.

    Returns:
        Columns COLUMNS, one row for each test. Where a test is impossible its numbers other than n are missing and
        the sentence says why. p_holm is missing for statistics without a family.

    Raises:
        SettingsError: there is no statistic of such a name.
        ValueError: the study's tables mix runs.

    Example:
        >>> import hustings
        >>> from hustings.analysis.statistics import statistics
        >>> study = hustings.simulate(hustings.compose("engine=planted", "topic=racism", "repetitions=2"))
        >>> statistics(study, ["convergence"])["role"].tolist()
        ['democrat', 'republican']
    """
    check_one_run(study)
    chosen = {it.name: it for it in (all_statistics() if names is None else map(get, names))}
    functions = dict.fromkeys(it.function for it in sorted(chosen.values(), key=lambda it: it.order))
    rows = [row for function in functions for row in function(study) if row.statistic in chosen]
    families = {name: it.family for name, it in chosen.items()}
    labels = study.labels
    return tabulate(rows, families, lambda row: _sentence(chosen[row.statistic], row, labels))


def _sentence(statistic: Statistic, row: Row, labels: "Mapping[str, str]") -> str:
    """What one row says, in words that can be quoted."""
    if row.estimate != row.estimate:
        subject = f"for {who(row, labels)}, {statistic.title}" if row.role else statistic.title
        return f"{subject[0].upper()}{subject[1:]} on {where(row, labels)} is not estimable: {row.remark}."
    said = statistic.sentence(row, labels)
    return f"{said}; {row.remark}." if row.remark else f"{said}."
