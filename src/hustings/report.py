"""What is derived from runs' records: figures, statistics, comparisons. From disk at any time, without a model."""

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hustings import __version__
from hustings.artifacts import held, write_atomically
from hustings.errors import RecordError
from hustings.identity import canonical, sha256

if TYPE_CHECKING:
    import pandas as pd

    from hustings.analysis.figures import Look

STATISTICS = "statistics.csv"
COMPARISON = "comparison.csv"
ADAPTER = "adapter"
"""In the folder of a run that made or used an adapter: a link to the adapter's folder."""
_MADE = 2
"""Raise it when the same records give other figures or statistics than before."""
_APART = (
    "model.name",
    "adapter",
    "engine.kind",
    "composition.name",
    "society.name",
    "prompt.name",
    "topic",
    "silent",
    "seed",
)
"""Settings that tell runs apart, most telling first; other settings are looked at when these do not."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder, read."""

    folder: Path
    manifest: Mapping[str, Any]
    attitudes: "pd.DataFrame"

    @property
    def settings(self) -> Mapping[str, Any]:
        """As they are in the manifest."""
        return self.manifest["settings"]

    @property
    def outcome(self) -> Literal["score", "expected"]:
        """What the run analyses."""
        return self.settings["analysis"]["outcome"]

    @property
    def poles(self) -> dict[tuple[str, str], Literal["low", "high"]]:
        """Where each party of the run stands on each of its topics."""
        parties = self.settings["society"]["parties"]
        present = {role for role in self.settings["composition"]["roles"] if role in parties}
        return {
            (role, topic): parties[role]["stances"][topic]["pole"]
            for role in sorted(present)
            for topic in self.settings["topics"]
        }

    def look(self) -> "Look":
        """How the run's roles and topics are shown."""
        from hustings.analysis.figures import Look

        society = self.settings["society"]
        shown = {**society["parties"], "default": society["default"]}
        silent = ", silent control;" if self.settings["silent"] else ";"
        expected = " expected scores," if self.outcome == "expected" else ""
        model = self.manifest["model"]["name"]
        adapter = f" with {self.manifest['adapter']['name']}" if self.manifest["adapter"] else ""
        return Look(
            labels={role: one["label"] for role, one in shown.items()},
            colours={role: one["colour"] for role, one in shown.items()},
            topics={key: topic["label"] for key, topic in self.settings["topics"].items()},
            ends={key: (topic["low"], topic["high"]) for key, topic in self.settings["topics"].items()},
            caption=f"{model}{adapter}, {self.settings['composition']['name']}{silent}{expected}",
        )


def read(folder: Path, outcome: Literal["score", "expected"] | None = None) -> Run:
    """The run in `folder`.

    Args:
        outcome: analyse this instead of what the run was told.

    Raises:
        RecordError: the folder is no run, or its answers have no such outcome.
    """
    import pandas as pd

    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        attitudes = pd.read_csv(folder / "attitudes.csv", dtype={"adapter": str, "persona": str})
        settings = manifest["settings"]
        settings["analysis"]["outcome"] = outcome or settings["analysis"]["outcome"]
        if not {"society", "topics", "composition"} <= settings.keys():
            raise KeyError("society")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{folder}: this is not a run's folder (manifest.json or attitudes.csv is missing or damaged); give the "
            "folder that a run printed as its last line."
        ) from error
    run = Run(folder, manifest, attitudes)
    if run.outcome == "expected" and attitudes["expected"].isna().all() and attitudes["score"].notna().any():
        raise RecordError(
            f"{folder}: its engine told no probabilities, so there are no expected scores; set outcome to score."
        )
    return run


def again(run: Run) -> "pd.DataFrame":
    """Test and draw a run anew in its own folder, whose manifest then says what is analysed.

    Returns:
        The statistics, columns of analysis.statistics.COLUMNS.
    """
    write_atomically(run.folder / "manifest.json", canonical(run.manifest) + "\n")
    return write(run, run.folder / STATISTICS, run.folder / "figures")


def write(run: Run, tests_to: Path, figures: Path) -> "pd.DataFrame":
    """Test what is in a run and draw it.

    Args:
        tests_to: the CSV to be written: one row a test, with the sentence that a reader can quote.
        figures: folder for the figures.

    Returns:
        The statistics, columns of analysis.statistics.COLUMNS.
    """
    from hustings.analysis import curves
    from hustings.analysis import figures as draw
    from hustings.analysis import statistics as test

    look = run.look()
    labels = {**look.labels, **look.topics}
    tests = test.statistics(run.attitudes, run.poles, labels, run.outcome, run.settings["seed"])
    write_atomically(tests_to, tests.to_csv(index=False))
    curve = curves.curve(run.attitudes, run.outcome)
    if curve.empty:
        return tests
    spaghetti = run.settings["analysis"]["spaghetti"]
    debates = None
    if spaghetti:
        debates = curves.per_debate(run.attitudes, run.outcome).rename(columns={"repetition": "line"})
    draw.curves(curve, look, figures, "curves", debates)
    estimated = tests[tests["estimate"].notna()]
    if (estimated["statistic"] == "convergence").any():
        draw.forest(tests[tests["statistic"] == "convergence"], look, figures, "forest")
    if (estimated["statistic"] == "alpha").any():
        draw.pulls(tests[tests["statistic"].isin(("alpha", "beta"))], look, figures, "pulls")
    _gaps(run, curve, figures)
    return tests


def _gaps(run: Run, curve: "pd.DataFrame", folder: Path) -> None:
    """The parties' gap beside that of people, where the society has a poll and both parties debate."""
    from hustings.analysis import curves, figures

    humans = run.settings["society"]["humans"]
    if humans is None:
        return
    high, low = ({topic: role for (role, topic), at in run.poles.items() if at == pole} for pole in ("high", "low"))
    table = curves.gaps(curve, high, low, humans["share"])
    if not table.empty:
        figures.gaps(table, run.look(), humans["source"], folder, "gaps")


def finish(folder: Path, store: Path) -> "pd.DataFrame":
    """Figures and statistics of a run that has just ended; taken from the store when they were made before.

    Args:
        folder: of the run, with its manifest and attitudes.
        store: the artifact store.

    Returns:
        The statistics, columns of analysis.statistics.COLUMNS.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    settings = {key: value for key, value in manifest["settings"].items() if key not in ("artifacts", "tracker")}
    substance = {"made": [_MADE, __version__], "attitudes": sha256(folder / "attitudes.csv"), "settings": settings}
    slug = f"{manifest['model']['name']}-{settings['composition']['name']}"
    with held(store, "reports", slug, substance, wait=True) as made:
        if made.growing:
            write(read(folder), made.folder / STATISTICS, made.folder)
            made.seal()
        (folder / "figures").mkdir(exist_ok=True)
        for file in made.manifest["files"]:
            shutil.copy(made.folder / file, folder / (STATISTICS if file == STATISTICS else f"figures/{file}"))
    return _statistics(folder / STATISTICS)


def _statistics(path: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in _NUMBERS})


_NUMBERS = ("estimate", "ci_low", "ci_high", "effect_size", "p", "p_holm")


def trainings(folder: Path) -> list[Path]:
    """The folder itself when train.py made it, or those in a sweep's folder that it made; none otherwise."""
    return [each for each in (folder, *jobs(folder, ADAPTER)) if not (each / "attitudes.csv").exists()
            and (each / ADAPTER).exists()]  # fmt: skip


def jobs(folder: Path, file: str = "attitudes.csv") -> list[Path]:
    """The runs in a sweep's folder, in the order of their numbers; none when it is no sweep's.

    Args:
        file: what the folder of a run has.
    """
    found = [child for child in folder.iterdir() if (child / file).exists()] if folder.is_dir() else []
    return sorted(found, key=lambda child: (len(child.name), child.name))


def compare(folders: Sequence[Path], target: Path, outcome: Literal["score", "expected"] | None = None) -> Any:
    """Put several runs together: their tables and figures, and how each differs from the first.

    Args:
        folders: of the runs; the first is the baseline.
        target: folder for manifest.json, attitudes.csv, statistics.csv, comparison.csv and figures.
        outcome: as in `read`.

    Returns:
        The comparison, columns of analysis.statistics.COLUMNS after `run` and `baseline`.

    Raises:
        RecordError: a folder is no run.
    """
    import pandas as pd

    from hustings.analysis.comparison import compare as beside

    runs = [read(folder, outcome) for folder in folders]
    names = tell_apart(runs)
    target.mkdir(parents=True, exist_ok=True)
    tests = [_tests(run, outcome) for run in runs]
    poles: dict[tuple[str, str], Literal["low", "high"]] = {}
    for run in runs:
        poles |= run.poles
    looks = [run.look() for run in runs]
    labels = {key: label for look in looks for key, label in {**look.labels, **look.topics}.items()}
    cells = _cells(runs, names)

    def differs(run: Run, name: str) -> pd.DataFrame:
        seed, said = runs[0].settings["seed"], {**labels, "baseline": names[0], "other": name}
        table = beside(runs[0].attitudes, run.attitudes, poles, said, runs[0].outcome, seed)
        return table.assign(run=name, baseline=names[0])

    each = {name: differs(run, name) for run, name in zip(runs[1:], names[1:], strict=True)}
    averaged = [_over_seeds(differs(cell.run, cell.name), [each[name] for name in cell.members]) for cell in cells]
    differences = [*each.values(), *averaged]
    joint = pd.concat([table for table in differences if len(table)] or differences[:1], ignore_index=True)
    joint = joint[["run", "baseline", *(column for column in joint.columns if column not in ("run", "baseline"))]]
    attitudes = pd.concat([run.attitudes.assign(run=name) for run, name in zip(runs, names, strict=True)])
    together = pd.concat([table.assign(run=name) for table, name in zip(tests, names, strict=True)])
    for table, file in ((attitudes, "attitudes.csv"), (together, STATISTICS), (joint, COMPARISON)):
        front = ["run", *(column for column in table.columns if column != "run")]
        write_atomically(target / file, table[front].to_csv(index=False))
    members = [{"run": name, "folder": str(run.folder)} for run, name in zip(runs, names, strict=True)]
    write_atomically(target / "manifest.json", canonical({"v": 1, "kind": "comparison", "runs": members}) + "\n")
    _together(runs, names, cells, together, target / "figures")
    return joint


@dataclass(frozen=True, slots=True)
class _Cell:
    """Runs that differ in nothing but the seed with which their adapters were trained."""

    name: str
    members: Sequence[str]
    run: Run
    """With the mean over these runs in place of each survey answer."""


def _cells(runs: Sequence[Run], names: Sequence[str]) -> list[_Cell]:
    import pandas as pd

    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        adapter = run.settings["adapter"]
        if adapter is not None and place > 0:
            cell = _SEED.sub("", run.manifest["adapter"]["name"])
            groups.setdefault(canonical([cell, {**run.settings, "adapter": None}]), []).append(place)
    cells: list[_Cell] = []
    for places in (places for places in groups.values() if len(places) > 1):
        tables = pd.concat([runs[place].attitudes for place in places])
        keys = ["topic", "composition", "repetition", "agent", "role", "persona", "iteration", "model", "seed"]
        means = tables.groupby(keys, sort=False).agg({"score": "mean", "expected": "mean", "valid": "all"})
        name = f"{_SEED.sub('', runs[places[0]].manifest['adapter']['name'])}, {len(places)} trainings"
        run = dataclasses.replace(runs[places[0]], attitudes=means.reset_index().assign(adapter=name))
        cells.append(_Cell(name, [names[place] for place in places], run))
    return cells


_SEED = re.compile(r"_s\d+$")


def _over_seeds(mean: "pd.DataFrame", each: Sequence["pd.DataFrame"]) -> "pd.DataFrame":
    """Differences of the mean over trainings, with what they were in each: SD over trainings beside the interval."""
    import pandas as pd

    keys = ["statistic", "topic", "role"]
    trainings = pd.concat([table.set_index(keys)["estimate"] for table in each], axis=1)
    trainings = trainings.loc[list(mean[keys].itertuples(index=False, name=None))]
    said = [
        f"{sentence[:-1]}; over {len(each)} trainings it was {', '.join(f'{value:+.1f}' for value in values)} points."
        if all(value == value for value in values)
        else sentence
        for sentence, values in zip(mean["sentence"], trainings.to_numpy(float).tolist(), strict=True)
    ]
    return mean.assign(sentence=said, sd_over_trainings=trainings.std(axis=1, skipna=False).to_numpy())


def _tests(run: Run, outcome: str | None) -> "pd.DataFrame":
    """The statistics of a run: those in its folder, or made now for another outcome."""
    if outcome is None and (run.folder / STATISTICS).exists():
        return _statistics(run.folder / STATISTICS)
    from hustings.analysis.statistics import statistics

    look = run.look()
    return statistics(run.attitudes, run.poles, {**look.labels, **look.topics}, run.outcome, run.settings["seed"])


def tell_apart(runs: Sequence[Run]) -> list[str]:
    """What tells each run from the others: the settings in which they differ, or else the folders' names."""
    named = [
        {
            **flatten(run.settings),
            "model.name": run.manifest["model"]["name"],
            "topic": ", ".join(topic["label"] for topic in run.settings["topics"].values()),
        }
        for run in runs
    ]
    keys = {key for settings in named for key in settings}
    different = {key for key in keys if len({canonical(settings.get(key)) for settings in named}) > 1}
    telling = [key for key in _APART if key in different]
    covered = {key.partition(".")[0] for key in telling}
    telling += sorted(key for key in different if key.partition(".")[0] not in {*covered, *_ASIDE})
    shown = [", ".join(_shown(key, settings.get(key)) for key in telling[:3]) for settings in named]
    if len({*shown}) == len(shown) and all(shown):
        return shown
    return [f"{text} ({run.folder.name})".strip() for text, run in zip(shown, runs, strict=True)]


_ASIDE = ("artifacts", "tracker", "analysis", "topics", "rounds")


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _shown(key: str, value: Any) -> str:
    """'composition echo_rep', 'alpha 0.1', 'base model'."""
    if key == "adapter":
        return str(value or "base model")
    if key == "silent":
        return "silent control" if value else "debate"
    return f"{key.removesuffix('.name').rpartition('.')[2]} {value}"


def _together(
    runs: Sequence[Run], names: Sequence[str], cells: Sequence[_Cell], tests: "pd.DataFrame", folder: Path
) -> None:
    """Curves and forest of several runs; trainings that differ in their seed alone are drawn as their mean."""
    import pandas as pd

    from hustings.analysis import curves, figures

    looks = [run.look() for run in runs]
    look = dataclasses.replace(
        looks[0],
        labels={key: label for each in looks for key, label in each.labels.items()},
        colours={key: colour for each in looks for key, colour in each.colours.items()},
        topics={key: label for each in looks for key, label in each.topics.items()},
        ends={key: both for each in looks for key, both in each.ends.items()},
        caption=f"{len(runs)} runs;" if len({each.caption for each in looks}) > 1 else looks[0].caption,
    )
    inside = {member for cell in cells for member in cell.members}
    shown = [(run, name) for run, name in zip(runs, names, strict=True) if name not in inside]
    shown += [(cell.run, cell.name) for cell in cells]
    outcome = runs[0].outcome
    curve = pd.concat([curves.curve(run.attitudes, outcome).assign(run=name) for run, name in shown], ignore_index=True)
    faint = [
        curves.curve(run.attitudes, outcome).rename(columns={"mean": "value"}).assign(line=name)
        for run, name in zip(runs, names, strict=True)
        if name in inside
    ]
    if not curve.empty:
        figures.curves(curve, look, folder, "curves", pd.concat(faint) if faint and len(shown) == 2 else None)
    convergence = tests[tests["statistic"] == "convergence"]
    if convergence["estimate"].notna().any():
        figures.forest(convergence.sort_values(["topic", "role"], kind="stable"), look, folder, "forest")


_BARS = "▁▂▃▄▅▆▇█"


def sketch(run: Run) -> Any:
    """The attitude curves of a run, small: one line a topic, one bar an iteration, from 0 (▁) to 10 (█).

    Returns:
        A rich renderable.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from hustings.analysis.curves import curve

    look, points = run.look(), curve(run.attitudes, run.outcome)
    roles = [role for role in look.labels if (points["role"] == role).any()]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("attitude, 0 … 10")
    for role in roles:
        table.add_column(Text(look.labels[role], style=look.colours[role]), no_wrap=True)
    for topic, mine in points.groupby("topic", sort=True):
        cells = [[float(mean) for mean in mine.loc[mine["role"] == role, "mean"]] for role in roles]
        table.add_row(look.topics[str(topic)], *map(_sketched, cells))
    return table


def _sketched(means: Sequence[float]) -> str:
    """'▃▄▅▆ 3.1 → 5.2'."""
    if not means:
        return "–"
    bars = "".join(_BARS[min(7, int(mean / 10 * 8))] for mean in means)
    return f"{bars} {means[0]:.1f}" + (f" → {means[-1]:.1f}" if len(means) > 1 else "")


def screen(tests: "pd.DataFrame") -> Any:
    """The statistics of a run as one table for the terminal.

    Args:
        tests: columns of analysis.statistics.COLUMNS.

    Returns:
        A rich renderable.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("topic", "role", "n"):
        table.add_column(title)
    for title in ("to the Default", "p (Holm)", "to the own pole", "p (Holm)", "crossed"):
        table.add_column(title, justify="right")
    cells = {(one["statistic"], one["topic"], one["role"]): one for one in tests.to_dict("records")}
    for kind, topic, role in cells:
        if kind == "convergence":
            moved, echo, crossed = (cells[name, topic, role] for name in ("convergence", "echo", "crossing"))
            share = "–" if moved["n"] == 0 or _empty(crossed) else f"{100 * crossed['estimate']:.0f} %"
            table.add_row(topic, role, f"{moved['n']}", *_cell(moved), *_cell(echo), share)
    pulls = [one for one in tests.to_dict("records") if one["statistic"] in _PULLS and not _empty(one)]
    wanted = "" if any(one["topic"] == "" for one in pulls) else next((one["topic"] for one in pulls), "")
    said = [f"{_PULLS[one['statistic']]} {_cell(one, 2)[0]}" for one in pulls if one["topic"] == wanted]
    table.caption = "points [95 % interval]" + (f"; a round: {', '.join(said)}" if said else "")
    return table


_PULLS = {"alpha": "social pull α", "beta": "model pull β", "kappa": "persona anchor κ"}


def _empty(test: Mapping[Any, Any]) -> bool:
    return test["estimate"] != test["estimate"]


def _cell(test: Mapping[Any, Any], digits: int = 1) -> tuple[str, str]:
    if _empty(test):
        return "not estimable", "–"
    numbers = (f"{round(test[key], digits) + 0.0:.{digits}f}" for key in ("estimate", "ci_low", "ci_high"))
    estimate, low, high = numbers
    p = "–" if test["p_holm"] != test["p_holm"] else "< 0.001" if test["p_holm"] < 0.001 else f"{test['p_holm']:.3f}"
    return f"{estimate} [{low}, {high}]", p
