"""Other life stories for the same names, and what a sweep over them leaves."""

from pathlib import Path

import pytest
from helpers import settings, simulate

from hustings import load, page
from hustings.debate.personas import Writer
from hustings.debate.prompts import Prompts
from hustings.errors import SettingsError
from hustings.files import read_table
from hustings.report import sets
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


def test_runs_that_differ_in_their_set_say_what_the_stories_change(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        simulate(tmp_path / str(number), "repetitions=4", "topic=racism", "rounds=1", f"personas.set={number}")
    runs = [tmp_path / str(number) / "run" for number in (1, 2, 3)]
    sets.write({str(run): load(run) for run in runs}, tmp_path)
    assert read_table(tmp_path / SETS)["sets"].tolist() == [3, 3]
    html = page.write(runs, tmp_path / REPORT).read_text(encoding="utf-8")
    assert "How much of it is the life stories?" in html
    assert "Over 3 sets of life stories, Democrat agents ended" in html
    assert "life stories 2" in html
    assert len({load(run).manifest.debates["racism"] for run in runs}) == 3
