"""Explains what is wrong with a user's YAML file: Hydra's own errors often do not even name the file.

It does not compose configs; `configuration` does.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

PACKAGES = {
    "topic": "topics.{name}",
    "mitigation": "treatments.{name}",
    "experiment": "_global_",
    "cluster": "_global_",
}
"""Groups whose option files must say in their first line where their settings belong, and that line."""
_HEADER = re.compile(r"#\s*@package\b[ \t]*(?P<package>.*)")


def folders(words: Iterable[str], config_dir: Path | None) -> list[Path]:
    """Folders with a user's own options: `--config-dir`, and the folders in `hydra.searchpath`."""
    lists = (word.partition("=")[2].strip("[]").split(",") for word in words if word.startswith("hydra.searchpath="))
    named = [place.strip(" '\"").removeprefix("file://") for places in lists for place in places]
    searched = [Path(place) for place in named if place and "://" not in place and "$" not in place]
    return [*([] if config_dir is None else [config_dir]), *searched]


def chosen(words: Iterable[str], places: Sequence[Path]) -> Iterator[Path]:
    """The user's files that the overrides refer to: `topic=tea,coffee` refers to two."""
    for word in words:
        group, _, options = word.lstrip("+").partition("=")
        for option in options.strip("[]").split(","):
            name = option.strip(" '\"")
            files = (place / group.partition("@")[0] / f"{name}.yaml" for place in places if name)
            yield from [file for file in files if file.is_file()][:1]


def faults(files: Iterable[Path]) -> Iterator[str]:
    """One paragraph for each file that cannot be used."""
    for file in files:
        found = _fault(file)
        if found:
            yield f"{file}{found}"


def every(places: Iterable[Path]) -> Iterator[Path]:
    """All YAML files in the user's folders and their direct subfolders."""
    for place in places:
        yield from [*sorted(place.glob("*.yaml")), *sorted(place.glob("*/*.yaml"))]


def not_yaml(error: Any) -> str:
    """The YAML parser's error: line, column, and what it found there."""
    mark = error.problem_mark
    tab = " indent with spaces, not tabs;" if r"'\t'" in str(error.problem) else ""
    return (
        f", line {mark.line + 1}, column {mark.column + 1}: this file is not valid YAML ({error.problem});{tab} "
        "correct it, with quotes around texts that contain one of : ? # { } [ ] , if need be."
    )


def _fault(file: Path) -> str | None:
    """What is wrong with a file, starting with the line number; None if it is fine."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError, YAMLError, safe_load

    try:
        text = file.read_bytes().decode()
        plain: Any = {} if (parsed := safe_load(text)) is None else parsed
        if isinstance(plain, dict):
            OmegaConf.load(file)  # stricter than YAML: no duplicate keys, and references must be readable
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return f", line {line}: this file is not UTF-8 text; save it as UTF-8."
    except MarkedYAMLError as error:
        return (
            not_yaml(error) if error.problem_mark else f": this file is not valid YAML ({error.problem}); correct it."
        )
    except (YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        return f": this file cannot be read ({' '.join(str(error).split())[:200]}); correct it."
    if text.startswith("\ufeff"):
        return ": this file begins with a byte-order mark; save it as UTF-8 without one (without BOM)."
    if not isinstance(plain, dict):
        return ": this file must hold settings, one on each line as in `name: value`, not a list or a single value."
    return _odd_defaults(plain.get("defaults", [])) or _odd_header(file, text)


def _odd_defaults(entries: Any) -> str | None:
    """What is wrong with a defaults list."""
    as_it_should = "write it as in `defaults:`, and below it `  - override /engine: transformers` and `  - _self_`."
    if not isinstance(entries, list):
        return f": its `defaults` are not a list; {as_it_should}"
    for entry in entries:
        if not (isinstance(entry, str) or (isinstance(entry, dict) and len(entry) == 1)):
            return (
                f": its `defaults` have an entry that is neither a name nor `group: option`, {entry!r}; {as_it_should}"
            )
    if entries.count("_self_") > 1:
        return ": its `defaults` name _self_ twice; keep one of them."
    return None


def _odd_header(file: Path, text: str) -> str | None:
    """What is wrong with the line that says where a file's settings belong."""
    group = file.parent.name
    needed = PACKAGES.get(group, "").format(name=re.sub(r"\W", "_", file.stem))
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    header = _HEADER.fullmatch(first)
    if header is None:
        return f": its first line must be `# @package {needed}`, as in conf/{group}." if needed else None
    if len(header["package"].split()) != 1:
        example = f"# @package {needed or '_global_'}"
        return f", line 1: {first!r} must name one place without spaces, as in `{example}`."
    return None
