"""Table 1 from scores: a model and its fine-tuned versions, with benchmark scores beside the Default's attitude.

Pure functions from tables to tables, and a writer. They read scores.csv and manifests, and know nothing about models.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings import plain
from hustings.errors import RecordError
from hustings.files import read_table, write_atomically, write_table
from hustings.pictures import drawing, label, new_figure, write_picture
from hustings.runfolder import (
    SCORES,
    ComparisonManifest,
    EvaluationManifest,
    changed,
    check_target,
    read_manifest,
)

if TYPE_CHECKING:
    import pandas as pd

ATTITUDE = "attitude/"
"""Prefix of an attitude's name in the column `benchmark`; the topic follows."""
EXPECTED = "/expected"
"""Suffix of the attitude column that has the mean over the options' probabilities; the other one has the score."""
COLUMNS = ["row", "model", "label", "column", "metric", "score", "stderr", "sd_over_seeds", "seeds", "n", "low", "high",
           "below_comparison"]  # fmt: skip
_COMMON = (
    *("benchmark.limit", "benchmark.num_fewshot", "benchmark.seed", "benchmark.attitude"),
    *("composition", "topology", "instrument", "control", "treatments", "prompt", "sampling", "society", "rounds"),
    *("repetitions", "seed", "first_speaker"),
)
"""Settings that all rows of a table have in common."""
_TITLES = {"hellaswag": "HellaSwag (%)", "mmlu": "MMLU (%)"}
_BEST = ("acc_norm", "acc", "exact_match")


def read(folders: Sequence[Path]) -> "tuple[pd.DataFrame, list[str], str]":
    """The scores of several evaluations together.

    Args:
        folders: the folders of the evaluations.

    Returns:
        All rows of their scores.csv, the requested benchmarks, and the names of the models.

    Raises:
        RecordError: a folder is not an evaluation's, or attitudes were measured on different scales.
    """
    import pandas as pd

    tables: list[pd.DataFrame] = []
    tasks: dict[str, None] = {}
    first: dict[str, Any] | None = None
    for folder in folders:
        manifest = read_manifest(folder, EvaluationManifest)
        first = first or manifest.settings
        if differ := [key for key in _COMMON if _at(first, key) != _at(manifest.settings, key)]:
            raise RecordError(
                f"{folder}: this evaluation differs from the first one in {', '.join(differ)}, so that their scores "
                "cannot be put into one table; make a table for each."
            )
        try:
            if changed(folder, manifest):
                raise ValueError("it was changed after the evaluation")
            table = read_table(folder / SCORES)
        except (OSError, ValueError) as error:
            raise RecordError(
                f"{folder}: {SCORES} is missing or damaged in this folder; run the evaluation's command again."
            ) from error
        tables.append(table)
        tasks |= dict.fromkeys(manifest.settings["benchmark"]["tasks"])
    scores = pd.concat(tables, ignore_index=True).drop_duplicates()
    scales = scores[["low", "high"]].dropna().drop_duplicates()
    if len(scales) > 1:
        several = ", ".join(f"{low:g} … {high:g}" for low, high in sorted(scales.itertuples(index=False)))
        raise RecordError(
            f"{', '.join(map(str, folders))}: these evaluations measured attitudes on different scales ({several}), "
            "which cannot be put into one table; make a table for each instrument."
        )
    return scores, list(tasks), ", ".join(_models(scores))


def _models(table: "pd.DataFrame") -> list[str]:
    """The models that are measured, without the one that they are compared with."""
    return [*dict.fromkeys(table.loc[table["row"] != "comparison", "model"])]


def _at(settings: Any, key: str) -> Any:
    """The value at a dotted key; None if there is none."""
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings


def table1(scores: "pd.DataFrame", tasks: Sequence[str]) -> "pd.DataFrame":
    """Means over the seeds of each row; benchmark scores are shares, attitudes are points on the instrument's scale.

    Args:
        scores: a table with the columns of scores.csv.
        tasks: the benchmarks that get a column each; every attitude gets two, for the chosen option (the paper's) and
            for the mean over the options' probabilities.

    Returns:
        A table with the columns in COLUMNS. `stderr` is the mean standard error of a single seed: seeds share documents
        and personas, so it does not shrink with their number; `sd_over_seeds` is the spread between trainings. `low`
        and `high` are the ends of an attitude's scale, and missing for benchmarks.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    wanted = [(task, task, _BEST) for task in tasks]
    for name in sorted({name for name in scores["benchmark"] if name.startswith(ATTITUDE)}):
        wanted += [(name, name, ("score",)), (f"{name}{EXPECTED}", name, ("expected",))]
    models = _models(scores)
    pairs: Any = scores[["row", "model"]].drop_duplicates().itertuples(index=False, name=None)
    places = {model: place for place, model in enumerate(models)}
    order = sorted(pairs, key=lambda it: (it[0] == "comparison", places.get(it[1], 0), _order(it[0])))
    for row, model in order:
        of_row = scores[(scores["row"] == row) & (scores["model"] == model)]
        for column, name, metrics in wanted:
            found = of_row[of_row["benchmark"] == name]
            metric = next((metric for metric in metrics if (found["metric"] == metric).any()), None)
            if metric is None:
                continue
            named = {"row": row, "model": model, "label": _label(row, model, several=len(models) > 1)}
            rows.append({**named, "column": column, "metric": metric, **_mean(found[found["metric"] == metric])})
    table = pd.DataFrame(rows, columns=COLUMNS[:-1])
    reference = table[table["row"] == "comparison"].set_index("column")["score"]
    limit = table["column"].map(reference)
    below = (table["score"] < limit) & (table["row"] != "comparison") & ~table["column"].str.startswith(ATTITUDE)
    return table.assign(below_comparison=below)


def _mean(cells: "pd.DataFrame") -> dict[str, Any]:
    """The mean over the seeds of a cell."""
    first = cells.iloc[0]
    return {
        "score": cells["score"].mean(),
        "stderr": cells["stderr"].mean(),
        "sd_over_seeds": cells["score"].std(ddof=1),
        "seeds": len(cells),
        "n": int(first["n"]),
        "low": first["low"],
        "high": first["high"],
    }


def _order(row: str) -> tuple[int, int, str]:
    """Base, next-word prediction by rank, DPO by rank, others, the comparison."""
    method, _, rank = row.partition("_r")
    places = {"base": 0, "nwp": 1, "dpo": 2, "comparison": 4}
    return places.get(method, 3), int(rank) if rank.isdigit() else 0, row


def _label(row: str, model: str, *, several: bool) -> str:
    """What a row is called; with the model's name if there are several."""
    method, _, rank = row.partition("_r")
    if row in ("base", "comparison"):
        return model
    label = f"r={rank} {method.upper()}" if rank.isdigit() else row
    return f"{model}, {label}" if several else label


def inverse(table: "pd.DataFrame") -> "pd.DataFrame":
    """Whether benchmark scores fall as the attitude moves away from the base model's, over the NWP rows.

    Spearman's rank correlation between the attitude's distance from the base row and each benchmark's score, with the
    one-sided p-value over all permutations (Source: the paper, Table 1, key finding 2).

    Returns:
        One row for each benchmark, attitude and model: `benchmark`, `attitude`, `model`, `n`, `rho`, `p`, `sentence`.
    """
    import pandas as pd

    titles = _titles(table)
    attitudes, benchmarks = _columns(table)
    models = _models(table)
    lines: list[dict[str, Any]] = []
    for model, attitude, benchmark in itertools.product(models, attitudes, benchmarks):
        scores = table[table["model"] == model].pivot(index="row", columns="column", values="score")
        scores = scores.reindex(columns=[*titles])
        nwp = [row for row in scores.index if str(row).startswith("nwp")]
        points = scores.loc[nwp, [attitude, benchmark]].dropna()
        line: dict[str, Any] = {"benchmark": benchmark, "attitude": attitude, "model": model, "n": len(points)}
        of = f" of {model}" if len(models) > 1 else ""
        if why := _not_estimable(scores, points, attitude):
            said = f"{titles[benchmark]} and the {_kind(attitude)}{of}: not estimable, {why}."
            lines.append({**line, "rho": None, "p": None, "sentence": said})
            continue
        base: Any = scores.loc["base", attitude]
        rho, p = _correlation(points[attitude] - base, points[benchmark])
        said = (
            f"Over {len(points)} NWP rows{of}, {titles[benchmark]} and the distance of the {_kind(attitude)} from the "
            f"base model's have a rank correlation of {rho:+.2f} (one-sided permutation p = {p:.3f})."
        )
        lines.append({**line, "rho": rho, "p": p, "sentence": said})
    return pd.DataFrame(lines, columns=["benchmark", "attitude", "model", "n", "rho", "p", "sentence"])


def _kind(attitude: str) -> str:
    return "expected attitude" if attitude.endswith(EXPECTED) else "attitude"


def _correlation(shift: Any, score: Any) -> tuple[float, float]:
    """Spearman's rho between the size of a shift and a score, and its one-sided permutation p-value."""
    import numpy as np
    from scipy.stats import permutation_test, spearmanr

    value = score.to_numpy(float)

    def rho(ordered: Any) -> float:
        found: Any = spearmanr(ordered, value)
        return float(found.statistic)

    sizes = np.abs(shift.to_numpy(float))
    test: Any = permutation_test((sizes,), rho, permutation_type="pairings", alternative="less")
    return float(test.statistic), float(test.pvalue)


def _not_estimable(scores: "pd.DataFrame", points: "pd.DataFrame", attitude: str) -> str | None:
    if "base" not in scores[attitude].dropna().index:
        return "the base model's attitude is missing"
    if len(points) < 3:
        return f"a rank correlation needs three NWP rows and there {'is' if len(points) == 1 else 'are'} {len(points)}"
    if (points.nunique() < 2).any():
        return "all rows are equal"
    return None


def _columns(table: "pd.DataFrame") -> tuple[list[str], list[str]]:
    """The columns of attitudes, and those of benchmarks."""
    columns: list[str] = list(dict.fromkeys(table["column"]))
    attitudes = [column for column in columns if column.startswith(ATTITUDE)]
    return attitudes, [column for column in columns if column not in attitudes]


def _titles(table: "pd.DataFrame") -> dict[str, str]:
    """The title of each column, with its unit or scale."""
    attitudes, benchmarks = _columns(table)
    titles = {column: _TITLES.get(column, f"{column} (%)") for column in benchmarks}
    for column in attitudes:
        low, high = table.loc[table["column"] == column, ["low", "high"]].iloc[0]
        topic = column.removeprefix(ATTITUDE).removesuffix(EXPECTED).replace("_", " ")
        mean = ", expected" if column.endswith(EXPECTED) else ""
        titles[column] = f"Attitude, {topic}{mean} ({low:g}–{high:g})"
    return {column: titles[column] for column in dict.fromkeys(table["column"])}


def _cell(line: Any) -> str:
    """A cell such as '39.8 ± 1.5*', in percent for benchmarks."""
    share = not line["column"].startswith(ATTITUDE)
    scale = 100 if share else 1
    spread = "" if line["stderr"] != line["stderr"] else f" ± {scale * line['stderr']:.1f}"
    return f"{scale * line['score']:.1f}{spread}{'*' if line['below_comparison'] else ''}"


def _grid(table: "pd.DataFrame") -> list[list[str]]:
    """The rows as text: label, and a cell for each column."""
    columns = dict.fromkeys(table["column"])
    cells = {(line["row"], line["model"], line["column"]): _cell(line) for line in table.to_dict("records")}
    labels = {(line["row"], line["model"]): line["label"] for line in table.to_dict("records")}
    return [[label, *(cells.get((*row, column), "") for column in columns)] for row, label in labels.items()]


def _note(table: "pd.DataFrame") -> str:
    seeds = sorted({int(n) for row, n in zip(table["row"], table["seeds"], strict=True) if "_r" in row})
    count = "one training each" if seeds == [1] else f"means over {' or '.join(map(str, seeds))} trainings"
    trained = f"Fine-tuned rows are {count}; " if seeds else ""
    counts = "; ".join(
        f"{title} n = {int(table.loc[table['column'] == column, 'n'].iloc[0])}"
        for column, title in _titles(table).items()
    )
    star = " * below the comparison model." if table["below_comparison"].any() else ""
    return f"{trained}± is the standard error of a single one. {counts}.{star}"


def markdown(table: "pd.DataFrame", tests: "pd.DataFrame") -> str:
    """Table 1, its note, and the sentences of the tests, as Markdown."""
    text = plain.markdown(["", *_titles(table).values()], _grid(table), numbers=True)
    return "\n\n".join([text, _note(table), *tests["sentence"]]) + "\n"


def shown(table: "pd.DataFrame", tests: "pd.DataFrame") -> dict[str, Any]:
    """Table 1 for a page: columns, rows, note and sentences."""
    return {
        "columns": [*_titles(table).values()],
        "rows": _grid(table),
        "note": _note(table),
        "sentences": [*tests["sentence"]],
    }


def latex(table: "pd.DataFrame", model: str) -> str:
    """Table 1 as LaTeX with booktabs.

    Args:
        model: name of the model, for the caption.
    """
    titles = _titles(table).values()
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * len(titles)}}}",
            r"\toprule",
            " & ".join(["", *map(plain.latex, titles)]) + r" \\",
            r"\midrule",
            *(" & ".join(map(plain.latex, line)) + r" \\" for line in _grid(table)),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{What fine-tuning {plain.latex(model)} costs. {plain.latex(_note(table))}}}",
            r"\end{table}",
            "",
        ]
    )


def write(folders: Sequence[Path], target: Path) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Put table1.csv, .md, .tex, .png, .svg and the scores of all runs into `target`.

    If the target is the folder of one of the runs, its own scores.csv stays as it is.

    Args:
        folders: of the evaluations' runs.

    Returns:
        The table and the tests.

    Raises:
        RecordError: a folder is not an evaluation's, attitudes were measured on different scales, or the target has
            other results.
    """
    own = target.resolve() in {folder.resolve() for folder in folders}
    if not own:
        check_target(target, ComparisonManifest(runs=[]))
    scores, tasks, model = read(folders)
    table = table1(scores, tasks)
    tests = inverse(table)
    target.mkdir(parents=True, exist_ok=True)
    if not own:
        write_table(target / SCORES, scores)
    write_table(target / "table1.csv", table)
    write_table(target / "table1_tests.csv", tests)
    write_atomically(target / "table1.md", markdown(table, tests))
    write_atomically(target / "table1.tex", latex(table, model))
    _picture(table, model, target)
    return table, tests


@drawing
def _picture(table: "pd.DataFrame", model: str, folder: Path) -> None:
    """Draw the trade-off: a panel for each benchmark, with attitude on x, score on y, and a mark for each row.

    The comparison model is a dashed line.
    """
    attitudes, benchmarks = _columns(table)
    if not attitudes or not benchmarks:
        return
    figure = new_figure()
    figure.set_size_inches(5.2 * len(benchmarks), 4.2 * len(attitudes))
    panels: Any = figure.subplots(len(attitudes), len(benchmarks), squeeze=False)
    titles = _titles(table)
    for down, attitude in enumerate(attitudes):
        for across, benchmark in enumerate(benchmarks):
            panel = panels[down][across]
            _panel(panel, table[table["column"] == attitude], table[table["column"] == benchmark])
            panel.set_xlabel(label(titles[attitude], 55))
            panel.set_ylabel(label(titles[benchmark], 40))
    key: dict[str, Any] = {}
    for panel in panels.flat:
        key |= {name: mark for mark, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(list(key.values()), list(key), loc="outside right center", frameon=False, fontsize=9)
    title = f"What fine-tuning {model} costs (± standard error)"
    figure.suptitle(label(title, 11 * figure.get_figwidth()), fontsize=11)
    write_picture(figure, folder, "table1")


def _panel(panel: Any, attitude: "pd.DataFrame", benchmark: "pd.DataFrame") -> None:
    sizes = defaultdict[str, Any](lambda: itertools.count(5, 3))
    xs = {(line["row"], line["model"]): line for line in attitude.to_dict("records")}
    for y in benchmark.to_dict("records"):
        row = str(y["row"])
        if row == "comparison":
            panel.axhline(100 * y["score"], color="#5f6368", linestyle="--", linewidth=1, label=label(y["label"], 40))
        if (row, y["model"]) not in xs:
            continue
        x = xs[row, y["model"]]
        kind = row.partition("_r")[0]
        colour, mark = _LOOKS.get(kind, ("#5f6368", "D"))
        errors = [0 if line["stderr"] != line["stderr"] else line["stderr"] for line in (x, y)]
        panel.errorbar(
            x["score"], 100 * y["score"], xerr=errors[0], yerr=100 * errors[1], label=label(y["label"], 40),
            color=colour, fmt=mark, fillstyle="none", markersize=next(sizes[kind]), markeredgewidth=1.5, capsize=2,
        )  # fmt: skip
    panel.set_xlim(*attitude[["low", "high"]].iloc[0])
    panel.grid(color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


_LOOKS = {"base": ("#202124", "s"), "nwp": ("#0072b2", "o"), "dpo": ("#d55e00", "^")}
"""Colour and mark of each kind of row; within a kind, higher ranks are larger rings around the lower ones."""
