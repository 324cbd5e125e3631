"""Plays many debates through one engine, each as far as its answers allow.

A debate is the sum of its events: the same `apply` takes those of the log when a run is resumed and those that
arrive now. It does not know where the log is, nor what an engine does with the requests.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hustings.debate import protocol, survey
from hustings.debate.prompts import Prompts
from hustings.engine.base import Answer, Completion, Engine, Request, Sampling, Score, Turn
from hustings.identity import seed_of
from hustings.records import End, Reply, Start, Survey
from hustings.settings import SamplingSettings, TopicSettings

_STRANGERS = ("Moderator", "Host", "Interviewer", "Narrator", "User", "Assistant")
_SURVEY = Sampling(temperature=0.0, max_tokens=8)


@dataclass(frozen=True, slots=True)
class Rules:
    """What all debates of a run have in common."""

    prompts: Prompts
    topics: Mapping[str, TopicSettings]
    rounds: int
    silent: bool
    sampling: SamplingSettings
    seed: int
    scale: Literal["normal", "reversed"]


class Debate:
    """One debate: what has been said and answered, and what to ask next."""

    def __init__(self, start: Start, rules: Rules) -> None:
        self.key = start.debate
        self.agents = start.agents
        self._first = start.first
        self._rules = rules
        self._topic = rules.topics[start.debate.split("/")[0]]
        self._speakers = sum(agent.speaks for agent in start.agents)
        self._replies = 0 if rules.silent else protocol.iterations(rules.rounds, self._speakers)
        self._surveys = {
            (iteration, place)
            for iteration in protocol.surveys(rules.rounds, self._speakers)
            for place, agent in enumerate(start.agents)
            if agent.speaks or iteration == 0
        }
        self._lines: list[str] = []
        self._asked: set[tuple[str | int, ...]] = set()
        self._tries = 0

    @property
    def done(self) -> bool:
        """Every reply was made and every survey answered."""
        return not self._surveys and len(self._lines) == self._replies

    def apply(self, event: Start | Survey | Reply | End) -> None:
        """Take an event of this debate, from the log or just arrived."""
        match event:
            case Survey():
                self._surveys.discard((event.iteration, event.agent))
            case Reply():
                self._lines.append(self._rules.prompts.line(self.agents[event.agent], event.text))
                self._tries = 0
            case _:
                pass

    def due(self) -> list[Request]:
        """Requests that can be answered now and were not asked before: surveys first, then the next reply.

        A survey and the next reply of one agent share their prompt up to the instruction; neither sees the other.
        """
        requests: list[Request] = []
        made = len(self._lines)
        open_surveys = sorted(
            (iteration, place) for iteration, place in self._surveys if self._rules.silent or iteration <= made
        )
        for iteration, place in open_surveys:
            if self._ask("survey", iteration, place):
                requests.append(self._survey(iteration, place))
        if made < self._replies:
            place = protocol.speaker(made + 1, self._first, self._speakers)
            if self._ask("reply", made + 1, self._tries):
                requests.append(self._reply(made + 1, place))
        return requests

    def _ask(self, *key: str | int) -> bool:
        """Whether this has not been asked yet; from now on it has."""
        new = key not in self._asked
        self._asked.add(key)
        return new

    def _survey(self, iteration: int, place: int) -> Request:
        agent = self.agents[place]
        prompt = self._rules.prompts.survey(agent, self._topic, self._lines[:iteration])
        turn = Turn(self.key, place, agent.role, iteration, "survey", agent.name)
        seed = seed_of(self._rules.seed, self.key, iteration, place, "survey")
        return Request(prompt, seed, _SURVEY, turn, options=survey.OPTIONS)

    def _reply(self, iteration: int, place: int) -> Request:
        agent = self.agents[place]
        rules = self._rules
        prompt, start = rules.prompts.reply(agent, self._topic, self._lines)
        sampling = Sampling(rules.sampling.temperature, rules.sampling.max_tokens, rules.sampling.ignore_end)
        turn = Turn(self.key, place, agent.role, iteration - 1, "reply", agent.name)
        seed = seed_of(rules.seed, self.key, iteration, place, "reply", self._tries)
        return Request(prompt, seed, sampling, turn, start)

    def read(self, request: Request, answer: Answer) -> Survey | Reply | None:
        """The event that an answer makes, or None when the reply is empty and another try is left."""
        turn = request.turn
        if isinstance(answer, Score):
            reading = survey.read(answer, self._rules.scale)
            return Survey(
                debate=self.key,
                iteration=turn.iteration,
                agent=turn.agent,
                score=reading.score,
                expected=None if reading.expected is None else round(reading.expected, 6),
                valid=reading.score is not None,
                raw=reading.raw,
            )
        assert isinstance(answer, Completion)
        text = clean(answer.text, self.agents[turn.agent].name, [agent.name for agent in self.agents])
        if not text:
            self._tries += 1
            if self._tries < self._rules.sampling.attempts:
                return None
        finish = answer.finish if text else "empty"
        return Reply(
            debate=self.key,
            iteration=turn.iteration + 1,
            agent=turn.agent,
            text=text,
            tokens=answer.tokens,
            finish=finish,
        )


def clean(text: str, name: str, names: Iterable[str]) -> str:
    """A reply as the others hear it: without the speaker's own name, cut where somebody else begins to speak."""
    own = re.compile(rf"^[\s*_]*(?P<quote>[\"“]?)[\s*_]*{re.escape(name)}[*_]*\s*:[*_]*\s*")
    reply = own.sub(r"\g<quote>", text)
    speakers = "|".join(re.escape(other) for other in {*names, *_STRANGERS})
    other = re.search(rf"(?:^|\n)[\s*_]*(?:{speakers})[*_]*\s*(?:\([^)\n]*\))?\s*:", reply)
    if other:
        reply = reply[: other.start()]
    reply = " ".join(reply.split())
    for opening, closing in (('"', '"'), ("“", "”")):
        if len(reply) > 1 and reply.startswith(opening) and reply.endswith(closing) and reply.count(opening) <= 2:
            reply = reply[1:-1].strip()
    return reply


def play(
    engine: Engine,
    starts: Sequence[Start],
    logged: Mapping[str, Sequence[Start | Survey | Reply | End]],
    rules: Rules,
    concurrency: int,
    keep: Callable[[Start | Survey | Reply | End], None],
    told: Callable[[Answer], None],
) -> None:
    """Play debates to their end.

    Args:
        starts: the debates, in the order in which they are begun.
        logged: events that are in the log already, by debate; their questions are not asked again.
        concurrency: debates played at the same time; as one ends, the next begins.
        keep: gets every new event, in the order of arrival, before anything is asked that depends on it.
        told: gets every answer of the engine, for the count of tokens.
    """
    waiting = deque(starts)
    live: dict[str, Debate] = {}
    queue: deque[Request] = deque()

    def begin() -> None:
        while waiting and len(live) < concurrency:
            start = waiting.popleft()
            before = logged.get(start.debate, ())
            debate = Debate(start, rules)
            for event in before:
                debate.apply(event)
            if not before:
                keep(start)
            if debate.done:
                keep(End(debate=debate.key))
                continue
            live[debate.key] = debate
            queue.extend(debate.due())

    begin()
    for request, answer in engine.stream(queue):
        told(answer)
        debate = live[request.turn.debate]
        event = debate.read(request, answer)
        if event is not None:
            keep(event)
            debate.apply(event)
        if debate.done:
            keep(End(debate=debate.key))
            del live[debate.key]
            begin()
        else:
            queue.extend(debate.due())
