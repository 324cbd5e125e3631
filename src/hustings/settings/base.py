"""What all settings are: typed, frozen, closed; and `load`, the one place that sees an omegaconf object.

Classes have no defaults: those live in conf/. It does not know any particular setting.
"""

import re
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hustings.errors import SettingsError

KNOB = "knob"
NEUTRAL = "neutral"


def knob(**constraints: Any) -> Any:
    """A field that changes how fast or where something is computed, never what: it is part of no identity."""
    return Field(json_schema_extra={KNOB: True}, **constraints)


def neutral(value: Any, **constraints: Any) -> Any:
    """A field that is left out of identities while it has this value, so that adding it changed none of them."""
    return Field(json_schema_extra={NEUTRAL: value}, **constraints)


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, no coercion from one type to another, no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def substance(self) -> dict[str, Any]:
        """What changes the output: every field but knobs and neutral values, as plain values."""
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
    """Settings that come in several kinds, each a subclass in the file of its name in one package.

    A subclass sets `kind` to a `Literal` and is found by it; nothing else has to be told about it.
    """

    kind: Any
    """A `Literal` of text in every subclass."""

    kind_package: ClassVar[str]
    """Where the kinds are: `engine`."""
    kind_key: ClassVar[str]
    """What an error calls them: `engine.kind`."""
    kinds: ClassVar[dict[str, Any]]
    """The class of every kind that has been imported."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Remember the class under its kind."""
        for kind in getattr(cls.model_fields["kind"].annotation, "__args__", ()):
            cls.kinds[kind] = cls

    @classmethod
    def known(cls) -> list[str]:
        """Every kind: those in the package, and those that were imported from elsewhere."""
        for module in iter_modules([str(Path(__file__).parents[1].joinpath(*cls.kind_package.split(".")))]):
            import_module(f"hustings.{cls.kind_package}.{module.name}")
        return sorted(cls.kinds)

    @classmethod
    def of_kind(cls, value: Any) -> Any:
        """Plain values validated by the class of their kind; anything else as it is.

        Raises:
            ValueError: there is no such kind.
        """
        if not isinstance(value, dict):
            return value
        kind: Any = value.get("kind")
        if kind not in cls.kinds:
            with suppress(ImportError):
                import_module(f"hustings.{cls.kind_package}.{kind}")
        if kind not in cls.kinds:
            raise ValueError(f"{cls.kind_key}={kind!r}: must be one of {', '.join(map(repr, cls.known()))}")
        return cls.kinds[kind].model_validate(value)


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]

S = TypeVar("S", bound=Settings)


def load(cls: type[S], config: Any) -> S:
    """Validate a composed Hydra config.

    Args:
        cls: the settings class that the config must fit.
        config: a DictConfig, or plain nested dictionaries.

    Raises:
        SettingsError: with every wrong key, its value and what is allowed, in one paragraph.
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
    try:
        return cls.model_validate(plain)
    except ValidationError as error:
        raise SettingsError(paragraph(error)) from error


def paragraph(error: ValidationError) -> str:
    """Everything that is wrong with a config, as one paragraph: the dotted keys, their values, what is allowed."""
    sentences: list[str] = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"] if part not in _TAGS)
        limits = problem.get("ctx", {})
        message = problem["msg"].removeprefix("Value error, ")
        match problem["type"]:
            case "extra_forbidden":
                sentences.append(f"{key}: there is no such setting; check the spelling.")
            case "missing":
                sentences.append(f"{key}: this setting is missing; a config file must give it.")
            case "value_error":
                sentences.append(f"{message}." if not message.endswith(".") else message)
            case "union_tag_invalid":
                sentences.append(f"{key}.kind={limits['tag']!r}: must be one of {limits['expected_tags']}.")
            case "too_short" | "too_long":
                few = problem["type"] == "too_short"
                limit = limits["min_length" if few else "max_length"]
                there = len(problem["input"])
                sentences.append(f"{key}: there must be at {'least' if few else 'most'} {limit} of them, not {there}.")
            case _:
                value = "null" if problem["input"] is None else repr(problem["input"])
                sentences.append(f"{key}={value}: {_SUBJECT.sub('must', message)}.")
    return " ".join(sentences)


_SUBJECT = re.compile(r"^\w+ should")
_TAGS = {"nwp", "dpo", "none", "wandb"}
"""Names of variants, which pydantic puts into the place of a problem although they stand in no key."""
