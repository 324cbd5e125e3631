"""The event log, which is the truth: one JSON line per reply and per survey answer, and the tables made from it.

It does not know how events come about. Lines are written whole and at once, so that a kill leaves at most one
half line at the end, which is dropped when the log is opened again.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hustings.errors import ArtifactError, RecordError

if TYPE_CHECKING:
    import pandas as pd

ATTITUDES = [
    "topic",
    "composition",
    "repetition",
    "agent",
    "role",
    "persona",
    "iteration",
    "score",
    "expected",
    "valid",
    "model",
    "adapter",
    "seed",
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1


class Agent(BaseModel):
    """Somebody who sits in a debate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    """Party, or `default`."""
    persona: str
    """Persona id, or `default`."""
    name: str
    story: str
    """What the agent is told about itself."""
    speaks: bool = True
    """False: surveyed at iteration 0 only."""


class Start(_Record):
    """A debate begins."""

    kind: Literal["start"] = "start"
    debate: str
    """`topic/composition/repetition`."""
    agents: tuple[Agent, ...]
    first: int
    """Index of the agent that speaks first."""


class Survey(_Record):
    """An agent's attitude, on the topic's normal scale."""

    kind: Literal["survey"] = "survey"
    debate: str
    iteration: int
    agent: int
    score: int | None
    """0 … 10, or None when the answer was invalid."""
    expected: float | None
    """Mean over the options' probabilities, when the engine tells them."""
    valid: bool
    raw: str
    """The answer as given, on the scale that was asked."""


class Reply(_Record):
    """An agent has spoken."""

    kind: Literal["reply"] = "reply"
    debate: str
    iteration: int
    agent: int
    text: str
    """As the others see it."""
    tokens: int
    """Generated tokens, whatever was cut away of them."""
    finish: Literal["stop", "length", "empty"]
    """`empty`: nothing was left after every try."""


class End(_Record):
    """Every reply and survey answer of the debate is in the log."""

    kind: Literal["end"] = "end"
    debate: str


Event = Annotated[Start | Survey | Reply | End, Field(discriminator="kind")]
_EVENT: TypeAdapter[Start | Survey | Reply | End] = TypeAdapter(Event)


def read(path: Path) -> Iterator[Start | Survey | Reply | End]:
    """The events of a log, oldest first; a half-written last line is passed over.

    Raises:
        RecordError: a line before the last is no event.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _EVENT.validate_json(line)
            except ValidationError as error:
                raise RecordError(
                    f"{path}, line {number}: this is no event of version 1 ({error.errors()[0]['msg']}); "
                    "restore the file, or delete its folder to play these debates again."
                ) from error


def drop_half_line(file: int) -> None:
    """Cut an open file back to its last line end: what a kill or a full disk left half-written is gone."""
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)


class Log:
    """An event log open for writing. Only one process may hold it: the artifact's lock sees to that."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ArtifactError(f"{path}: the event log cannot be opened ({error.strerror}).") from error
        self.path = path
        drop_half_line(self._file)

    def append(self, event: Start | Survey | Reply | End) -> None:
        """Write one line, at once."""
        line = event.model_dump_json().encode() + b"\n"
        written = os.write(self._file, line)
        if written < len(line):
            raise ArtifactError(f"{self.path}: the disk is full; make room and run the same command again.")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def merge(path: Path, parts: Iterable[Path]) -> None:
    """Append the events of other logs that are not in the log yet, and remove those logs.

    Whatever was interrupted, doing it again loses nothing and writes nothing twice.
    """
    parts = list(parts)
    if not parts:
        return
    known = {_place(event) for event in read(path)} if path.exists() else set[tuple[object, ...]]()
    log = Log(path)
    try:
        for part in parts:
            for event in read(part):
                if _place(event) not in known:
                    known.add(_place(event))
                    log.append(event)
    finally:
        log.close()
    for part in parts:
        part.unlink()


def _place(event: Start | Survey | Reply | End) -> tuple[object, ...]:
    """What an event is, whatever it says: a debate has each once."""
    return event.kind, event.debate, getattr(event, "iteration", None), getattr(event, "agent", None)


def attitudes(events: Iterable[Start | Survey | Reply | End], model: str, adapter: str, seed: int) -> "pd.DataFrame":
    """The tidy table of every survey answer, columns ATTITUDES, ordered by debate, iteration and agent.

    An invalid answer has an empty score: never -1, never a guess.
    """
    import pandas as pd

    seats: dict[str, tuple[Agent, ...]] = {}
    rows: list[tuple[object, ...]] = []
    for event in events:
        match event:
            case Start():
                seats[event.debate] = event.agents
            case Survey():
                topic, composition, repetition = event.debate.split("/")
                seat = seats[event.debate][event.agent]
                place = (topic, composition, int(repetition), event.agent, seat.role, seat.persona, event.iteration)
                rows.append((*place, event.score, event.expected, event.valid, model, adapter, seed))
            case _:
                pass
    table = pd.DataFrame(rows, columns=ATTITUDES)
    table["score"] = table["score"].astype("Int64")
    table["expected"] = table["expected"].astype("Float64")
    order = ["topic", "composition", "repetition", "iteration", "agent"]
    return table.sort_values(order, kind="stable", ignore_index=True)
