"""Every sentence that the model sees, rendered from the templates of conf/prompt.

It does not know chat templates: an engine puts the text into its model's own.
"""

from collections.abc import Sequence

from jinja2 import Environment, StrictUndefined, TemplateError

from hustings.errors import SettingsError
from hustings.records import Agent
from hustings.settings import PartySettings, PromptSettings, TopicSettings

_NOBODY = "(Nobody has spoken yet.)"


class Prompts:
    """The templates of one prompt setting, compiled.

    Raises:
        SettingsError: a template does not compile.
    """

    def __init__(self, settings: PromptSettings) -> None:
        environment = Environment(undefined=StrictUndefined)
        self._settings = settings
        self._templates = {}
        for field in ("persona", "persona_start", "context", "line", "reply", "reply_start", "survey"):
            try:
                self._templates[field] = environment.from_string(getattr(settings, field))
            except TemplateError as error:
                raise SettingsError(
                    f"prompt.{field}: this Jinja template does not compile ({error}); "
                    f"correct it in conf/prompt/{settings.name}.yaml."
                ) from error

    def _render(self, field: str, **values: str | list[str]) -> str:
        try:
            return self._templates[field].render(values)
        except TemplateError as error:
            raise SettingsError(
                f"prompt.{field}: this template cannot be filled in ({error}); it may use {', '.join(sorted(values))}; "
                f"correct it in conf/prompt/{self._settings.name}.yaml."
            ) from error

    def persona(self, party: PartySettings, name: str, country: str) -> tuple[str, str]:
        """The meta-prompt for one persona's life story, and the words that the story begins with."""
        positions = [stance.position for stance in party.stances.values()]
        values = {"name": name, "party": party.adjective, "country": country, "positions": positions}
        return self._render("persona", **values), self._render("persona_start", **values)

    def line(self, agent: Agent, text: str) -> str:
        """A reply as it stands in the conversation."""
        return self._render("line", name=agent.name, text=text)

    def reply(self, agent: Agent, topic: TopicSettings, lines: Sequence[str]) -> tuple[str, str]:
        """The prompt for the agent's next reply after `lines`, and the words that the reply begins with."""
        return self._prompt("reply", agent, topic, lines), self._render("reply_start", name=agent.name)

    def survey(self, agent: Agent, topic: TopicSettings, lines: Sequence[str]) -> str:
        """The prompt for the agent's attitude after `lines`."""
        return self._prompt("survey", agent, topic, lines)

    def _prompt(self, field: str, agent: Agent, topic: TopicSettings, lines: Sequence[str]) -> str:
        context = self._render(
            "context",
            name=agent.name,
            story=agent.story,
            topic=topic.label,
            conversation="\n".join(lines) or _NOBODY,
        )
        ends = (topic.low, topic.high) if self._settings.scale == "normal" else (topic.high, topic.low)
        instruction = self._render(
            field, name=agent.name, topic=topic.label, question=topic.question, zero=ends[0], ten=ends[1]
        )
        return f"{context}\n\n{instruction}"
