"""What figures show: the scale of the instrument, and what was run."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tables import planted, study_of

from hustings.analysis import figures
from hustings.analysis.curves import curve
from hustings.analysis.figures import Look, ticks
from hustings.analysis.statistics import statistics


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
