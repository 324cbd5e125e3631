"""What figures show: the scale of the instrument, and what was run."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tables import POLES, planted, study_of

from hustings.analysis import figures
from hustings.analysis.curves import curve, gaps
from hustings.analysis.figures import Look, ticks
from hustings.analysis.statistics import statistics
from hustings.files import read_table
from hustings.pictures import drawing
from hustings.plain import printable


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures, as they are saved."""
    saved: list[Any] = []
    save = figures.save
    monkeypatch.setattr(figures, "save", lambda figure, *rest: (saved.append(figure), save(figure, *rest))[1])
    return saved


def squeezed() -> pd.DataFrame:
    """Attitudes on 1 … 5."""
    table = planted(debates=5)
    return table.assign(expected=1 + 0.4 * table["expected"])


def test_axes_show_the_scale_of_the_instrument(drawn: list[Any], tmp_path: Path) -> None:
    study = study_of(squeezed(), values=(1, 2, 3, 4, 5))
    figures.curves(curve(study), Look.of(study), tmp_path, "curves")
    (panel,) = drawn[0].axes
    assert panel.get_ylim() == pytest.approx((0.84, 5.16))
    assert panel.get_yticks().tolist() == [1, 2, 3, 4, 5]
    assert panel.get_ylabel() == "Attitude\n1 = no, 5 = very"


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ((0.0, 10.0), [0, 2, 4, 6, 8, 10]),
        ((1.0, 7.0), [1, 2, 3, 4, 5, 6, 7]),
        ((-3.0, 3.0), [-3, -2, -1, 0, 1, 2, 3]),
        ((0.0, 100.0), [0, 20, 40, 60, 80, 100]),
        ((0.0, 1.0), [0, 0.25, 0.5, 0.75, 1]),
    ],
)
def test_ticks_run_from_end_to_end(scale: tuple[float, float], expected: list[float]) -> None:
    assert ticks(scale) == expected


@pytest.mark.parametrize(("runs", "panels"), [(1, 1), (2, 1), (4, 4)])
def test_two_runs_share_panels_and_more_have_a_row_each(
    runs: int, panels: int, drawn: list[Any], tmp_path: Path
) -> None:
    study = study_of(planted(debates=3))
    table = pd.concat([curve(study).assign(run=f"run {place}") for place in range(runs)])
    figures.curves(table, Look.of(study), tmp_path, "curves")
    assert len(drawn[0].axes) == panels
    assert {file.name for file in tmp_path.iterdir()} == {"curves.csv", "curves.png", "curves.svg"}


def test_the_caption_says_what_was_run_and_what_is_shown() -> None:
    assert Look.of(study_of(planted(debates=2))).caption == "planted, x; expected values,"
    assert Look.of(study_of(planted(debates=2), outcome="score")).caption == "planted, x; scores,"
    assert (
        Look.of(study_of(planted(debates=2), control="retest")).caption
        == "planted, x, control retest; expected values,"
    )


def lines(panel: Any) -> dict[str, Any]:
    """The lines of a panel by what they are called in the legend."""
    return {box.get_label(): box.lines[0] for box in panel.containers}


def test_the_shadow_is_a_dashed_grey_line(drawn: list[Any], tmp_path: Path) -> None:
    study = study_of(planted(debates=3))
    figures.curves(curve(study), Look.of(study), tmp_path, "curves")
    named = lines(drawn[0].axes[0])
    assert set(named) == {"Democrat", "Republican", "Default", "shadow Default"}
    assert named["shadow Default"].get_color() == figures.SHADOW_COLOUR
    assert {name for name, line in named.items() if line.is_dashed()} == {"shadow Default"}


def test_the_forest_is_of_closing_and_the_pulls_are_model_against_social(drawn: list[Any], tmp_path: Path) -> None:
    study = study_of(planted(debates=12))
    table = statistics(study, beside=False)
    look = Look.of(study)
    figures.forest(table[table["statistic"] == "closing"], look, tmp_path, "forest")
    assert "shadow Default" in drawn[0].axes[0].get_xlabel()
    figures.pulls(table[table["statistic"].isin(("social_pull", "model_pull"))], look, tmp_path, "pulls")
    beta = table.loc[table["statistic"] == "model_pull", "estimate"].iloc[0]
    assert drawn[1].axes[0].containers[0].lines[0].get_xdata().tolist() == [beta]
    assert "which survey noise inflates" in drawn[1].texts[0].get_text().replace("\n", " ")


ODD = (
    "from $12 to $15",
    "big $$ in politics", "$x$", "$\\frac{1", "100 % a_b^c \\alpha {{x}}", "_hidden", "a\nb", "\x00\t|",
    "中文 😀 \ue000 अ", "<b>&amp;</b>", "https://x.y/" + "a" * 200, "a long label " * 20,
)  # fmt: skip
"""Labels that matplotlib, a font or a figure's layout could take for something else than text."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("odd", [ODD[:4], ODD[4:8], ODD[8:]], ids=["mathematics", "marks", "long and foreign"])
def test_labels_are_text_and_fit_into_the_figure(odd: Sequence[str], drawn: list[Any], tmp_path: Path) -> None:
    study = study_of(planted(debates=3))
    plain = Look.of(study)
    look = replace(
        plain,
        labels=dict(zip(plain.labels, odd, strict=True)),
        topics={"racism": odd[0]},
        ends={"racism": (odd[1], odd[2])},
        caption=" ".join(odd),
    )
    table = statistics(study, beside=False)
    figures.curves(curve(study), look, tmp_path, "curves")
    figures.forest(table[table["statistic"] == "closing"], look, tmp_path, "forest")
    gap = {"topic": "racism", "high_party": "democrat", "low_party": "republican", "n": 3, "humans": 4, "start": 9}
    figures.gaps(pd.DataFrame([{**gap, "end": 60.0}]), look, odd[3], tmp_path, "gaps")
    figures.pulls(table[table["statistic"].isin(("social_pull", "model_pull"))], look, tmp_path, "pulls")
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert all(any(shows(name, text) for name in names) for text in odd)
    assert shows(drawn[0].axes[0].get_title(), odd[0])
    for figure, name in zip(drawn, ("curves", "forest", "gaps", "pulls"), strict=True):
        written = "".join(ElementTree.parse(tmp_path / f"{name}.svg").getroot().itertext())
        assert squeezed_text(" ".join(odd)) in squeezed_text(written)
        assert_fits(figure)


@drawing
def assert_fits(figure: Any) -> None:
    """No label ends outside of the figure, and panels have room."""
    FigureCanvasAgg(figure).draw()
    assert all(panel.get_position().width > 0.3 or len(figure.axes) > 1 for panel in figure.axes)
    shown = [figure._supxlabel, *(text for legend in figure.legends for text in legend.get_texts())]
    for panel in figure.axes:
        assert panel.bbox.height > 100
        low, high = sorted(panel.get_ylim())
        ticks = (text for text in panel.get_yticklabels() if low <= text.get_position()[1] <= high)
        shown += [panel.title, panel.xaxis.label, panel.yaxis.label, *ticks]
    for text in filter(lambda it: it.get_text(), shown):
        box, whole = text.get_window_extent(), figure.bbox
        across = whole.x0 - 1 <= box.x0 and box.x1 <= whole.x1 + 1
        assert across and whole.y0 - 1 <= box.y0 and box.y1 <= whole.y1 + 1, text.get_text()


def shows(label: str, text: str) -> bool:
    """Whether a label is a text, or the beginning of one that is too long."""
    seen, whole = squeezed_text(label).casefold(), squeezed_text(text).casefold()
    return seen.startswith(whole) or (seen.endswith("…") and whole.startswith(seen[:-1]) and len(seen) > 60)


def squeezed_text(text: str) -> str:
    """What is seen of a text, wherever its lines end."""
    return re.sub(r"\s", "", printable(text).replace("\u200b", ""))


def test_many_runs_with_long_names_fit_into_the_forest_and_the_curves(drawn: list[Any], tmp_path: Path) -> None:
    study = study_of(planted(debates=3))
    names = [f"composition echo_{it}, adapter republican_nwp_r8_s{it}-0123456789ab, alpha 0.{it}" for it in range(5)]
    table = statistics(study, beside=False)
    closing = table[table["statistic"] == "closing"]
    figures.forest(pd.concat([closing.assign(run=name) for name in names]), Look.of(study), tmp_path, "forest")
    figures.curves(pd.concat([curve(study).assign(run=name) for name in names]), Look.of(study), tmp_path, "curves")
    for figure in drawn:
        assert_fits(figure)


def test_a_users_own_style_and_other_figures_stay_as_they_were(tmp_path: Path) -> None:
    import matplotlib

    study = study_of(planted(debates=2))
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30.0}):
        before = dict(matplotlib.rcParams)
        figures.curves(curve(study), Look.of(study), tmp_path, "curves")
        assert dict(matplotlib.rcParams) == before


def test_three_parties_have_a_row_for_each_two_at_different_ends(drawn: list[Any], tmp_path: Path) -> None:
    first = {"republican": 2.0, "democrat": 9.0, "green": 9.5, "default": 6.0}
    table = planted(debates=4, first=first)
    poles = {**POLES, ("green", "racism"): "high"}
    share = {"republican": {"racism": 14}, "democrat": {"racism": 55}, "green": {"racism": 70}}
    study = study_of(table, poles=poles, humans={"source": "a poll", "share": share})
    found = gaps(study)
    assert found[["high_party", "low_party", "humans"]].to_numpy().tolist() == [
        ["democrat", "republican", 41.0], ["green", "republican", 56.0]]  # fmt: skip
    figures.gaps(found, Look.of(study), "a poll", tmp_path, "gaps")
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == [
        "Racism: Democrat – Republican", "Racism: Green – Republican"]  # fmt: skip
    pd.testing.assert_frame_equal(read_table(tmp_path / "gaps.csv"), found, check_dtype=False)
