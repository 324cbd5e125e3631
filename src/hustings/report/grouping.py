"""Groups of runs that differ in one factor, such as their control or their life stories, and in their topics.

It does not know what is computed from a group.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hustings.progress import say
from hustings.report.naming import tell_apart
from hustings.study import Study


@dataclass(frozen=True, slots=True)
class Factor:
    """What differs between the runs of a group."""

    name: str
    """In words: `control`."""
    table: str
    """What is computed from a group, in words: `the table of controls`."""
    setting: str
    """The setting, or group of settings, that determines it."""
    of: Callable[[Study], object]
    """Its value in a run."""
    split: Callable[[Mapping[str, Study]], list[dict[str, Study]]]
    """Groups of runs that differ only in the factor, topics and repetitions, with at least two values in each."""


def groups(studies: Mapping[str, Study], factor: Factor) -> dict[str, dict[str, Study]]:
    """Groups of runs that differ only in a factor and in their topics, by what distinguishes the groups.

    Runs with the same value and topic go into different groups, by their number of repetitions; a line on the terminal
    names each run that is left out.

    Args:
        studies: studies by name.

    Returns:
        Studies by name, by name of the group, which is empty if there is only one group.
    """
    found = [each for group in factor.split(studies) for each in _without_repeats(group, factor)]
    if len(found) == 1:
        return {"": found[0]}
    names = tell_apart([next(iter(group.values())) for group in found], alike=(factor.setting, "topic"))
    return dict(zip(names, found, strict=True))


def _without_repeats(group: dict[str, Study], factor: Factor) -> list[dict[str, Study]]:
    """The group; if runs in it have the same value and topic, a group for each number of repetitions."""
    if len(_cells(group, factor)) == sum(len(study.design["topics"]) for study in group.values()):
        return [group]
    by_number: dict[int, dict[str, Study]] = {}
    for name, study in group.items():
        by_number.setdefault(study.design["repetitions"], {})[name] = study
    found = [each for mine in by_number.values() for each in factor.split(mine)] or [group]
    for name in (name for name in group if not any(name in each for each in found)):
        say(f"{name}: left out of {factor.table}, as no run with another {factor.name} has as many repetitions.")
    return [_first(each, factor) for each in found]


def _first(group: Mapping[str, Study], factor: Factor) -> dict[str, Study]:
    """The runs of a group, without those that repeat the value and topic of an earlier run."""
    kept: dict[str, Study] = {}
    for name, study in group.items():
        if _cells(kept, factor) & _cells({name: study}, factor):
            say(f"{name}: left out of {factor.table}, where an earlier run has the same {factor.name} and topic.")
        else:
            kept[name] = study
    return kept


def _cells(group: Mapping[str, Study], factor: Factor) -> set[tuple[object, str]]:
    """The pairs of value and topic in the runs."""
    return {(factor.of(study), topic) for study in group.values() for topic in study.design["topics"]}
