"""One flipped byte, and a file cut in the middle, everywhere: noticed, made again or harmless, never a wrong number."""

import random
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import settings
from soak.figures import DRAW, LONG, note

from hustings import pipeline, study
from hustings.errors import HustingsError
from hustings.report import run as reports
from hustings.runfolder import RunManifest, read_manifest

WORDS = ("repetitions=2", "topic=racism", "rounds=1")
FLIPS = 6 if LONG else 1
"""Of each file."""


def make(folder: Path) -> Path:
    """A finished run and its store; played again, it is only put together."""
    of = settings(f"artifacts={folder / 'artifacts'}", *WORDS)
    pipeline.simulate(of, pipeline.Launch(folder / "run", ["simulate.py"], None, sweep=False))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("whole"))


def damages(path: Path) -> list[bytes]:
    """Contents that are not the file's: other bytes in one place, and its first half."""
    content = path.read_bytes()
    found = [content[: len(content) // 2]] if content else []
    for _ in range(FLIPS if content else 0):
        place = DRAW.randrange(len(content))
        other = DRAW.choice([content[place] ^ 1 << DRAW.randrange(8), ord(DRAW.choice("0123456789,"))])
        found.append(content[:place] + bytes([other]) + content[place + 1 :])
    return [it for it in found if it != content]


def some(files: list[Path], number: int) -> list[Path]:
    """All of them in the long version."""
    return files if LONG else sorted(random.Random(1).sample(files, min(number, len(files))))


TABLES = ("attitudes.csv", "replies.csv", "agents.csv", "statistics.csv", "events.jsonl")


def test_damage_to_any_file_of_the_store_is_noticed_or_made_again(whole: Path, tmp_path: Path) -> None:
    files = sorted(it for it in (whole / "artifacts").rglob("*") if it.is_file() and it.name != ".lock")
    noticed = tried = 0
    for file in some(files, 5):
        for content in damages(file):
            folder = tmp_path / "copy"
            shutil.copytree(whole, folder)
            (folder / file.relative_to(whole)).write_bytes(content)
            tried += 1
            try:
                make(folder)
            except HustingsError as error:
                assert str(folder) in str(error), error
                assert "\n" not in str(error)
                noticed += 1
            else:
                for name in TABLES:
                    assert (folder / "run" / name).read_bytes() == (whole / "run" / name).read_bytes(), file
            shutil.rmtree(folder)
    note("damaged files of a store", tried, f"{noticed} noticed, the others without effect; no wrong number")


def test_damage_to_any_file_of_a_run_is_noticed_or_made_again(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(it for it in (whole / "run").rglob("*") if it.is_file())
    right, again = study.load(whole / "run"), tmp_path / "again"
    shutil.copytree(whole / "run", again)
    reports.again(study.load(again))
    drawn = {it.relative_to(again): it.read_bytes() for it in again.rglob("*.csv")}
    noticed = mended = tried = 0
    for file in some(files, 3):
        for content in damages(file):
            folder = tmp_path / "run"
            shutil.copytree(whole / "run", folder)
            damaged = folder / file.relative_to(whole / "run")
            damaged.write_bytes(content)
            tried += 1
            try:
                found = study.load(folder)
                for name in ("attitudes", "replies", "agents"):
                    pd.testing.assert_frame_equal(getattr(found, name), getattr(right, name))
                assert found.manifest == read_manifest(whole / "run", RunManifest)
                if found.statistics is not None:
                    pd.testing.assert_frame_equal(found.statistics, right.statistics)
                if damaged.suffix in (".csv", ".svg", ".png"):
                    reports.again(found)
                    assert damaged.read_bytes() != content or damaged.name == "report.html"
                    assert {it.relative_to(folder): it.read_bytes() for it in folder.rglob("*.csv")} == drawn
                mended += "Warning" in capsys.readouterr().err
            except HustingsError as error:
                assert str(folder) in str(error), error
                noticed += 1
            shutil.rmtree(folder)
    said = f"{noticed} refused, {mended} made again with a warning, the others derived and drawn anew; no wrong number"
    note("damaged files of a run", tried, said)
