"""Engines of engines: one that is loaded when it is first needed, and one that sends each role to its own."""

import time
from collections import deque
from collections.abc import Iterator, Mapping

from hustings import engine
from hustings.engine.base import Answer, Engine, Order, Request
from hustings.progress import say
from hustings.settings import EngineSettings


class LazyEngine(Engine):
    """An engine that is loaded, once, when it is first asked.

    Args:
        settings: of the engine.
        order: what it is built for.
        name: what the screen calls it while it loads.
    """

    def __init__(self, settings: EngineSettings, order: Order, name: str) -> None:
        self._settings, self._order, self.name = settings, order, name
        self._engine: Engine | None = None

    def load(self) -> Engine:
        """The engine itself.

        Raises:
            ModelError: the weights do not fit the engine.
            EngineError: it needs a package, a device or a key that is not there.
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
        """What the engine promises about repeating a run; it is loaded to be asked."""
        return self.load().promise

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer the requests in `queue`, as the engine does; without any, nothing is loaded."""
        if queue:
            yield from self.load().stream(queue)

    def close(self) -> None:
        """Free what the engine holds; the next request loads it again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


class CastEngine(Engine):
    """Sends the requests of each role to the engine that it runs on; they take turns with an answer each.

    Args:
        engines: by role; several roles may share one.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines

    @property
    def promise(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What every engine promises about repeating a run."""
        each = {
            f"{' and '.join(r for r in self._engines if self._engines[r] is it)}: {it.promise}" for it in self.members
        }
        return "; ".join(sorted(each))

    @property
    def members(self) -> list[Engine]:
        """The engines, each once."""
        return list({id(it): it for it in self._engines.values()}.values())

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer the requests in `queue`, and those put there meanwhile."""
        queues: dict[int, deque[Request]] = {id(it): deque() for it in self.members}
        streams: dict[int, Iterator[tuple[Request, Answer]]] = {}
        while queue or any(queues.values()) or streams:
            for one in self.members:
                while queue:
                    request = queue.popleft()
                    queues[id(self._engines[request.turn.role])].append(request)
                if id(one) not in streams and queues[id(one)]:
                    streams[id(one)] = one.stream(queues[id(one)])
                if id(one) in streams:
                    found = next(streams[id(one)], None)
                    if found is None:
                        del streams[id(one)]
                    else:
                        yield found

    def close(self) -> None:
        """Free what all engines hold."""
        for one in self.members:
            one.close()
