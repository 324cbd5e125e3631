"""Plays many debates through one engine, each as far as its answers allow.

A debate is the sum of its events: `apply` takes them both from the log, when a run is resumed, and as they arrive. This
module does not know where the log is or what an engine does with the requests.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from hustings.debate import protocol
from hustings.debate.alarm import blank
from hustings.debate.instrument import Instrument
from hustings.debate.notes import Notes, Point
from hustings.debate.prompts import Prompts
from hustings.debate.speech import clean, whole_sentences
from hustings.debate.treatments import Context, Moment, Slot, Treatment, build_all, in_force
from hustings.engine import choosing
from hustings.engine.base import Answer, Completion, Engine, Request, Sampling, Score, Turn
from hustings.identity import seed_of
from hustings.records import Agent, End, Event, Note, Reply, Start, Survey
from hustings.runfolder import DebateKey
from hustings.settings import SHADOW, ControlSettings, SamplingSettings, SimulateSettings, TopicSettings

Purpose = Literal["reply", "survey"]
SURVEY_TOKENS = 8
"""Longest answer to a survey, on engines that have to generate it; for options in words, a token for each character."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What all debates of a run have in common."""

    prompts: Prompts
    instrument: Instrument
    topics: Mapping[str, TopicSettings]
    positions: Mapping[tuple[str, str], str]
    """A party's position in words, by party and topic."""
    default_story: str
    """What the Default is told about itself."""
    treatments: tuple[Treatment, ...]
    rounds: int
    control: ControlSettings
    system: Slot
    sampling: SamplingSettings
    seed: int
    transcripts: Mapping[str, Sequence[tuple[Agent, str]]]
    """Transcripts of debates that others read: speaker and reply, oldest first, by debate."""

    @classmethod
    def of(
        cls, settings: SimulateSettings, transcripts: Mapping[str, Sequence[tuple[Agent, str]]] | None = None
    ) -> "Rules":
        """The rules for the settings of a run.

        Args:
            transcripts: the debates that others read.

        Raises:
            SettingsError: a template does not compile.
        """
        return cls(
            prompts=Prompts(settings.prompt),
            instrument=Instrument(settings.instrument, settings.prompt.scale),
            topics=settings.topics,
            positions={
                (party, topic): stance.position
                for party, of in settings.society.parties.items()
                for topic, stance in of.stances.items()
            },
            default_story=settings.society.default.story,
            treatments=build_all(settings.treatments),
            rounds=settings.rounds,
            control=settings.control,
            system=settings.prompt.system,
            sampling=settings.sampling,
            seed=settings.seed,
            transcripts=transcripts or {},
        )


class Said(NamedTuple):
    """A reply that was made."""

    place: int
    """Position of the speaker; negative for speakers in a transcript that is read."""
    text: str
    line: str
    """The reply as it appears in the conversation."""
    mine: str
    """The reply as it appears to the agent that made it."""


class Debate:
    """One debate: what has been said and answered, and what to ask next."""

    def __init__(self, start: Start, rules: Rules) -> None:
        self.key = start.debate
        self.agents = start.agents
        self._first = start.first
        self._rules = rules
        self._topic_key = DebateKey.parse(start.debate).topic
        self._topic = rules.topics[self._topic_key]
        self._speakers = sum(agent.speaks for agent in start.agents)
        debates = rules.control.speak and not rules.control.read
        self._replies = protocol.iterations(rules.rounds, self._speakers) if debates else 0
        self._surveys = {
            (iteration, place, number)
            for iteration in protocol.surveys(rules.rounds, self._speakers)
            for place, agent in enumerate(start.agents)
            if agent.surveyed == "always" or (agent.surveyed == "first" and iteration == 0)
            for number in range(len(rules.instrument.items))
        }
        read = rules.transcripts.get(start.reads or "", ())
        seats = list(dict.fromkeys(who.persona + who.name for who, _ in read))
        self._read = [self._said_by(~seats.index(who.persona + who.name), who, text) for who, text in read]
        self._said: list[Said] = []
        """The replies made so far, oldest first."""
        self._notes = Notes(())
        self._notes = Notes(self._points())
        self._asked: set[tuple[str | int, ...]] = set()
        self._tries = 0

    def _points(self) -> Iterator[Point]:
        """The notes that will be written, each before the round or survey in which it is shown."""
        rules = self._rules
        for number in range(rules.rounds if rules.treatments else 0):
            iteration = number * self._speakers
            for place in range(len(self.agents)):
                treated = {
                    treatment.name: treatment
                    for purpose in ("reply", "survey")
                    for treatment, _ in self._in_force(purpose, iteration, place)
                    if purpose == "survey" or (self._replies and self.agents[place].speaks)
                }
                yield from (Point(iteration, place, name) for name, it in treated.items() if it.writes(number + 1))

    def _said_by(self, place: int, agent: Agent, text: str) -> Said:
        prompts = self._rules.prompts
        return Said(place, text, prompts.line(agent, text, mine=False), prompts.line(agent, text, mine=True))

    @property
    def done(self) -> bool:
        """Whether every reply has been made and every survey answered."""
        return not self._surveys and len(self._said) == self._replies

    def apply(self, event: Event) -> None:
        """Apply an event of this debate, from the log or newly arrived."""
        match event:
            case Survey():
                number = self._rules.instrument.items.index(event.item)
                self._surveys.discard((event.iteration, event.agent, number))
            case Reply():
                self._said.append(self._said_by(event.agent, self.agents[event.agent], event.text))
                self._tries = 0
            case Note():
                self._notes.write(event)
            case _:
                pass

    def heard(self, place: int, iteration: int) -> list[Said]:
        """Of the first `iteration` replies, those that an agent has heard, read or made itself."""
        if self._read:
            return self._read[:iteration]
        hears = self.agents[place].hears
        said = self._said[:iteration]
        return said if hears == "all" else [it for it in said if it.place == place or it.place in hears]

    def _heard(self, place: int, iteration: int) -> tuple[tuple[int, str], ...]:
        return tuple((it.place, it.text) for it in self.heard(place, iteration))

    def due(self) -> list[Request]:
        """Requests that can be answered now and were not sent before: notes and surveys first, then the next reply.

        A survey and the next reply of one agent share their prompt up to the instruction; neither sees the other.
        """
        made = len(self._said)
        requests = [self._note(point) for point in self._notes.due(made) if self._ask("note", *point)]
        for iteration, place, number in sorted(self._surveys):
            ready = (self._replies == 0 or iteration <= made) and not self._waits("survey", iteration, place)
            if ready and self._ask("survey", iteration, place, number):
                requests.append(self._survey(iteration, place, self._rules.instrument.items[number]))
        if made < self._replies:
            place = protocol.speaker(made + 1, self._first, self._speakers)
            if not self._waits("reply", made, place) and self._ask("reply", made + 1, self._tries):
                requests.append(self._reply(made + 1, place))
        return requests

    def _ask(self, *key: str | int) -> bool:
        """Whether this has not been asked yet; marks it as asked."""
        new = key not in self._asked
        self._asked.add(key)
        return new

    def _waits(self, purpose: Purpose, iteration: int, place: int) -> bool:
        """Whether the agent has to write a note before it can be asked."""
        if not self._notes.open:
            return False
        shown = self._in_force(purpose, iteration, place)
        return self._notes.waits(place, iteration, (treatment.name for treatment, _ in shown))

    def _note(self, point: Point) -> Request:
        """The request that asks an agent for a note; only the treatment that asks for it is in force."""
        rules, place = self._rules, point.place
        agent = self.agents[place]
        heard = self._heard(place, point.iteration)
        turn = Turn(self.key, place, agent.role, point.iteration, "note", agent.name, point.treatment, heard)
        moment = self._moment("reply", point.iteration, place)
        (treatment,) = (it for it in rules.treatments if it.name == point.treatment)
        instruction, longest = treatment.note(moment)
        sampling = Sampling(rules.sampling.temperature, longest, top_p=rules.sampling.top_p)
        context = self._context(place, point.iteration, agent.story, rules.system, [instruction])
        seed = seed_of(rules.seed, self.key, point.iteration, place, "note", point.treatment)
        return Request(context.prompt, seed, sampling, turn, system=context.system)

    def _survey(self, iteration: int, place: int, item: str) -> Request:
        rules, agent = self._rules, self.agents[place]
        wording = self._wording(iteration, place, item)
        question = rules.instrument.question(item, wording, self._topic_key, self._topic)
        heard = self._heard(place, iteration)
        treatments = self._treatments(iteration, place)
        turn = Turn(self.key, place, agent.role, iteration, "survey", agent.name, item, heard, treatments)
        seed = seed_of(rules.seed, self.key, iteration, place, "survey", item)
        options = rules.instrument.options(item)
        sampling = Sampling(temperature=0.0, max_tokens=max(SURVEY_TOKENS, *map(len, options)))
        return self._request(question, "", turn, seed, sampling, options)

    def _wording(self, iteration: int, place: int, item: str) -> int:
        return self._rules.instrument.wording(item, self._topic_key, self._rules.seed, self.key, iteration, place)

    def _reply(self, iteration: int, place: int) -> Request:
        rules, agent = self._rules, self.agents[place]
        instruction, start = rules.prompts.reply(agent, rules.control.topic or self._topic)
        of = rules.sampling
        sampling = Sampling(of.temperature, of.max_tokens, of.ignore_end, of.top_p)
        heard = self._heard(place, iteration - 1)
        treatments = self._treatments(iteration - 1, place)
        turn = Turn(self.key, place, agent.role, iteration - 1, "reply", agent.name, "", heard, treatments)
        seed = seed_of(rules.seed, self.key, iteration, place, "reply", self._tries)
        return self._request(instruction, start, turn, seed, sampling, ())

    def _treatments(self, iteration: int, place: int) -> tuple[str, ...]:
        """Names of the treatments under which the agent speaks."""
        return tuple(it.name for it, _ in self._in_force("reply", iteration, place))

    def _in_force(
        self, purpose: Purpose, iteration: int, place: int, instruction: str = ""
    ) -> list[tuple[Treatment, Moment]]:
        """The treatments that apply when an agent is asked, each with what it may know then."""
        if not self._rules.treatments:
            return []
        moment = self._moment(purpose, iteration, place, instruction)
        return [(it, moment) for it in in_force(self._rules.treatments, moment)]

    def _request(
        self, instruction: str, start: str, turn: Turn, seed: int, sampling: Sampling, options: tuple[str, ...]
    ) -> Request:
        """A request with the agent's context, and with the treatments that are in force."""
        story, slot, parts = self.agents[turn.agent].story, self._rules.system, [instruction]
        purpose: Purpose = "survey" if turn.purpose == "survey" else "reply"
        treatments = self._in_force(purpose, turn.iteration, turn.agent, instruction)
        for treatment, moment in treatments:
            story, slot = treatment.story(story, moment), treatment.system(slot, moment)
            parts[-1:-1] = filter(None, [treatment.instruction(moment)])
        context = self._context(turn.agent, turn.iteration, story, slot, parts)
        request = Request(context.prompt, seed, sampling, turn, start, options, context.system)
        for treatment, moment in treatments:
            request = treatment.request(request, moment)
        return request

    def _moment(self, purpose: Purpose, iteration: int, place: int, instruction: str = "") -> Moment:
        """What treatments may know when an agent is about to be asked."""
        rules, agent = self._rules, self.agents[place]
        own = tuple(it.text for it in self.heard(place, iteration) if it.place == place)
        return Moment(
            agent=agent,
            purpose=purpose,
            position=rules.positions.get((agent.role, self._topic_key), ""),
            topic=self._topic.label,
            replies=own,
            iteration=iteration,
            round=iteration // self._speakers + 1,
            notes=self._notes.of(place, iteration),
            as_default=partial(self._as_default, place, iteration, instruction),
        )

    def _as_default(self, place: int, iteration: int, instruction: str) -> Context:
        rules = self._rules
        return self._context(place, iteration, rules.default_story, rules.system, [instruction])

    def _context(self, place: int, iteration: int, story: str, slot: Slot, parts: list[str]) -> Context:
        """What an agent is asked: story, topic, what it has heard, and then these parts."""
        rules = self._rules
        lines = [it.mine if it.place == place else it.line for it in self.heard(place, iteration)]
        topic = rules.control.topic or self._topic
        context = rules.prompts.context(self.agents[place], "" if slot == "story" else story, topic, lines)
        system = {"template": None, "empty": "", "story": story}[slot]
        return Context("\n\n".join([context, *parts]), system)

    def read(self, request: Request, answer: Answer) -> Survey | Reply | Note | None:
        """The event that an answer produces, or None if the reply is empty and another attempt is left."""
        turn = request.turn
        if isinstance(answer, Score):
            reading = self._rules.instrument.read(turn.item, answer)
            return Survey(
                debate=self.key,
                iteration=turn.iteration,
                agent=turn.agent,
                item=turn.item,
                wording=self._wording(turn.iteration, turn.agent, turn.item),
                value=reading.value,
                expected=None if reading.expected is None else round(reading.expected, 6),
                logprobs=reading.logprobs,
                mass=None if reading.mass is None else round(reading.mass, 6),
                valid=reading.value is not None,
                raw=reading.raw,
            )
        assert isinstance(answer, Completion)
        names = [agent.name for agent in self.agents if agent.role != SHADOW]
        whole = clean(answer.text, self.agents[turn.agent].name, names, request.start)
        text = whole_sentences(whole) if answer.finish == "length" else whole
        text = "" if blank(text) else text
        if turn.purpose == "note":
            return Note(
                debate=self.key,
                iteration=turn.iteration,
                agent=turn.agent,
                treatment=turn.item,
                text=text,
                tokens=answer.tokens,
            )
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
            full=whole if text != whole else None,
            tokens=answer.tokens,
            finish=finish,
        )


def _nothing(*_: object) -> None:
    """Ignore what happens."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Receives what happens while debates are played."""

    on_event: Callable[[Event], None] = _nothing
    """Called with every new event, in order of arrival, before anything that depends on it is asked."""
    on_answer: Callable[[Request, Answer], None] = _nothing
    """Called with every answer of the engine and its request, to count tokens."""


def play(
    engine: Engine,
    starts: Iterable[Start],
    logged: Mapping[str, Sequence[Event]],
    rules: Rules,
    concurrency: int,
    listener: Listener,
) -> None:
    """Play debates to their end.

    Args:
        starts: the debates, in the order in which they begin; each is fetched only when it begins.
        logged: events that are already in the log, by debate; their questions are not asked again.
        concurrency: debates played at the same time; as one ends, the next begins.
    """
    waiting = iter(starts)
    live: dict[str, Debate] = {}
    queue: deque[Request] = deque()

    def begin() -> None:
        while len(live) < concurrency and (start := next(waiting, None)):
            before = logged.get(start.debate, ())
            debate = Debate(start, rules)
            for event in before:
                debate.apply(event)
            if not before:
                listener.on_event(start)
            if debate.done:
                listener.on_event(End(debate=debate.key))
                continue
            live[debate.key] = debate
            queue.extend(debate.due())

    begin()
    chooses = any(treatment.chooses for treatment in rules.treatments)
    for request, answer in choosing.answers(engine, queue) if chooses else engine.stream(queue):
        listener.on_answer(request, answer)
        debate = live[request.turn.debate]
        event = debate.read(request, answer)
        if event is not None:
            listener.on_event(event)
            debate.apply(event)
        if debate.done:
            listener.on_event(End(debate=debate.key))
            del live[debate.key]
            begin()
        else:
            queue.extend(debate.due())
