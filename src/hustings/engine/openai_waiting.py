"""How long an endpoint asks to wait, and the gate at which all requests wait together.

It does not send anything, and does not know why an endpoint refuses requests.
"""

import asyncio
import math
import random
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_BACKOFF = 60.0
"""The longest wait that we choose ourselves, in seconds."""
_TRUSTED = 3
"""After this many refusals in a row, waiting only as long as the endpoint asks is not enough."""
_EPOCH = 1e9
"""A larger number is a time in seconds since 1970; one more than a hundred times larger is in milliseconds."""
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?|\.\d+)(ms|us|µs|ns|d|h|m|s))")
_RESET = re.compile(r"(?P<of>(?:[a-z]+-)*ratelimit-)(?P<what>(?:[a-z]+-)?)reset(?P<which>(?:-[a-z]+)*)")


def backoff(failures: int) -> float:
    """Seconds to wait after this many failures in a row, from 0: doubles each time up to a minute, with jitter."""
    return min(_BACKOFF, 0.5 * 2.0 ** min(failures, 10)) * random.uniform(0.75, 1.0)


def asked(headers: Mapping[str, str]) -> float | None:
    """Seconds that an endpoint asks to wait in the headers of its answer; None if it does not say.

    `retry-after-ms` and `retry-after` (seconds or a date) take precedence; without them, it is the time until the
    exhausted limits reset (`x-ratelimit-reset-requests`, `ratelimit-reset`, `anthropic-ratelimit-tokens-reset`).
    """
    given = {name.lower(): value for name, value in headers.items()}
    now = _date(given.get("date", "")) or datetime.now(UTC)
    milliseconds = _number(given.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    after = _seconds(given.get("retry-after", ""), now)
    if after is not None:
        return after
    resets: dict[bool, list[float]] = {True: [], False: []}
    for name, value in given.items():
        found = _RESET.fullmatch(name)
        wait = _seconds(value, now) if found else None
        if found and wait is not None:
            left = _number(given.get(f"{found['of']}{found['what']}remaining{found['which']}", ""))
            resets[left == 0].append(wait)
    return max(resets[True] or resets[False], default=None)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds(text: str, now: datetime) -> float | None:
    """Seconds from now: a number, a duration such as `6m0s`, a date, or seconds or milliseconds since 1970."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        if number < _EPOCH:
            return number
        return max(0.0, (number / 1000 if number > 100 * _EPOCH else number) - now.timestamp())
    if text and not _DURATION.sub("", text.lower()).strip():
        return sum(float(count) * _UNITS[unit] for count, unit in _DURATION.findall(text.lower()))
    date = _date(text)
    return None if date is None else max(0.0, (date - now).total_seconds())


def _date(text: str) -> datetime | None:
    """An HTTP or ISO date, taken as UTC if it has no time zone."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, TypeError, OverflowError):
            date = read(text)
            return date if date.tzinfo else date.replace(tzinfo=UTC)
    return None


class Gate:
    """Lets requests pass until the endpoint allows no more; then all wait, and one is sent first as a test."""

    def __init__(self) -> None:
        self._until = 0.0
        self._refusals = 0
        self._since = 0.0
        self._first = asyncio.Lock()
        self.halted = asyncio.Event()
        """Set when nothing more will be sent, so that waiting requests stop waiting."""

    @asynccontextmanager
    async def passing(self) -> AsyncGenerator[None]:
        """Wait at the gate; the block sends one request."""
        if self._refusals:
            async with self._first:
                while (rest := self.left) > 0 and not self.halted.is_set():
                    await self.rest(rest)
                if self._refusals:
                    yield
                    return
        yield

    async def rest(self, seconds: float) -> None:
        """Sleep, unless nothing more will be sent."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.halted.wait(), seconds)

    def open(self, sent: float) -> None:
        """Note that a request was answered.

        Args:
            sent: when the request was sent, on the monotonic clock.
        """
        if sent >= self._until:
            self._refusals = 0

    def close(self, wait: float | None, sent: float) -> float | None:
        """Note that the endpoint allows no more requests for now.

        Args:
            wait: seconds that it asks to wait; None if it does not say.
            sent: when the refused request was sent, on the monotonic clock.

        Returns:
            Seconds to wait from now; None if the wait was already known because this request was sent before it began.
        """
        now, fresh = time.monotonic(), sent >= self._until
        if fresh:
            self._since = self._since if self._refusals else now
            self._refusals += 1
            ours = backoff(self._refusals - 1 - (_TRUSTED if wait else 0))
            told = wait + random.uniform(0, min(1.0, wait / 10)) if wait else 0.0
            pause = max(told, ours) if self._refusals > _TRUSTED else told or ours
        else:
            pause = wait or 0.0
        known = self._until - now
        self._until = max(self._until, now + pause)
        return pause if fresh or pause > known + 1 else None

    @property
    def left(self) -> float:
        """Seconds until the next request may pass."""
        return max(0.0, self._until - time.monotonic())

    @property
    def shut(self) -> float:
        """Seconds from the first refusal in a row to the end of the wait."""
        return self._until - self._since
