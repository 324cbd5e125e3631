"""Text with gaps, as users write it in YAML: Jinja, strict, with errors that name the setting and its file."""

from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError

from hustings.errors import SettingsError

_ENVIRONMENT = Environment(undefined=StrictUndefined)


class Template:
    """One template of a config file, compiled.

    Args:
        text: Jinja.
        key: dotted key of the setting, for errors.
        file: where users find it, for errors: `conf/prompt/paper.yaml`.

    Raises:
        SettingsError: it does not compile.
    """

    def __init__(self, text: str, key: str, file: str) -> None:
        self._key, self._file = key, file
        try:
            self._template = _ENVIRONMENT.from_string(text)
        except TemplateError as error:
            raise SettingsError(
                f"{key}: this Jinja template does not compile ({error}); correct it in {file}."
            ) from error

    def render(self, **values: Any) -> str:
        """The text with its gaps filled in.

        Raises:
            SettingsError: it uses a variable that there is not.
        """
        try:
            return self._template.render(values)
        except TemplateError as error:
            raise SettingsError(
                f"{self._key}: this template cannot be filled in ({error}); it may use {', '.join(sorted(values))}; "
                f"correct it in {self._file}."
            ) from error
