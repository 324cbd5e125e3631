"""Runs that are copied and packed: nothing is lost or overwritten, and a damaged log never gives numbers."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers import settings, simulate

from hustings import study
from hustings.errors import RecordError
from hustings.report import run, together
from hustings.runfolder import (
    EvaluationManifest,
    RunManifest,
    copy_run,
    pack,
    read_manifest,
    write_manifest,
)

SMALL = ("topic=racism", "rounds=1")
TABLES = ("attitudes.csv", "replies.csv", "agents.csv")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run, the same run with more repetitions, and another run. Tests only read them."""
    folder = tmp_path_factory.mktemp("runs")
    words = {"first": ("repetitions=1",), "more": ("repetitions=2",), "other": ("repetitions=1", "seed=7")}
    return {name: simulate(folder / name, *SMALL, *own).folder for name, own in words.items()}


@pytest.fixture
def copy(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the first run, to be damaged."""
    return Path(shutil.copytree(runs["first"], tmp_path / "copy"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(it.relative_to(folder)): it.read_bytes() for it in folder.rglob("*") if it.is_file()}


def alter(log: Path) -> None:
    """Change the numbers of survey answers in a log."""
    altered = log.read_text().replace('"expected":', '"expected":1')
    assert altered != log.read_text()
    log.write_text(altered)


@pytest.mark.parametrize("damage", [alter, Path.unlink])
def test_a_run_whose_log_is_not_that_of_its_manifest_is_not_packed(
    copy: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(copy / "events.jsonl")
    with pytest.raises(RecordError, match=r"copy: this run cannot be packed, because events\.jsonl changed or disapp"):
        pack(copy, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_no_table_is_made_from_a_damaged_log(copy: Path) -> None:
    alter(copy / "events.jsonl")
    (copy / "attitudes.csv").unlink()
    with pytest.raises(RecordError, match=r"events\.jsonl and attitudes\.csv are damaged or missing; restore"):
        study.load(copy)
    assert not (copy / "attitudes.csv").exists()


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda packed: packed[: len(packed) // 2], "ended before the end-of-stream marker"),
    "garbage": (lambda packed: b"garbage", "Not a gzipped file"),
    "flipped": (lambda packed: packed[:20] + b"\xff\xff\xff\xff" + packed[24:], ""),
    "not text": (lambda packed: gzip.compress(b"\xff\xfe"), "not the log of manifest.json"),
    "altered": (lambda packed: gzip.compress(gzip.decompress(packed).replace(b"0", b"1")), "not the log"),
}
"""What is done to a packed log, and what is said of it."""


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_packed_log_is_refused_and_not_unpacked(runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    damage, reason = DAMAGES[name]
    (packed,) = pack(runs["first"], tmp_path / "packed")
    log = packed / "events.jsonl.gz"
    whole = log.read_bytes()
    log.write_bytes(damage(whole))
    with pytest.raises(RecordError, match=rf"events\.jsonl\.gz: this packed log is damaged \(.*{reason}.*\); restore"):
        study.load(packed)
    log.write_bytes(whole)
    assert len(study.load(packed).replies) == 3


def test_a_packed_log_that_is_not_text_is_refused_without_hashes_too(runs: dict[str, Path], tmp_path: Path) -> None:
    (packed,) = pack(runs["first"], tmp_path / "packed")
    write_manifest(packed, read_manifest(packed, RunManifest).model_copy(update={"files": {}}))
    (packed / "events.jsonl.gz").write_bytes(gzip.compress(b"\xff\xfe\n"))
    with pytest.raises(RecordError, match=r"this packed log is damaged \('utf-8' codec can't decode"):
        study.load(packed)


def test_a_damaged_log_of_a_packed_run_is_unpacked_again(runs: dict[str, Path], tmp_path: Path) -> None:
    (packed,) = pack(runs["first"], tmp_path / "packed")
    right = study.load(packed).attitudes
    alter(packed / "events.jsonl")
    (packed / "attitudes.csv").unlink()
    pd.testing.assert_frame_equal(study.load(packed).attitudes, right)
    assert (packed / "events.jsonl").read_bytes() == (runs["first"] / "events.jsonl").read_bytes()


def test_more_repetitions_are_packed_into_a_folder_that_was_reported(runs: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "packed"
    pack(runs["first"], target)
    run.again(study.load(target))
    pack(runs["more"], target)
    assert {path.name for path in target.iterdir()} == {"manifest.json", "events.jsonl.gz"}
    assert len(run.again(study.load(target))) > 0
    for table in TABLES:
        assert (target / table).read_bytes() == (runs["more"] / table).read_bytes()


def test_a_run_is_copied_again_with_more_repetitions_and_from_its_packed_form(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    target = tmp_path / "copy"
    for name in ("first", "first", "more"):
        copy_run(runs[name], target)
        assert len(study.load(target).replies) == len(study.load(runs[name]).replies)
    (packed,) = pack(runs["more"], tmp_path / "packed")
    assert len(study.load(copy_run(packed, target)).replies) == 6


@pytest.mark.parametrize("write", [pack, copy_run])
@pytest.mark.parametrize("name", ["other", "more"])
def test_other_or_more_debates_are_not_overwritten(
    runs: dict[str, Path], tmp_path: Path, name: str, write: Callable[[Path, Path], object]
) -> None:
    target = Path(shutil.copytree(runs[name], tmp_path / "target"))
    before = contents(target)
    with pytest.raises(RecordError, match=r"target: this folder already has other results .* choose another folder"):
        write(runs["first"], target)
    assert contents(target) == before


def test_a_comparison_replaces_a_comparison_and_no_run(runs: dict[str, Path], copy: Path, tmp_path: Path) -> None:
    before = contents(copy)
    with pytest.raises(RecordError, match="copy: this folder already has other results"):
        together.compare([copy, runs["other"]], copy)
    assert contents(copy) == before
    for name in ("other", "more"):
        together.compare([runs["first"], runs[name]], tmp_path / "both")
    with pytest.raises(RecordError, match="both: this folder already has other results"):
        pack(copy, tmp_path / "both")


def test_a_sweep_is_packed_whole_or_not_at_all(runs: dict[str, Path], tmp_path: Path) -> None:
    for place, name in enumerate(("first", "other")):
        shutil.copytree(runs[name], tmp_path / "sweep" / str(place))
    together.compare([tmp_path / "sweep" / "0", tmp_path / "sweep" / "1"], tmp_path / "sweep")
    with pytest.raises(RecordError, match="cannot be packed into its own folder"):
        pack(tmp_path / "sweep", tmp_path / "sweep")
    for _ in range(2):
        assert len(pack(tmp_path / "sweep", tmp_path / "packed")) == 2
    alter(tmp_path / "sweep" / "1" / "events.jsonl")
    with pytest.raises(RecordError, match="1: this run cannot be packed"):
        pack(tmp_path / "sweep", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    with pytest.raises(RecordError, match="target: this folder already has other results"):
        pack(tmp_path / "packed", Path(shutil.copytree(runs["first"], tmp_path / "target")))


def test_an_evaluation_is_replaced_by_one_that_has_its_results(tmp_path: Path) -> None:
    def evaluated(name: str, *results: str) -> Path:
        manifest = EvaluationManifest(command=[], versions={}, settings=settings().model_dump(mode="json"), models={},
                                      results={"qwen": [*results]}, adapters=[], seconds=1.0, commit=None)  # fmt: skip
        write_manifest(tmp_path / name, manifest)
        return tmp_path / name

    small, large = evaluated("small", "../mmlu-1"), evaluated("large", "../mmlu-1", "../hellaswag-2")
    pack(small, tmp_path / "packed")
    pack(large, tmp_path / "packed")
    with pytest.raises(RecordError, match="packed: this folder already has other results"):
        pack(small, tmp_path / "packed")


def test_a_run_is_not_packed_into_its_own_folder(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copy)
    before = contents(copy)
    for target in (copy, tmp_path / "link"):
        with pytest.raises(RecordError, match=r"a run cannot be packed into its own folder; choose another folder"):
            pack(copy, target)
    assert contents(copy) == before


@pytest.mark.parametrize("write", [pack, copy_run])
def test_what_a_log_does_not_have_is_copied_and_packed(
    copy: Path, tmp_path: Path, write: Callable[[Path, Path], object]
) -> None:
    (copy / "perplexity.jsonl").write_text("{}\n")
    for folder, files in {"adapter": ("manifest.json", "weights.bin"), "annotation": ("ratings_anna.csv",)}.items():
        (copy / folder).mkdir()
        for file in files:
            (copy / folder / file).write_text("{}\n")
    target = tmp_path / "target"
    write(copy, target)
    assert {"perplexity.jsonl", "adapter/manifest.json", "annotation/ratings_anna.csv"} <= {*contents(target)}
    assert not (target / "adapter" / "weights.bin").exists()
    (target / "annotation" / "ratings_anna.csv").write_text("rated\n")
    write(copy, target)
    assert (target / "annotation" / "ratings_anna.csv").read_text() == "rated\n"
