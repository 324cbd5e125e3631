"""Settings of `hustings judge`: the model that rates the stance of replies, and the question it is asked."""

from typing import Self

from pydantic import model_validator

from hustings.settings.base import PathText, Settings, Text, knob
from hustings.settings.model import AnyEngine, ModelSettings


class JudgeSettings(Settings):
    """Everything that `hustings judge` needs."""

    model: ModelSettings
    engine: AnyEngine
    question: Text
    """The question that the judge is asked about one reply: a template with `topic`, `question`, `low` and `high` (the
    topic's), `ratings`, and `text` (the reply, without names and parties). Keep `text` near the end, so that what comes
    before it is computed only once."""
    exchanged: bool
    """Also ask with the poles exchanged: the mean of both answers cancels a preference for one end, and their
    difference shows it."""
    seed: int = knob(ge=0, lt=2**63)
    """Seed for the order in which replies are read."""
    artifacts: PathText = knob(min_length=1)
    """The artifact store, which keeps every rating, so that no judge rates the same reply twice."""
    dry_run: bool = knob()
    """Only estimate what rating would take: calls, tokens, money."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.engine.needs_weights and self.model.source != "api":
            raise ValueError(
                f"engine={self.engine.kind}: there is no model behind it that could read a reply; name a judge with "
                "--model"
            )
        self.engine.check_model(self.model)
        return self
