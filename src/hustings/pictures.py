"""Pictures in the house style: made, and written as files. It does not know what is in them.

Labels are text: a `$` is no formula, and characters that no font has are boxes. A user's own settings of matplotlib
stay as they were.
"""

import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

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
"""Fonts that are looked through for a character, in this order; those that are not installed are passed over.

No emoji in bitmaps (Noto Color Emoji, Apple Color Emoji): matplotlib cannot draw them.
"""


def drawing(function: Callable[P, R]) -> Callable[P, R]:
    """A function that draws in the house style, without changing the style of other figures."""

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
    """An empty figure; it belongs to no window."""
    from matplotlib.figure import Figure

    return Figure()


def write_picture(figure: "Figure", folder: Path, name: str, kinds: tuple[str, ...] = ("svg", "png")) -> Path:
    """Write a figure as files of these kinds.

    Returns:
        The PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        figure.savefig(folder / f"{name}.{kind}", dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return folder / f"{name}.png"
