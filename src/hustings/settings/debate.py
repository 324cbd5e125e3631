"""Settings of debates: prompts, sampling, what each role runs on, and everything else that `simulate.py` needs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hustings.settings.base import Many, Name, PathText, Settings, Text, explained, knob, neutral
from hustings.settings.instrument import ANY, InstrumentSettings
from hustings.settings.model import AnyEngine, EngineSettings, ModelSettings, PriceSettings
from hustings.settings.society import (
    NO_CONTROL,
    CompositionSettings,
    ControlSettings,
    SocietySettings,
    TopicSettings,
    TopologySettings,
)
from hustings.settings.treatments import AnyTreatment

DEFAULT = "default"
"""Role of the agent without a party."""
SHADOW = "shadow"
"""Role of the Default that listens to a debate, is surveyed, and never speaks."""


class PromptSettings(Settings):
    """All text that the model sees, except that of the survey (`instrument`), as Jinja templates."""

    name: Name
    """Name of this set of prompts in results."""
    scale: Literal["normal", "reversed"]
    """Which end of the scale is 0 in the question. `reversed`: surveys swap the ends of the scale; recorded values
    always have the normal direction."""
    system: Literal["template", "empty", "story"] = neutral("template")
    """Content of the system slot of the chat template: the chat template's own text, nothing, or the agent's story
    (which then does not appear in the user turn)."""
    persona: Text
    """Meta-prompt that asks for a life story with the party's positions."""
    persona_start: str
    """Words with which the life story begins."""
    context: Text
    """What an agent knows: story, topic, conversation so far. During a debate, only its end may grow."""
    line: Text
    """One reply in the conversation; `mine` tells whether the reading agent made it."""
    reply: Text
    """Instruction that asks for the next reply."""
    reply_start: str
    """Words with which a reply begins, on engines that can prefill an answer."""


class PersonaSettings(Settings):
    """How personas are written, or which file they are read from."""

    file: PathText | None
    """JSON lines with party, name and story; None lets the debating model write them."""
    set: int = neutral(1, ge=1)
    """Which set of life stories the model writes: 2, 3 … give different stories for the same names. A sweep over sets
    shows how much of a result is due to the stories."""
    max_tokens: int = Field(ge=16)
    """Longest life story, in tokens."""
    attempts: int = Field(ge=1)
    """How many attempts the model gets to write a life story that passes the checks."""


class SamplingSettings(Settings):
    """How replies are drawn."""

    temperature: float = Field(ge=0)
    """Temperature of replies; 0 always takes the most probable token. Surveys are always answered at 0."""
    top_p: float = neutral(1.0, gt=0, le=1)
    """Replies are drawn only from the most probable tokens that together have this probability."""
    max_tokens: int = Field(ge=1)
    """Longest reply, in tokens; a reply that is cut off there is shortened to its last whole sentence."""
    ignore_end: bool
    """Continue to `max_tokens` even if the model ends its turn (for benchmarks)."""
    attempts: int = Field(ge=1)
    """How many times an agent is asked for a reply before an empty one is accepted."""


class CastSettings(Settings):
    """What the agents of one role run on, if it differs from the rest of the run."""

    model: ModelSettings
    engine: AnyEngine
    adapter: str | None
    """An adapter made by train.py, by name or folder; None uses the unchanged model."""
    scope: Literal["replies", "both"] = neutral("both")
    """What it applies to: replies and surveys, or only replies, with surveys on the model of the rest of the run."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        check_model(self.model, self.engine, self.adapter)
        return self


class AnalysisSettings(Settings):
    """What figures and statistics are based on; these settings do not change the log."""

    outcome: Literal["score", "expected"] | None
    """Which attitude is analysed. `score`: the value of the chosen option; `expected`: the mean over the options'
    probabilities.

    None becomes `expected` where every engine of the run gives log-probabilities, and `score` elsewhere.
    """
    spaghetti: bool
    """Draw every debate as a faint line behind the mean."""
    tuning_topics: Many[Name]
    """Topics used to choose the doses of mitigations; the comparison of mitigations treats all others as held out."""


class AlarmSettings(Settings):
    """When a run stops because a model's answers are unusable."""

    invalid: float = knob(ge=0, le=1)
    """The run stops if the share of invalid survey answers is above this; 1 never stops it."""
    empty: float = knob(ge=0, le=1)
    """The run stops if the share of empty replies is above this; 1 never stops it."""
    after: int = knob(ge=1)
    """Number of answers that a model must have given before the shares are checked."""


class NoTrackerSettings(Settings):
    """No tracking: nothing is sent or written."""

    kind: Literal["none"]


_PROJECT = explained(
    r"^[^/\\#?%:\r\n]{1,128}$", "must be a name of at most 128 characters without any of / \\ # ? % :, such as hustings"
)


class WandbSettings(Settings):
    """Weights & Biases."""

    kind: Literal["wandb"]
    mode: Literal["offline", "online"]
    """Whether data are sent: `online` sends them at once; `offline` writes files for `wandb sync` and never asks for a
    login."""
    project: Annotated[str, Field(pattern=_PROJECT)]
    """The project at W&B that the run belongs to."""
    entity: str | None
    """The user or team at W&B; None uses that of the login."""
    group: str | None
    """The group that the run belongs to at W&B; None uses the experiment's name."""
    tags: Many[Text]
    """Tags of the run at W&B, in addition to those that Hustings sets."""
    folder: PathText = Field(min_length=1)
    """The folder in which W&B creates its folder `wandb`."""


TrackerSettings = Annotated[NoTrackerSettings | WandbSettings, Field(discriminator="kind")]


class TrainerSettings(Settings):
    """How many devices share the debates of one run, through Lightning."""

    devices: int = Field(ge=1)
    """GPUs, or processes on the CPU, that share the debates on each machine."""
    num_nodes: int = Field(ge=1)
    """Machines that share the debates; start the same command on each of them (srun does)."""
    strategy: Text
    """How Lightning connects the devices; `auto` means ddp, which is all that debates need."""

    @property
    def ranks(self) -> int:
        """Number of processes that play, one for each device."""
        return self.devices * self.num_nodes


def check_model(model: ModelSettings, engine: EngineSettings, adapter: str | None) -> None:
    """Refuse a model or adapter that the engine cannot run.

    Raises:
        ValueError: says why, and what to set instead.
    """
    engine.check_model(model)
    if adapter is not None and "adapters" not in engine.can:
        raise ValueError(
            f"adapter={adapter}: engine={engine.kind} cannot run adapters; set engine=transformers or engine=openvino, "
            "or serve the merged model and name it with model.id"
        )


class SimulateSettings(Settings):
    """Everything that `simulate.py` needs."""

    model: ModelSettings
    engine: AnyEngine
    society: SocietySettings
    topics: dict[Name, TopicSettings] = Field(min_length=1)
    composition: CompositionSettings
    topology: TopologySettings = neutral({"name": "round_robin"})
    instrument: InstrumentSettings
    prompt: PromptSettings
    personas: PersonaSettings
    sampling: SamplingSettings
    treatments: dict[Name, AnyTreatment] = neutral({})
    """Interventions, in the order in which they are applied."""
    cast: dict[Name, CastSettings] = neutral({})
    """What the agents of a role run on, by role, if not on `model`, `engine` and `adapter`."""
    tracker: TrackerSettings = knob()
    analysis: AnalysisSettings = knob()
    alarm: AlarmSettings = knob()
    trainer: TrainerSettings = knob()
    seed: int = Field(ge=0, lt=2**63)
    """Seed of the run; it determines who speaks first, who meets whom, and what is sampled."""
    repetitions: int = knob(ge=1)
    """Debates on each topic; if you increase it, only the additional debates are played."""
    rounds: int = Field(ge=1)
    """Rounds of each debate; everybody speaks once in each round and is surveyed at its end."""
    control: ControlSettings = neutral(NO_CONTROL)
    shadow: bool = neutral(False)
    """Whether a Default listens to every debate and is surveyed like everybody else; the others never know of it.

    It never speaks, and shows what the model itself thinks after hearing the same debate.
    """
    first_speaker: Literal["random", "balanced"] = neutral("random")
    """Who speaks first. `random`: drawn for each debate; `balanced`: over the repetitions, each seat begins equally
    often."""
    adapter: str | None
    """An adapter made by train.py, by name or folder; None uses the unchanged model."""
    adapter_scale: float = neutral(1.0, ge=0, le=10)
    """Factor for the weights of every adapter of the run: 0 gives the unchanged model, 1 the adapter as trained."""
    artifacts: PathText = knob(min_length=1)
    """The artifact store: the folder that keeps debates, life stories and adapters, so that nothing is computed
    twice."""
    dry_run: bool = knob()
    """Only estimate what the run would take: calls, tokens, money, time and disk space."""
    watch: bool = knob()
    """Show one debate on the terminal as it unfolds."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        check_model(self.model, self.engine, self.adapter)
        self._check_roles()
        self._check_personas()
        self._check_questions()
        for role, engine in self.engines().items():
            self._check_engine(role, engine)
        self._settle_outcome()
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles that take part: those of the composition, advocates, and the shadow."""
        shadow = (SHADOW,) if self.shadow else ()
        return tuple(dict.fromkeys((*self.composition.everybody, *self.control.partners, *shadow)))

    @property
    def partners(self) -> int:
        """Number of advocates in a debate: as many as a speaker has partners, and the same number for each end."""
        ends = len(self.control.advocates)
        return ends * -(-(len(self.composition.roles) - 1) // ends) if ends else 0

    def engines(self) -> dict[str, EngineSettings]:
        """The engine of each role that takes part; advocates and the shadow use the Default's."""
        return {role: (self._cast_of(role) or self).engine for role in self.roles}

    def _cast_of(self, role: str) -> CastSettings | None:
        """What a role runs on, if not on the run's own model; advocates and the shadow are cast like the Default."""
        return self.cast.get(role if role in self.composition.everybody else DEFAULT)

    def price(self, role: str, purpose: str) -> PriceSettings | None:
        """The price of what answers for a role; None if it is free or unknown.

        Args:
            role: of the run; life stories, of all parties, are written by the run's own model.
            purpose: of the request, as in `Turn.purpose`.
        """
        cast = self._cast_of(role)
        if cast is None or purpose == "persona" or (purpose == "survey" and cast.scope == "replies"):
            return self.model.price
        return cast.model.price

    def _check_roles(self) -> None:
        """Refuse roles that are not in the society, and topics on which a party has no stance."""
        parties = self.society.parties
        for role in self.composition.everybody:
            if role != DEFAULT and role not in parties:
                raise ValueError(
                    f"composition.roles: society {self.society.name} has no party {role!r}; it has "
                    f"{', '.join((*parties, DEFAULT))}"
                )
        for role in {*self.composition.roles} - {DEFAULT}:
            for topic in self.topics:
                if topic not in parties[role].stances:
                    raise ValueError(
                        f"society.parties.{role}.stances: the party has no stance on the topic {topic!r}; "
                        f"it has one on {', '.join(parties[role].stances)}; add it to the party's file in conf/party"
                    )
        defaults = self.composition.everybody.count(DEFAULT) * (1 + self.control.read) + self.partners + self.shadow
        if defaults > len(self.society.default.names):
            raise ValueError(
                f"society.default.names: a debate has {defaults} agents without a party (advocates and the shadow "
                f"included), and there are {len(self.society.default.names)} names for them; add names to conf/society"
            )
        if self.control.read and self.repetitions < 2:
            raise ValueError(
                "control=reader: agents read the debate of another repetition, and there is only one; set repetitions "
                "to at least 2"
            )
        named = {role: f"cast.{role}" for role in self.cast}
        for name, treatment in self.treatments.items():
            named |= dict.fromkeys(treatment.roles or (), f"treatments.{name}.roles")
        for role, key in named.items():
            if role not in self.composition.everybody:
                known = ", ".join(dict.fromkeys(self.composition.everybody))
                raise ValueError(
                    f"{key}: nobody of the role {role!r} takes part in composition {self.composition.name}; it has "
                    f"{known}"
                )

    def _check_personas(self) -> None:
        """Refuse another set of stories if the stories are read from a file."""
        if self.personas.file and self.personas.set != 1:
            raise ValueError(
                f"personas.set={self.personas.set}: the stories are those of personas.file={self.personas.file!r}, "
                "which has one set; name another file, or set personas.file=null"
            )

    def _check_questions(self) -> None:
        """Refuse topics that the instrument does not ask about."""
        for topic in self.topics:
            for name, item in self.instrument.items.items():
                if topic not in item.wordings and ANY not in item.wordings:
                    raise ValueError(
                        f"instrument.items.{name}.wordings: instrument {self.instrument.name} has no question on the "
                        f"topic {topic!r}; add one, or wordings for `any` topic"
                    )

    def _settle_outcome(self) -> None:
        """Choose the outcome if the settings leave it open; refuse one that the engines cannot give."""
        without = [role for role, engine in self.engines().items() if "log-probabilities" not in engine.can]
        if self.analysis.outcome == "expected" and without:
            engine = self.engines()[without[0]].kind
            raise ValueError(
                f"analysis.outcome=expected: engine={engine} (role {without[0]}) gives no log-probabilities with these "
                "settings, so there are no expected values; set analysis.outcome=score, or let the engine give them "
                "(engine.logprobs above 0, or another engine)"
            )
        if self.analysis.outcome is None:
            settled = self.analysis.model_copy(update={"outcome": "score" if without else "expected"})
            object.__setattr__(self, "analysis", settled)

    def _check_engine(self, role: str, engine: EngineSettings) -> None:
        """Refuse what this role's engine cannot do."""
        for name, treatment in self.treatments.items():
            missing = sorted(treatment.needs - engine.can) if role in (treatment.roles or (role,)) else []
            if missing:
                raise ValueError(
                    f"treatments.{name}: it needs an engine with {', '.join(missing)}, which engine={engine.kind} "
                    f"(role {role}) lacks; choose another engine, or leave the treatment out"
                )
        engine.check_instrument(self.instrument)
        if self.trainer.ranks > 1 and "shared by processes" not in engine.can:
            raise ValueError(
                f"trainer.devices={self.trainer.devices}, trainer.num_nodes={self.trainer.num_nodes}: the debates of "
                f"one run cannot be shared by processes on engine={engine.kind}, which uses several devices by itself "
                "where it can; set both to 1, or set engine=transformers"
            )
