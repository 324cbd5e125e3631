"""Synthetic debaters whose attitudes follow known dynamics: the ground truth for every statistic.

There is no model behind it. An agent's attitude is a pure function of what stands in the request: each reply
states the attitude it was made with, and the next round's attitudes follow from those of the round before
(Source: protocol.md, dynamics):

    A(t+1) = A(t) + β(b − A(t)) + α(mean of the others(t) − A(t)) + κ(A(0) − A(t)) + ε
"""

import math
import re
from collections import deque
from collections.abc import Iterator
from statistics import NormalDist, fmean
from typing import Literal

from hustings.engine.base import Answer, Completion, Engine, Request, Score
from hustings.identity import seed_of
from hustings.settings import PlantedSettings, SocietySettings

_STATED = re.compile(r"^(?P<name>[^:\n]+): .*?(?P<attitude>-?\d+\.\d{6})\.$", re.MULTILINE)
_PHRASES = (
    "I have thought about this for years, and I would put it at {:.6f}.",
    "From what I see around me every day, I would say {:.6f}.",
    "I hear you, but for my family and my town this is {:.6f}.",
    "We can disagree and stay friends; to me it is {:.6f}.",
)
_NORMAL = NormalDist()


class PlantedEngine(Engine):
    """Debaters with the attitudes that the settings plant.

    Args:
        settings: α, β, κ, b, noise and the attitudes at iteration 0.
        society: whose parties' poles say who starts low and who starts high.
        scale: `reversed` answers surveys with 0 and 10 swapped.
        seed: of the run.
    """

    promise = "planted: every reply and score is a function of its request and the seed; any rerun is the same"

    def __init__(
        self,
        settings: PlantedSettings,
        society: SocietySettings,
        scale: Literal["normal", "reversed"],
        seed: int,
    ) -> None:
        self._settings = settings
        self._society = society
        self._reversed = scale == "reversed"
        self._seed = seed

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
            return self._score(request, 10 - attitude if self._reversed else attitude, words)
        text = _PHRASES[request.seed % len(_PHRASES)].format(attitude)
        return Completion(text, words, len(text.split()), "stop")

    def _story(self, request: Request) -> str:
        stances = self._society.parties[request.turn.role].stances.values()
        return " and life taught you that " + ", and that ".join(stance.position for stance in stances) + "."

    def _score(self, request: Request, attitude: float, words: int) -> Score:
        """Two neighbouring options that have `attitude` as their mean."""
        inside = min(max(attitude, 0.0), 10.0)
        low = min(math.floor(inside), 9)
        shares = {str(low): 1 - (inside - low), str(low + 1): inside - low}
        logprobs = tuple(math.log(max(shares.get(option, 0.0), 1e-12)) for option in request.options)
        best = max(range(len(logprobs)), key=logprobs.__getitem__)
        return Score(logprobs, request.options[best], words, 1)

    def _attitude(self, request: Request) -> float:
        """The attitude of the asking agent after the last whole round before its own next reply."""
        turn = request.turn
        stated = [(found["name"], float(found["attitude"])) for found in _STATED.finditer(request.prompt)]
        first = self._first(turn.debate, turn.role, turn.agent)
        if not stated:
            return first
        agents = len({name for name, _ in stated})
        speaker = turn.name
        rounds = len(stated) // agents if turn.purpose == "survey" else sum(name == speaker for name, _ in stated)
        if rounds == 0:
            return first
        own_first = next((attitude for name, attitude in stated if name == speaker), first)
        last = dict(stated[(rounds - 1) * agents : rounds * agents])
        own = last.pop(speaker, own_first)
        s = self._settings
        return (
            own
            + s.beta * (s.bias - own)
            + s.alpha * (fmean(last.values()) - own if last else 0.0)
            + s.kappa * (own_first - own)
            + s.noise * self._normal(turn.debate, turn.agent, rounds)
        )

    def _first(self, debate: str, role: str, agent: int) -> float:
        s = self._settings
        party = self._society.parties.get(role)
        if party is None:
            return s.bias
        start = s.start_low if party.stances[debate.split("/")[0]].pole == "low" else s.start_high
        return start + s.start_spread * self._normal(debate, agent, 0)

    def _normal(self, debate: str, agent: int, rounds: int) -> float:
        return _NORMAL.inv_cdf((seed_of(self._seed, debate, agent, rounds, "planted") + 0.5) / 2**32)
