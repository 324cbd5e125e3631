"""Keeps text from being read as markup: in pictures, Markdown tables and LaTeX."""

import re
from collections.abc import Sequence

_IMPOSSIBLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML, and therefore SVG, cannot contain, and tabs."""
_MARKS = re.compile(r"[\\`<|~$]|\*(?!$)|\](?=[(\[:])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown or HTML would read as markup; a star at the end of a cell and brackets alone are harmless."""
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "–": "--",
    "±": r"$\pm$",
}


def printable(text: str) -> str:
    """Text without the characters that a picture cannot contain."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _IMPOSSIBLE.sub(lambda found: " " if found[0] == "\t" else "\ufffd", text)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """A table in Markdown, whatever its cells contain.

    Args:
        numbers: whether to align all columns but the first to the right.
    """
    lines = ["---", *(("---:" if numbers else "---") for _ in columns[1:])]
    cells = [[escaped(text) for text in row] for row in (columns, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], lines, *cells[1:]))


def escaped(text: str) -> str:
    """Text for Markdown: on one line, with the special characters of Markdown and HTML escaped."""
    return _MARKS.sub(r"\\\g<0>", " ".join(printable(text).split()))


def latex(text: str) -> str:
    """Text for LaTeX, on one line."""
    return "".join(_TEX.get(mark, mark) for mark in " ".join(text.split()))
