"""Templates that users write in YAML: strict Jinja, with errors that name the setting and its file."""

from functools import lru_cache
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError, nodes

from hustings.errors import SettingsError

_ENVIRONMENT = Environment(undefined=StrictUndefined)
_KEPT = 256
"""Rendered texts that a template caches: the surveys and next reply of an agent have the same beginning."""


class Template:
    """A compiled template from a config file.

    Args:
        text: the Jinja source.
        key: dotted key of the setting, for error messages.
        file: where users find it, for error messages: `conf/prompt/paper.yaml`.

    Raises:
        SettingsError: the template does not compile.
    """

    def __init__(self, text: str, key: str, file: str) -> None:
        self._key, self._file = key, file
        try:
            parsed = _ENVIRONMENT.parse(text)
            self._template = _ENVIRONMENT.from_string(parsed)
        except TemplateError as error:
            raise SettingsError(
                f"{key}: this Jinja template does not compile ({error}); correct it in {file}."
            ) from error
        self._parts = _plain(parsed)
        self._render = lru_cache(maxsize=_KEPT)(self._filled)

    def render(self, **values: Any) -> str:
        """Render the template.

        Args:
            values: text, numbers, and lists of these.

        Raises:
            SettingsError: the template uses a variable that does not exist.
        """
        if self._parts is not None and all(type(values.get(name)) is str for _, name in self._parts if name):
            return "".join([values[name] if name else text for text, name in self._parts])
        return self._render(tuple((name, tuple(it) if isinstance(it, list) else it) for name, it in values.items()))

    def _filled(self, values: tuple[tuple[str, Any], ...]) -> str:
        try:
            return self._template.render((name, [*it] if isinstance(it, tuple) else it) for name, it in values)
        except TemplateError as error:
            known = ", ".join(sorted(dict(values)))
            raise SettingsError(
                f"{self._key}: this template cannot be filled in ({error}); it may use {known}; correct it in "
                f"{self._file}."
            ) from error


def _plain(template: nodes.Template) -> list[tuple[str, str]] | None:
    """A template as pairs of text and variable, one of them empty; None if it has anything but text and variables."""
    parts: list[tuple[str, str]] = []
    for output in template.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                parts.append((node.data, ""))
            elif isinstance(node, nodes.Name):
                parts.append(("", node.name))
            else:
                return None
    return parts
