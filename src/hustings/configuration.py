"""The only interface to Hydra: it composes configs, resolves the names in them, and validates the result.

It does not know what a setting means; `settings` does.
"""

import difflib
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, overload

from hustings import configfiles
from hustings.errors import HustingsError, SettingsError

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from omegaconf import DictConfig

    from hustings.settings import EvaluateSettings, JudgeSettings, SimulateSettings, TrainSettings

    Composed = SimulateSettings | TrainSettings | EvaluateSettings | JudgeSettings

Job = Literal["simulate", "train", "evaluate"]
"""Name of a job; its primary config in conf/ has the same name."""
Primary = Literal["simulate", "train", "evaluate", "judge"]
"""What a config is for: a job, or `hustings judge`, which is not a Hydra job."""
INSTALLED = "hustings-"
"""Prefix of Hydra's job name if the `hustings` command started it instead of a script of the checkout."""

_SEVERAL = ("topic", "mitigation")
"""Groups from which a run can have more than one option."""
_USERS = "command-line"
"""Hydra's name for the folder of --config-dir."""


def conf_folder() -> Path:
    """The configs that ship with Hustings, from the installed package or from the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


@overload
def compose(
    *overrides: str, job: Literal["simulate"] = "simulate", config_dir: Path | str | None = None
) -> "SimulateSettings": ...
@overload
def compose(*overrides: str, job: Literal["train"], config_dir: Path | str | None = None) -> "TrainSettings": ...
@overload
def compose(*overrides: str, job: Literal["evaluate"], config_dir: Path | str | None = None) -> "EvaluateSettings": ...
@overload
def compose(*overrides: str, job: Literal["judge"], config_dir: Path | str | None = None) -> "JudgeSettings": ...
def compose(*overrides: str, job: Primary = "simulate", config_dir: Path | str | None = None) -> "Composed":
    """The settings that a command line with these overrides would give.

    Args:
        overrides: in the notation of the command line: `topic=racism`, `repetitions=3`.
        job: the command that they are meant for.
        config_dir: folder with your own YAML files, in subfolders named after the groups (`topic/vaccines.yaml`).

    Raises:
        SettingsError: a setting is unknown, of the wrong type or out of range, or it conflicts with another.

    Example:
        >>> import hustings
        >>> settings = hustings.compose("engine=planted", "topic=racism", "repetitions=3")
        >>> settings.repetitions
        3
    """
    import hydra

    folder = None if config_dir is None else Path(config_dir).expanduser().resolve()
    if folder is not None and not folder.is_dir():
        raise SettingsError(f"config_dir={config_dir}: there is no such folder.")
    words = settable(overrides)
    check_files(words, folder)
    try:
        with search_path(job, folder):
            return _settings(hydra.compose(job, words), job, job, _searched(words))
    except HustingsError:
        raise
    except Exception as error:  # whatever Hydra, OmegaConf and YAML raise
        raise SettingsError(explain(error, job, words, folder)) from error


@overload
def settings_of(config: "DictConfig", job: Literal["simulate"]) -> "SimulateSettings": ...
@overload
def settings_of(config: "DictConfig", job: Literal["train"]) -> "TrainSettings": ...
@overload
def settings_of(config: "DictConfig", job: Literal["evaluate"]) -> "EvaluateSettings": ...
def settings_of(config: "DictConfig", job: Job) -> "Composed":
    """Validate the config that Hydra composed for a running job.

    Raises:
        SettingsError: a setting is unknown, of the wrong type or out of range, or it conflicts with another.
    """
    from hydra.core.hydra_config import HydraConfig

    running = HydraConfig.get()
    return _settings(config, job, str(running.job.config_name), _searched(plain(running.overrides.hydra)))


def program(hydra: Any, script: str | None = None) -> list[str]:
    """The command that started the running job, without its overrides.

    Args:
        hydra: Hydra's own settings, in which entry points set the job's name.
        script: the script as it was called, `../simulate.py`; None leaves out its folder.
    """
    name, config_name = str(hydra.job.name), str(hydra.job.config_name)
    job = name.removeprefix(INSTALLED) if name.removeprefix(INSTALLED) in get_args(Job) else config_name
    called = script if script is not None and Path(script).name == f"{job}.py" else f"{job}.py"
    words = ["python", "-m", "hustings", job] if name.startswith(INSTALLED) else ["python", called]
    if config_name != job:
        words += ["--config-name", config_name]
    for source in hydra.runtime.config_sources:
        if source.provider == _USERS:
            words += ["--config-dir", os.path.relpath(source.path)]
    return words


def settable(words: Iterable[str]) -> list[str]:
    """Overrides in the form that Hydra accepts.

    `cast` has no roles until one is set, so Hydra needs `++` there. Hydra does not expand ~ in folders, so it is done
    here.

    Raises:
        SettingsError: several options were given for a group that takes one; Hydra would merge them.
    """
    at_home = re.compile(r"^(hydra\.(?:run|sweep)\.dir=['\"])~(?=/)")
    expanded = [at_home.sub(lambda found: f"{found[1]}{Path('~').expanduser()}", it) for it in words]
    for word in expanded:
        group, _, options = word.partition("=")
        listed = re.fullmatch(r"\[(.+,.+)\]", options.replace(" ", ""))
        if listed and group not in _SEVERAL and (conf_folder() / group).is_dir():
            raise SettingsError(
                f"{word}: {group} takes one option; to run each of them, write -m {group}={listed[1]}. Only "
                f"{' and '.join(_SEVERAL)} take several in one run."
            )
    return [f"++{word}" if word.startswith(("cast.", "cast=")) else word for word in expanded]


def plain(words: Any) -> list[str]:
    """A list of overrides from Hydra's own settings, with unresolved references."""
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(words, resolve=False)
    return list(map(str, found))


def as_typed(words: Iterable[str]) -> list[str]:
    """Overrides as users type them: the inverse of `settable`."""
    return [word.removeprefix("++") if word.startswith(("++cast.", "++cast=")) else word for word in words]


def _settings(config: "DictConfig", job: Primary, name: str, searched: list[str]) -> "Composed":
    """Resolve the names in a config and validate it.

    Args:
        name: name of the primary config.
        searched: overrides that extend Hydra's search path, which also apply to everything that is composed by name.
    """
    from omegaconf import open_dict

    from hustings.settings import EvaluateSettings, JudgeSettings, SimulateSettings, TrainSettings, load

    compose_by_name = partial(_named, name, searched)
    with open_dict(config):
        if isinstance(config.get("comparison"), str):
            config.comparison = compose_by_name("comparison", [f"model={config.comparison}"])["model"]
        cast_of = _plain(config.get("cast")) or {}
        if not isinstance(cast_of, dict):
            raise SettingsError(
                f"cast={cast_of}: name a role and what it runs on, as in cast.republican.model=mistral."
            )
        for role, asked in cast_of.items():
            config.cast[role] = _part(str(role), asked, config, compose_by_name)
    match job:
        case "simulate":
            return load(SimulateSettings, config)
        case "train":
            return load(TrainSettings, config)
        case "evaluate":
            return load(EvaluateSettings, config)
        case "judge":
            return load(JudgeSettings, config)


_PART = ("model", "engine", "adapter", "scope", "overrides")


def _part(
    role: str, asked: Any, config: "DictConfig", compose_by_name: Callable[[str, list[str]], dict[str, Any]]
) -> dict[str, Any]:
    """What a role runs on: plain values for `CastSettings`.

    Args:
        asked: the config's entry for the role, which refers to models and engines by name.
        config: the config of the run, whose model and engine are used if the entry names none.

    Raises:
        SettingsError: a name or key does not exist, or the entry names nothing.
    """
    key = f"cast.{role}"
    if not isinstance(asked, dict):
        raise SettingsError(f"{key}={asked}: name what the role runs on in one of its settings: {key}.model={asked}.")
    part = cast("dict[str, Any]", asked)
    for unknown in part.keys() - {*_PART}:
        raise SettingsError(f"{key}.{unknown}: there is no such setting; there is {', '.join(_PART)}.")
    model, engine, adapter, scope, overrides = (part.get(name) for name in _PART)
    scope = scope or "both"
    if model is None and engine is None and adapter is None:
        raise SettingsError(
            f"{key}: nothing says what this role runs on; set {key}.model, {key}.engine or {key}.adapter, or leave the "
            "role out of cast, so that it runs on what the whole run does."
        )
    if not isinstance(overrides or [], list):
        raise SettingsError(
            f"{key}.overrides={overrides}: must be a list, as in \"{key}.overrides=['model.path=FILE']\"."
        )
    words = [f"{group}={option}" for group, option in (("model", model), ("engine", engine)) if option is not None]
    if not words:
        if overrides:
            raise SettingsError(
                f"{key}.overrides: they change a model or an engine that the role names, and it has none."
            )
        return {"model": config.model, "engine": config.engine, "adapter": adapter, "scope": scope}
    named = compose_by_name(key, [*words, *map(str, overrides or ())])
    chosen = config.model if model is None else named["model"]
    return {"model": chosen, "engine": named["engine"], "adapter": adapter, "scope": scope}


def _plain(value: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _named(name: str, searched: list[str], key: str, words: list[str]) -> dict[str, Any]:
    """The model and engine from another composition of the same config, as plain values.

    Args:
        key: dotted key of the setting that names them, for error messages.
    """
    import hydra
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue

    try:
        composed = hydra.compose(name, [*searched, *words])
        plain: Any = {
            group: OmegaConf.to_container(composed[group], resolve=True, throw_on_missing=True)
            for group in ("model", "engine")
        }
        return plain
    except MissingMandatoryValue as error:
        raise SettingsError(
            f"{key}: {error.full_key} has no value yet; set \"{key}.overrides=['{error.full_key}=…']\"."
        ) from error
    except Exception as error:  # whatever Hydra, OmegaConf and YAML raise
        raise SettingsError(f"{key}: {_explained(error, tuple)}") from error


def _searched(words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith("hydra.searchpath=")]


@contextmanager
def search_path(job: str, config_dir: Path | None) -> Generator["Hydra"]:
    """Hydra, set up to compose from the shipped configs and from the user's, as with `--config-dir`."""
    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_automatic_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra

    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None
    try:
        version.setbase("1.3")
        path = create_automatic_config_search_path(None, None, str(conf_folder()))
        if config_dir is not None:
            path.prepend(_USERS, f"file://{config_dir}", SearchPathQuery(provider="schema"))
        yield Hydra.create_main_hydra2(job, path)
    finally:
        state.hydra = before


def check_files(words: Sequence[str], config_dir: Path | None) -> None:
    """Check the user's option files before Hydra reads them.

    Raises:
        SettingsError: describes the first fault of the first faulty file.
    """
    places = configfiles.folders(words, config_dir)
    for place in places:
        if not place.is_dir():
            raise SettingsError(f"hydra.searchpath: {place}: there is no such folder.")
    for fault in configfiles.faults(configfiles.chosen(words, places)):
        raise SettingsError(fault)


def explain(error: Exception, job: Primary, words: Sequence[str], config_dir: Path | None) -> str:
    """One paragraph about a config that Hydra cannot compose, with the nearest correct spelling.

    Args:
        error: the error raised by composing.
        words: the overrides.
        config_dir: folder of the user's own configs.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError

    if not isinstance(error, HydraException | OmegaConfBaseException | MarkedYAMLError):
        for fault in configfiles.faults(configfiles.every(configfiles.folders(words, config_dir))):
            return fault
    said = _explained(error, partial(known, job, words, config_dir))
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", said)


def _explained(error: Exception, names: Callable[[], Iterable[str]]) -> str:
    """Like `explain`, but only from the text of the error.

    Args:
        names: returns all groups and dotted keys; called only if a name is unknown.
    """
    from hydra.errors import OverrideParseException
    from yaml import MarkedYAMLError

    message = str(error) or str(error.__cause__ or type(error).__name__)
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        return f"{error.problem_mark.name}{configfiles.not_yaml(error)}"
    if isinstance(error, OverrideParseException):
        reason = message.splitlines()[0]
        (word,) = as_typed([error.override])
        quoted = _in_quotes(word)
        if quoted:
            return f'{word}: Hydra reads such a value only within quotes; write "{quoted}".'
        return f"{word}: this setting cannot be read ({reason}); set it as name=value, in quotes if need be."
    several = re.search(r"^Ambiguous value for argument '(?P<key>[^'=]+)=(?P<values>.*)'$", message, re.MULTILINE)
    if several:
        (key,) = as_typed([several["key"]])
        return (
            f'{key}={several["values"]}: these are several values; write "{key}=[{several["values"]}]" for one run '
            "with all of them, where it takes a list, or add -m for a run with each."
        )
    option = re.search(r"Could not find '(?P<group>[^']+)/(?P<option>[^/']*)'(?P<rest>.*)", message, re.DOTALL)
    if option:
        options = re.findall(r"^\t(\S+)$", option["rest"], re.MULTILINE)
        return _no_such_option(option["group"], option["option"], options)
    key = re.search(r"Could not override '(?P<key>[^']+)'", message)
    if key:
        there = list(names())
        if key["key"] in there:
            return f"{key['key']}: the value has a key that this setting lacks; add it with ++{key['key']}=…"
        return f"{key['key']}: there is no such setting; {_nearest(key['key'], there)}"
    return " ".join(line.strip() for line in message.splitlines() if line.strip())


def _no_such_option(group: str, option: str, options: list[str]) -> str:
    """What to do about a group that has no such option, only these."""
    if group == "hydra/launcher":
        cluster = option.removeprefix("submitit_")
        return (
            f"cluster={cluster}: Hydra's plugin that starts jobs there is not installed; install it with "
            f"pip install 'hustings[{cluster}]' (in a checkout: pip install -e '.[{cluster}]'), or run here with "
            "cluster=local."
        )
    if group == "interview":
        return (
            f"interview={option}: there is no such interview, and fine-tuning needs one that suits the "
            f"society; add conf/interview/{option}.yaml, or choose one with interview=… ({', '.join(options)})."
        )
    return f"{group}={option}: there is no such option; {_nearest(option, options)}"


def _in_quotes(word: str) -> str | None:
    """An override that Hydra cannot read, with its value in quotes; None if that does not help."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, _, value = word.partition("=")
    if not value or re.search(r"[\[\]{}()'\",]", value):
        return None
    quoted = f"{key}='{value}'"
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:
        return None
    return quoted


def _nearest(word: str, names: Sequence[str]) -> str:
    """Advice that suggests the name that was probably meant, or lists the existing ones."""
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.8) or [
        other for other in names if other.rpartition(".")[2] == word.rpartition(".")[2]
    ]
    group = word.rpartition(".")[0]
    siblings = [other for other in names if group and other.rpartition(".")[0] == group]
    if siblings and not near:
        return f"there is {', '.join(siblings)}."
    if near:
        return f"did you mean {near[0]}?" + (f" There is {', '.join(names)}." if len(names) <= 30 else "")
    return f"there is {', '.join(names)}." if 0 < len(names) <= 30 else "see --help for the settings."


def known(job: Primary, words: Sequence[str], config_dir: Path | None) -> list[str]:
    """All config groups, and all dotted keys of the config that these overrides compose.

    Args:
        words: overrides; only those that choose an option of a group matter.
        config_dir: folder of the user's own configs.
    """
    import hydra

    groups = sorted(group.name for group in conf_folder().iterdir() if group.is_dir())
    options = [word for word in words if re.fullmatch(rf"(?:{'|'.join(groups)})=[\w.-]+", word)]
    with search_path(job, config_dir):
        try:
            composed = hydra.compose(job, options)
        except Exception:  # an option that cannot be composed by itself either
            composed = hydra.compose(job)
        return [*groups, *_keys(composed, "")]


def _keys(config: Mapping[Any, Any], prefix: str) -> Iterator[str]:
    from omegaconf import OmegaConf

    for name in config:
        yield f"{prefix}{name}"
        if not OmegaConf.is_missing(config, name) and isinstance(config[name], Mapping):
            yield from _keys(config[name], f"{prefix}{name}.")
