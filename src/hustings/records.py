"""The event log, which is the source of truth: one JSON line per reply and survey answer, and the tables made from it.

It does not know how events are produced.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hustings.errors import RecordError
from hustings.files import JsonLines, read_lines
from hustings.runfolder import DebateKey

if TYPE_CHECKING:
    import pandas as pd

VERSION = 2


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[2] = VERSION


class Agent(BaseModel):
    """A participant in a debate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    """Party, or `default`."""
    persona: str
    """Id of the persona, or `default`."""
    name: str
    story: str
    """What the agent is told about itself."""
    speaks: bool = True
    surveyed: Literal["always", "first", "never"] = "always"
    """`first` means only at iteration 0."""
    hears: Literal["all"] | tuple[int, ...] = "all"
    """Positions of the other agents whose replies are in its prompts."""
    runs_on: str = ""
    """Model, adapter and engine."""


class Start(_Record):
    """A debate begins."""

    kind: Literal["start"] = "start"
    debate: str
    """`topic/composition/repetition`."""
    agents: tuple[Agent, ...]
    first: int
    """Position of the agent that speaks first."""
    reads: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """The debate whose transcript these agents read, if they do not debate themselves."""
    topology: str = "round_robin"
    """Who hears whom."""
    control: str = "none"
    """`none` is a debate; anything else is a control."""
    treatments: tuple[str, ...] = ()
    """Interventions in force, in the order in which they were applied."""


class Survey(_Record):
    """An agent's answer to one item."""

    kind: Literal["survey"] = "survey"
    debate: str
    iteration: int
    agent: int
    item: str
    """Name of the item in the instrument."""
    wording: int
    """Index of the item's wording that was used, from 0."""
    value: float | None
    """Attitude: value of the chosen option, in the item's normal direction; None if the answer was invalid."""
    expected: float | None
    """Mean of the values, weighted by the options' probabilities; None if the engine gives no probabilities."""
    logprobs: tuple[float | None, ...] | None
    """Natural log-probability of each option, in the order asked; None for one too improbable to be listed."""
    mass: float | None
    """Probability that the answer is one of the options."""
    valid: bool
    raw: str
    """The answer as it was given."""


class Reply(_Record):
    """An agent's reply."""

    kind: Literal["reply"] = "reply"
    debate: str
    iteration: int
    agent: int
    text: str
    """The text that the others see."""
    full: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """The text as it was generated, if `text` was shortened."""
    tokens: int
    """Number of generated tokens, including those that were cut off."""
    finish: Literal["stop", "length", "empty"]
    """`empty` means that no attempt gave any text."""


class Note(_Record):
    """Something that an agent wrote down for itself, because a treatment asked for it."""

    kind: Literal["note"] = "note"
    debate: str
    iteration: int
    """Number of replies made before."""
    agent: int
    treatment: str
    text: str
    tokens: int
    """Number of generated tokens."""


class End(_Record):
    """Marks that every reply and survey answer of the debate is in the log."""

    kind: Literal["end"] = "end"
    debate: str


Event = Start | Survey | Reply | Note | End
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def parse(lines: Iterable[tuple[int, bytes]], path: Path) -> Iterator[Event]:
    """Parse the events on numbered lines.

    Args:
        path: the file that the lines come from, for errors.

    Raises:
        RecordError: a line is not an event of this version.
    """
    for number, line in lines:
        try:
            yield _EVENT.validate_json(line)
        except ValidationError as error:
            wrong = error.errors()[0]
            if wrong["loc"][-1:] == ("v",):
                raise RecordError(
                    f"{path}, line {number}: another version of Hustings wrote this log (v={wrong['input']!r}, not "
                    f"v={VERSION}); read it with that version, or delete its folder to play these debates again."
                ) from error
            raise RecordError(
                f"{path}, line {number}: this is not an event of version {VERSION} ({wrong['msg']}); restore the file, "
                "or delete its folder to play these debates again."
            ) from error


def read(path: Path) -> Iterator[Event]:
    """The events of a log, oldest first; a half-written last line is skipped.

    Raises:
        RecordError: a line before the last is not an event of this version.
    """
    return parse(read_lines(path), path)


def merge(path: Path, parts: Iterable[Path]) -> None:
    """Append the events of other logs that are not yet in the log, and remove those logs.

    It can be interrupted anywhere and repeated: nothing is lost and nothing is written twice.
    """
    parts = list(parts)
    if not parts:
        return
    known = {_place(event) for event in read(path)} if path.exists() else set[tuple[object, ...]]()
    log = JsonLines(path)
    try:
        for part in parts:
            for event in read(part):
                if _place(event) not in known:
                    known.add(_place(event))
                    log.append(event.model_dump_json())
    finally:
        log.close()
    for part in parts:
        part.unlink()


def _place(event: Event) -> tuple[object, ...]:
    """What identifies an event, whatever its content; a debate has each of these once."""
    return (
        event.kind,
        event.debate,
        *(getattr(event, name, None) for name in ("iteration", "agent", "item", "treatment")),
    )


_DEBATE = ["topic", "composition", "repetition"]
_SPEAKER = [*_DEBATE, "agent", "role", "persona"]
ATTITUDES = [*_SPEAKER, "iteration", "item", "wording", "score", "expected", "mass", "valid", "raw", "model",
             "adapter", "seed"]  # fmt: skip
"""Columns of attitudes.csv: one row for each agent, survey and item. `score` is the value of the chosen option."""
REPLIES = [*_SPEAKER, "name", "iteration", "text", "full", "tokens", "finish"]
"""Columns of replies.csv: one row for each reply."""
AGENTS = [*_SPEAKER, "name", "story", "speaks", "surveyed", "first", "hears", "runs_on", "topology", "control",
          "treatments", "reads"]  # fmt: skip
"""Columns of agents.csv: one row for each agent in each debate. Lists are joined by spaces; `hears` may be `all`."""


REPEATED = (*("topic", "composition", "role", "persona", "item", "raw", "model", "adapter", "name", "finish", "story"),
            *("hears", "runs_on", "topology", "control", "treatments", "reads"))  # fmt: skip
"""Columns whose text is repeated in many rows."""

Tables = tuple["pd.DataFrame", "pd.DataFrame", "pd.DataFrame"]
"""Attitudes, replies and agents: columns ATTITUDES, REPLIES and AGENTS."""
_PIECE = 50_000
"""Events per piece of the tables; a piece goes on until its last debate is complete."""


def tables(events: Iterable[Event], model: str, adapter: str, seed: int) -> Tables:
    """Attitudes, replies and agents, each ordered by debate, iteration and agent.

    An invalid answer has an empty score: never −1, and never a guess.

    Args:
        events: complete debates, in any order.
        model, adapter, seed: what the run used, for columns of the attitudes.
    """
    seats: dict[str, list[tuple[object, ...]]] = {}
    starts: dict[str, Start] = {}
    attitudes: list[tuple[object, ...]] = []
    replies: list[tuple[object, ...]] = []
    agents: list[tuple[object, ...]] = []
    for event in events:
        match event:
            case Start():
                key = DebateKey.parse(event.debate)
                seats[event.debate] = [(*key, place, it.role, it.persona) for place, it in enumerate(event.agents)]
                starts[event.debate] = event
                agents += _seated(event, seats[event.debate])
            case Survey():
                answer = (event.iteration, event.item, event.wording, event.value, event.expected, event.mass)
                seat = seats[event.debate][event.agent]
                attitudes.append((*seat, *answer, event.valid, event.raw, model, adapter, seed))
            case Reply():
                name = starts[event.debate].agents[event.agent].name
                seat = seats[event.debate][event.agent]
                replies.append((*seat, name, event.iteration, event.text, event.full, event.tokens, event.finish))
            case Note() | End():
                pass
    times = {"score": "Float64", "expected": "Float64", "mass": "Float64"}
    return (
        _table(attitudes, ATTITUDES, ["iteration", "agent", "item"]).astype(times),
        _table(replies, REPLIES, ["iteration"]),
        _table(agents, AGENTS, ["agent"]),
    )


def pieces(events: Iterable[Event], model: str, adapter: str, seed: int) -> Iterator[Tables]:
    """The output of `tables` in pieces that add up to the whole, for logs of any size; there is at least one piece.

    Args:
        events: complete debates, one after the other, in the order of the tables.
    """
    piece: list[Event] | None = []
    for event in events:
        piece = [] if piece is None else piece
        piece.append(event)
        if len(piece) >= _PIECE and isinstance(event, End):
            yield tables(piece, model, adapter, seed)
            piece = None
    if piece is not None:
        yield tables(piece, model, adapter, seed)


def _seated(start: Start, seats: Sequence[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """The rows of agents.csv."""
    for seat, agent in zip(seats, start.agents, strict=True):
        hears = agent.hears if isinstance(agent.hears, str) else " ".join(map(str, agent.hears))
        who = (agent.name, agent.story, agent.speaks, agent.surveyed, start.first, hears, agent.runs_on)
        yield (*seat, *who, start.topology, start.control, " ".join(start.treatments), start.reads)


def _table(rows: list[tuple[object, ...]], columns: list[str], order: list[str]) -> "pd.DataFrame":
    import pandas as pd

    table: Any = pd.DataFrame(rows, columns=columns)
    return table.sort_values([*_DEBATE, *order], kind="stable", ignore_index=True)
