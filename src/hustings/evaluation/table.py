"""Table 1 from scores: rows of one model, benchmarks beside the Default's attitude, and what the one costs the other.

Pure functions from tables to tables, and a writer. They know nothing of models, and read no more than scores.csv.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.artifacts import write_atomically
from hustings.errors import RecordError

if TYPE_CHECKING:
    import pandas as pd

SCORES = "scores.csv"
ATTITUDE = "attitude/"
COLUMNS = ["row", "label", "column", "metric", "score", "stderr", "sd_over_seeds", "seeds", "n", "below_comparison"]
_TITLES = {"hellaswag": "HellaSwag (%)", "mmlu": "MMLU (%)"}
_BEST = ("acc_norm", "acc", "exact_match", "score")


def read(folders: Sequence[Path]) -> "tuple[pd.DataFrame, list[str], str]":
    """The scores of evaluation runs together, the benchmarks that they asked for, and the model that they bend.

    Raises:
        RecordError: a folder is no evaluation's.
    """
    import pandas as pd

    tables: list[pd.DataFrame] = []
    tasks: dict[str, None] = {}
    bent: dict[str, None] = {}
    for folder in folders:
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            if manifest["kind"] != "evaluation":
                raise KeyError("evaluation")
            table = pd.read_csv(folder / SCORES, dtype={"adapter": str, "adapter_id": str}, keep_default_na=True)
            tasks |= dict.fromkeys(manifest["settings"]["benchmark"]["tasks"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f"{folder}: this is not the folder of an evaluation (manifest.json or {SCORES} is missing or damaged)."
            ) from error
        tables.append(table)
        bent |= dict.fromkeys(table.loc[table["row"] != "comparison", "model"])
    return pd.concat(tables, ignore_index=True).drop_duplicates(), list(tasks), ", ".join(bent)


def table1(scores: "pd.DataFrame", tasks: Sequence[str]) -> "pd.DataFrame":
    """Means over the seeds of each row, columns COLUMNS; benchmark scores are shares, attitudes points.

    Args:
        scores: as scores.csv has them, of all rows.
        tasks: the benchmarks that are columns; attitudes are further ones.

    Returns:
        `stderr` is the mean standard error of a seed: seeds share documents and personas, so it does not shrink with
        their number; `sd_over_seeds` is the spread of the trainings beside it.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    wanted = [*tasks, *sorted({name for name in scores["benchmark"] if name.startswith(ATTITUDE)})]
    for row in sorted(scores["row"].unique(), key=_order):
        of_row = scores[scores["row"] == row]
        for column in wanted:
            found = of_row[of_row["benchmark"] == column]
            metric = next((metric for metric in _BEST if (found["metric"] == metric).any()), None)
            if metric is None:
                continue
            cells = found[found["metric"] == metric]
            rows.append(
                {
                    "row": row,
                    "label": _label(row, str(cells["model"].iloc[0])),
                    "column": column,
                    "metric": metric,
                    "score": cells["score"].mean(),
                    "stderr": cells["stderr"].mean(),
                    "sd_over_seeds": cells["score"].std(ddof=1),
                    "seeds": len(cells),
                    "n": int(cells["n"].iloc[0]),
                }
            )
    table = pd.DataFrame(rows, columns=COLUMNS[:-1])
    reference = table[table["row"] == "comparison"].set_index("column")["score"]
    limit = table["column"].map(reference)
    below = (table["score"] < limit) & (table["row"] != "comparison") & ~table["column"].str.startswith(ATTITUDE)
    return table.assign(below_comparison=below)


def _order(row: str) -> tuple[int, int, str]:
    """Base, next-word prediction by rank, DPO by rank, others, the comparison."""
    method, _, rank = row.partition("_r")
    places = {"base": 0, "nwp": 1, "dpo": 2, "comparison": 4}
    return places.get(method, 3), int(rank) if rank.isdigit() else 0, row


def _label(row: str, model: str) -> str:
    method, _, rank = row.partition("_r")
    if row in ("base", "comparison"):
        return model
    return f"r={rank} {method.upper()}" if rank.isdigit() else row


def inverse(table: "pd.DataFrame") -> "pd.DataFrame":
    """Whether benchmark scores fall as the attitude moves away from the base model's, over the NWP rows.

    Spearman's rank correlation of the attitude's distance from the base row with each benchmark's score; p is that of
    all permutations, one-sided (Source: the paper, Table 1, key finding 2).

    Returns:
        One line a benchmark and attitude: `benchmark`, `attitude`, `n`, `rho`, `p`, `sentence`.
    """
    import numpy as np
    import pandas as pd
    from scipy.stats import permutation_test, spearmanr

    scores = table.pivot(index="row", columns="column", values="score")
    nwp = [row for row in scores.index if str(row).startswith("nwp")]
    lines: list[dict[str, Any]] = []
    for attitude in (column for column in scores.columns if str(column).startswith(ATTITUDE)):
        for benchmark in (column for column in scores.columns if not str(column).startswith(ATTITUDE)):
            points = scores.loc[nwp, [attitude, benchmark]].dropna()
            line: dict[str, Any] = {"benchmark": benchmark, "attitude": attitude, "n": len(points)}
            why = _not_estimable(scores, points, str(attitude))
            if why:
                lines.append(
                    {**line, "rho": None, "p": None, "sentence": f"{_title(benchmark)}: not estimable, {why}."}
                )
                continue
            base: Any = scores.loc["base", attitude]
            shift = np.abs(points[attitude].to_numpy(float) - float(base))
            value = points[benchmark].to_numpy(float)

            def rank(ordered: Any, value: Any = value) -> float:
                found: Any = spearmanr(ordered, value)
                return float(found.statistic)

            test: Any = permutation_test((shift,), rank, permutation_type="pairings", alternative="less")
            rho, p = float(test.statistic), float(test.pvalue)
            sentence = (
                f"Over {len(points)} NWP rows, {_title(benchmark)} and the distance of the attitude from the base "
                f"model's have a rank correlation of {rho:+.2f} (one-sided permutation p = {p:.3f})."
            )
            lines.append({**line, "rho": rho, "p": p, "sentence": sentence})
    return pd.DataFrame(lines, columns=["benchmark", "attitude", "n", "rho", "p", "sentence"])


def _not_estimable(scores: "pd.DataFrame", points: "pd.DataFrame", attitude: str) -> str | None:
    if "base" not in scores[attitude].dropna().index:
        return "there is no attitude of the base model"
    if len(points) < 3:
        return f"a rank correlation takes three NWP rows and there {'is' if len(points) == 1 else 'are'} {len(points)}"
    if (points.nunique() < 2).any():
        return "all rows are equal"
    return None


def _title(column: str) -> str:
    if column.startswith(ATTITUDE):
        return f"Attitude, {column.removeprefix(ATTITUDE).replace('_', ' ')} (0–10)"
    return _TITLES.get(column, f"{column} (%)")


def _cell(line: Any) -> str:
    """'39.8 ± 1.5*', percent for benchmarks."""
    share = not line["column"].startswith(ATTITUDE)
    scale = 100 if share else 1
    spread = "" if line["stderr"] != line["stderr"] else f" ± {scale * line['stderr']:.1f}"
    return f"{scale * line['score']:.1f}{spread}{'*' if line['below_comparison'] else ''}"


def _grid(table: "pd.DataFrame") -> tuple[list[str], list[list[str]]]:
    """Columns, and a line of text for each row."""
    columns = list(dict.fromkeys(table["column"]))
    cells = {(line["row"], line["column"]): _cell(line) for line in table.to_dict("records")}
    labels = dict(zip(table["row"], table["label"], strict=True))
    return columns, [[label, *(cells.get((row, column), "") for column in columns)] for row, label in labels.items()]


def _note(table: "pd.DataFrame") -> str:
    seeds = sorted({int(n) for row, n in zip(table["row"], table["seeds"], strict=True) if "_r" in row})
    trained = f"Bent rows are means over {' or '.join(map(str, seeds))} trainings; " if seeds else ""
    counts = "; ".join(
        f"{_title(column)} n = {int(table.loc[table['column'] == column, 'n'].iloc[0])}"
        for column in dict.fromkeys(table["column"])
    )
    star = " * below the comparison model." if table["below_comparison"].any() else ""
    return f"{trained}± is the standard error of a single one. {counts}.{star}"


def markdown(table: "pd.DataFrame", tests: "pd.DataFrame") -> str:
    """Table 1, its note, and the sentences of the tests."""
    columns, lines = _grid(table)
    head = ["", *map(_title, columns)]
    rows = [head, ["---", *("---:" for _ in columns)], *lines]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n\n".join([text, _note(table), *tests["sentence"]]) + "\n"


def shown(table: "pd.DataFrame", tests: "pd.DataFrame") -> dict[str, Any]:
    """The same for a page: columns, rows, note and sentences."""
    columns, lines = _grid(table)
    return {
        "columns": [*map(_title, columns)],
        "rows": lines,
        "note": _note(table),
        "sentences": [*tests["sentence"]],
    }


def latex(table: "pd.DataFrame", model: str) -> str:
    """Table 1 with booktabs."""
    columns, lines = _grid(table)
    body = [" & ".join(map(_tex, line)) + r" \\" for line in lines]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"\toprule",
            " & ".join(["", *(_tex(_title(column)) for column in columns)]) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{What bending {_tex(model)} costs. {_tex(_note(table))}}}",
            r"\end{table}",
            "",
        ]
    )


def _tex(text: str) -> str:
    for mark in "&%#_":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("–", "--").replace("±", r"$\pm$")


def write(folders: Sequence[Path], target: Path) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Put table1.csv, .md, .tex, .png, .svg and the scores of all runs into `target`.

    Returns:
        The table and the tests.

    Raises:
        RecordError: a folder is no evaluation's.
    """
    scores, tasks, model = read(folders)
    table = table1(scores, tasks)
    tests = inverse(table)
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / SCORES, scores.to_csv(index=False))
    write_atomically(target / "table1.csv", table.to_csv(index=False))
    write_atomically(target / "table1_tests.csv", tests.to_csv(index=False))
    write_atomically(target / "table1.md", markdown(table, tests))
    write_atomically(target / "table1.tex", latex(table, model))
    _picture(table, model, target)
    return table, tests


def _picture(table: "pd.DataFrame", model: str, folder: Path) -> None:
    """The trade-off: a panel a benchmark, attitude across, score upwards, a mark a row; the comparison is a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    attitudes = [column for column in dict.fromkeys(table["column"]) if column.startswith(ATTITUDE)]
    benchmarks = [column for column in dict.fromkeys(table["column"]) if not column.startswith(ATTITUDE)]
    if not attitudes or not benchmarks:
        return
    figure = Figure(figsize=(5.2 * len(benchmarks), 4.2 * len(attitudes)), layout="constrained")
    panels: Any = figure.subplots(len(attitudes), len(benchmarks), squeeze=False)
    lines = {(line["row"], line["column"]): line for line in table.to_dict("records")}
    for across, attitude in enumerate(attitudes):
        for down, benchmark in enumerate(benchmarks):
            _panel(panels[across][down], lines, attitude, benchmark)
    key: dict[str, Any] = {}
    for panel in panels.flat:
        key |= {label: mark for mark, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(list(key.values()), list(key), loc="outside right center", frameon=False, fontsize=9)
    figure.suptitle(f"What bending {model} costs (± standard error)", fontsize=11)
    for kind in ("png", "svg"):
        figure.savefig(folder / f"table1.{kind}", dpi=160)


def _panel(panel: Any, lines: dict[Any, Any], attitude: str, benchmark: str) -> None:
    sizes = defaultdict[str, Any](lambda: itertools.count(5, 3))
    for row in dict.fromkeys(row for row, _ in lines):
        across, up = lines.get((row, attitude)), lines.get((row, benchmark))
        if row == "comparison" and up is not None:
            panel.axhline(100 * up["score"], color="#5f6368", linestyle="--", linewidth=1, label=up["label"])
        if across is None or up is None:
            continue
        kind = row.partition("_r")[0]
        colour, mark = _LOOKS.get(kind, ("#5f6368", "D"))
        errors = [0 if line["stderr"] != line["stderr"] else line["stderr"] for line in (across, up)]
        panel.errorbar(
            across["score"], 100 * up["score"], xerr=errors[0], yerr=100 * errors[1], label=up["label"],
            color=colour, fmt=mark, fillstyle="none", markersize=next(sizes[kind]), markeredgewidth=1.5, capsize=2,
        )  # fmt: skip
    panel.set_xlim(0, 10)
    panel.set_xlabel(_title(attitude))
    panel.set_ylabel(_title(benchmark))
    panel.grid(color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


_LOOKS = {"base": ("#202124", "s"), "nwp": ("#0072b2", "o"), "dpo": ("#d55e00", "^")}
"""Colour and mark of a kind of row; later rows of a kind, of higher ranks, are rings around the earlier ones."""
