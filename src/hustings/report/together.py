"""Several runs together: their tables and figures, and how each run differs from the first.

Trainings that differ only in their seed are also compared through their mean; runs that differ in their control are
analysed by controls.py.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.files import write_table
from hustings.identity import canonical
from hustings.progress import say
from hustings.report import alerts, controls, mitigations, multiverse, naming, sets
from hustings.report.naming import other_outcome, tell_apart
from hustings.report.run import clear
from hustings.runfolder import (
    ATTITUDES,
    COMPARISON,
    FIGURES,
    STATISTICS,
    ComparisonManifest,
    check_target,
    write_manifest,
)
from hustings.study import Outcome, Study, load

if TYPE_CHECKING:
    import pandas as pd

    from hustings.analysis.figures import Look

_SEED = re.compile(r"_s\d+$")


@dataclass(frozen=True, slots=True)
class Named:
    """A study with its name among the compared runs."""

    name: str
    study: Study


@dataclass(frozen=True, slots=True)
class _Cell:
    """Runs whose adapters differ only in the training seed."""

    members: Sequence[str]
    mean: Named
    """A study in which each survey answer is the mean over these runs."""


def compare(folders: Sequence[Path], target: Path | None, outcome: Outcome | None = None) -> "pd.DataFrame":
    """Put several runs together: their tables and figures, and how each differs from the first.

    A run whose attitude scale differs from the first run's, or that shares no topic and role with it, is not tested
    against it.

    Args:
        folders: the run folders; the first is the baseline.
        target: folder for manifest.json, attitudes.csv, statistics.csv, comparison.csv and figures, and for
            controls.csv, mitigations.csv or sets.csv if the runs differ in those; None writes nothing.
        outcome: the outcome to analyse; None keeps that of each run.

    Returns:
        The comparison, with the columns `run`, `baseline`, those of analysis.statistics.COLUMNS, and
        `sd_over_trainings` if trainings are averaged.

    Raises:
        RecordError: a folder is not a run folder, its answers do not have this outcome, or the target is the folder of
            a run.
    """
    if target is not None:
        check_target(target, ComparisonManifest(runs=[]))
    studies = [load(folder, outcome) for folder in folders]
    runs = [Named(name, study) for name, study in zip(tell_apart(studies), studies, strict=True)]
    cells = _cells(runs)
    differences = _differences(runs, cells)
    if target is None:
        return differences
    tests = _stacked((run.name, _statistics(run.study, outcome)) for run in runs)
    target.mkdir(parents=True, exist_ok=True)
    write_table(target / ATTITUDES, _stacked((run.name, run.study.attitudes) for run in runs))
    write_table(target / STATISTICS, tests)
    write_table(target / COMPARISON, differences)
    members = [
        {"run": run.name, "folder": os.path.relpath(run.study.folder.resolve(), target.resolve())} for run in runs
    ]
    write_manifest(target, ComparisonManifest(runs=members))
    _draw(runs, cells, tests, target)
    return differences


def _stacked(tables: "Iterable[tuple[str, pd.DataFrame]]") -> "pd.DataFrame":
    """The tables stacked, with the run's name in the first column."""
    import pandas as pd

    return pd.concat([table.assign(run=name)[["run", *table.columns]] for name, table in tables], ignore_index=True)


def _statistics(study: Study, outcome: Outcome | None) -> "pd.DataFrame":
    """The statistics in the run's folder; computed now for another outcome or if there are none."""
    from hustings.analysis.statistics import statistics

    kept = study.statistics if outcome is None else None
    return statistics(study) if kept is None else kept


def _differences(runs: Sequence[Named], cells: Sequence[_Cell]) -> "pd.DataFrame":
    """How each run, and each mean over trainings, differs from the first run."""
    import pandas as pd

    from hustings.analysis.comparison import compare as difference
    from hustings.analysis.statistics import COLUMNS

    baseline = runs[0]
    tables: dict[str, pd.DataFrame] = {}
    why = alerts.incomparable({run.name: run.study for run in runs})
    for said in alerts.together(why):
        say(said)
    for run in (run for run in runs[1:] if not why[run.name]):
        tables[run.name] = difference(baseline.study, run.study, (baseline.name, run.name))
    for cell in cells:
        each = [tables[name] for name in cell.members if name in tables]
        if each:
            mean = difference(baseline.study, cell.mean.study, (baseline.name, cell.mean.name))
            tables[cell.mean.name] = _over_seeds(mean, each)
    rows = [table.assign(run=name, baseline=baseline.name) for name, table in tables.items() if len(table)]
    joint = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["run", "baseline", *COLUMNS])
    return joint[["run", "baseline", *joint.columns.drop(["run", "baseline"])]]


def _cells(runs: Sequence[Named]) -> list[_Cell]:
    """Groups of two or more trainings; the baseline is never averaged with the runs that are compared with it."""
    groups: dict[str, list[Named]] = {}
    for run in runs[1:]:
        adapter = run.study.manifest.adapter
        if adapter is not None:
            key = canonical([_SEED.sub("", adapter.name), {**run.study.design, "adapter": None}])
            groups.setdefault(key, []).append(run)
    several = [group for group in groups.values() if len(group) > 1]
    names = [_mean_name(group) for group in several]
    return [
        _Cell(
            [run.name for run in group],
            _mean(group, name if names.count(name) == 1 else f"{name} (first: {group[0].name})"),
        )
        for group, name in zip(several, names, strict=True)
    ]


def _mean_name(group: Sequence[Named]) -> str:
    """'republican_nwp_r8, 3 trainings'."""
    adapter = group[0].study.manifest.adapter
    assert adapter is not None
    return f"{_SEED.sub('', adapter.name)}, {len(group)} trainings"


def _mean(group: Sequence[Named], name: str) -> Named:
    """A group of trainings, averaged into one study."""
    import pandas as pd

    first = group[0].study
    answers = pd.concat([run.study.attitudes for run in group])
    keys = ["topic", "composition", "repetition", "agent", "role", "persona", "iteration", "item", "model", "seed"]
    means = answers.groupby(keys, sort=False).agg({"score": "mean", "expected": "mean", "valid": "all"})
    return Named(name, replace(first, attitudes=means.reset_index().assign(adapter=name)))


def _over_seeds(mean: "pd.DataFrame", each: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Differences of the mean over trainings, with the estimates and the SD of the single trainings added."""
    import pandas as pd

    keys = ["statistic", "topic", "role"]
    trainings = pd.concat([table.set_index(keys)["estimate"] for table in each], axis=1)
    trainings = trainings.loc[list(mean[keys].itertuples(index=False, name=None))]
    sentences = [
        f"{sentence[:-1]}; the {len(each)} trainings gave {', '.join(f'{value:+.1f}' for value in values)} points."
        if all(value == value for value in values)
        else sentence
        for sentence, values in zip(mean["sentence"], trainings.to_numpy(float).tolist(), strict=True)
    ]
    return mean.assign(sentence=sentences, sd_over_trainings=trainings.std(axis=1, skipna=False).to_numpy())


def _draw(runs: Sequence[Named], cells: Sequence[_Cell], tests: "pd.DataFrame", target: Path) -> None:
    """Draw curves and forest plot, averaging trainings that differ in their seed, and write the results of sweeps."""
    from hustings.analysis import figures

    look = _look([run.study for run in runs])
    averaged = {member for cell in cells for member in cell.members}
    shown = [run for run in runs if run.name not in averaged] + [cell.mean for cell in cells]
    behind = [run for run in runs if run.name in averaged] if len(shown) == 2 else []
    clear(target / FIGURES)
    _curves(shown, behind, look, target / FIGURES, "curves")
    other = other_outcome([run.study for run in runs])
    if other:
        first, second = ([Named(it.name, it.study.analysed_as(other)) for it in them] for them in (shown, behind))
        _curves(first, second, _look([run.study for run in first]), target / FIGURES, f"curves_{other}")
    outcome = tests["run"].map({run.name: run.study.outcome for run in runs})
    closing: Any = tests[(tests["statistic"] == "closing") & (tests["outcome"] == outcome)]
    if closing["estimate"].notna().any():
        figures.forest(closing.sort_values(["topic", "role"], kind="stable"), look, target / FIGURES, "forest")
    controls.write({run.name: run.study for run in runs}, look, target)
    sets.write({run.name: run.study for run in runs}, target)
    multiverse.write({run.name: run.study for run in runs}, look, target)
    mitigations.write({run.name: run.study for run in runs}, look, target)


def _curves(shown: Sequence[Named], behind: Sequence[Named], look: "Look", folder: Path, name: str) -> None:
    """Draw the curves of several runs.

    Args:
        behind: single trainings, drawn faintly behind their mean.
    """
    from hustings.analysis import figures
    from hustings.analysis.curves import curve

    points = _stacked((run.name, curve(run.study)) for run in shown)
    faint = None
    if behind:
        lines = _stacked((run.name, curve(run.study)) for run in behind)
        faint = lines.rename(columns={"mean": "value", "run": "line"})
    if not points.empty:
        figures.curves(points, look, folder, name, faint)


def _look(studies: Sequence[Study]) -> "Look":
    """How the roles and topics of all runs are displayed, on an axis that covers all their scales."""
    looks = [naming.look(study) for study in studies]
    several = " on different scales" if len({look.scale for look in looks}) > 1 else ""
    analysed = {look.caption.rpartition(";")[2] for look in looks}
    caption = f"{len(studies)} runs{several};{analysed.pop() if len(analysed) == 1 else ''}"
    return replace(
        looks[0],
        labels={key: label for look in looks for key, label in look.labels.items()},
        colours={key: colour for look in looks for key, colour in look.colours.items()},
        topics={key: label for look in looks for key, label in look.topics.items()},
        ends={key: both for look in looks for key, both in look.ends.items()},
        scale=(min(look.scale[0] for look in looks), max(look.scale[1] for look in looks)),
        caption=caption if len({(look.caption, look.scale) for look in looks}) > 1 else looks[0].caption,
    )
