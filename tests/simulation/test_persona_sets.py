"""Other life stories for the same names, and what a sweep over them leaves."""

from pathlib import Path

import pytest
from helpers import cli, settings

from hustings import load
from hustings.debate.personas import Writer
from hustings.debate.prompts import Prompts
from hustings.errors import SettingsError
from hustings.files import read_table
from hustings.runfolder import REPORT, SETS


def writer(number: int) -> Writer:
    of = settings(f"personas.set={number}")
    return Writer(of.society, Prompts(of.prompt), of.personas, of.seed)


def test_another_set_has_other_seeds_and_another_identity_and_the_first_has_those_of_before() -> None:
    one, two, three = writer(1), writer(2), writer(3)
    requests = [it.request("democrat", 0, 0) for it in (one, two, three)]
    assert len({it.seed for it in requests}) == 3
    assert len({it.prompt for it in requests}) == 1
    assert "set" not in one.substance("democrat")["personas"]
    assert two.substance("democrat") != three.substance("democrat") != one.substance("democrat")


def test_a_set_of_stories_in_a_file_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"personas.set=2: the stories are those of personas.file='mine.jsonl'"):
        settings("personas.file=mine.jsonl", "personas.set=2")


def test_a_sweep_over_sets_says_what_the_stories_change(tmp_path: Path) -> None:
    words = ("-m", "engine=planted", "topic=racism", "repetitions=4", "rounds=1", "personas.set=1,2,3")
    done = cli(tmp_path, *words, "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert "Over 3 sets of life stories, Democrat agents ended" in done.stdout
    assert read_table(tmp_path / "sweep" / SETS)["sets"].tolist() == [3, 3]
    html = (tmp_path / "sweep" / REPORT).read_text(encoding="utf-8")
    assert "How much of it is the life stories?" in html
    assert "life stories 2" in html
    debates = {load(tmp_path / "sweep" / str(job)).manifest.debates["racism"] for job in range(3)}
    assert len(debates) == 3
