"""Where runs are: behind symbolic links, copied elsewhere, started from other folders."""

import shutil
from pathlib import Path

import pandas as pd
from helpers import cli, hustings

import hustings as library

SMALL = ("engine=planted", "topic=racism", "rounds=1")


def test_runs_behind_a_symbolic_link_and_copies_of_them_are_whole(tmp_path: Path) -> None:
    here, disk = tmp_path / "here", tmp_path / "elsewhere" / "disk"
    here.mkdir()
    disk.mkdir(parents=True)
    (here / "multirun").symlink_to(disk, target_is_directory=True)
    done = cli(here, "-m", *SMALL, "repetitions=1,2")
    assert done.returncode == 0, done.stderr
    assert [path for path in disk.rglob("*") if path.is_symlink()] == []
    copy = tmp_path / "copy"
    shutil.copytree(here / done.stdout.splitlines()[-1].removeprefix("run: "), copy, symlinks=True)
    shutil.rmtree(here)
    shutil.rmtree(disk)
    assert len(library.load(copy / "1").replies) == 6
    assert len((copy / "1" / "events.jsonl").read_text().splitlines()) > 6
    shown = hustings("report", str(copy))
    assert shown.returncode == 0, shown.stderr
    assert len(pd.read_csv(copy / "comparison.csv"))
