"""Creates pictures in the house style and writes them as files. It does not know what they show.

Labels are plain text: `$` does not start a formula, and characters that no font has become boxes. A user's own
matplotlib settings are left unchanged.
"""

import textwrap
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from hustings.plain import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "text.usetex": False,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "hustings",
}
_FONTS = (
    "DejaVu Sans",
    *(
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "Noto Sans CJK KR",
        "Source Han Sans SC",
        "Source Han Sans",
        "PingFang SC",
    ),
    *("Hiragino Sans GB", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Apple SD Gothic Neo"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "SimHei", "Arial Unicode MS"),
    *("Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Nirmala UI", "Noto Sans Thai", "Leelawadee UI"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Emoji", "Symbola", "Segoe UI Emoji", "Segoe UI Symbol", "Unifont"),
)
"""Fonts that are searched for a character, in this order; fonts that are not installed are skipped.

Bitmap emoji fonts (Noto Color Emoji, Apple Color Emoji) are not listed, because matplotlib cannot draw them.
"""


def drawing(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in the house style, without changing the style of other figures."""

    @wraps(function)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib
        from matplotlib.font_manager import get_font_names

        installed = {*get_font_names()}
        fonts = [font for font in _FONTS if font in installed]
        with matplotlib.rc_context({**_STYLE, "font.family": fonts or ["sans-serif"]}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            return function(*args, **kwargs)

    return styled


def new_figure() -> "Figure":
    """An empty figure that makes room for its labels and does not belong to a window."""
    from matplotlib.figure import Figure

    return Figure(layout="constrained")


def label(text: str, width: float, most: int = 3) -> str:
    """Text as a label, with nothing interpreted as markup.

    Args:
        width: length of a line, characters.
        most: the most lines; the rest is cut off.
    """
    from rich.cells import cell_len

    clean = printable(text)
    narrow = max(1, int(width * len(clean) / max(1, cell_len(clean))))  # Chinese characters are twice as wide
    lines = [part for line in clean.split("\n") for part in textwrap.wrap(line, narrow) or [""]]
    shown = "\n".join(lines[:most]) + ("…" if len(lines) > most else "")
    return f"\u200b{shown}" if shown.startswith("_") else shown  # matplotlib's legends skip labels that begin with _


def make_room(figure: "Figure", lines: int) -> None:
    """Make a figure taller if its legend or note has more than the two lines that its size allows for."""
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0, lines - 2))


def wide(labels: Sequence[str]) -> float:
    """Width of the longest line of these labels in the house style, inches."""
    return 0.085 * max((len(line) for text in labels for line in text.split("\n")), default=0)


def legend(figure: "Figure", handles: Sequence[Any], labels: Sequence[str], most: int) -> None:
    """One legend above all panels, in at most `most` columns."""
    if not labels:
        return
    shown = [label(text, 10 * figure.get_figwidth() - 12) for text in labels]
    across = max(1, min(len(shown), most, int(figure.get_figwidth() / (wide(shown) + 0.65))))
    rows = [shown[at : at + across] for at in range(0, len(shown), across)]
    make_room(figure, sum(max(text.count("\n") + 1 for text in row) for row in rows))
    if across == 2 and len(shown) % 2 == 0:  # keep the order of the labels within rows
        order = [*range(0, len(shown), 2), *range(1, len(shown), 2)]
        handles, shown = [handles[at] for at in order], [shown[at] for at in order]
    figure.legend(handles, shown, loc="outside upper center", ncols=across)


def write_picture(figure: "Figure", folder: Path, name: str, kinds: tuple[str, ...] = ("svg", "png")) -> Path:
    """Write a figure as files of the given kinds.

    Returns:
        The path of the PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        figure.savefig(folder / f"{name}.{kind}", dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return folder / f"{name}.png"
