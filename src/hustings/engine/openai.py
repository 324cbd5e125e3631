"""Any endpoint that speaks OpenAI's protocol: requests go out together, and each answer comes back once.

It does not know what a debate will cost (estimate.py does), nor what the server does with a seed. The key is read from
the environment, passed to the `openai` package, and never shown.
"""

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from hustings.engine.base import Answer, Completion, Engine, Order, Request, Score
from hustings.engine.openai_answers import UNKNOWN, Options, declined, places_of, refused, text_of
from hustings.engine.openai_errors import Failures
from hustings.errors import EngineError
from hustings.settings import Capability, EngineSettings, InstrumentSettings, ModelSettings
from hustings.settings.base import knob

_CONNECT = 5.0
"""Seconds for opening a connection."""
_CHARACTERS = 4.0
"""Per token, until the endpoint has counted some."""
_SECOND_CALLS = 0.4
"""Second calls per survey answer where "1" and "10" begin with one token; measured on SmolLM2, 83 of 192."""


class OpenaiSettings(EngineSettings):
    """An endpoint that speaks OpenAI's protocol: OpenAI's own, vLLM, llama.cpp, Ollama, TGI."""

    kind: Literal["openai"]
    base_url: str = Field(pattern=r"^https?://[^\s?#]+$")
    """Its address, including `/v1`."""
    api: Literal["chat", "completions"]
    """`chat`: the endpoint applies the model's chat template; `completions`: the model continues plain text."""
    start: Literal["ask", "prefill"]
    """How an answer is made to begin with given words: `ask` asks for them; `prefill` prefills the answer with them."""
    logprobs: int = Field(ge=0, le=1000)
    """Number of most probable tokens that surveys are read from; 0 reads the answer from the generated text."""
    reasoning: str | None
    """Effort of OpenAI's own reasoning models; not sent to other endpoints."""
    extra: dict[str, Any]
    """Further fields of every request, such as top_k for endpoints whose defaults truncate the distribution."""
    key: str = knob(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; a local server needs none."""
    requests_a_minute: int | None = knob(ge=1)
    tokens_a_minute: int | None = knob(ge=1)
    """Prompts and answers together."""
    timeout: float = knob(gt=0)
    """For one request, in seconds."""
    attempts: int = knob(ge=1)
    """Attempts for a request; a 429 response does not count as an attempt."""
    budget_usd: float | None = knob(gt=0)
    """Budget of one command, in dollars; needs model.price."""
    budget_tokens: int | None = knob(gt=0)
    """Budget of one command, in tokens of prompts and answers together."""

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        if "@" in self.base_url:
            raise ValueError(
                "engine.base_url: an address must not hold a name or key, because it is written to manifests; put the "
                f"key into the environment variable {self.key}"
            )
        return self

    @property
    def can(self) -> frozenset[Capability]:
        """Log-probabilities are read from the most probable tokens, if the endpoint lists them."""
        return frozenset({"log-probabilities"} if self.logprobs else set[Capability]())

    def check_model(self, model: ModelSettings) -> None:
        """Refuse a model that no endpoint serves, and a budget in dollars for a model without a price."""
        if model.source != "api":
            raise ValueError(
                f"model.source={model.source!r}: engine=openai needs a model that an endpoint serves; set model=api "
                "model.id=… (the name that the endpoint knows), or model=openai_chat"
            )
        if self.budget_usd is not None and model.price is None:
            raise ValueError(
                f"engine.budget_usd={self.budget_usd}: the model has no price, so its cost cannot be counted; set "
                "model.price, or engine.budget_tokens instead"
            )

    def check_instrument(self, instrument: InstrumentSettings) -> None:
        """Refuse more options than the endpoint lists tokens."""
        options = max(len(item.options) for item in instrument.items.values())
        if 0 < self.logprobs < options:
            raise ValueError(
                f"engine.logprobs={self.logprobs}: instrument {instrument.name} has {options} options, and so few "
                "listed tokens cannot show the probability of each; raise engine.logprobs if the endpoint allows it, "
                "or set it to 0 to read answers from the text"
            )

    def calls(self, generated: int) -> tuple[int, float]:
        """A server generates the whole answer; options that begin alike can take a second call."""
        return generated, 1 + _SECOND_CALLS * (self.start == "prefill" and self.logprobs > 0)


def build(settings: OpenaiSettings, order: Order) -> "OpenaiEngine":
    """A client of the endpoint."""
    return OpenaiEngine(settings, order.model)


class _Pace:
    """Lets so many units per minute pass, evenly.

    Args:
        per_minute: None for no limit.
    """

    def __init__(self, per_minute: int | None) -> None:
        self._seconds = 60 / per_minute if per_minute else 0.0
        self._free = 0.0

    async def take(self, units: float) -> None:
        """Wait until these units may pass."""
        begin = max(time.monotonic(), self._free)
        self._free = begin + units * self._seconds
        if (wait := begin - time.monotonic()) > 0:
            await asyncio.sleep(wait)

    def correct(self, units: float) -> None:
        """Count units that were used beyond those taken; negative if fewer were used."""
        self._free += units * self._seconds


class _Usage:
    """Counts what a command has used, and what it may still use.

    Args:
        settings: the budgets.
        model: its price.
    """

    def __init__(self, settings: OpenaiSettings, model: ModelSettings) -> None:
        self._settings, self._price = settings, model.price
        self._prompt, self._generated, self._characters = 0, 0, 0

    def add(self, request: Request, prompt: int, generated: int) -> None:
        """Count an answer, in tokens of the prompt and generated tokens."""
        self._characters += len(request.prompt)
        self._prompt += prompt
        self._generated += generated

    def expected(self, request: Request) -> float:
        """Tokens of a prompt, at the characters per token that the endpoint has counted so far."""
        ratio = self._characters / self._prompt if self._prompt else _CHARACTERS
        return (len(request.prompt) + len(request.start)) / ratio

    def exceeded(self, requests: Iterable[Request]) -> list[str]:
        """The budgets that these requests might exceed."""
        requests = list(requests)
        prompts = self._prompt + sum(map(self.expected, requests))
        answers = self._generated + sum(request.sampling.max_tokens for request in requests)
        tokens, dollars = self._settings.budget_tokens, self._settings.budget_usd
        over = [f"engine.budget_tokens={tokens}"] if tokens is not None and prompts + answers > tokens else []
        if dollars is not None and self._price and self._price.dollars(prompts, answers) > dollars:
            over.append(f"engine.budget_usd={dollars:g}")
        return over

    def __str__(self) -> str:
        dollars = f", {self._price.dollars(self._prompt, self._generated):.4f} dollars" if self._price else ""
        return f"{self._prompt + self._generated} tokens{dollars}"


class OpenaiEngine(Engine):
    """A model that an endpoint serves.

    Args:
        settings: the endpoint's address, what it supports, and the limits.
        model: its name there, and its price.

    Raises:
        EngineError: OpenAI's own endpoint needs a key, and there is none.
    """

    promise = (
        "the endpoint's: each request carries its own seed; whether the same seed gives the same text is up to the "
        "server"
    )

    def __init__(self, settings: OpenaiSettings, model: ModelSettings) -> None:
        import openai

        self._openai = openai
        self._settings = settings
        self._model = model
        self._official = (urlsplit(settings.base_url).hostname or "").endswith("openai.com")
        key = _key(settings.key, self._official)
        self._loop = asyncio.new_event_loop()
        timeout = openai.Timeout(settings.timeout, connect=min(_CONNECT, settings.timeout))
        self._client = openai.AsyncOpenAI(
            api_key=key or "none", base_url=settings.base_url, max_retries=0, timeout=timeout
        )
        self._requests = _Pace(settings.requests_a_minute)
        self._tokens = _Pace(settings.tokens_a_minute)
        self._usage = _Usage(settings, model)
        self._failures = Failures(
            settings.base_url, model.id or "", settings.key, key, settings.timeout, settings.attempts
        )
        self._stop: EngineError | None = None

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer requests as their answers arrive, with up to `concurrency` of them in flight.

        When a request cannot be answered, or the budget is used up, nothing more is sent; answers to requests in
        flight are still yielded, because they are paid for.
        """
        running: dict[asyncio.Task[Answer], Request] = {}
        self._stop = None
        try:
            yield from self._stream(queue, running)
        finally:
            for task in running:
                task.cancel()
            if running:
                self._loop.run_until_complete(asyncio.gather(*running, return_exceptions=True))

    def _stream(
        self, queue: deque[Request], running: dict[asyncio.Task[Answer], Request]
    ) -> Iterator[tuple[Request, Answer]]:
        """As `stream`; the requests in flight are kept in `running`."""
        while running or (queue and self._stop is None):
            while queue and len(running) < self._settings.concurrency and self._affordable(queue[0], running.values()):
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

    def _affordable(self, request: Request, running: Iterable[Request]) -> bool:
        """Whether to send one more request; if the budget has no room for it alone, the stream ends."""
        if self._stop is not None:
            return False
        over = self._usage.exceeded((request, *running))
        if over and not list(running):
            self._stop = EngineError(
                f"{' and '.join(over)}: the budget is used up ({self._usage}). All answers so far are kept; rerun the "
                "same command, with a larger budget if necessary, to resume."
            )
        return not over

    async def _answer(self, request: Request) -> Answer:
        return await (self._score(request) if request.options else self._complete(request))

    async def _complete(self, request: Request) -> Completion:
        choice, prompt, tokens = await self._ask(request, request.start)
        text, no = text_of(choice), declined(choice)
        if self._prefills(request.start) and not text.startswith(request.start):
            text = request.start + text
        finish = "length" if choice.get("finish_reason") == "length" else "stop"
        return Completion(text, prompt, tokens, finish, no or refused(text.removeprefix(request.start)))

    async def _score(self, request: Request) -> Score:
        choice, prompt, tokens = await self._ask(request, "")
        text, no = text_of(choice), declined(choice)
        places = places_of(choice) if self._settings.logprobs and not no else []
        if not places:
            return Score(None, text, prompt, tokens, no or refused(text))
        options = Options(request.options, places[0])
        options.follow(places)
        while (doubt := options.doubt) and self._prefills(doubt):
            again, more, generated = await self._ask(request, doubt)
            prompt, tokens = prompt + more, tokens + generated
            if not (after := places_of(again)):
                break
            options.resolve(doubt, after[0])
        if refused(text) and sum(options.shares.values()) < UNKNOWN:
            return Score(None, text, prompt, tokens, refused=True)
        if options.best is None:
            return Score(None, text, prompt, tokens)
        logprobs = tuple(options.logprob(option) for option in request.options)
        return Score(logprobs if options.complete else None, options.best, prompt, tokens)

    def _prefills(self, start: str) -> bool:
        return bool(start) and (self._settings.api == "completions" or self._settings.start == "prefill")

    def _body(self, request: Request, start: str) -> tuple[str, dict[str, Any]]:
        """Path and fields of a request whose answer begins with `start`."""
        settings, sampling = self._settings, request.sampling
        body: dict[str, Any] = {
            "model": self._model.id,
            "temperature": sampling.temperature,
            **({"top_p": sampling.top_p} if sampling.top_p < 1 else {}),
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
            turns = [*filter(None, [request.system]), request.prompt, start]
            return "/completions", {**body, "prompt": "\n\n".join(turns)}
        if request.options and settings.logprobs:
            body |= {"logprobs": True, "top_logprobs": settings.logprobs}
        prompt = request.prompt
        if start and not self._prefills(start):
            prompt += f"\n\nBegin your answer with these words: {start}"
        messages = [] if request.system is None else [{"role": "system", "content": request.system}]
        messages.append({"role": "user", "content": prompt})
        if self._prefills(start):
            messages.append({"role": "assistant", "content": start})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        return "/chat/completions", {**body, "messages": messages}

    async def _ask(self, request: Request, start: str) -> tuple[dict[str, Any], int, int]:
        """Send a request until it is answered: the first choice, tokens of the prompt, and generated tokens."""
        path, body = self._body(request, start)
        began, attempt = time.monotonic(), 0
        while True:
            await self._requests.take(1)
            expected = self._usage.expected(request) + request.sampling.max_tokens
            await self._tokens.take(expected)
            while (pause := self._failures.pause - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            if self._stop is not None:
                raise self._stop
            try:
                answer = await self._client.post(path, body=body, cast_to=object)
                choice, prompt, tokens = self._parsed(answer, request)
            except (self._openai.OpenAIError, ValueError, OSError) as error:
                wait = self._failures.wait(error, request, began, attempt)
                attempt += not isinstance(error, self._openai.RateLimitError)
                await asyncio.sleep(wait)
                continue
            self._tokens.correct(prompt + tokens - expected)
            return choice, prompt, tokens

    def _parsed(self, answer: Any, request: Request) -> tuple[dict[str, Any], int, int]:
        """The first choice of an answer, and its tokens; ValueError if there is none."""
        self._failures.reached = True
        try:
            choice: dict[str, Any] = answer["choices"][0]
            text, usage = text_of(choice), answer.get("usage") or {}
            prompt = int(usage.get("prompt_tokens") or self._usage.expected(request))
            tokens = int(usage.get("completion_tokens") or math.ceil(len(text) / _CHARACTERS))
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError("no choices in the answer") from error
        self._usage.add(request, prompt, tokens)
        return choice, prompt, tokens

    def close(self) -> None:
        """Close the connections."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._client.close())
            self._loop.close()


def _key(variable: str, needed: bool) -> str:
    """The key in an environment variable; empty if there is none.

    Raises:
        EngineError: a key is needed and missing, or what there is cannot be one.
    """
    key = os.environ.get(variable, "").strip()
    if needed and not key:
        raise EngineError(
            f"The environment variable {variable} is not set; put your key there (it is never a setting), or set "
            "engine=openai_server and engine.base_url to use a server of your own."
        )
    if not key.isascii() or not key.isprintable():
        raise EngineError(
            f"The environment variable {variable} does not hold a key: it has unprintable or non-ASCII characters; "
            "copy the key again."
        )
    return key
