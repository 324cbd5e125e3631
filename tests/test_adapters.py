"""Adapters are found by name or folder, only for their own model, and only with the weights that were sealed."""

import shutil
from pathlib import Path

import pytest

from hustings import adapters, runfolder
from hustings.adapters import Adapter
from hustings.artifacts import Place, locked
from hustings.errors import AdapterError
from hustings.huggingface import with_adapter
from hustings.merging import ADAPTER_FILE
from hustings.models import Weights

TINY = Weights("tiny", "1" * 64, None, None)
OTHER = Weights("other", "2" * 64, None, None)


def place(store: Path, name: str) -> Place:
    return Place(store, adapters.KIND, f"tiny-{name}", {"model": TINY.fingerprint, "name": name})


def trained(store: Path, name: str) -> Adapter:
    """An adapter in the store, as train.py leaves one."""
    with locked(place(store, name), wait=False) as artifact:
        artifact.grow(name=name, base="tiny", rows=24, last_loss=3.2)
        (artifact.folder / ADAPTER_FILE).write_text(name)
        (artifact.folder / "adapter_config.json").write_text("{}")
        artifact.seal()
    return Adapter(artifact.folder, artifact.manifest)


def test_an_adapter_is_found_by_its_name_or_folder_and_only_for_its_model(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="it has none yet"):
        adapters.find(tmp_path, TINY, "republican_nwp_r4")
    one, two = trained(tmp_path, "republican_nwp_r4_s1"), trained(tmp_path, "republican_nwp_r4_s2")
    assert adapters.find(tmp_path, TINY, "republican_nwp_r4_s2").id == two.id
    assert adapters.find(tmp_path, TINY, f"{one.name}-{one.id[:6]}").id == one.id
    assert adapters.find(tmp_path, TINY, f"republican_nwp_r4-{one.id}").id == one.id
    assert adapters.find(tmp_path, TINY, str(one.folder)).id == one.id
    with pytest.raises(AdapterError, match=r"several; choose one of republican_nwp_r4_s1-.*republican_nwp_r4_s2-"):
        adapters.find(tmp_path, TINY, "republican_nwp_r4")
    with pytest.raises(AdapterError, match=r"has no such adapter.*it has .*republican_nwp_r4_s1-.*train\.py"):
        adapters.find(tmp_path, TINY, "democrat_nwp_r4")
    with pytest.raises(AdapterError, match="trained on another model, tiny"):
        adapters.find(tmp_path, OTHER, str(one.folder))
    lines = adapters.table(adapters.listed(tmp_path)).splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [["tiny", str(it), "24", "3.200"] for it in (one, two)]


def test_a_runs_folder_names_the_adapter_whose_weights_are_in_the_store(tmp_path: Path) -> None:
    store, run = tmp_path / "artifacts", tmp_path / "run"
    one = trained(store, "republican_nwp_r4_s1")
    runfolder.copy_adapter(one.folder, run)
    copied = run / runfolder.ADAPTER
    assert not (copied / ADAPTER_FILE).exists()
    assert adapters.find(store, TINY, str(copied)).folder == one.folder
    shutil.rmtree(one.folder)
    with pytest.raises(AdapterError, match="missing or was changed"):
        adapters.find(store, TINY, str(copied))


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    one = trained(tmp_path, "republican_nwp_r4_s1")
    (one.folder / ADAPTER_FILE).write_text("other weights")
    with pytest.raises(AdapterError, match=r"safetensors: this file is missing or was changed after it was sealed"):
        adapters.find(tmp_path, TINY, one.name)


def test_a_changed_config_and_a_pointer_are_refused(tmp_path: Path) -> None:
    one = trained(tmp_path, "republican_nwp_r4_s1")
    (one.folder / "adapter_config.json").write_text('{"r": 8}')
    with pytest.raises(AdapterError, match=r"adapter_config\.json: this file is missing or was changed"):
        adapters.find(tmp_path, TINY, one.name)
    (one.folder / ADAPTER_FILE).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(AdapterError, match=r"safetensors: this is only a pointer of Git LFS"):
        adapters.find(tmp_path, TINY, one.name)


@pytest.mark.parametrize("content", ["[]", "3", "{", '{"kind": "adapters", "state": "sealed", "files": []}'])
def test_a_folder_with_a_manifest_that_is_none_is_no_adapter(tmp_path: Path, content: str) -> None:
    folder = tmp_path / adapters.KIND / "odd"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(content)
    assert adapters.listed(tmp_path) == []
    with pytest.raises(AdapterError, match="no finished adapter in this folder"):
        adapters.find(tmp_path, TINY, str(folder))


@pytest.mark.parametrize("name", ["adapter_config.json", ADAPTER_FILE])
def test_an_adapter_that_peft_cannot_load_is_named(tmp_path: Path, name: str) -> None:
    one = trained(tmp_path, "republican_nwp_r4_s1")
    if name == "adapter_config.json":
        (one.folder / name).write_text("[]")
    with pytest.raises(AdapterError, match=rf"{name}: this .*file .*(?:cut off|JSON object)"):
        with_adapter(None, one.folder)


def test_an_adapter_that_is_not_finished_is_neither_listed_nor_found(tmp_path: Path) -> None:
    with locked(place(tmp_path, "republican_nwp_r4_s1"), wait=False) as artifact:
        artifact.grow(name="republican_nwp_r4_s1", base="tiny")
    assert adapters.listed(tmp_path) == []
    with pytest.raises(AdapterError, match="no finished adapter in this folder; rerun"):
        adapters.find(tmp_path, TINY, str(artifact.folder))
