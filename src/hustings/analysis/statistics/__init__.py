"""All statistics of a study in one table, each row with a sentence that can be quoted.

Statistics are discovered automatically: every module in this folder has a tuple `STATISTICS`, and `register` adds
statistics from elsewhere.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from hustings.analysis.measures import check_one_run
from hustings.analysis.resampling import remarks
from hustings.analysis.statistic import COLUMNS, Row, Statistic, tabulate
from hustings.analysis.wording import sentence, where, who
from hustings.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pandas as pd

    from hustings.study import Study

__all__ = ["COLUMNS", "all_statistics", "get", "register", "statistics"]

_BESIDE = {
    "score": "this is for the scores, as in the paper, beside the expected values",
    "expected": "this is for the expected values, beside the scores",
}
"""Remarks on rows for the other outcome."""
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
    """All statistics, in the order of the table."""
    found = [*_shipped().values(), *_registered.values()]
    return tuple(sorted(found, key=lambda statistic: statistic.order))


def register(statistic: Statistic) -> None:
    """Add your own statistic to every table made from now on; it replaces a registered one of the same name.

    Raises:
        SettingsError: Hustings already has a statistic of this name.
    """
    if statistic.name in _shipped():
        raise SettingsError(
            f"statistic {statistic.name}: Hustings already has a statistic of this name; give yours another name."
        )
    _registered[statistic.name] = statistic


def get(name: str) -> Statistic:
    """The statistic with this name.

    Raises:
        SettingsError: there is no such statistic.
    """
    known = {statistic.name: statistic for statistic in all_statistics()}
    if name not in known:
        raise SettingsError(f"statistic {name}: there is no such statistic; there is {', '.join(known)}.")
    return known[name]


def statistics(study: "Study", names: Sequence[str] | None = None, *, beside: bool = True) -> "pd.DataFrame":
    """The statistics of a study (Source: protocol.md, statistics).

    Args:
        names: the statistics to include; None for all. Holm's adjustment covers the rows in the table, so fewer names
            can give smaller adjusted p-values.
        beside: whether to add rows for the other outcome.

    Returns:
        Columns COLUMNS, one row for each test. If a test is impossible, its numbers other than n are missing and the
        sentence says why. p_holm is missing for statistics without a family. Statistics with `both` also have rows for
        the other outcome, after all other rows and without a family.

    Raises:
        SettingsError: a name is not a statistic.
        ValueError: the study's tables contain several runs.

    Example:
        >>> import hustings
        >>> from hustings.analysis.statistics import statistics
        >>> study = hustings.simulate(hustings.compose("engine=planted", "topic=racism", "repetitions=2"))
        >>> statistics(study, ["echo"])["role"].tolist()
        ['democrat', 'republican']
    """
    check_one_run(study)
    chosen = {it.name: it for it in (all_statistics() if names is None else map(get, names))}
    labels = study.labels
    rows = [
        replace(row, outcome=study.outcome, family=chosen[row.statistic].family or "")
        for row in _computed(study, chosen.values())
    ]
    for outcome in study.outcomes if beside else ():
        if outcome != study.outcome:
            other = study.analysed_as(outcome)
            again = _computed(other, [it for it in chosen.values() if it.both])
            rows += [replace(row, outcome=outcome, remark=remarks(row.remark, _BESIDE[outcome])) for row in again]
    return tabulate(rows, lambda row: _sentence(chosen[row.statistic], row, labels))


def _computed(study: "Study", chosen: "Iterable[Statistic]") -> "Iterator[Row]":
    """Rows of these statistics, in the order of the table."""
    by_name = {it.name: it for it in sorted(chosen, key=lambda it: it.order)}
    found = [row for function in dict.fromkeys(it.function for it in by_name.values()) for row in function(study)]
    place = {name: at for at, name in enumerate(by_name)}
    yield from sorted((row for row in found if row.statistic in by_name), key=lambda row: place[row.statistic])


def _sentence(statistic: Statistic, row: Row, labels: "Mapping[str, str]") -> str:
    """A row as a sentence that can be quoted."""
    if row.estimate != row.estimate:
        subject = f"for {who(row, labels)}, {statistic.title}" if row.role else statistic.title
        return sentence(f"{subject} on {where(row, labels)} is not estimable: {row.remark}", "")
    return sentence(statistic.sentence(row, labels), row.remark)
