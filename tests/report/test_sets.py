"""What a sweep over sets of life stories leaves: a row for every topic, and groups that are told apart."""

import itertools
from pathlib import Path

import pandas as pd
import pytest
from helpers import simulate

from hustings.report import sets
from hustings.report.sets import groups
from hustings.study import Study, load


def run(folder: Path, *overrides: str) -> Study:
    simulate(folder, "rounds=1", *overrides)
    return load(folder / "run")


def test_topics_and_controls_have_rows_and_sentences_of_their_own(tmp_path: Path) -> None:
    studies: dict[str, Study] = {}
    for control, topic, number in itertools.product(("none", "retest"), ("racism", "gun_violence"), (1, 2)):
        name = f"{control}-{topic}-{number}"
        words = (f"control={control}", f"topic={topic}", f"personas.set={number}", "repetitions=2")
        studies[name] = run(tmp_path / name, *words)
    sets.write(studies, tmp_path)
    table = pd.read_csv(tmp_path / "sets.csv")
    assert [*table.columns[:4]] == ["run", "statistic", "topic", "role"]
    assert [*table[["run", "topic", "role"]].itertuples(index=False, name=None)] == [
        *itertools.product(("debate", "control retest"), ("gun_violence", "racism"), ("democrat", "republican"))
    ]
    said = [row["sentence"] for row in sets.read(tmp_path)]
    assert len({*said}) == 8
    assert said[0].startswith("Over 2 sets of life stories (debate), Democrat agents ended ")
    assert said[-1].startswith("Over 2 sets of life stories (control retest), Republican agents ended ")


def test_runs_that_differ_only_in_repetitions_are_in_groups_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = {
        f"{number}-{repetitions}": run(
            tmp_path / f"{number}-{repetitions}",
            "topic=racism",
            f"personas.set={number}",
            f"repetitions={repetitions}",
        )
        for number, repetitions in ((1, 2), (2, 2), (1, 3), (2, 3), (1, 4))
    }
    capsys.readouterr()
    assert {name: [*group] for name, group in groups(studies).items()} == {
        "repetitions 2": ["1-2", "2-2"],
        "repetitions 3": ["1-3", "2-3"],
    }
    assert capsys.readouterr().err.splitlines() == [
        "1-4: left out of the results on life stories, as no run with another set of life stories has as many "
        "repetitions."
    ]
    uneven = {name: studies[name] for name in ("1-2", "2-3")}
    assert groups(uneven) == {"": uneven}
    twice = {**uneven, "again": studies["1-4"]}
    assert groups(twice) == {"": uneven}
    assert "again: left out of the results on life stories, where an earlier run" in capsys.readouterr().err
