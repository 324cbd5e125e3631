"""Files and overrides that no library takes: each entry point says in one paragraph which one, and what to do."""

import json
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tiny import tiny_model

from hustings.cli.entry import main
from hustings.configuration import Job

JOBS: tuple[Job, ...] = ("simulate", "train", "evaluate")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
TOPIC = "# @package topics.tea\nlabel: tea\nquestion: How big a problem is tea?\nlow: none\nhigh: big\n"

YAML: dict[str, tuple[bytes | str, str]] = {
    "syntax": ("topics: {tea: [}\n", "line 1, column 16: this file is not valid YAML"),
    "tab": (TOPIC + "\tmore: x\n", "line 6, column 1: this file is not valid YAML"),
    "tabbed": (TOPIC + "note:\tx\n", "indent with spaces, not tabs"),
    "latin": (TOPIC.replace("tea", "thé").encode("latin-1"), "line 1: this file is not UTF-8 text"),
    "utf16": (TOPIC.encode("utf-16"), "line 1: this file is not UTF-8 text"),
    "mark": (b"\xef\xbb\xbf" + TOPIC.encode(), "begins with a byte-order mark"),
    "zero": (TOPIC + "note: a\0b\n", "this file cannot be read"),
    "headless": (TOPIC.partition("\n")[2], "its first line must be `# @package topics.headless`"),
    "empty": ("", "its first line must be `# @package topics.empty`"),
    "spaced": ("# @package topics.a b\nlabel: x\n", "line 1: '# @package topics.a b' must name one place"),
    "nowhere": ("# @package\nlabel: x\n", "line 1: '# @package' must name one place"),
    "list": ("- a\n- b\n", "this file must hold settings"),
    "single": ("3\n", "this file must hold settings"),
    "word": ("hello\n", "this file must hold settings"),
    "defaults": (TOPIC + "defaults: {a: b}\n", "its `defaults` are not a list"),
    "entry": (TOPIC + "defaults:\n  - 3\n", "neither a name nor `group: option`, 3"),
    "entries": (TOPIC + "defaults:\n  - {a: b, c: d}\n", "neither a name nor `group: option`"),
    "twice": (TOPIC + "defaults: [_self_, _self_]\n", "name _self_ twice"),
    "doubled": (TOPIC + "label: x\n", "found duplicate key label"),
    "reference": (TOPIC.replace("low: none", "low: ${x"), "this file cannot be read"),
    "code": (TOPIC + "note: !!python/object:os.system {}\n", "this file is not valid YAML"),
    "two words": ("# @package topics.two words\nlabel: x\n", "as in `# @package topics.two_words`"),
}
"""Files of a topic, by name: what is in them, and what is said."""

OVERRIDES: dict[tuple[str, ...], str] = {
    ("model.path=~/x.gguf",): "model.path=~/x.gguf: Hydra reads such a value only within quotes; write "
    "\"model.path='~/x.gguf'\".",
    ("personas.file=~/mine.jsonl",): "write \"personas.file='~/mine.jsonl'\"",
    ("topic=thé",): "topic=thé: Hydra reads such a value only within quotes",
    ("--config-dir", "nowhere"): "nowhere: there is no such folder",
    ("--config-dir", "file"): "file: there is no such folder",
    ("hydra.searchpath=[file://nowhere]",): "hydra.searchpath: nowhere: there is no such folder",
    ("hydra.searchpath=[nowhere]",): "hydra.searchpath: nowhere: there is no such folder",
    ("hydra.searchpath=3",): "hydra.searchpath",
    ("--config-name", "nope"): "nope",
    ("--nope",): "unrecognized arguments: --nope",
    ("--cfg", "nope"): "argument --cfg/-c: invalid choice: 'nope'",
    ("seed=${nowhere}",): "seed: the reference in this setting cannot be resolved",
    ("seed=${seed}",): "seed: the reference in this setting cannot be resolved",
    ("seed=${",): "seed=${: this setting cannot be read",
    ("=3",): "string or a list",
    ("model=null",): "string or a list",
    ("hydra.mode=nope",): "hydra.mode=nope",
}
"""Command lines, and what is said."""

Odd = Callable[[Path], str]
"""Changes a model's folder; the name of the file at fault."""


def pointer(name: str) -> Odd:
    def change(folder: Path) -> str:
        (folder / name).write_text(POINTER)
        return name

    return change


def half(name: str) -> Odd:
    def change(folder: Path) -> str:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        return name

    return change


def with_content(name: str, content: str) -> Odd:
    def change(folder: Path) -> str:
        (folder / name).write_text(content)
        return name

    return change


def in_shards(folder: Path) -> None:
    """Divide the weights of a model among two files with an index."""
    from safetensors.torch import load_file, save_file

    tensors: dict[str, Any] = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(sorted(tensors))}
    for file in {*shards.values()}:
        save_file({name: tensors[name] for name in tensors if shards[name] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))


def without_a_shard(folder: Path) -> str:
    in_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    return "model-00002-of-00002.safetensors"


def with_a_cut_index(folder: Path) -> str:
    in_shards(folder)
    return half("model.safetensors.index.json")(folder)


def only_consolidated(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    return "consolidated.safetensors"


def only_pickled(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder.name


MODELS: dict[str, Odd] = {
    "pointer": pointer("model.safetensors"),
    "cut": half("model.safetensors"),
    "empty": with_content("model.safetensors", ""),
    "shard": without_a_shard,
    "index": with_a_cut_index,
    "consolidated": only_consolidated,
    "pickled": only_pickled,
    "tokenizer pointer": pointer("tokenizer.json"),
    "tokenizer cut": half("tokenizer.json"),
    "tokenizer list": with_content("tokenizer.json", "[]"),
    "config pointer": pointer("config.json"),
    "config cut": half("config.json"),
    "config list": with_content("config.json", "[]"),
    "config empty": with_content("config.json", "{}"),
    "generation cut": half("generation_config.json"),
    "template pointer": pointer("chat_template.jinja"),
}
"""Folders of a model that are not whole."""

GGUFS: dict[str, tuple[bytes, str]] = {
    "pointer": (POINTER.encode(), "this is only a pointer of Git LFS"),
    "empty": (b"", "this file is empty"),
    "other": (b"PK\3\4" + bytes(100), "this is not a GGUF file"),
    "cut": (b"GGUF\3\0\0\0" + bytes(4), "damaged or cut off within its header"),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The paragraph with which an entry point ends, run in this process in a folder with an empty `file`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUSTINGS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    (tmp_path / "file").write_text("")

    def said(job: Job, *words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(job, words)
        printed = capsys.readouterr()
        assert ended.value.code == 2
        assert printed.out == ""
        assert printed.err.count("\n") == 1 and printed.err.endswith("\n"), printed.err
        assert "Traceback" not in printed.err
        return printed.err

    return said


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("name", YAML)
def test_a_yaml_file_that_cannot_be_used_is_named_with_what_is_wrong(
    refused: Callable[..., str], tmp_path: Path, name: str, job: Job
) -> None:
    content, words = YAML[name]
    file = tmp_path / "mine" / "topic" / f"{name}.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refused(job, "--config-dir", "mine", f"topic={name}" if job != "train" else f"+topic={name}")
    assert said.startswith(str(file)) and words in said


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("words", OVERRIDES, ids=" ".join)
def test_an_override_that_hydra_cannot_take_is_one_paragraph(
    refused: Callable[..., str], words: tuple[str, ...], job: Job
) -> None:
    assert OVERRIDES[words] in refused(job, *words)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_whose_files_are_not_whole_is_refused_by_the_name_of_the_file(
    refused: Callable[..., str], tiny: Path, tmp_path: Path, name: str, job: Job
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny, folder)
    file = MODELS[name](folder)
    said = refused(job, "model=hf", "model.source=local", f"model.path={folder}", "engine.device=cpu")
    assert str(folder) in said and file in said
    assert "free some disk space" not in said


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("name", GGUFS)
def test_a_gguf_file_that_is_none_is_named(refused: Callable[..., str], tmp_path: Path, name: str, job: Job) -> None:
    content, words = GGUFS[name]
    (tmp_path / "odd.gguf").write_bytes(content)
    said = refused(job, "model=gguf", "model.path=odd.gguf")
    assert said.startswith("odd.gguf: ") and words in said


@pytest.mark.parametrize("job", JOBS)
def test_a_user_without_a_home_is_told_which_folder_to_name(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    def nobody(_: int) -> NoReturn:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "HUSTINGS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    said = refused(job)
    assert "this user has no home folder" in said and "set HUSTINGS_CACHE" in said


def test_a_broken_file_that_nobody_asked_for_hides_no_other_mistake(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "mine" / "topic").mkdir(parents=True)
    (tmp_path / "mine" / "topic" / "broken.yaml").write_text("- 3\n")
    said = refused("simulate", "--config-dir", "mine", "engine=planted", "repetitons=3")
    assert said.startswith("repetitons: there is no such setting; did you mean repetitions?")


def test_a_broken_file_that_another_file_asks_for_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    for name, content in {"experiment/mine": "# @package _global_\ndefaults:\n  - override /topic: number\n",
                          "topic/number": "3\n"}.items():  # fmt: skip
        file = tmp_path / "mine" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(content)
    said = refused("simulate", "--config-dir", "mine", "engine=planted", "experiment=mine")
    assert said.startswith(f"{tmp_path / 'mine' / 'topic' / 'number.yaml'}: this file must hold settings")


def test_a_topic_file_with_a_space_in_its_name_is_taken(tmp_path: Path) -> None:
    from hustings.configuration import compose

    (tmp_path / "topic").mkdir()
    racism = (Path(__file__).parents[2] / "conf" / "topic" / "racism.yaml").read_text()
    (tmp_path / "topic" / "my topic.yaml").write_text(racism)
    assert [*compose("engine=planted", "topic=my topic", config_dir=tmp_path).topics] == ["racism"]


def test_options_after_settings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    main("simulate", ["engine=planted", "--config-dir", "mine", "topic=racism", "dry_run=true", "repetitions=1"])


def test_a_path_in_quotes_may_begin_with_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hustings.configuration import compose

    monkeypatch.setenv("HOME", str(tmp_path))
    made = compose("model=gguf", "model.path='~/x.gguf'", "personas.file='~/p.jsonl'", "artifacts='~/store'")
    found = (made.model.path, made.personas.file, made.artifacts)
    assert found == tuple(str(tmp_path / name) for name in ("x.gguf", "p.jsonl", "store"))
