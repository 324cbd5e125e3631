"""The reference of every setting: pydantic's fields, the docstrings under them, and the defaults in conf/.

`keys` is tested: every setting has a description.
"""

import ast
import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import hydra
from omegaconf import OmegaConf

from hustings.configuration import conf_folder
from hustings.settings import (
    KNOB,
    EngineSettings,
    EvaluateSettings,
    JudgeSettings,
    Settings,
    SimulateSettings,
    TrainSettings,
    TreatmentSettings,
    Variant,
)
from hustings.settings.base import _NAME, _WORDS

JOBS = {"simulate": SimulateSettings, "train": TrainSettings, "evaluate": EvaluateSettings,
        "judge": JudgeSettings}  # fmt: skip
PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "run": ("A run", "How debates are played, stopped, analysed and kept (`simulate.py`, `evaluate.py`).",
            ("", "sampling", "personas", "analysis", "alarm", "trainer", "cast", "tracker")),
    "model": ("Model and engine", "Where the weights come from, and what runs them.", ("model", "engine")),
    "people": ("People and topics", "The country, its parties, what they debate, and who hears whom.",
               ("society", "topics", "composition", "topology")),
    "words": ("Survey, prompts and treatments", "What the model is asked, and what is done to it.",
              ("instrument", "prompt", "control", "treatments")),
    "train": ("Fine-tuning", "How `train.py` makes an adapter.", ("train", "interview", "method", "lora")),
    "evaluate": ("Evaluation", "What `evaluate.py` measures.", ("evaluate", "benchmark")),
    "judge": ("The judge", "What `hustings judge` asks; its `model`, `engine` and `artifacts` are those of a run.",
              ("judge",)),
}  # fmt: skip
"""By file: title, what is there, and the first words of its keys; "", train and evaluate are keys without a group."""
EXAMPLES = {
    "society.parties.NAME": "society.parties.republican",
    "society.parties.NAME.stances.NAME": "society.parties.republican.stances.racism",
    "topics.NAME": "topics.racism",
    "instrument.items.NAME": "instrument.items.severity",
    "treatments.NAME": "treatments.reminder",
}
"""Where there is one setting for each name: whose values are shown."""
LONGEST = 60
"""Characters of a default; longer ones are in the group's file."""


@dataclass(frozen=True)
class Key:
    """One setting."""

    name: str
    """Dotted, with NAME where a user chooses the name."""
    job: str
    section: str
    """Title of the section that it is in."""
    takes: str
    """What values are allowed, in words."""
    default: str | None
    """As in YAML; None where there is none."""
    about: str
    knob: bool


@cache
def keys() -> tuple[Key, ...]:
    """Every setting of the three jobs and of the judge, once."""
    found: list[Key] = []
    seen: dict[type, str] = {}
    for job, root in JOBS.items():
        known = {it.name for it in found}
        found += [it for it in _keys(root, "", job, seen) if it.name not in known]
    return tuple(found)


def pages() -> dict[str, str]:
    """The pages, by path in the site."""
    every = keys()
    made = {"reference/settings/index.md": _index()}
    for name, (title, about, groups) in PAGES.items():
        mine = [it for it in every if _group(it) in groups]
        first = {it.section: min(groups.index(_group(other)) for other in mine if other.section == it.section)
                 for it in mine}  # fmt: skip
        sections = sorted(first, key=lambda it: first[it])
        parts = [f"# {title}", about]
        for section in sections:
            parts += _section(section, [it for it in mine if it.section == section])
        made[f"reference/settings/{name}.md"] = "\n\n".join(parts) + "\n"
    return made


def _index() -> str:
    lines = [f"| [{title}](settings/{name}.md) | {about} |".replace("settings/", "") for name, (title, about, _)
             in PAGES.items()]  # fmt: skip
    return (
        "# Every setting\n\nWritten from the settings' classes and from `conf/` when this site is built. On the "
        "command line a setting is `key=value`; `python simulate.py --cfg job` prints all values that a command "
        "composes.\n\n"
        "| | |\n|---|---|\n" + "\n".join(lines) + "\n\n"
        "- Defaults are those of `python simulate.py` by itself, which plays `experiment=quickstart`; of `train.py` "
        "and `evaluate.py` where a setting is theirs.\n"
        "- A **number** may have decimals; a **whole number** may not. `null` means that nothing is set.\n"
        "- A **name** has small letters and digits, with `_`, `.` or `-` only after the first of them: `my_name_2`.\n"
        "- **NAME** stands for a name of your choice or of the option: `topics.NAME.label` is `topics.racism.label`.\n"
        "- *Replays nothing*: debates that have been played stay valid when you change this setting. Any other setting "
        "is part of what a debate is known by: change it, and the debates are played under a new name.\n"
        "- [Every option](../options.md) shows the files that defaults come from.\n"
    )


def _group(key: Key) -> str:
    """The group whose page has the key."""
    first, _, rest = key.name.partition(".")
    if rest:
        return first
    return "" if key.job == "simulate" else key.job


def _section(title: str, of: list[Key]) -> Iterator[str]:
    yield f"## {title}"
    group = _group(of[0])
    option = _choices(of[0].job).get(group)
    about = _ABOUT.get(title)
    if about:
        yield about
    if option and "kind" not in title:
        yield f"Defaults are those of [`{group}={option}`](../options.md#{group})."
    for key in of:
        example = "NAME" in key.name.rpartition(".")[0]
        value = f" · {'example' if example else 'default'} {key.default}" if key.default is not None else ""
        knob = " · *replays nothing*" if key.knob else ""
        yield f"#### `{key.name}` {{ #{_anchor(key)} }}\n\n{key.takes}{value}{knob}\n\n{key.about}"


def _anchor(key: Key) -> str:
    suffix = re.search(r"kind=(\w+)", key.section)
    return f"{key.name}-{suffix[1]}" if suffix else key.name


_ABOUT: dict[str, str] = {}
"""What a section is about, by its title."""


def _keys(cls: type[Settings], prefix: str, job: str, seen: dict[type, str], free: bool = False) -> Iterator[Key]:
    """The settings of a class, then those of the classes in it."""
    kind = _kind(cls)
    title = _title(prefix, job, kind)
    _ABOUT.setdefault(title, _plain(inspect.getdoc(cls) or "") if prefix else "")
    texts = described(cls)
    inner: list[tuple[str, type[Settings], bool]] = []
    for name, field in cls.model_fields.items():
        dotted = f"{prefix}{name}"
        nested = _nested(field.annotation)
        many = _origin(field.annotation) is dict
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        knob = free or bool(extra.get(KNOB))
        about = texts.get(name) or (inspect.getdoc(nested[0]) if len(nested) == 1 else "") or ""
        if name == "kind":
            about = about if len(about) > 40 else "Which kind it is; the options of the group set it."
        again = next((seen[it] for it in nested if it in seen), "")
        if again and prefix and name not in texts:
            about = f"The same settings as `{again}`."
        if not nested or (not many and (name in texts or (again and prefix) or _optional(field.annotation))):
            yield Key(dotted, job, title, _takes(field, nested), _default(dotted, job, kind), _plain(about), knob)
        inner += [(f"{dotted}.NAME." if many else f"{dotted}.", it, knob) for it in nested]
    for path, each, knob in inner:
        for variant in _variants(each):
            if variant not in seen:
                seen[variant] = seen[each] = path.removesuffix(".")
                yield from _keys(variant, path, job, seen, knob)


def _title(prefix: str, job: str, kind: str) -> str:
    if not prefix:
        return {
            "simulate": "Of the whole run",
            "train": "Of the training",
            "evaluate": "Of the evaluation",
            "judge": "Of the judge",
        }[job]
    return f"`{prefix.removesuffix('.')}`" + (f", kind={kind}" if kind else "")


def _variants(cls: type[Settings]) -> list[type[Settings]]:
    """The class itself, or each of its kinds."""
    if cls in (EngineSettings, TreatmentSettings):
        return [cls.kinds[kind] for kind in cls.known() if cls.kinds[kind].__module__.startswith("hustings.")]
    return [cls]


def _kind(cls: type[Settings]) -> str:
    field = cls.model_fields.get("kind")
    return str(typing.get_args(field.annotation)[0]) if field and typing.get_args(field.annotation) else ""


@cache
def described(cls: type) -> dict[str, str]:
    """The docstring under each field of a class and of those that it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not (isinstance(base, type) and issubclass(base, Settings)) or base in (Settings, Variant):
            continue
        (body,) = (it.body for it in ast.parse(textwrap.dedent(inspect.getsource(base))).body
                   if isinstance(it, ast.ClassDef))  # fmt: skip
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                found.pop(field.target.id, None)
                if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                    found[field.target.id] = inspect.cleandoc(str(text.value.value))
    return found


def _plain(text: str) -> str:
    """A docstring for users of YAML."""
    text = re.sub(r"\s*\(Source:[^)]*\)", "", text)
    for python, yaml in (("None", "`null`"), ("True", "`true`"), ("False", "`false`")):
        text = re.sub(rf"(?<!`)\b{python}\b(?!`)", yaml, text)
    return text.strip()


def _parts(annotation: Any) -> tuple[Any, list[Any]]:
    """A type without `Annotated`, and what was said there."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *said = typing.get_args(annotation)
        deeper, more = _parts(inner)
        return deeper, [*more, *said]
    return annotation, []


def _origin(annotation: Any) -> Any:
    return typing.get_origin(_parts(annotation)[0])


def _optional(annotation: Any) -> bool:
    return type(None) in typing.get_args(_parts(annotation)[0])


def _nested(annotation: Any) -> list[type[Settings]]:
    """The settings classes in a type."""
    plain, _ = _parts(annotation)
    if isinstance(plain, type) and issubclass(plain, Settings):
        return [plain]
    return [it for arg in typing.get_args(plain) if arg is not Ellipsis for it in _nested(arg)]


def _takes(field: Any, nested: list[type[Settings]]) -> str:
    if nested:
        group = "a group of settings" + (" for each name" if _origin(field.annotation) is dict else "")
        return group + (", or `null`" if _optional(field.annotation) else "")
    return _words(field.annotation, list(field.metadata))


def _words(annotation: Any, said: list[Any]) -> str:
    """A type and its limits in plain words."""
    plain, more = _parts(annotation)
    said = [*more, *said]
    args = typing.get_args(plain)
    origin = typing.get_origin(plain)
    if origin in (typing.Union, types.UnionType):
        without = [it for it in args if it is not type(None)]
        words = "number or share" if float in without and int in without else " or ".join(
            _words(it, said) for it in without)  # fmt: skip
        return words + (", or `null`" if len(without) < len(args) else "")
    if origin is typing.Literal:
        return ("one of " if len(args) > 1 else "always ") + ", ".join(f"`{it}`" for it in args)
    if origin is tuple:
        few = _limits(said).replace("not empty", "at least 1 of them")
        return f"list of: {_words(args[0], []).removesuffix(', not empty')}{few}"
    if origin is dict:
        return f"{_words(args[1], [])} for each name"
    if any(getattr(it, "func", None).__name__ == "expanduser" for it in said if hasattr(it, "func")):
        return "path"
    if _NAME in (getattr(part, "pattern", None) for it in said for part in getattr(it, "metadata", None) or [it]):
        return "name"
    name = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text"}.get(plain, "any value")
    return name + _limits(said)


def _limits(said: list[Any]) -> str:
    words: list[str] = []
    for it in said:
        for part in getattr(it, "metadata", None) or [it]:
            for limit, text in (("ge", "at least {}"), ("gt", "above {}"), ("le", "at most {}"), ("lt", "below {}")):
                if getattr(part, limit, None) is not None:
                    words.append(text.format(f"{getattr(part, limit):g}"))
            if getattr(part, "min_length", None):
                words.append("not empty" if part.min_length == 1 else f"at least {part.min_length} of them")
            if getattr(part, "max_length", None):
                words.append(f"at most {part.max_length} of them")
            if getattr(part, "pattern", None) in _WORDS:
                words.append(_WORDS[part.pattern].removeprefix("must be ").removeprefix("a ").removeprefix("the "))
    return ", " + " and ".join(dict.fromkeys(words)) if words else ""


@cache
def _composed(job: str, *overrides: str) -> Any:
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra.compose(job, list(overrides), return_hydra_config=True)


def _choices(job: str) -> dict[str, str]:
    return dict(_composed(job).hydra.runtime.choices)


def _default(dotted: str, job: str, kind: str) -> str | None:
    """The value in conf/, as YAML; of an example where users choose names."""
    for prefix, example in sorted(EXAMPLES.items(), key=lambda it: -len(it[0])):
        if dotted.startswith(f"{prefix}."):
            dotted = example + dotted.removeprefix(prefix)
    group = dotted.split(".")[0]
    overrides = ["mitigation=reminder"] if group == "treatments" and "." in dotted else []
    if kind in ("wandb", "dpo", *EngineSettings.kinds):
        overrides.append(f"{group}={kind}")
    config = OmegaConf.to_container(_composed(job, *overrides), resolve=False)
    for part in dotted.split("."):
        if not isinstance(config, dict) or part not in config:
            return None
        config = config[part]
    return _shown(config)


def _shown(value: Any) -> str | None:
    if value == "???":
        return None
    if isinstance(value, str) and "${" in value:
        inner = re.fullmatch(r"\$\{([\w.]+)\}", value)
        return f"that of `{inner[1]}`" if inner else f"`{value}`"
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    if isinstance(value, list | dict) and value:
        text = re.sub(r'"([\w.-]+)"', r"\1", text)
    if text == "":
        text = '""'
    return f"`{text}`" if len(text) <= LONGEST and "\n" not in text and "`" not in text else "in its file"
