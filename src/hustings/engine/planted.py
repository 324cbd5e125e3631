"""Synthetic debaters whose attitudes follow known dynamics: the ground truth for every statistic.

There is no model behind them. An agent's attitude is a pure function of the request: each reply states the attitude
that it was made with, and the attitudes of a round follow from those of the round before
(Source: protocol.md, dynamics):

    A(t+1) = A(t) + c − βA(t) + α(mean of the others(t) − A(t)) + κ(A(0) − A(t)) + ε

with c = β·b* + drift. An agent that does not speak (a shadow, a reader) follows the same dynamics on what it hears.
"""

import math
import re
from collections import deque
from collections.abc import Iterator, Sequence
from statistics import NormalDist, fmean
from typing import Literal

from pydantic import Field

from hustings.engine.base import Answer, Completion, Engine, Order, Request, Score, Turn
from hustings.identity import seed_of
from hustings.runfolder import DebateKey
from hustings.settings import (
    Capability,
    EngineSettings,
    InstrumentSettings,
    ItemSettings,
    ModelSettings,
    SimulateSettings,
)
from hustings.settings.base import Name, Settings, neutral

_STATED = re.compile(r"-?\d+\.\d{6}(?=\.$)")
_PHRASES = (
    "I have thought about this for years, and I would put it at {:.6f}.",
    "From what I see around me every day, I would say {:.6f}.",
    "I hear you, but for my family and my town this is {:.6f}.",
    "We can disagree and stay friends; to me it is {:.6f}.",
)
_NORMAL = NormalDist()


class EffectSettings(Settings):
    """What a mitigation does to synthetic debaters: these values are added to those that apply without it."""

    alpha: float
    """Social pull, per round."""
    beta: float
    """Model pull, per round."""
    kappa: float
    """Persona anchor, per round."""


class PlantedSettings(EngineSettings):
    """Synthetic debaters whose attitudes follow known dynamics (Source: protocol.md, dynamics).

    Attitudes are in points on the instrument's scale.
    """

    kind: Literal["planted"]
    alpha: float
    """Social pull, per round."""
    beta: float
    """Model pull, per round."""
    kappa: float
    """Persona anchor, per round."""
    bias: float
    """b*: the attitude that the model pulls towards."""
    drift: float = neutral(0.0)
    """Movement of everybody, regardless of attitude, points per round: c = β·b* + drift."""
    first_default: float | None = neutral(None)
    """The Default's attitude before anybody has spoken; None means `bias`."""
    noise: float = Field(ge=0)
    """Standard deviation of ε, points per round."""
    survey_noise: float = neutral(0.0, ge=0)
    """Standard deviation of each answer around the attitude, in points; drawn anew for every item and survey."""
    clip: bool = neutral(False)
    """Attitudes themselves, not only answers, stop at the ends of the scale."""
    cut: float = neutral(0.0, ge=0, le=1)
    """Share of replies that are cut at the token limit, in the middle of a second sentence."""
    start_low: float
    """Mean attitude at iteration 0 of a party whose pole is low."""
    start_high: float
    """Mean attitude at iteration 0 of a party whose pole is high."""
    start_spread: float = Field(ge=0)
    """Standard deviation of attitudes at iteration 0 over personas, in points."""
    effects: dict[Name, EffectSettings] = neutral({})
    """What mitigations do, by the name of the treatment; treatments that are not listed do nothing."""

    @property
    def can(self) -> frozenset[Capability]:
        """It has log-probabilities, and several processes produce exactly what one does."""
        return frozenset({"log-probabilities", "shared by processes"})

    @property
    def needs_weights(self) -> bool:
        """There is no model."""
        return False

    def check_model(self, model: ModelSettings) -> None:
        """Accept any model, as none is loaded."""

    def check_instrument(self, instrument: InstrumentSettings) -> None:
        """Refuse attitudes that are not on the instrument's scale."""
        low, high = instrument.low, instrument.high
        for key in ("bias", "start_low", "start_high", "first_default"):
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                raise ValueError(
                    f"engine.{key}={value:g}: attitudes of the instrument {instrument.name} run from {low:g} to "
                    f"{high:g}; set a value in this range"
                )


def build(settings: PlantedSettings, order: Order) -> "PlantedEngine":
    """The planted debaters of a run."""
    assert order.debates is not None
    return PlantedEngine(settings, order.debates)


class PlantedEngine(Engine):
    """Debaters with the attitudes that the settings prescribe.

    Args:
        settings: α, β, κ, b, noise and the attitudes at iteration 0.
        run: the parties' poles in it decide who starts low and who starts high; its instrument is the one answered.
    """

    promise = "planted: every reply and score depends only on its request and the seed; every rerun is identical"

    def __init__(self, settings: PlantedSettings, run: SimulateSettings) -> None:
        self._settings = settings
        self._society = run.society
        self._items = run.instrument.items
        self._reversed = run.prompt.scale == "reversed"
        self._seed = run.seed
        self._ends = run.instrument.low, run.instrument.high
        self._off_topic = run.control.topic is not None
        self._apart = (run.control.name,) if settings.effects and run.control.name != "none" else ()
        """The control's name if mitigations are compared, so that the noise is drawn anew under every control."""

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer in the order of the queue."""
        while queue:
            request = queue.popleft()
            yield request, self._answer(request)

    def _answer(self, request: Request) -> Answer:
        words = len(request.prompt.split())
        if request.turn.purpose == "persona":
            text = request.start + self._story(request)
            return Completion(text, words, len(text.split()), "stop")
        attitude = self._attitude(request)
        if request.options:
            return self._score(request, attitude, words)
        text = _PHRASES[request.seed % len(_PHRASES)].format(attitude)
        if request.seed % 10_000 < 10_000 * self._settings.cut:
            return Completion(f"{text} And so I", words, len(text.split()) + 3, "length")
        return Completion(text, words, len(text.split()), "stop")

    def _story(self, request: Request) -> str:
        stances = self._society.parties[request.turn.role].stances.values()
        return " and life taught you that " + ", and that ".join(stance.position for stance in stances) + "."

    def _score(self, request: Request, attitude: float, words: int) -> Score:
        """Two neighbouring options, with probabilities that make `attitude` the mean of their values."""
        turn = request.turn
        item = self._items[turn.item]
        values = item.values
        noise = self._settings.survey_noise * self._normal(turn.debate, turn.agent, turn.iteration, turn.item)
        inside = min(max(attitude + noise, values[0]), values[-1])
        if self._turned(item):
            inside = values[0] + values[-1] - inside
        low = max(place for place, value in enumerate(values[:-1]) if value <= inside)
        share = (inside - values[low]) / (values[low + 1] - values[low])
        shares = {low: 1 - share, low + 1: share}
        logprobs = tuple(math.log(max(shares.get(place, 0.0), 1e-12)) for place in range(len(values)))
        best = max(range(len(logprobs)), key=logprobs.__getitem__)
        return Score(logprobs, request.options[best], words, 1)

    def _turned(self, item: ItemSettings) -> bool:
        """Whether a high attitude means a low answer: a reverse-keyed item or a reversed scale, but not both."""
        return (item.direction == "reversed") != self._reversed

    def _attitude(self, request: Request) -> float:
        """The attitude of the asking agent after the last complete round before its next reply."""
        turn = request.turn
        first = self._first(turn.debate, turn.role, turn.agent)
        if turn.role.startswith("advocate_") or self._off_topic:
            return first
        stated = [(place, float(found[0])) for place, text in turn.heard if (found := _STATED.search(text))]
        agents = len({place for place, _ in stated})
        own = [attitude for place, attitude in stated if place == turn.agent]
        speaks = bool(own) or turn.purpose == "reply"
        rounds = len(own) if speaks else len(stated) // max(agents, 1)
        if rounds == 0:
            return first
        if speaks:
            last = dict(stated[(rounds - 1) * agents : rounds * agents])
            last.pop(turn.agent, None)
            return self._next(turn, rounds, own[-1], own[0], list(last.values()))
        now = first
        for number in range(rounds):
            now = self._next(turn, number + 1, now, first, [it for _, it in stated[number * agents :][:agents]])
        return now

    def _next(self, turn: Turn, number: int, own: float, first: float, others: list[float]) -> float:
        """The attitude after round `number`, from the agent's own before the round and those it heard during it."""
        s = self._settings
        named = [name for name in turn.treatments if name in s.effects]
        effects = [s.effects[name] for name in named]
        alpha, beta, kappa = (
            getattr(s, name) + sum(getattr(effect, name) for effect in effects) for name in ("alpha", "beta", "kappa")
        )
        attitude = (
            own
            + beta * (s.bias - own)
            + alpha * (fmean(others) - own if others else 0.0)
            + kappa * (first - own)
            + s.noise * self._normal(turn.debate, turn.agent, number, said=(*self._apart, *named))
            + s.drift
        )
        return min(max(attitude, self._ends[0]), self._ends[1]) if s.clip else attitude

    def _first(self, debate: str, role: str, agent: int) -> float:
        s = self._settings
        party = self._society.parties.get(role)
        if role == "advocate_low" or role == "advocate_high":
            return s.start_low if role == "advocate_low" else s.start_high
        if party is None:
            return s.bias if s.first_default is None else s.first_default
        start = s.start_low if party.stances[DebateKey.parse(debate).topic].pole == "low" else s.start_high
        return start + s.start_spread * self._normal(debate, agent, 0)

    def _normal(self, debate: str, agent: int, number: int, item: str = "", said: Sequence[str] = ()) -> float:
        """A standard normal draw, for a round or for the answer to an item at an iteration.

        Args:
            said: the control and treatments that change what is said; each combination has its own draw.
        """
        what = (item, "survey") if item else ("planted", *said)
        return _NORMAL.inv_cdf((seed_of(self._seed, debate, agent, number, *what) + 0.5) / 2**32)
