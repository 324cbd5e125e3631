"""What goes wrong with an endpoint: which errors are final, how long to wait after the others, and what to say.

It does not send anything. The key is removed from every text of the endpoint that is quoted.
"""

import math
import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hustings.engine.base import Request, check_length
from hustings.errors import EngineError, first_line
from hustings.progress import say

_NOT_THERE = 15.0
"""Seconds after which an address that never answered is given up; connecting may add 5 s to the last attempt."""
_LONGEST_WAIT = 60.0
"""Seconds between two attempts."""
_SAY_EVERY = 2.0
"""Seconds between two messages about the same problem."""
_KEY = re.compile(r"\b(?:sk|key)-[\w*-]{4,}|Bearer\s+[^\s'\"]+", re.IGNORECASE)
_CONTEXT = re.compile(
    r"context (?:length|size|window)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)
_ROOM = re.compile(r"(?:context (?:length|size|window)(?: is| of)?|available context size)\D{0,12}(\d+)", re.IGNORECASE)
_PROMPT = (r"(\d+) in the (?:messages|prompt)", r"(\d+) input tokens", r"resulted in (\d+) tokens", r"(\d+) tokens")


class Failures:
    """Decides what follows from each failed attempt.

    Args:
        url: of the endpoint.
        model: its name there.
        variable: the environment variable that holds the key.
        key: empty if there is none.
        timeout: of one request, in seconds.
        attempts: for one request.
    """

    def __init__(self, url: str, model: str, variable: str, key: str, timeout: float, attempts: int) -> None:
        import openai

        self._openai = openai
        self._url, self._model, self._variable, self._key = url, model, variable, key
        self._timeout, self._attempts = timeout, attempts
        self._said: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()
        self.reached = False
        """Whether the endpoint has ever answered."""
        self.pause = 0.0
        """Time on the monotonic clock before which the endpoint wants no requests."""

    def wait(self, error: Exception, request: Request, began: float, attempt: int) -> float:
        """Seconds to wait before the next attempt, which is announced on the screen.

        Args:
            began: time of the first attempt, on the monotonic clock.
            attempt: number of the failed attempt, from 0.

        Raises:
            EngineError: another attempt would not help, or was one too many.
        """
        openai = self._openai
        status: int | None = getattr(error, "status_code", None)
        if status is not None:
            self.reached = True
            self._raise_final(error, status, request)
        wait = min(_LONGEST_WAIT, 0.5 * 2**attempt) * random.uniform(0.75, 1.0)
        limited = isinstance(error, openai.RateLimitError)
        if isinstance(error, openai.APIStatusError):
            wait = max(_retry_after(error.response.headers) or wait, 0.05 if limited else 0.0)
        if limited:
            self.pause = max(self.pause, time.monotonic() + wait)
        what = self._described(error)
        if _unconnected(error) and not self.reached and time.monotonic() - began + wait > _NOT_THERE:
            raise EngineError(
                f"{self._url}: nothing answers at this address; start the server, or set engine.base_url to its "
                "address (including /v1)."
            ) from None
        if attempt + 1 >= self._attempts and not limited:
            raise EngineError(
                f"{self._url}: {what}, {self._attempts} times for one request "
                f"({request.turn}). All answers so far are kept; rerun the same command when the server works again, "
                "or raise engine.attempts or engine.timeout."
            ) from None
        self._say(what, f"trying again in {wait:.1f} s", attempt)
        return wait

    def _described(self, error: Exception) -> str:
        """What happened, in a few words."""
        openai = self._openai
        match error:
            case openai.RateLimitError():
                return "429, too many requests"
            case openai.APIStatusError():
                return f"status {error.status_code}"
            case openai.APIConnectionError() if _unconnected(error):
                return "no connection"
            case openai.APITimeoutError():
                return f"no answer within {self._timeout:g} s"
            case openai.APIConnectionError():
                return "the connection broke"
            case _:
                return f"an unreadable answer ({self._scrubbed(first_line(error))[:80]})"

    def _say(self, what: str, then: str, attempt: int) -> None:
        """Print a message, unless the same was printed just now; the next one says how often it happened."""
        self._unsaid[what] += 1
        if time.monotonic() - self._said.get(what, -math.inf) < _SAY_EVERY:
            return
        times = f" ({self._unsaid[what]} times since the last message)" if self._unsaid[what] > 1 else ""
        attempts = f", attempt {attempt + 2} of {self._attempts}" if attempt else ""
        say(f"{self._url}: {what}; {then}{times}{attempts}")
        self._said[what], self._unsaid[what] = time.monotonic(), 0

    def _raise_final(self, error: Any, status: int, request: Request) -> None:
        """Raise the errors that no further attempt would change."""
        body: Mapping[str, Any] = error.body if isinstance(error.body, Mapping) else {}
        said = self._scrubbed(str(body.get("message") or first_line(error))).rstrip(".")
        where = f"{self._url} ({status}: {said})"
        if status in (401, 403):
            problem = "was not accepted" if self._key else "is not set"
            raise EngineError(
                f"{where}: the key in the environment variable {self._variable} {problem}; set it to a key of this "
                "endpoint, or name another variable with engine.key."
            ) from None
        if status == 429 and "quota" in f"{body.get('code')} {body.get('type')}":
            raise EngineError(
                f"{where}: the account has no credit left; add some and rerun the same command. All answers so far are "
                "kept."
            ) from None
        if status == 404:
            raise EngineError(
                f"{where}: the endpoint does not know model.id={self._model}, or the address does not speak OpenAI's "
                "protocol; check the list at GET /models, and that engine.base_url includes /v1."
            ) from None
        if status in (400, 413, 422) and (_CONTEXT.search(said) or "context" in str(body.get("code"))):
            prompt, room = _lengths(body, said)
            if prompt and room:
                check_length(request, prompt, request.sampling.max_tokens, room)
            raise EngineError(
                f"{request.turn}: the prompt is too long for the model at {where}; use fewer rounds or agents, a "
                "smaller sampling.max_tokens, or a model with a longer context."
            ) from None
        if status < 500 and status not in (408, 409, 425, 429):
            hint = "; set engine.logprobs=0 if it provides no log-probabilities" if "logprobs" in said else ""
            raise EngineError(
                f"{where}: the endpoint rejects this request{hint}. Its fields follow from engine.api, engine.start, "
                "engine.reasoning and engine.extra."
            ) from None

    def _scrubbed(self, text: str) -> str:
        """A text of the endpoint without our key, which some endpoints repeat."""
        return _KEY.sub("…", text.replace(self._key, "…") if self._key else text)


def _unconnected(error: Exception) -> bool:
    """Whether the connection could not even be opened."""
    return type(error.__cause__).__name__.startswith("Connect")


def _retry_after(headers: Any) -> float | None:
    """Seconds that the endpoint asks to wait."""
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def _lengths(body: Mapping[str, Any], said: str) -> tuple[int, int]:
    """Tokens of the prompt and of the context according to the endpoint's message; 0 if it does not say."""
    prompt, room = body.get("n_prompt_tokens"), body.get("n_ctx")
    if not room and (found := _ROOM.search(said)):
        room = found[1]
        rest = said[found.end() :]
        prompt = next((match[1] for pattern in _PROMPT if (match := re.search(pattern, rest))), 0)
    return int(prompt or 0), int(room or 0)
