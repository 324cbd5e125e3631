"""Output of a run: a live line on a terminal, an occasional plain line elsewhere, and tables at the end."""

import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

_PLAIN_EVERY = 15.0
_EARLY = 20
"""No time is estimated before 1/20 of the work is done, because answers arrive in batches, the first ones late."""


class _Lasting:
    """Standard error as a stream that fails silently, so that a run outlives the terminal that started it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def say(text: str) -> None:
    """Print one line for the person who is waiting, on stderr."""
    print(text, file=_Lasting(), flush=True)


def show(renderable: Any) -> None:
    """Print a rich renderable on stdout, in full width if that is not a terminal. Its text is not read as markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120
    Console(width=width, markup=False, emoji=False, highlight=False).print(renderable)


def _plain(text: str) -> Any:
    """Text for rich, not read as markup."""
    from rich.text import Text

    return Text(text)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 10 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Counts of a run, displayed as they grow.

    Args:
        title: what is counted, in the plural: `debates`, `personas`.
        total: how many there are in total.
        done: how many existed already.
        work: how much is left, in answers or in a unit of which a long answer has several; used for the time left.
        above: a rich renderable shown above the counts on a terminal.
    """

    def __init__(self, title: str, total: int, done: int, work: int, above: Any = None) -> None:
        self.title, self.total, self.done, self.work = title, total, done, work
        self.answers = self.replies = self.tokens = self.invalid = self.refusals = 0
        self.dollars: float | None = None
        self.began = time.monotonic()
        self.above = above
        self.live = False
        self._said = self.began

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def text(self) -> str:
        """The current line."""
        seconds = max(self.seconds, 1e-9)
        parts = [f"{self.title} {self.done}/{self.total}"]
        if self.replies:
            parts.append(f"{self.replies / seconds:.1f} replies/s")
        if self.tokens:
            parts.append(f"{self.tokens / seconds:.0f} tokens/s")
        if self.invalid:
            parts.append(f"{self.invalid} invalid answers")
        if self.refusals:
            parts.append(f"{self.refusals} refusals")
        if self.dollars is not None:
            parts.append(f"{self.dollars:.4f} dollars")
        if 0 < self.work <= self.answers * _EARLY and self.answers <= self.work:
            parts.append(f"{duration(seconds * (self.work - self.answers) / self.answers)} left")
        elif seconds > 2:
            parts.append(f"{duration(seconds)} so far")
        return " · ".join(parts)

    def show(self) -> None:
        """Print the progress now and then if there is no terminal; cheap enough to be called for every answer."""
        if not self.live and time.monotonic() - self._said > _PLAIN_EVERY:
            self._said = time.monotonic()
            say(self.text())

    def __rich_console__(self, console: Any, options: Any) -> Any:
        """The content above the counts, and the counts."""
        if self.above is not None:
            yield self.above
        yield _plain(self.text())


@contextmanager
def showing(title: str, total: int, done: int, work: int, above: Any = None) -> Generator[Progress]:
    """A Progress on the screen while the block runs; it is updated even while no answers arrive."""
    progress = Progress(title, total, done, work, above)
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(1.0):
            progress.show()

    with ExitStack() as stack:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            terminal: Any = _Lasting()
            progress.live = True
            stack.enter_context(Live(progress, console=Console(file=terminal), refresh_per_second=4, transient=True))
        clock = threading.Thread(target=tick, daemon=True)
        clock.start()
        try:
            yield progress
        finally:
            ended.set()
            clock.join()
