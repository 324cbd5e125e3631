"""`experiment=multiverse`: a bounded part of the grid is played, and ends in a specification curve."""

from pathlib import Path

from helpers import cli, simulate

from hustings import load, page
from hustings.files import read_table
from hustings.report import multiverse, naming
from hustings.report.multiverse import SPECIFICATIONS, SUMMARY
from hustings.runfolder import FIGURES, REPORT

WORDS = ("experiment=multiverse", "engine=planted", "topic=racism", "dry_run=true", "hydra.sweep.dir=sweep")


def test_a_part_of_the_grid_is_played(tmp_path: Path) -> None:
    done = cli(tmp_path, *WORDS, "hydra.callbacks.sweep.specifications=4")
    assert done.returncode == 0, done.stderr
    assert "4 of 288 specifications, drawn with seed 1." in done.stderr
    assert done.stdout.count("debates to play") == 4


def test_one_specification_is_no_multiverse(tmp_path: Path) -> None:
    done = cli(tmp_path, *WORDS, "hydra.callbacks.sweep.specifications=1")
    assert done.returncode != 0
    assert "specifications=1: must be a whole number from 2 on" in done.stderr


def test_topics_are_no_choice_of_a_multiverse(tmp_path: Path) -> None:
    done = cli(tmp_path, *WORDS, "topic=racism,gun_violence")
    assert done.returncode == 2 and "write topic=[racism,gun_violence] to play several" in done.stderr
    assert "Traceback" not in done.stderr


def test_specifications_end_in_a_curve_and_shares_of_variance(tmp_path: Path) -> None:
    cells = [("paper", "1"), ("paper", "2"), ("conversation", "1"), ("conversation", "2")]
    runs = [tmp_path / "sweep" / str(place) for place in range(4)]
    for run, (prompt, seed) in zip(runs, cells, strict=True):
        simulate(tmp_path / run.name, "repetitions=3", "topic=racism", "rounds=1", f"prompt={prompt}", f"seed={seed}")
        run.parent.mkdir(exist_ok=True)
        (tmp_path / run.name / "run").rename(run)
    sweep = tmp_path / "sweep"
    studies = {run.name: load(run) for run in runs}
    look = naming.look(studies["0"])
    multiverse.write(studies, look, sweep)
    assert not (sweep / SUMMARY).exists()
    multiverse.plan(sweep, ["prompt", "seed"], 8)
    multiverse.write(studies, look, sweep)
    table = read_table(sweep / SPECIFICATIONS)
    assert table.groupby("role").size().to_dict() == {"democrat": 4, "republican": 4}
    assert [*zip(table["prompt"][::2], table["seed"][::2].astype(str), strict=True)] == cells
    assert (sweep / FIGURES / "specification_curve_racism.png").stat().st_size > 10_000
    found = read_table(sweep / SUMMARY)
    mine = found[found["role"] == "democrat"].set_index(["measure", "choice"])["estimate"]
    assert mine["variance", "seed"] > 0.99 > 0.01 > mine["variance", "prompt"]  # planted debates follow the seed alone
    html = page.write(runs, sweep / REPORT).read_text(encoding="utf-8")
    assert "Does it hold whatever should not matter?" in html
    assert html.index('<th scope="row">seed</th>') < html.index('<th scope="row">prompt</th>')
    assert "Over 4 specifications, closing of Democrat agents on racism has a median of" in html
