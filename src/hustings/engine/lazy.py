"""Engines that wrap others: one loads its engine on first use, the other sends each role to that role's engine.

They do not know what kinds of engine there are.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping

from hustings import engine
from hustings.engine.base import Answer, Engine, Order, Request
from hustings.progress import say
from hustings.settings import EngineSettings

SURVEYED = " in surveys"
"""Suffix of a role's name for the engine that runs its surveys, if a different one runs its replies."""


class LazyEngine(Engine):
    """An engine that is loaded on its first request.

    Args:
        settings: the engine's settings.
        order: what the engine is built for.
        name: how progress messages refer to it.
    """

    def __init__(self, settings: EngineSettings, order: Order, name: str) -> None:
        self._settings, self._order, self.name = settings, order, name
        self._engine: Engine | None = None

    def load(self) -> Engine:
        """The engine itself.

        Raises:
            ModelError: the weights do not fit the engine.
            EngineError: it needs a package, a device or a key that is missing.
        """
        if self._engine is None:
            began = time.monotonic()
            say(f"loading {self.name} …")
            self._engine = engine.build(self._settings, self._order)
            if time.monotonic() - began > 1:
                say(f"{self.name} loaded in {time.monotonic() - began:.1f} s")
        return self._engine

    @property
    def promise(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the engine promises about repeating a run; reading this loads the engine."""
        return self.load().promise

    @property
    def preamble(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the model's chat template adds before a user turn; reading this loads the engine."""
        return self.load().preamble

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer the requests in `queue` with the engine; an empty queue loads nothing."""
        if queue:
            yield from self.load().stream(queue)

    def prepare(self) -> None:
        """Load the engine."""
        self.load()

    def close(self) -> None:
        """Free the engine; the next request loads it again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


class CastEngine(Engine):
    """Sends the requests of each role to the engine of that role; the engines take turns, one answer each.

    Args:
        engines: an engine for each role; several roles may share one. `{role}{SURVEYED}` runs a role's surveys.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines

    @property
    def promise(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What every engine promises about repeating a run."""
        return "; ".join(f"{roles}: {it.promise}" for roles, it in self._named())

    @property
    def preamble(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What every model's chat template adds before a user turn on its own."""
        return "\n".join(f"{roles}: {it.preamble}" for roles, it in self._named())

    def _named(self) -> list[tuple[str, Engine]]:
        """The distinct engines, with the roles that run on them."""
        return sorted(
            ((" and ".join(role for role, it in self._engines.items() if it is one), one) for one in self.members),
            key=lambda pair: pair[0],
        )

    @property
    def members(self) -> list[Engine]:
        """The distinct engines."""
        return list({id(it): it for it in self._engines.values()}.values())

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer the requests in `queue`, including those added meanwhile."""
        members = self.members
        places = {role: members.index(it) for role, it in self._engines.items()}
        queues: list[deque[Request]] = [deque() for _ in members]
        streams: dict[int, Iterator[tuple[Request, Answer]]] = {}
        while queue or any(queues) or streams:
            for place, member in enumerate(members):
                while queue:
                    request = queue.popleft()
                    turn = request.turn
                    surveys = places.get(f"{turn.role}{SURVEYED}") if turn.purpose == "survey" else None
                    queues[places[turn.role] if surveys is None else surveys].append(request)
                if place not in streams and queues[place]:
                    streams[place] = member.stream(queues[place])
                found = next(streams.get(place, iter(())), None)
                if found is not None:
                    yield found
                else:
                    streams.pop(place, None)

    def prepare(self) -> None:
        """Load every engine."""
        for member in self.members:
            member.prepare()

    def close(self) -> None:
        """Free all engines."""
        for one in self.members:
            one.close()
