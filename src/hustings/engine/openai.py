"""Any endpoint that speaks OpenAI's protocol: requests go out together, and each answer comes back once.

It does not know what a debate costs in advance (estimate.py does), nor what the server does with a seed. The key is
read from the environment, given to the `openai` package, and taken out of every text that is quoted.
"""

import asyncio
import math
import os
import random
import re
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from hustings.engine.base import Answer, Completion, Engine, Order, Request, Score, check_length
from hustings.errors import EngineError, first_line
from hustings.progress import say
from hustings.settings import Capability, EngineSettings, ModelSettings
from hustings.settings.base import knob

_NOT_THERE = 15.0
"""Seconds after which an address that never answered is given up; connecting may take the last try 5 s more."""
_CONNECT = 5.0
_LONGEST_WAIT = 60.0
_SAY_EVERY = 2.0
_UNKNOWN = 0.01
"""Share of the options' probability that may be unlisted before their mean is missing data."""
_CHARACTERS = 4.0
"""Of a token, until the endpoint's own counts tell."""
_KEY = re.compile(r"\b(?:sk|key)-[\w*-]{4,}|Bearer\s+[^\s'\"]+", re.IGNORECASE)
_REFUSAL = re.compile(
    r"^\W*(?:(?:I['’]m |I am |we['’]re )?(?:very |so )?(?:sorry|afraid|unable)\b|(?:as an? )?(?:AI|language model)\b"
    r"|I (?:can['’]?t|cannot|can not|won['’]t|will not|must decline|decline|(?:don['’]t|do not) (?:have|hold)))",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context (?:length|size|window)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)
_ROOM = re.compile(r"(?:context (?:length|size|window)(?: is| of)?|available context size)\D{0,12}(\d+)", re.IGNORECASE)
_PROMPT = (r"(\d+) in the (?:messages|prompt)", r"(\d+) input tokens", r"resulted in (\d+) tokens", r"(\d+) tokens")

SECOND = 0.4
"""Of the surveys take a second call where digits are tokens and answers can be prefilled; 83 of 192 on SmolLM2."""

Position = list[tuple[str, float]]
"""The most probable tokens at one place of an answer, with their log-probabilities."""


class OpenaiSettings(EngineSettings):
    """An endpoint that speaks OpenAI's protocol: OpenAI's own, vLLM, llama.cpp, Ollama, TGI."""

    kind: Literal["openai"]
    base_url: str = Field(pattern=r"^https?://[^\s?#]+$")
    """Where it is, up to and with `/v1`."""
    api: Literal["chat", "completions"]
    """`chat`: the endpoint puts prompts into the model's template; `completions`: plain text goes on."""
    start: Literal["ask", "prefill"]
    """How an answer comes to begin with given words: `ask` asks for them; `prefill` prefills the answer with them."""
    logprobs: int = Field(ge=0, le=1000)
    """Most probable tokens that surveys are read from; 0 reads the number in the generated text."""
    reasoning: str | None
    """Effort of OpenAI's own reasoning models; other endpoints are not told."""
    extra: dict[str, Any]
    """Further fields of every request, such as top_k, for endpoints whose defaults cut the distribution."""
    key: str = knob(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; a local server needs none."""
    requests_a_minute: int | None = knob(ge=1)
    tokens_a_minute: int | None = knob(ge=1)
    """Prompts and answers together."""
    timeout: float = knob(gt=0)
    """Of one request, seconds."""
    attempts: int = knob(ge=1)
    """Attempts for a request; a 429 response does not count as an attempt."""
    budget_usd: float | None = knob(gt=0)
    """Of one command; needs model.price."""
    budget_tokens: int | None = knob(gt=0)
    """Of one command, prompts and answers together."""

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        if "@" in self.base_url:
            raise ValueError(
                "engine.base_url: an address must not hold a name or key, as it is written into manifests; put the key "
                f"into the environment variable {self.key}"
            )
        return self

    @property
    def can(self) -> frozenset[Capability]:
        """Probabilities are read from the most probable tokens, where the endpoint gives them."""
        return frozenset({"log-probabilities"} if self.logprobs else set[Capability]())

    def check_model(self, model: ModelSettings) -> None:
        """Refuse a model that no endpoint serves, and a budget that cannot be counted."""
        if model.source != "api":
            raise ValueError(
                f"model.source={model.source!r}: engine=openai needs a model that an endpoint serves; set model=api "
                "model.id=… (the name that the endpoint knows), or model=openai_chat"
            )
        if self.budget_usd is not None and model.price is None:
            raise ValueError(
                f"engine.budget_usd={self.budget_usd}: the model has no price to count with; set model.price, or "
                "engine.budget_tokens instead"
            )

    def check_options(self, instrument: str, options: int) -> None:
        """Refuse more options than the endpoint lists probable tokens."""
        if 0 < self.logprobs < options:
            raise ValueError(
                f"engine.logprobs={self.logprobs}: instrument {instrument} has {options} options, and an endpoint that "
                f"lists {self.logprobs} tokens cannot tell how probable each of them is; raise engine.logprobs if the "
                "endpoint allows it, or set it to 0 to read the answer from the text"
            )

    def calls(self, generated: int) -> tuple[int, float]:
        """A server generates the answer's whole length; some models take the digits of 10 in a second call."""
        return generated, 1 + SECOND * (self.start == "prefill" and self.logprobs > 0)


def build(settings: OpenaiSettings, order: Order) -> "OpenaiEngine":
    """A client of the endpoint."""
    return OpenaiEngine(settings, order.model)


def refused(text: str) -> bool:
    """Whether a text begins as models do when they decline to answer."""
    return bool(_REFUSAL.match(text))


class _Pace:
    """Lets so many units a minute go by, evenly."""

    def __init__(self, a_minute: int | None) -> None:
        self._seconds = 60 / a_minute if a_minute else 0.0
        self._free = 0.0

    async def take(self, units: float) -> None:
        begin = max(time.monotonic(), self._free)
        self._free = begin + units * self._seconds
        if (wait := begin - time.monotonic()) > 0:
            await asyncio.sleep(wait)

    def correct(self, units: float) -> None:
        """More, or fewer, were used than had been taken."""
        self._free += units * self._seconds


class OpenaiEngine(Engine):
    """A model that an endpoint serves.

    Args:
        settings: where it is, what it can do, and the limits.
        model: its name there, and its price.

    Raises:
        EngineError: OpenAI's own endpoint is asked without a key.
    """

    promise = (
        "the endpoint's: each request carries its own seed; whether the same seed gives the same text is the server's"
    )

    def __init__(self, settings: OpenaiSettings, model: ModelSettings) -> None:
        import openai

        self._openai = openai
        self._settings = settings
        self._model = model
        self._official = (urlsplit(settings.base_url).hostname or "").endswith("openai.com")
        self._key = _key(settings.key, self._official)
        self._loop = asyncio.new_event_loop()
        timeout = openai.Timeout(settings.timeout, connect=min(_CONNECT, settings.timeout))
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none", base_url=settings.base_url, max_retries=0, timeout=timeout
        )
        self._requests = _Pace(settings.requests_a_minute)
        self._tokens = _Pace(settings.tokens_a_minute)
        self._pause = 0.0
        self._reached = False
        self._stop: EngineError | None = None
        self._said: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()
        self._characters, self._counted = 0, 0
        self._used_prompt, self._used = 0, 0

    # One stream: requests out, answers in.

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer requests as their answers arrive, `concurrency` of them on their way at a time.

        When a request cannot be answered, or the budget is used up, nothing more is sent; what is on its way is
        waited for and given out first, as it is paid for.
        """
        running: dict[asyncio.Task[Answer], Request] = {}
        self._stop = None
        try:
            while running or (queue and self._stop is None):
                while queue and self._stop is None and len(running) < self._settings.concurrency:
                    if not self._affordable(queue[0], running.values()):
                        break
                    request = queue.popleft()
                    running[self._loop.create_task(self._answer(request))] = request
                if not running:
                    continue
                done, _ = self._loop.run_until_complete(asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))
                for task in done:
                    request = running.pop(task)
                    if isinstance(error := task.exception(), EngineError):
                        self._stop = self._stop or error
                    else:
                        yield request, task.result()
            if self._stop is not None:
                raise self._stop
        finally:
            for task in running:
                task.cancel()
            if running:
                self._loop.run_until_complete(asyncio.gather(*running, return_exceptions=True))

    def _affordable(self, request: Request, running: "Sequence[Request] | Any") -> bool:
        """Whether the budget has room for one more; with nothing on its way, no room is the end."""
        settings, price = self._settings, self._model.price
        prompts = self._used_prompt + sum(self._expected(other) for other in (request, *running))
        answers = self._used + sum(other.sampling.max_tokens for other in (request, *running))
        dollars = price.dollars(prompts, answers) if price else 0.0
        over: list[str] = []
        if settings.budget_tokens is not None and prompts + answers > settings.budget_tokens:
            over.append(f"engine.budget_tokens={settings.budget_tokens}")
        if settings.budget_usd is not None and dollars > settings.budget_usd:
            over.append(f"engine.budget_usd={settings.budget_usd:g}")
        if over and not running:
            self._stop = EngineError(
                f"{' and '.join(over)}: this is used up ({self._used_prompt + self._used} tokens"
                + (f", {self._cost():.4f} dollars" if price else "")
                + "). What was answered is kept: run the same command again, with a larger budget if need be, and it "
                "goes on where it was."
            )
        return not over

    def _cost(self) -> float:
        price = self._model.price
        return price.dollars(self._used_prompt, self._used) if price else 0.0

    def _expected(self, request: Request) -> float:
        """Tokens of a prompt, by the characters a token that the endpoint has counted so far."""
        ratio = self._characters / self._counted if self._counted else _CHARACTERS
        return (len(request.prompt) + len(request.start)) / ratio

    # One request.

    async def _answer(self, request: Request) -> Answer:
        if not request.options:
            choice, prompt, tokens = await self._ask(request, request.start)
            text, no = _text(choice), _declined(choice)
            if self._prefilled(request.start) and not text.startswith(request.start):
                text = request.start + text
            finish = "length" if choice.get("finish_reason") == "length" else "stop"
            return Completion(text, prompt, tokens, finish, no or refused(text.removeprefix(request.start)))
        choice, prompt, tokens = await self._ask(request, "")
        text, found, sure, doubt = _text(choice), dict[str, float](), True, None
        positions = _positions(choice) if self._settings.logprobs else []
        if positions and not _declined(choice):
            found, sure, doubt = _read(positions, request.options)
            if doubt is not None and self._prefilled(doubt[0]):
                short, long = doubt
                again, more, one = await self._ask(request, short)
                prompt, tokens = prompt + more, tokens + one
                seconds = _positions(again)
                if seconds:
                    _split(found, short, long, seconds[0])
                    doubt = None
            sure = sure and doubt is None
        mass = sum(map(math.exp, found.values()))
        no = _declined(choice) or (refused(text) and mass < _UNKNOWN)
        if not found or no:
            return Score(None, text, prompt, tokens, no)
        best = max(found, key=found.__getitem__)
        if doubt is not None and best == doubt[0]:
            return Score(None, text, prompt, tokens)
        logprobs = tuple(found.get(option, -math.inf) for option in request.options)
        return Score(logprobs if sure else None, best, prompt, tokens)

    def _prefilled(self, start: str) -> bool:
        return bool(start) and (self._settings.api == "completions" or self._settings.start == "prefill")

    def _body(self, request: Request, start: str) -> tuple[str, dict[str, Any]]:
        """Path and fields of a request whose answer begins with `start`."""
        settings, sampling = self._settings, request.sampling
        body: dict[str, Any] = {
            "model": self._model.id,
            "temperature": sampling.temperature,
            "seed": request.seed & 0x7FFFFFFF,
            **settings.extra,
        }
        limit = "max_completion_tokens" if self._official and settings.api == "chat" else "max_tokens"
        body[limit] = sampling.max_tokens
        if sampling.ignore_end:
            body["ignore_eos"] = True
        if self._official and settings.reasoning and settings.api == "chat":
            body["reasoning_effort"] = settings.reasoning
        if settings.api == "completions":
            if request.options and settings.logprobs:
                body["logprobs"] = settings.logprobs
            return "/completions", {**body, "prompt": f"{request.prompt}\n\n{start}"}
        if request.options and settings.logprobs:
            body |= {"logprobs": True, "top_logprobs": settings.logprobs}
        prompt = request.prompt
        if start and not self._prefilled(start):
            prompt += f"\n\nBegin your answer with these words: {start}"
        messages = [{"role": "user", "content": prompt}]
        if self._prefilled(start):
            messages.append({"role": "assistant", "content": start})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        return "/chat/completions", {**body, "messages": messages}

    async def _ask(self, request: Request, start: str) -> tuple[dict[str, Any], int, int]:
        """The first choice of an answer that came whole, and its tokens: of the prompt, and generated."""
        path, body = self._body(request, start)
        began, attempt = time.monotonic(), 0
        while True:
            await self._requests.take(1)
            expected = self._expected(request) + request.sampling.max_tokens
            await self._tokens.take(expected)
            while (pause := self._pause - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            if self._stop is not None:
                raise self._stop
            try:
                answer = await self._client.post(path, body=body, cast_to=object)
                choice, prompt, tokens = self._whole(answer, request)
            except (self._openai.OpenAIError, ValueError, OSError) as error:
                wait = self._trouble(error, request, began, attempt)
                attempt += not isinstance(error, self._openai.RateLimitError)
                await asyncio.sleep(wait)
                continue
            self._tokens.correct(prompt + tokens - expected)
            return choice, prompt, tokens

    def _whole(self, answer: Any, request: Request) -> tuple[dict[str, Any], int, int]:
        """The parts of an answer that is one; ValueError otherwise."""
        self._reached = True
        try:
            choice: dict[str, Any] = answer["choices"][0]
            text, usage = _text(choice), answer.get("usage") or {}
            prompt = int(usage.get("prompt_tokens") or self._expected(request))
            tokens = int(usage.get("completion_tokens") or math.ceil(len(text) / _CHARACTERS))
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError("no choices in the answer") from error
        self._characters += len(request.prompt)
        self._counted += prompt
        self._used_prompt += prompt
        self._used += tokens
        return choice, prompt, tokens

    # What goes wrong.

    def _trouble(self, error: Exception, request: Request, began: float, attempt: int) -> float:
        """Seconds to wait before the next try, told on the screen.

        Raises:
            EngineError: another try would not help, or there were enough.
        """
        openai, where = self._openai, self._settings.base_url
        status: int | None = getattr(error, "status_code", None)
        if status is not None:
            self._reached = True
            self._fatal(error, status, request)
        unconnected = type(error.__cause__).__name__.startswith("Connect")
        wait = min(_LONGEST_WAIT, 0.5 * 2**attempt) * random.uniform(0.75, 1.0)
        match error:
            case openai.RateLimitError():
                what = "429, too many requests"
                wait = max(_retry_after(error.response.headers) or wait, 0.05)
                self._pause = max(self._pause, time.monotonic() + wait)
            case openai.APIStatusError():
                what = f"status {status}"
                wait = _retry_after(error.response.headers) or wait
            case openai.APITimeoutError() if not unconnected:
                what = f"no answer within {self._settings.timeout:g} s"
            case openai.APIConnectionError() if unconnected:
                what = "no connection"
            case openai.APIConnectionError():
                what = "the connection broke"
            case _:
                what = f"an answer that cannot be read ({self._scrubbed(first_line(error))[:80]})"
        if unconnected and not self._reached and time.monotonic() - began + wait > _NOT_THERE:
            raise EngineError(
                f"{where}: nothing answers at this address; start the server, or set engine.base_url to where it is "
                "(with its /v1)."
            ) from None
        if attempt + 1 >= self._settings.attempts and not isinstance(error, openai.RateLimitError):
            raise EngineError(
                f"{where}: {what}, {self._settings.attempts} times for one request "
                f"({request.turn.debate}, agent {request.turn.agent}, iteration {request.turn.iteration}). What was "
                "answered is kept: run the same command again when the server is well, or raise engine.attempts or "
                "engine.timeout."
            ) from None
        self._tell(what, f"trying again in {wait:.1f} s", attempt)
        return wait

    def _tell(self, what: str, then: str, attempt: int) -> None:
        """Say it, unless the same was said just now; the next line tells how often that was."""
        self._unsaid[what] += 1
        if time.monotonic() - self._said.get(what, -math.inf) < _SAY_EVERY:
            return
        times = f" ({self._unsaid[what]} times since the last such line)" if self._unsaid[what] > 1 else ""
        tries = f", try {attempt + 2} of {self._settings.attempts}" if attempt else ""
        say(f"{self._settings.base_url}: {what}; {then}{times}{tries}")
        self._said[what], self._unsaid[what] = time.monotonic(), 0

    def _fatal(self, error: Any, status: int, request: Request) -> None:
        """Raise what no further try would change."""
        settings, body = self._settings, error.body if isinstance(error.body, Mapping) else {}
        said = self._scrubbed(str(body.get("message") or first_line(error))).rstrip(".")
        where = f"{settings.base_url} ({status}: {said})"
        if status in (401, 403):
            has = "was not accepted" if self._key else "is not set"
            raise EngineError(
                f"{where}: the key in the environment variable {settings.key} {has}; set it to a key of this endpoint, "
                "or name another variable with engine.key."
            ) from None
        if status == 429 and "quota" in f"{body.get('code')} {body.get('type')}":
            raise EngineError(
                f"{where}: the account has no credit left; add some and run the same command again: what was answered "
                "is kept."
            ) from None
        if status == 404:
            raise EngineError(
                f"{where}: model.id={self._model.id} is not known there, or the address is not one of OpenAI's "
                "protocol; see what GET /models lists, and give engine.base_url with its /v1."
            ) from None
        if status in (400, 413, 422) and (_CONTEXT.search(said) or "context" in str(body.get("code"))):
            prompt, room = _lengths(body, said)
            if prompt and room:
                check_length(request, prompt, request.sampling.max_tokens, room)
            raise EngineError(
                f"{request.turn.debate}, agent {request.turn.agent}, iteration {request.turn.iteration}: the prompt is "
                f"too long for the model at {where}; take fewer rounds or agents, a smaller sampling.max_tokens, or a "
                "model with a longer context."
            ) from None
        if status < 500 and status not in (408, 409, 425, 429):
            hint = "; set engine.logprobs=0 if it is these that it does not give" if "logprobs" in said else ""
            raise EngineError(
                f"{where}: the endpoint does not take this request{hint}. What it is sent follows from engine.api, "
                "engine.start, engine.reasoning and engine.extra."
            ) from None

    def _scrubbed(self, text: str) -> str:
        """A text of the endpoint without our key, as some repeat it."""
        return _KEY.sub("…", text.replace(self._key, "…") if self._key else text)

    def close(self) -> None:
        """End the connections."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._client.close())
            self._loop.close()


def _key(variable: str, needed: bool) -> str:
    key = os.environ.get(variable, "").strip()
    if needed and not key:
        raise EngineError(
            f"The environment variable {variable} is not set; put your key there (it is never a setting), or set "
            "engine=openai_server and engine.base_url for a server of your own."
        )
    if not key.isascii() or not key.isprintable():
        raise EngineError(
            f"The environment variable {variable} holds no key: there are odd characters in it; copy it again."
        )
    return key


def _retry_after(headers: Any) -> float | None:
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def _lengths(body: Mapping[str, Any], said: str) -> tuple[int, int]:
    """Tokens of the prompt and of the context, from what the endpoint said; 0 where it did not."""
    prompt, room = body.get("n_prompt_tokens"), body.get("n_ctx")
    if not room and (found := _ROOM.search(said)):
        room = found[1]
        rest = said[found.end() :]
        prompt = next((match[1] for pattern in _PROMPT if (match := re.search(pattern, rest))), 0)
    return int(prompt or 0), int(room or 0)


def _text(choice: Mapping[str, Any]) -> str:
    if "message" not in choice:
        return str(choice["text"] or "")
    message = choice["message"]
    return str(message.get("content") or message.get("refusal") or "")


def _declined(choice: Mapping[str, Any]) -> bool:
    """Whether the endpoint itself marks the answer as a refusal."""
    return choice.get("finish_reason") == "content_filter" or bool((choice.get("message") or {}).get("refusal"))


def _positions(choice: Mapping[str, Any]) -> list[Position]:
    """The most probable tokens at each place, whichever way the endpoint writes them; none where it gave none."""
    given: Mapping[str, Any] = choice.get("logprobs") or {}
    if "content" in given:
        lists = [place.get("top_logprobs") or [place] for place in given["content"] or ()]
        return [[(str(token["token"]), float(token["logprob"])) for token in tokens] for tokens in lists]
    return [
        [(token, float(value)) for token, value in (place or {}).items()] for place in given.get("top_logprobs") or ()
    ]


def _read(
    positions: Sequence[Position], options: Sequence[str]
) -> tuple[dict[str, float], bool, tuple[str, str] | None]:
    """Log-probabilities of the options that are listed, as whole answers.

    An option that is not listed is no likelier than the least likely token that is, so that the likeliest one is
    always right; nothing is made up for the others.

    Returns:
        The options found; whether the unlisted ones hold less than 1 % of their probability; and two options
        (`1`, `10`) where the tokens do not tell how much of the first's is the second's.
    """
    first = positions[0]
    found: dict[str, float] = {}
    for token, logprob in first:
        option = token.strip()
        if option in options:
            found[option] = _add(found.get(option, -math.inf), logprob)
    mass = sum(map(math.exp, found.values()))
    doubt = None
    for short, long in ((a, b) for a in options for b in options if b != a and b.startswith(a)):
        if short not in found or long in found or math.exp(found[short]) < _UNKNOWN * mass:
            continue
        generated = max(first, key=lambda item: item[1])[0].strip()
        if generated == short and len(positions) > 1:
            _split(found, short, long, positions[1])
        else:
            doubt = short, long
    unlisted = sum(option not in found and (doubt is None or option != doubt[1]) for option in options)
    rest = max(0.0, 1.0 - sum(math.exp(logprob) for _, logprob in first))
    unknown = min(rest, unlisted * math.exp(min(logprob for _, logprob in first)))
    return found, unknown <= _UNKNOWN * mass, doubt


def _split(found: dict[str, float], short: str, long: str, after: Position) -> None:
    """Give `long` its part of `short`'s probability, by what comes after `short`."""
    ends = long.removeprefix(short)
    share = min(sum(math.exp(logprob) for token, logprob in after if token == ends), 1 - 1e-12)
    if share > 0:
        found[long] = found[short] + math.log(share)
        found[short] += math.log1p(-share)


def _add(a: float, b: float) -> float:
    """log(eᵃ + eᵇ)."""
    top = max(a, b)
    return top + math.log(math.exp(a - top) + math.exp(b - top))
