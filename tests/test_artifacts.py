"""The store: one folder per identity, held by one process, sealed, verified."""

import json
from pathlib import Path

import pytest

from hustings.artifacts import MANIFEST, held, write_atomically
from hustings.errors import ArtifactError, BusyError
from hustings.identity import identity

OF = {"seed": 1, "text": "ü"}


def make(root: Path, content: str = "one\n") -> Path:
    with held(root, "debates", "m-x", OF, wait=False) as artifact:
        artifact.grow(promise="none")
        (artifact.folder / "events.jsonl").write_text(content)
        artifact.seal()
    return artifact.folder


def state(folder: Path) -> str:
    return json.loads((folder / MANIFEST).read_text())["state"]


def test_a_folder_is_named_by_what_it_is_of(tmp_path: Path) -> None:
    assert make(tmp_path) == tmp_path / "debates" / f"m-x-{identity(OF)}"
    assert [path.name for path in (tmp_path / "debates").iterdir()] == [f"m-x-{identity(OF)}"]


def test_a_manifest_says_what_the_artifact_is_made_from_and_holds(tmp_path: Path) -> None:
    manifest = json.loads((make(tmp_path) / MANIFEST).read_text())
    assert (manifest["v"], manifest["kind"], manifest["id"]) == (1, "debates", identity(OF))
    assert (manifest["state"], manifest["of"], manifest["promise"]) == ("sealed", OF, "none")
    assert manifest["files"] == {"events.jsonl": "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"}


def test_a_sealed_artifact_opens_again_and_can_grow(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with held(tmp_path, "debates", "m-x", OF, wait=False) as artifact:
        assert (artifact.growing, artifact.manifest["promise"]) == (False, "none")
        artifact.grow(promise="none")
        assert state(folder) == "growing"
        (folder / "events.jsonl").write_text("one\ntwo\n")
    with held(tmp_path, "debates", "m-x", OF, wait=False) as artifact:
        assert artifact.growing
        artifact.seal()
    assert state(folder) == "sealed"
    assert make(tmp_path, "one\ntwo\n") == folder


@pytest.mark.parametrize("change", ["write", "delete"])
def test_a_sealed_file_that_changed_is_refused(tmp_path: Path, change: str) -> None:
    file = make(tmp_path) / "events.jsonl"
    if change == "write":
        file.write_text("One\n")
        said = r"events\.jsonl: this file was changed after it was sealed.*restore the file, or delete"
    else:
        file.unlink()
        said = r"events\.jsonl: this file is missing.*restore the file, or delete"
    with pytest.raises(ArtifactError, match=said), held(tmp_path, "debates", "m-x", OF, wait=False):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"v":1}', '{"files":[]}'])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (make(tmp_path) / MANIFEST).write_text(text)
    with (
        pytest.raises(ArtifactError, match=r"manifest\.json: the manifest is damaged; delete"),
        held(tmp_path, "debates", "m-x", OF, wait=False),
    ):
        pass


def test_what_one_holds_nobody_else_gets(tmp_path: Path) -> None:
    with (
        held(tmp_path, "debates", "m-x", OF, wait=False),
        pytest.raises(BusyError, match=r"another process is writing these debates; .* nothing is lost"),
        held(tmp_path, "debates", "m-x", OF, wait=False),
    ):
        pass


def test_an_artifact_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"), held(tmp_path, "debates", "m-x", OF, wait=False):
        raise KeyError("mine")
    assert make(tmp_path).exists()


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ArtifactError, match=r"the artifact store cannot be written.*artifacts=…"),
        held(tmp_path / "file", "debates", "m-x", OF, wait=False),
    ):
        pass


def test_a_text_is_replaced_whole_and_leaves_no_part(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.csv"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text() == "two"
    assert [other.name for other in path.parent.iterdir()] == ["a.csv"]


def test_a_text_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"file/a\.csv: this file cannot be written"):
        write_atomically(tmp_path / "file" / "a.csv", "one")
