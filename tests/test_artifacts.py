"""The store: one folder per identity, held by one process, sealed, verified."""

import errno
import json
from pathlib import Path

import pytest

from hustings.artifacts import MANIFEST, Place, artifacts, locked, peek, rows
from hustings.errors import ArtifactError, BusyError
from hustings.files import JsonLines, write_atomically
from hustings.identity import identity

OF = {"seed": 1, "text": "ü"}


def at(root: Path) -> Place:
    return Place(root, "debates", "m-x", OF)


def make(root: Path, content: str = "one\n") -> Path:
    with locked(at(root), wait=False) as artifact:
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
    assert (manifest["v"], manifest["kind"], manifest["id"]) == (2, "debates", identity(OF))
    assert (manifest["state"], manifest["of"], manifest["promise"]) == ("sealed", OF, "none")
    assert manifest["files"] == {"events.jsonl": "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"}


def test_a_sealed_artifact_opens_again_and_can_grow(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with locked(at(tmp_path), wait=False) as artifact:
        assert (artifact.growing, artifact.manifest["promise"]) == (False, "none")
        artifact.grow(promise="none")
        assert state(folder) == "growing"
        (folder / "events.jsonl").write_text("one\ntwo\n")
    with locked(at(tmp_path), wait=False) as artifact:
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
    with pytest.raises(ArtifactError, match=said), locked(at(tmp_path), wait=False):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"v":1}', '{"files":[]}'])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (make(tmp_path) / MANIFEST).write_text(text)
    with (
        pytest.raises(ArtifactError, match=r"manifest\.json: the manifest is damaged; delete"),
        locked(at(tmp_path), wait=False),
    ):
        pass


def test_what_one_process_has_locked_no_other_gets(tmp_path: Path) -> None:
    with (
        locked(at(tmp_path), wait=False),
        pytest.raises(BusyError, match=r"another process is writing these debates; .* nothing is lost"),
        locked(at(tmp_path), wait=False),
    ):
        pass


def test_an_artifact_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"), locked(at(tmp_path), wait=False):
        raise KeyError("mine")
    assert make(tmp_path).exists()


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ArtifactError, match=r"the artifact store cannot be written.*artifacts=…"),
        locked(at(tmp_path / "file"), wait=False),
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


def lines(root: Path) -> list[bytes]:
    with rows(at(root), "rows.jsonl", wait=False) as found:
        return [line for _, line in found.read()]


def test_rows_are_kept_as_they_are_added_and_sealed_at_the_end(tmp_path: Path) -> None:
    with rows(at(tmp_path), "rows.jsonl", wait=False) as found:
        assert list(found.read()) == []
        found.append('{"a":1}')
        assert (peek(at(tmp_path)).growing, found.path.read_text()) == (True, '{"a":1}\n')
        found.append('{"a":2}')
    assert state(at(tmp_path).folder) == "sealed"
    assert lines(tmp_path) == [b'{"a":1}\n', b'{"a":2}\n']


def test_rows_that_an_error_stopped_stay_unsealed_and_go_on(tmp_path: Path) -> None:
    with pytest.raises(KeyError), rows(at(tmp_path), "rows.jsonl", wait=False) as found:
        found.append("1")
        raise KeyError
    assert state(at(tmp_path).folder) == "growing"
    with found.path.open("a") as file:
        file.write("half a li")
    with rows(at(tmp_path), "rows.jsonl", wait=False) as found:
        assert [line for _, line in found.read()] == [b"1\n"]
        found.append("2")
    assert lines(tmp_path) == [b"1\n", b"2\n"]


def test_reading_rows_writes_nothing(tmp_path: Path) -> None:
    with rows(at(tmp_path), "rows.jsonl", wait=False) as found:
        found.append("1")
    stamps = {path: path.stat().st_mtime_ns for path in at(tmp_path).folder.iterdir()}
    assert lines(tmp_path) == [b"1\n"]
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_artifacts_of_a_kind_are_listed_and_damaged_ones_passed_over(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / "debates" / "broken").mkdir()
    (tmp_path / "debates" / "broken" / MANIFEST).write_text("{")
    assert [(it["folder"], it["of"]) for it in artifacts(tmp_path, "debates")] == [(folder.name, OF)]
    assert list(artifacts(tmp_path, "personas")) == []


def test_a_file_of_lines_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere/rows\.jsonl: this file cannot be opened .*No such file"):
        JsonLines(tmp_path / "nowhere" / "rows.jsonl")


def test_a_manifest_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path)

    def refused(path: Path, **_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(
        ArtifactError, match=r"manifest\.json: this file cannot be read or written \(Permission denied\)"
    ):
        peek(at(tmp_path))
    assert folder.exists()
