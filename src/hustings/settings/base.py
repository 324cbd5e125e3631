"""The base of all settings: typed, frozen, closed; and `load`, the only function that handles an omegaconf object.

Classes have no defaults; defaults are in conf/. This module does not know any particular setting.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hustings.errors import SettingsError

KNOB = "knob"
NEUTRAL = "neutral"


def knob(**constraints: Any) -> Any:
    """A field that affects only how fast or where something is computed, not the result; it is part of no identity."""
    return Field(json_schema_extra={KNOB: True}, **constraints)


def neutral(value: Any, **constraints: Any) -> Any:
    """A field that identities leave out while it has this value, so that adding it changes no existing identity."""
    return Field(json_schema_extra={NEUTRAL: value}, **constraints)


class Settings(BaseModel):
    """Base class of all settings: frozen, without unknown keys, coercion between types, or infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def substance(self) -> dict[str, Any]:
        """Everything that affects the output: all fields except knobs and neutral values, as plain values."""
        plain: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            if extra.get(KNOB):
                continue
            value = _substance(getattr(self, name))
            if NEUTRAL not in extra or value != extra[NEUTRAL]:
                plain[name] = value
        return plain


def _substance(value: Any) -> Any:
    match value:
        case Settings():
            return value.substance()
        case dict():
            return {key: _substance(item) for key, item in value.items()}
        case list() | tuple():
            return [_substance(item) for item in value]
        case _:
            return value


class Variant(Settings):
    """Settings that come in several kinds, each a subclass in the module of that name in one package.

    A subclass sets `kind` to a `Literal` and is found by it; it does not have to be registered.
    """

    kind: Any
    """A `Literal` of strings in every subclass."""

    kind_package: ClassVar[str]
    """Package with the kinds, such as `engine`."""
    kind_key: ClassVar[str]
    """Name of the setting in error messages, such as `engine.kind`."""
    kinds: ClassVar[dict[str, Any]]
    """The class of each kind that has been imported."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Register the class under its kind."""
        for kind in getattr(cls.model_fields["kind"].annotation, "__args__", ()):
            cls.kinds[kind] = cls

    @classmethod
    def known(cls) -> list[str]:
        """All kinds: those in the package, and those imported from elsewhere."""
        for module in iter_modules([str(Path(__file__).parents[1].joinpath(*cls.kind_package.split(".")))]):
            import_module(f"hustings.{cls.kind_package}.{module.name}")
        return sorted(cls.kinds)

    @classmethod
    def of_kind(cls, value: Any) -> Any:
        """Validate plain values with the class of their kind; return anything else unchanged.

        Raises:
            ValueError: there is no such kind.
        """
        if not isinstance(value, dict):
            return value
        kind: Any = value.get("kind")
        if isinstance(kind, str) and kind not in cls.kinds:
            with suppress(ImportError):
                import_module(f"hustings.{cls.kind_package}.{kind}")
        if not isinstance(kind, str) or kind not in cls.kinds:
            raise ValueError(f"{cls.kind_key}={_shown(kind)}: must be one of {', '.join(map(repr, cls.known()))}")
        return cls.kinds[kind].model_validate(value)


def explained(pattern: str, words: str) -> str:
    """A regular expression for `Field(pattern=…)`.

    Args:
        words: the text that an error shows instead of the pattern: "must …", with an example.
    """
    _WORDS[pattern] = words
    return pattern


_WORDS: dict[str, str] = {}
"""What each pattern means, in words."""
_NAME = explained(
    r"^[a-z0-9][a-z0-9_.-]*$",
    "must be a name of small letters and digits, with _ . or - only after the first of them, such as my_name_2",
)
_COLOUR = explained(r"^#[0-9a-fA-F]{6}$", "must be a colour of six hexadecimal digits, such as #1a2b3c")

Name = Annotated[str, Field(pattern=_NAME)]
Colour = Annotated[str, Field(pattern=_COLOUR)]
Text = Annotated[str, Field(min_length=1)]
PathText = Annotated[str, AfterValidator(os.path.expanduser)]
"""A file or folder; ~ stands for the user's home folder."""
Positive = Annotated[float, Field(gt=0)]

T = TypeVar("T")


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple | dict) or value is None else (value,)


Many = Annotated[tuple[T, ...], BeforeValidator(_several), Field(strict=False)]
"""A list; a single value counts as a list with one item."""

S = TypeVar("S", bound=Settings)


def load(cls: type[S], config: Any) -> S:
    """Validate a composed Hydra config.

    Args:
        cls: the settings class that the config must fit.
        config: a DictConfig, or plain nested dictionaries.

    Raises:
        SettingsError: lists every wrong key with its value and what is allowed, in one paragraph.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    try:
        plain = (
            OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            if OmegaConf.is_config(config)
            else config
        )
    except MissingMandatoryValue as error:
        key = error.full_key
        raise SettingsError(f"{key}: this setting has no value yet; set {key}=… on the command line.") from error
    except OmegaConfBaseException as error:
        raise SettingsError(
            f"{error.full_key}: the reference in this setting cannot be resolved ({str(error).splitlines()[0]}); "
            "correct it."
        ) from error
    broken = next(_broken(plain), None)
    if broken is not None:
        raise SettingsError(
            f"{broken}: this text is not in UTF-8 (it has half a character, a lone surrogate); type it again, or save "
            "the file that it is from as UTF-8."
        )
    try:
        return cls.model_validate(plain)
    except ValidationError as error:
        raise SettingsError(paragraph(error)) from error


def _broken(plain: Any, key: str = "") -> Iterator[str]:
    """The dotted keys of text values that are not valid Unicode, which cannot be written to a file."""
    match plain:
        case str() if any("\ud800" <= it <= "\udfff" for it in plain):
            yield key
        case dict() | list():
            for name, item in plain.items() if isinstance(plain, dict) else enumerate(plain):
                yield from _broken(item, f"{key}.{name}".lstrip("."))
        case _:
            pass


def paragraph(error: ValidationError) -> str:
    """Everything that is wrong with a config, as one paragraph: dotted keys, their values, and what is allowed."""
    return " ".join(map(_sentence, error.errors()))


def _sentence(problem: Any) -> str:
    """One problem, in words for people who write YAML files; pydantic's messages are for programmers."""
    where = [str(part) for part in problem["loc"] if part not in _TAGS]
    limits, message = problem.get("ctx", {}), problem["msg"].removeprefix("Value error, ")
    value = _shown(problem["input"])
    named = where[-1:] == ["[key]"]
    key = ".".join(where[:-2] if named else where)
    subject = f"{key}: the name {value}" if named else f"{key}={value}:"
    match problem["type"]:
        case "extra_forbidden" | "invalid_key":
            return f"{key}: there is no such setting; check the spelling."
        case "missing":
            return f"{key}: this setting is missing; a config file must give it."
        case "value_error" if not message.startswith("must "):
            return message if message.endswith(".") else f"{message}."
        case "union_tag_invalid":
            return f"{key}.kind={_shown(problem['input']['kind'])}: must be one of {limits['expected_tags']}."
        case "union_tag_not_found":
            return f"{key}.kind: this setting is missing; it says which kind is meant."
        case "too_short" | "too_long":
            few = problem["type"] == "too_short"
            limit = limits["min_length" if few else "max_length"]
            there = len(problem["input"])
            return f"{key}: there must be at {'least' if few else 'most'} {limit} of them, not {there}."
        case "string_type" if isinstance(problem["input"], bool | int | float):
            return f"{subject} must be text; put it in quotes to have it read as text: {key}=\"'{problem['input']}'\"."
        case "string_pattern_mismatch":
            return f"{subject} {_WORDS.get(limits['pattern'], 'has characters that are not allowed here')}."
        case kind:
            return f"{subject} {_ALLOWED.get(kind) or _SUBJECT.sub('must', message)}."


def _shown(value: Any) -> str:
    """A value as a user would write it, shortened if it is long."""
    text = _written(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _written(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{', '.join(map(_written, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {_written(item)}' for key, item in value.items())}}}"
        case _:
            return repr(value)


_LONGEST = 80
"""The most characters of a value that an error shows."""
_SUBJECT = re.compile(r"^\w+ should")
_TAGS = {"nwp", "dpo", "none", "wandb"}
"""Names of variants that pydantic inserts into the location of a problem, although they are not keys."""
_INTEGER = "must be a whole number, such as 3"
_NUMBER = "must be a number, such as 0.5"
_GROUP = "must be a group of settings, such as {name: value}"
_ALLOWED = {
    "int_type": _INTEGER,
    "int_from_float": _INTEGER,
    "int_parsing_size": _INTEGER,
    "float_type": _NUMBER,
    "finite_number": "must be a finite number, such as 0.5",
    "bool_type": "must be true or false",
    "string_type": "must be text, such as 'abc'",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list, such as [a, b]",
    "dict_type": _GROUP,
    "model_type": _GROUP,
    "model_attributes_type": _GROUP,
}
"""What is allowed, in place of pydantic's names for Python types."""
