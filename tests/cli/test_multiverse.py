"""`experiment=multiverse`: a bounded part of the grid is played, and ends in a specification curve."""

from pathlib import Path

from helpers import cli, hustings

from hustings.files import read_table
from hustings.report.multiverse import SPECIFICATIONS, SUMMARY
from hustings.runfolder import FIGURES, REPORT

FEW = ("experiment=multiverse", "engine=planted", "topic=racism", "repetitions=2", "rounds=1", "instrument=paper")


def test_a_multiverse_is_a_part_of_the_grid_and_ends_in_a_curve(tmp_path: Path) -> None:
    words = (*FEW, "hydra.callbacks.sweep.specifications=8", "hydra.sweep.dir=sweep")
    done = cli(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "8 of 144 specifications, drawn with seed 1." in done.stderr
    sweep = tmp_path / "sweep"
    assert sorted(it.name for it in sweep.iterdir() if it.name.isdigit()) == [str(it) for it in range(8)]
    table = read_table(sweep / SPECIFICATIONS)
    assert table.groupby("role").size().to_dict() == {"democrat": 8, "republican": 8}
    choices = ["prompt", "prompt.scale", "prompt.system", "sampling.max_tokens", "personas.set", "seed"]
    assert [*table.columns[8:]] == choices
    assert table[choices].drop_duplicates().shape[0] == 8
    assert (sweep / FIGURES / "specification_curve_racism.png").stat().st_size > 10_000
    html = (sweep / REPORT).read_text(encoding="utf-8")
    assert "Does it hold whatever should not matter?" in html
    assert '<th scope="row">personas.set</th>' in html
    assert "Over 8 specifications, closing of Democrat agents on racism has a median of" in done.stdout
    measures = read_table(sweep / SUMMARY)["measure"]
    assert {*measures} == {"median", "same_sign", "variance", "unexplained", "sampling"}
    (sweep / SUMMARY).unlink()
    assert hustings("report", str(sweep)).returncode == 0
    assert read_table(sweep / SUMMARY)["measure"].tolist() == measures.tolist()


def test_one_specification_is_no_multiverse(tmp_path: Path) -> None:
    done = cli(tmp_path, *FEW, "hydra.callbacks.sweep.specifications=1")
    assert done.returncode != 0
    assert "a multiverse has at least 2 of them" in done.stderr
