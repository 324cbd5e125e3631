"""`experiment=multiverse`: a bounded part of the grid is played, and ends in a specification curve."""

from pathlib import Path

from helpers import cli

from hustings.files import read_table
from hustings.report.multiverse import SPECIFICATIONS, SUMMARY
from hustings.runfolder import FIGURES, REPORT

FEW = ("experiment=multiverse", "engine=planted", "topic=racism", "repetitions=2", "rounds=1", "instrument=paper")


def test_a_multiverse_is_a_part_of_the_grid_and_ends_in_a_curve(tmp_path: Path) -> None:
    words = (*FEW, "hydra.callbacks.sweep.specifications=4", "hydra.sweep.dir=sweep")
    done = cli(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "4 of 144 specifications, drawn with seed 1." in done.stderr
    sweep = tmp_path / "sweep"
    assert sorted(it.name for it in sweep.iterdir() if it.name.isdigit()) == [str(it) for it in range(4)]
    table = read_table(sweep / SPECIFICATIONS)
    assert table.groupby("role").size().to_dict() == {"democrat": 4, "republican": 4}
    choices = ["prompt", "prompt.scale", "prompt.system", "sampling.max_tokens", "personas.set", "seed"]
    assert [*table.columns[8:]] == choices
    assert table[choices].drop_duplicates().shape[0] == 4
    assert (sweep / FIGURES / "specification_curve_racism.png").stat().st_size > 10_000
    html = (sweep / REPORT).read_text(encoding="utf-8")
    assert "Does it hold whatever should not matter?" in html
    assert '<th scope="row">personas.set</th>' in html
    assert "Over 4 specifications, closing of Democrat agents on racism has a median of" in done.stdout
    measures = read_table(sweep / SUMMARY)["measure"]
    assert {*measures} == {"median", "same_sign", "variance", "unexplained", "sampling"}


def test_one_specification_is_no_multiverse(tmp_path: Path) -> None:
    done = cli(tmp_path, *FEW, "hydra.callbacks.sweep.specifications=1")
    assert done.returncode != 0
    assert "specifications=1: must be a whole number from 2 on" in done.stderr
