"""Handles the errors of an endpoint: which are final, how long to wait after the others, and what to say.

It does not send anything. The key is removed from every text of the endpoint before it is quoted.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hustings.engine.base import Request, check_length
from hustings.engine.openai_client import way
from hustings.engine.openai_waiting import Gate, asked, backoff
from hustings.engine.openai_wire import Reported, mended, reason_of
from hustings.errors import EngineError, first_line
from hustings.progress import duration, say

_NOT_THERE = 15.0
"""Seconds after which to give up on an address that never answered; connecting may add 5 s to the last attempt."""
_PATIENCE = 7200.0
"""Longest time to wait for an endpoint that allows no more requests, in seconds."""
_CLOCK = 5.0
"""Waits of at least this many seconds are announced with the time at which they end."""
_PASSING = (408, 409, 425, 429)
"""Statuses below 500 after which another attempt can succeed."""
_HINTS = {
    "logprobs": "engine.logprobs=0 if it provides no log-probabilities",
    "response_format": "engine.structured=off if it cannot be made to answer in a given form",
}
"""What to set if an endpoint rejects a field."""
_SAY_EVERY = 2.0
"""Seconds between two messages about the same problem."""
_KEY = re.compile(r"\b(?:sk|key)-[\w*-]{4,}|Bearer\s+[^\s'\"]+", re.IGNORECASE)
_CREDIT = re.compile(
    r"insufficient[ _](?:\w+[ _])?(?:credit|balance|fund|quota)|payment required|no credit|out of credit"
    r"|not enough credit|exceeded your .*(?:credit|billing)|billing (?:hard )?limit",
    re.IGNORECASE,
)
_PASSES = re.compile(
    r"rate.?limit|too many|over.?load|capacity|temporar|try again|retry|unavailable|time.?d? ?out|busy|server.?error"
    r"|internal error|loading",
    re.IGNORECASE,
)
"""Wording of errors that have no status but go away after a while."""
_CONTEXT = re.compile(
    r"context (?:length|size|window)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)
_ROOM = re.compile(r"(?:context (?:length|size|window)(?: is| of)?|available context size)\D{0,12}(\d+)", re.IGNORECASE)
_PROMPT = (r"(\d+) in the (?:messages|prompt)", r"(\d+) input tokens", r"resulted in (\d+) tokens", r"(\d+) tokens")


class Place(NamedTuple):
    """Where requests go."""

    url: str
    """Address of the endpoint."""
    model: str
    """The model's name at the endpoint."""
    variable: str
    """The environment variable that holds the key."""
    key: str
    """Empty if there is none."""


class Failures:
    """Decides what to do after each failed attempt.

    Args:
        place: where requests go.
        gate: where all requests wait when the endpoint allows no more.
        timeout: longest time for one request, in seconds.
        attempts: maximum number for one request.
    """

    def __init__(self, place: Place, gate: Gate, timeout: float, attempts: int) -> None:
        import openai

        self._openai = openai
        self._url, self._model, self._variable, self._key = place
        self._gate = gate
        self._timeout, self._attempts = timeout, attempts
        self._said: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()
        self.reached = False
        """Whether the endpoint has ever answered."""

    def wait(self, error: Exception, request: Request, sent: tuple[float, float], attempt: int) -> float | None:
        """Seconds that this request waits before its next attempt; the wait is announced on the screen.

        None means that the endpoint allows no more requests for now: all wait at the gate, and this one does not count
        as an attempt.

        Args:
            sent: time of the first attempt and of this one, on the monotonic clock.
            attempt: number of the failed attempt, from 0.

        Raises:
            EngineError: another attempt would not help, or none is left.
        """
        openai = self._openai
        status: int | None = getattr(error, "status_code", None)
        what = self._described(error)
        if status is not None or isinstance(error, Reported):
            self.reached = True
            self._raise_final(error, status, request)
        told = asked(error.response.headers) if isinstance(error, openai.APIStatusError) else None
        if status == 429 or (told is not None and status in (503, 529)):
            self._close(what, told, sent[1])
            return None
        wait = max(told or 0.0, backoff(attempt))
        if _unconnected(error) and not self.reached and time.monotonic() - sent[0] + wait > _NOT_THERE:
            raise EngineError(
                f"{self._url}: nothing answers at this address; start the server, or set engine.base_url to its "
                f"address (including /v1).{way(self._url)}"
            ) from None
        if attempt + 1 >= self._attempts:
            raise EngineError(
                f"{self._url}: {what}, {self._attempts} times for one request "
                f"({request.turn}). All answers so far are kept; rerun the same command when the server works again, "
                f"or raise engine.attempts or engine.timeout.{self._hint(error)}"
            ) from None
        self._say(what, f"trying again in {wait:.1f} s", attempt)
        return wait

    def _close(self, what: str, told: float | None, sent: float) -> None:
        """Close the gate, and say until when.

        Raises:
            EngineError: the wait would be too long.
        """
        pause = self._gate.close(told, sent)
        left = self._gate.left
        until = datetime.now() + timedelta(seconds=min(left, 1e8))
        if self._gate.shut > _PATIENCE:
            raise EngineError(
                f"{self._url}: {what}, and the next request is allowed in {duration(left)}, on {until:%d %B at %H:%M}. "
                f"Hustings waits no longer than {duration(_PATIENCE)} for an endpoint. All answers so far are kept; "
                "rerun the same command then."
            ) from None
        if pause is not None:
            clock = f", at {until:%H:%M:%S}" if pause >= _CLOCK else ""
            self._say(what, f"trying again in {pause:.1f} s{clock}", 0)

    def _hint(self, error: Exception) -> str:
        """The likely cause of an unreadable answer or a broken connection; empty if it is not known."""
        if "a web page" in str(error):
            return " A web page is no answer: engine.base_url must be the address of the API, including /v1."
        return way(self._url) if isinstance(error, self._openai.APIConnectionError) else ""

    def _described(self, error: Exception) -> str:
        """What happened, in a few words."""
        openai = self._openai
        match error:
            case openai.RateLimitError():
                return "429, too many requests"
            case openai.APIStatusError():
                return f"status {error.status_code}"
            case Reported():
                return self._scrubbed(str(error))
            case openai.APIConnectionError() if _unconnected(error):
                return "no connection"
            case openai.APITimeoutError():
                return f"no answer within {self._timeout:g} s"
            case openai.APIConnectionError():
                return "the connection broke"
            case _:
                return f"an unreadable answer ({self._scrubbed(first_line(error))[:80]})"

    def _say(self, what: str, then: str, attempt: int) -> None:
        """Print a message, unless it was printed just now; the next one then says how often it happened."""
        self._unsaid[what] += 1
        if time.monotonic() - self._said.get(what, -math.inf) < _SAY_EVERY:
            return
        times = f" ({self._unsaid[what]} times since the last message)" if self._unsaid[what] > 1 else ""
        attempts = f", attempt {attempt + 2} of {self._attempts}" if attempt else ""
        say(f"{self._url}: {what}; {then}{times}{attempts}")
        self._said[what], self._unsaid[what] = time.monotonic(), 0

    def _raise_final(self, error: Any, status: int | None, request: Request) -> None:
        """Raise an error if no further attempt would help."""
        body: Mapping[str, Any] = error.body if isinstance(error.body, Mapping) else {}
        said = self._scrubbed(reason_of(error.body or first_line(error))).rstrip(".")
        where = f"{self._url} ({f'{status}: ' if status else ''}{said})"
        kind = f"{body.get('code')} {body.get('type')}"
        if status == 402 or (status in (None, 403, 429) and _CREDIT.search(f"{kind} {said}")):
            raise EngineError(
                f"{where}: the account has no credit left; add some and rerun the same command. All answers so far are "
                "kept."
            ) from None
        if status in (401, 403):
            problem = "was not accepted" if self._key else "is not set"
            raise EngineError(
                f"{where}: the key in the environment variable {self._variable} {problem}; set it to a key of this "
                f"endpoint, or name another variable with engine.key.{way(self._url)}"
            ) from None
        if status == 404:
            raise EngineError(
                f"{where}: the endpoint does not know model.id={self._model}, or the address does not speak OpenAI's "
                "protocol; check the list at GET /models, and that engine.base_url includes /v1."
            ) from None
        if status in (None, 400, 413, 422) and (_CONTEXT.search(said) or "context" in str(body.get("code"))):
            self._raise_too_long(body, said, where, request)
        passes = _PASSES.search(f"{kind} {said}") if status is None else status >= 500 or status in _PASSING
        if not passes:
            hint = next((f"; set {it}" for word, it in _HINTS.items() if word in said), "")
            raise EngineError(
                f"{where}: the endpoint rejects this request{hint}. Its fields follow from engine.api, engine.start, "
                f"engine.structured, engine.reasoning and engine.extra. All answers so far are kept.{way(self._url)}"
            ) from None

    def _raise_too_long(self, body: Mapping[str, Any], said: str, where: str, request: Request) -> None:
        """Raise the error for a prompt that does not fit into the model's context."""
        prompt, room = _lengths(body, said)
        if prompt and room:
            check_length(request, prompt, request.sampling.max_tokens, room)
        raise EngineError(
            f"{request.turn}: the prompt is too long for the model at {where}; use fewer rounds or agents, a "
            "smaller sampling.max_tokens, or a model with a longer context."
        ) from None

    def _scrubbed(self, text: str) -> str:
        """A text from the endpoint without our key, which some endpoints repeat."""
        text = mended(text)
        return _KEY.sub("…", text.replace(self._key, "…") if self._key else text)


def _unconnected(error: Exception) -> bool:
    """Whether the connection could not even be opened."""
    return type(error.__cause__).__name__.startswith("Connect")


def _lengths(body: Mapping[str, Any], said: str) -> tuple[int, int]:
    """Tokens of the prompt and of the context according to the endpoint's message; 0 if it does not say."""
    prompt, room = body.get("n_prompt_tokens"), body.get("n_ctx")
    if not room and (found := _ROOM.search(said)):
        room = found[1]
        rest = said[found.end() :]
        prompt = next((match[1] for pattern in _PROMPT if (match := re.search(pattern, rest))), 0)
    return int(prompt or 0), int(room or 0)
