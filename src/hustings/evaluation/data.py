"""HellaSwag and MMLU in a local folder, for machines without internet: laid out as on the hub, checked line by line.

The folder contains `Rowan/hellaswag` and `cais/mmlu`, the names that lm-eval's own tasks load, so that a task that
reads it differs from lm-eval's only in its `dataset_path`. It does not know how a benchmark is scored.
"""

import csv
import gzip
import importlib.util
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hustings.errors import BenchmarkError, first_line
from hustings.models import files_fingerprint

HELLASWAG = "Rowan/hellaswag"
MMLU = "cais/mmlu"
_SPLITS = {"test": "test.jsonl", "validation": "validation.jsonl", "dev": "dev.jsonl"}
_LETTERS = "ABCD"
_FILLED = "run `hustings fetch benchmarks --to FOLDER`, with --from FOLDER where the hub cannot be reached"


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class Hellaswag(_Document):
    """A row of HellaSwag: the fields that lm-eval's task reads."""

    activity_label: str
    ctx_a: str
    ctx_b: str
    endings: Annotated[list[str], Field(min_length=4, max_length=4)]
    label: Annotated[str, Field(pattern=r"^[0-3]$")]


class Mmlu(_Document):
    """A row of MMLU."""

    question: str
    choices: Annotated[list[str], Field(min_length=4, max_length=4)]
    answer: Annotated[int, Field(ge=0, le=3)]


def subjects() -> list[str]:
    """The 57 subjects of MMLU for which lm-eval has tasks."""
    spec = importlib.util.find_spec("lm_eval")  # importing it takes a second
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "tasks" / "mmlu" / "default"
    return sorted(path.stem.removeprefix("mmlu_") for path in folder.glob("mmlu_*.yaml"))


def check(folder: Path, wanted: Mapping[str, type[_Document]]) -> tuple[str, dict[str, int]]:
    """Check every line of the files that a benchmark reads.

    Args:
        folder: a folder that `fetch` or `import_from` filled.
        wanted: the type of each file's rows, by the file's path in the folder.

    Returns:
        A fingerprint of their content, and the number of rows of each file.

    Raises:
        BenchmarkError: a file is missing, or a line of one is malformed.
    """
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        more = f", nor {len(missing) - 1} other files that are needed" if len(missing) > 1 else ""
        raise BenchmarkError(
            f"benchmark.data_dir={folder}: there is no {missing[0]} in this folder{more}; to fill it, {_FILLED}."
        )
    counts: dict[str, int] = {}
    for name, kind in wanted.items():
        counts[name] = 0
        with (folder / name).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    kind.model_validate_json(line)
                except ValidationError as error:
                    problem = error.errors()[0]
                    where = ".".join(map(str, problem["loc"])) or "the line"
                    raise BenchmarkError(
                        f"{folder / name}, line {number}: malformed ({where}: {problem['msg']}); restore this file, or "
                        f"{_FILLED}."
                    ) from error
                counts[name] = number
        if not counts[name]:
            raise BenchmarkError(f"{folder / name}: this file is empty; restore it, or {_FILLED}.")
    return files_fingerprint([folder / name for name in wanted]), counts


def fetch(folder: Path) -> Path:
    """Fill a folder with both benchmarks from the Hugging Face hub, few-shot examples included.

    Raises:
        BenchmarkError: the hub cannot be reached, or the folder cannot be written.
    """
    from datasets import load_dataset

    def rows(path: str, name: str | None, split: str) -> Iterator[Mapping[str, Any]]:
        try:
            found: Any = load_dataset(path, name, split=split)
            yield from found
        except Exception as error:  # the hub's client raises many kinds
            raise BenchmarkError(
                f"{path}: this data set could not be downloaded from the Hugging Face hub ({first_line(error)}); check "
                "the network, or fill the folder from files that you have: hustings fetch benchmarks --from FOLDER."
            ) from error

    def kept(row: Mapping[str, Any], kind: type[_Document]) -> dict[str, Any]:
        return {field: row[field] for field in kind.model_fields}

    for split in ("train", "validation"):
        _write(folder / HELLASWAG / f"{split}.jsonl", (kept(row, Hellaswag) for row in rows(HELLASWAG, None, split)))
    for subject in subjects():
        for split, file in _SPLITS.items():
            _write(folder / MMLU / subject / file, (kept(row, Mmlu) for row in rows(MMLU, subject, split)))
    return _describe(folder)


def import_from(source: Path, folder: Path) -> Path:
    """Fill a folder from `hellaswag_val.jsonl.gz` (contexts as lm-eval prepares them) and `mmlu.tar.gz` (its CSV).

    Raises:
        BenchmarkError: a file is missing or malformed, or the folder cannot be written.
    """
    hellaswag, mmlu = source / "hellaswag_val.jsonl.gz", source / "mmlu.tar.gz"
    for file in (hellaswag, mmlu):
        if not file.is_file():
            raise BenchmarkError(f"{source}: there is no {file.name} in this folder; name another with --from.")
    try:
        with gzip.open(hellaswag, "rt", encoding="utf-8") as lines:
            _write(folder / HELLASWAG / "validation.jsonl", map(_hellaswag, lines))
        with tarfile.open(mmlu) as archive:
            for member in archive:
                if match := re.search(r"/(dev|val|test)/(\w+)_\1\.csv$", member.name):
                    content = archive.extractfile(member)
                    assert content is not None
                    text = io.TextIOWrapper(content, encoding="utf-8", newline="")
                    file = _SPLITS["validation" if match[1] == "val" else match[1]]
                    _write(folder / MMLU / match[2] / file, map(_mmlu, csv.reader(text)))
    except (OSError, ValueError, KeyError, IndexError, tarfile.TarError) as error:
        raise BenchmarkError(
            f"{source}: the files in this folder could not be read ({first_line(error)}); restore them."
        ) from error
    return _describe(folder)


def _hellaswag(line: str) -> dict[str, Any]:
    """The row from which lm-eval makes the prepared context and endings of `line`.

    A dozen rows of the source contain a "[phrase in brackets]"; lm-eval drops those, as it does in the original.
    """
    row = json.loads(line)
    label, query = row["activity_label"], row["query"]
    if not query.startswith(f"{label}: "):
        raise ValueError(f"row {row['row']}: the query does not begin with its activity")
    context = _unprepared(query.removeprefix(f"{label}: "))
    endings = [_unprepared(ending) for ending in row["endings"]]
    return {"activity_label": label, "ctx_a": context, "ctx_b": "", "endings": endings, "label": str(row["label"])}


def _unprepared(text: str) -> str:
    """A text that lm-eval turns into this one: it drops brackets and outer spaces, and merges pairs of spaces."""
    spaced = re.sub(" {2,}", lambda run: " " * (2 * len(run[0]) - 1), text)
    return f"{'[]' * (text[:1] == ' ')}{spaced}{'[]' * (text[-1:] == ' ')}"


def _mmlu(row: Sequence[str]) -> dict[str, Any]:
    question, *choices, letter = row
    return {"question": question, "choices": choices, "answer": _LETTERS.index(letter)}


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write all rows, or no file at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        part.replace(path)
    except OSError as error:
        raise BenchmarkError(
            f"{path}: this file cannot be written ({error.strerror}); choose another folder with --to."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _describe(folder: Path) -> Path:
    """Write the headers in which `datasets` looks up the files of each configuration; returns the folder."""
    _header(folder / HELLASWAG, {"default": folder / HELLASWAG})
    _header(folder / MMLU, {subject: folder / MMLU / subject for subject in subjects()})
    return folder


def _header(root: Path, configs: Mapping[str, Path]) -> None:
    lines = ["---", "configs:"]
    for name, place in configs.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for file in sorted(place.glob("*.jsonl")):
            lines += [f"  - split: {file.stem}", f"    path: {file.relative_to(root).as_posix()}"]
    (root / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
