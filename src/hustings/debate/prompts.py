"""Every sentence that the model sees, rendered from the templates of conf/prompt.

It does not know about chat templates: an engine puts the text into its model's own.
"""

from collections.abc import Sequence

from hustings.records import Agent
from hustings.settings import PartySettings, PromptSettings, TopicSettings
from hustings.template import Template

_NOBODY = "(Nobody has spoken yet.)"
_FIELDS = ("persona", "persona_start", "context", "line", "reply", "reply_start")


class Prompts:
    """The templates of one prompt setting, compiled.

    Raises:
        SettingsError: a template does not compile.
    """

    def __init__(self, settings: PromptSettings) -> None:
        file = f"conf/prompt/{settings.name}.yaml"
        self._templates = {field: Template(getattr(settings, field), f"prompt.{field}", file) for field in _FIELDS}

    def persona(self, party: PartySettings, name: str, country: str) -> tuple[str, str]:
        """The meta-prompt for one persona's life story, and the words that the story begins with."""
        positions = [stance.position for stance in party.stances.values()]
        values = {"name": name, "party": party.adjective, "country": country, "positions": positions}
        return self._templates["persona"].render(**values), self._templates["persona_start"].render(**values)

    def line(self, agent: Agent, text: str, *, mine: bool) -> str:
        """A reply as it appears in the conversation.

        Args:
            mine: whether it is shown to the agent that made it.
        """
        return self._templates["line"].render(name=agent.name, text=text, mine=mine)

    def context(self, agent: Agent, story: str, topic: TopicSettings, lines: Sequence[str]) -> str:
        """What an agent knows: its story (empty if it is in the system slot), the topic, and what it has heard."""
        conversation = "\n".join(lines) or _NOBODY
        values = {"name": agent.name, "story": story, "topic": topic.label, "conversation": conversation}
        return self._templates["context"].render(**values).lstrip()

    def reply(self, agent: Agent, topic: TopicSettings) -> tuple[str, str]:
        """The instruction that asks for the agent's next reply, and the words that the reply begins with."""
        instruction = self._templates["reply"].render(name=agent.name, topic=topic.label)
        return instruction, self._templates["reply_start"].render(name=agent.name)
