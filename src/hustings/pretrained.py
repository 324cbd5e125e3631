"""A transformers folder on disk: which of its files matter, whether they are complete, and its config and tokenizer.

It loads no weights. It finds Git LFS pointers, truncated downloads and missing shards before any library reads the
files.
"""

import json
from pathlib import Path
from typing import Any

from hustings.errors import HustingsError, ModelError, quoting

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
_OBJECTS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    INDEX,
)
"""Files that hold a JSON object."""
_TEXTS = (".model", ".txt", ".jinja")
"""Suffixes of the other files that are read."""
_POINTER = b"version https://git-lfs"
_AGAIN = "download it again"


def check(folder: Path) -> None:
    """Refuse a folder with incomplete files.

    Raises:
        ModelError: names the first file that is missing, damaged, truncated, or a Git LFS pointer.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder}: this is not a transformers model, because it has no config.json; set model.path or model.id."
        )
    files = weight_files(folder)
    for name in _OBJECTS:
        if (folder / name).is_file():
            read_object(folder / name, ModelError)
    for file in sorted(it for it in folder.iterdir() if it.suffix in _TEXTS and it.is_file()):
        refuse_pointer(file, ModelError)
    if not isinstance(read_object(folder / "config.json", ModelError).get("model_type"), str):
        raise ModelError(f"{folder / 'config.json'}: it names no model_type, so this is not a model of transformers.")
    for file in files:
        check_tensors(file, ModelError)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers reads: `model.safetensors`, or the shards that its index lists.

    Others, such as `consolidated.safetensors`, are second copies.

    Raises:
        ModelError: there are none, or a shard is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if not (folder / INDEX).is_file():
        if not others:
            raise ModelError(
                f"{folder}: this model has no safetensors files. Pickled .bin or .pt weights can execute code when "
                "they are loaded and are therefore refused; convert them with save_pretrained, or use another model."
            )
        raise ModelError(
            f"{folder}: there is neither {WEIGHTS} nor {INDEX}, only {', '.join(others[:3])}, which transformers does "
            f"not read; {_AGAIN.replace('it', 'the model')}, whole."
        )
    named = read_object(folder / INDEX, ModelError).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(it, str) for it in named.values()):
        raise ModelError(f"{folder / INDEX}: this file names no shards; {_AGAIN}.")
    files = [folder / name for name in sorted({*named.values()})]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelError(
            f"{folder / missing[0]}: this file is missing, and {INDEX} names it; download the model again "
            f"({len(missing)} of {len(files)} files are missing)."
        )
    return files


def read_object(file: Path, kind: type[HustingsError]) -> dict[str, Any]:
    """The JSON object in a file of a model.

    Args:
        kind: class of the error to raise.
    """
    try:
        refuse_pointer(file, kind)
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise kind(f"{file}: this file is damaged or cut off ({error}); {_AGAIN}.") from error
    if not isinstance(found, dict):
        raise kind(f"{file}: this file must hold a JSON object, and it holds {str(found)[:40]!r}; {_AGAIN}.")
    return found


def refuse_pointer(file: Path, kind: type[HustingsError]) -> None:
    """Refuse the pointer that Git leaves in place of a large file if Git LFS is not installed.

    Args:
        kind: class of the error to raise.
    """
    with file.open("rb") as opened:
        if opened.read(len(_POINTER)) == _POINTER:
            raise kind(
                f"{file}: this is only a pointer of Git LFS to the file; run `git lfs pull` in its folder, or {_AGAIN}."
            )


def check_tensors(file: Path, kind: type[HustingsError]) -> None:
    """Refuse a safetensors file that is damaged or truncated, judging by its header and size.

    Args:
        kind: class of the error to raise.
    """
    from safetensors import safe_open

    with quoting(kind, f"{file}: this safetensors file is damaged or cut off ({{}}); {_AGAIN}."):
        refuse_pointer(file, kind)
        with safe_open(file, "numpy"):
            pass


def config_of(folder: Path) -> Any:
    """The config of a model.

    Raises:
        ModelError: transformers cannot read it.
    """
    from transformers import AutoConfig

    with quoting(ModelError, f"{folder / 'config.json'}: transformers could not load this model's config ({{}})."):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a model.

    Raises:
        ModelError: transformers cannot read it.
    """
    from transformers import AutoTokenizer

    said = f"{folder}: transformers could not load this model's tokenizer ({{}}); {_AGAIN.replace('it', 'the model')}."
    with quoting(ModelError, said):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
