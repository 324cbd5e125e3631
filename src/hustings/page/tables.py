"""Tables, pictures and settings as text, ready for a template. All text is untrusted; the template escapes it."""

import base64
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hustings.files import read_table
from hustings.report.naming import flatten
from hustings.runfolder import AGENTS, ATTITUDES, COMPARISON, CONTROLS, REPLIES, STANCES, STATISTICS

PICTURE = 600_000
"""Size of the largest picture that a page includes, in bytes."""
ROWS = 200
"""The most rows of a table that a page shows."""
_CAPTIONS = {
    "forest": "How much nearer each party ended to the shadow Default, by topic, with 95 % intervals",
    "gaps": "The gap between the parties among people, and among agents at the start and at the end",
    "stances": "What agents answer (left), and what they say in the eyes of the judge (right)",
    "pulls": "What moves agents in each round: the model's own attitude (β) and the other speakers (α)",
}
"""Captions of pictures, by file name; other pictures are captioned with their file name."""
_SHOWN_ELSEWHERE = {ATTITUDES, REPLIES, AGENTS, STANCES, STATISTICS, COMPARISON, CONTROLS}


def statistics(path: Path) -> list[dict[str, str]]:
    """Rows of statistics.csv or comparison.csv, with numbers as text; empty if there is no file."""
    if not path.exists():
        return []
    table = read_table(path)
    for column in table.select_dtypes("number"):
        digits = "{:,.0f}" if column == "n" else "{:.3g}"
        table[column] = [
            None if value != value else digits.format(value).replace("inf", "∞") for value in table[column]
        ]
    return [{str(key): _text(value) for key, value in row.items()} for row in table.to_dict("records")]


def tables(folder: Path) -> list[dict[str, Any]]:
    """The tables in a folder that are not shown elsewhere: losses, benchmarks."""
    return [table(path) for path in sorted(folder.glob("*.csv")) if path.name not in _SHOWN_ELSEWHERE]


def table(path: Path) -> dict[str, Any]:
    """A CSV as text: `name`, `columns`, `rows` (the first ROWS), `total`."""
    import pandas as pd

    found = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    rows = [[_text(value) for value in row] for row in found.head(ROWS).itertuples(index=False)]
    return {"name": path.stem, "columns": [str(column) for column in found.columns], "rows": rows, "total": len(found)}


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def figures(folder: Path) -> Iterator[dict[str, str]]:
    """The pictures in a folder as data URIs, except the curves, which the page draws itself."""
    for path in sorted(folder.glob("*.png")):
        if not path.stem.startswith("curves") and path.stat().st_size <= PICTURE:
            content = base64.b64encode(path.read_bytes()).decode()
            name = path.stem.replace("_", " ")
            yield {
                "name": name,
                "caption": _CAPTIONS.get(path.stem, name),
                "source": f"data:image/png;base64,{content}",
            }


def settings(design: Mapping[str, Any]) -> dict[str, str]:
    """Settings by dotted key, as text."""
    flat = flatten(design)
    return {key: it if isinstance(it, str) else json.dumps(it, ensure_ascii=False) for key, it in flat.items()}


def command(words: Sequence[str]) -> str:
    """A command as the user typed it."""
    return shlex.join(["python", *words])
