"""Any endpoint that speaks OpenAI's protocol: requests are sent concurrently, and each is answered once.

It does not know what a debate will cost (estimate.py does) or what the server does with a seed. The key is read from
the environment, passed to the `openai` package, and never shown.
"""

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from hustings.engine.base import Answer, Completion, Engine, Order, Request, Score
from hustings.engine.openai_answers import UNKNOWN, Options, refused
from hustings.engine.openai_client import client_of, flaw, key_of, secret
from hustings.engine.openai_errors import Failures, Place
from hustings.engine.openai_limits import CHARACTERS, Pace, Spending
from hustings.engine.openai_requests import Bodies, Form, Structured
from hustings.engine.openai_waiting import Gate
from hustings.engine.openai_wire import Received, Reported, Unreadable, read
from hustings.errors import EngineError
from hustings.progress import say
from hustings.settings import Capability, EngineSettings, InstrumentSettings, ModelSettings
from hustings.settings.base import explained, knob, neutral

_VARIABLE = explained(
    r"^[A-Za-z_][A-Za-z0-9_]*$", "must be the name of an environment variable, such as OPENAI_API_KEY"
)
_SECOND_CALLS = 0.4
"""Second calls per survey answer if "1" and "10" begin with the same token; measured on SmolLM2: 83 of 192."""


class OpenaiSettings(EngineSettings):
    """An endpoint that speaks OpenAI's protocol: OpenAI's own, vLLM, llama.cpp, Ollama, TGI."""

    kind: Literal["openai"]
    base_url: str
    """Address of the endpoint, including `/v1`; a query (Azure's `?api-version=…`) is sent with every request."""
    api: Literal["chat", "completions"]
    """Which protocol to use. `chat`: the endpoint applies the model's chat template; `completions`: the model
    continues plain text."""
    start: Literal["ask", "prefill"]
    """How to make an answer begin with given words: `ask` asks for them; `prefill` starts the answer with them."""
    logprobs: int = Field(ge=0, le=1000)
    """How many of the most probable tokens to read surveys from; 0 reads the answer from the generated text."""
    structured: Structured = neutral("off")
    """How to make the server answer surveys with exactly one of the options, if answers are read from the text
    (logprobs=0).

    `json_schema`: a JSON schema in response_format; `guided_choice`: vLLM's own field; `grammar`: llama.cpp's own
    field; `auto`: a JSON schema, or nothing if the server refuses it; `off`: nothing.
    """
    reasoning: str | None
    """Reasoning effort of OpenAI's own reasoning models; not sent to other endpoints."""
    extra: dict[str, Any]
    """Additional fields for every request, such as top_k for endpoints whose defaults truncate the distribution."""
    key: str = knob(pattern=_VARIABLE)
    """Environment variable that holds the key; a local server needs none."""
    requests_a_minute: int | None = knob(ge=1)
    """Maximum requests per minute; None sets no limit of our own. The endpoint's limits are always respected."""
    tokens_a_minute: int | None = knob(ge=1)
    """Maximum tokens per minute, prompts and answers together; None sets no limit."""
    timeout: float = knob(gt=0)
    """How long one request may take, in seconds."""
    attempts: int = knob(ge=1)
    """Attempts for a request; a 429 response does not count as an attempt."""
    budget_usd: float | None = knob(gt=0)
    """Budget of one command, in dollars; needs model.price."""
    budget_tokens: int | None = knob(gt=0)
    """Budget of one command, in tokens of prompts and answers together."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if problem := flaw(self.base_url):
            shown = "…" if "@" in self.base_url else self.base_url
            raise ValueError(f"engine.base_url={shown!r}: {problem}")
        if secret(self.base_url):
            raise ValueError(
                "engine.base_url: an address must not hold a name or key, because it is written to manifests; put the "
                f"key into the environment variable {self.key}"
            )
        if self.logprobs and self.structured not in ("auto", "off"):
            raise ValueError(
                f"engine.structured={self.structured}: log-probabilities are read from answers of any form; set "
                "engine.logprobs=0 as well"
            )
        try:
            json.dumps(self.extra, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(
                "engine.extra: these fields go into every request as JSON, which has no infinite numbers and no NaN"
            ) from None
        return self

    def substance(self) -> dict[str, Any]:
        """Without `structured=auto` if log-probabilities are read, because it then changes nothing."""
        plain = super().substance()
        if self.logprobs and self.structured == "auto":
            del plain["structured"]
        return plain

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
        """Refuse an instrument with more options than the endpoint lists tokens."""
        options = max(len(item.options) for item in instrument.items.values())
        if 0 < self.logprobs < options:
            raise ValueError(
                f"engine.logprobs={self.logprobs}: instrument {instrument.name} has {options} options, and so few "
                "listed tokens cannot show the probability of each; raise engine.logprobs if the endpoint allows it, "
                "or set it to 0 to read answers from the text"
            )

    def calls(self, generated: int) -> tuple[int, float]:
        """A server generates the whole answer; options that begin alike can need a second call."""
        return generated, 1 + _SECOND_CALLS * (self.start == "prefill" and self.logprobs > 0)


def build(settings: OpenaiSettings, order: Order) -> "OpenaiEngine":
    """A client for the endpoint."""
    return OpenaiEngine(settings, order.model)


class OpenaiEngine(Engine):
    """A model that an endpoint serves.

    Args:
        settings: the endpoint's address, what it supports, and the limits.
        model: its name at the endpoint, and its price.

    Raises:
        EngineError: OpenAI's own endpoint needs a key, but there is none.
    """

    promise = (
        "the endpoint's: each request carries its own seed; whether the same seed gives the same text is up to the "
        "server"
    )

    def __init__(self, settings: OpenaiSettings, model: ModelSettings) -> None:
        import openai

        self._openai = openai
        self._settings = settings
        official = (urlsplit(settings.base_url).hostname or "").endswith("openai.com")
        key = key_of(settings.key, official)
        self._client = client_of(settings, key)
        self._loop = asyncio.new_event_loop()
        self._requests = Pace(settings.requests_a_minute)
        self._tokens = Pace(settings.tokens_a_minute)
        self._spending = Spending(settings, model)
        self._gate = Gate()
        place = Place(settings.base_url, model.id or "", settings.key, key)
        self._failures = Failures(place, self._gate, settings.timeout, settings.attempts)
        self._form = Form(settings.structured if settings.api == "chat" or settings.structured != "auto" else "off",
                          settings.base_url)  # fmt: skip
        self._bodies = Bodies(settings, model.id or "", official, self._form)
        self._told: set[str] = set()
        self._stop: EngineError | None = None

    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer requests as their answers arrive, with up to `concurrency` of them in flight.

        When a request cannot be answered, or the budget is used up, nothing more is sent; answers to requests in
        flight are still yielded, because they are paid for.
        """
        running: dict[asyncio.Task[Answer], Request] = {}
        self._stop = None
        self._gate.halted.clear()
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
        """Like `stream`, keeping the requests in flight in `running`."""
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
                    self._gate.halted.set()
                else:
                    yield request, task.result()
        if self._stop is not None:
            raise self._stop

    def _affordable(self, request: Request, running: Iterable[Request]) -> bool:
        """Whether to send one more request; if the budget has no room for it alone, the stream ends."""
        if self._stop is not None:
            return False
        over = self._spending.exceeded((request, *running))
        if over and not list(running):
            self._stop = EngineError(
                f"{' and '.join(over)}: the budget is used up ({self._spending}). All answers so far are kept; rerun "
                "the same command, with a larger budget if necessary, to resume."
            )
        return not over

    async def _answer(self, request: Request) -> Answer:
        return await (self._score(request) if request.options else self._complete(request))

    async def _complete(self, request: Request) -> Completion:
        received, prompt, tokens = await self._ask(request, request.start)
        text = received.text
        if self._bodies.prefills(request.start) and not text.startswith(request.start):
            text = request.start + text
        no = received.declined or refused(text.removeprefix(request.start))
        return Completion(text, prompt, tokens, _finish(received, tokens, request), no)

    async def _score(self, request: Request) -> Score:
        received, prompt, tokens = await self._ask(request, "")
        text, no = self._form.read(received.text, request.options), received.declined
        cut = _finish(received, tokens, request) == "length" and text == received.text
        places = received.places if self._settings.logprobs and not no else []
        if not places:
            return Score(None, text, prompt, tokens, no or refused(text), cut)
        options = Options(request.options, places[0])
        options.follow(places)
        while (doubt := options.doubt) and self._bodies.prefills(doubt):
            again, more, generated = await self._ask(request, doubt)
            prompt, tokens = prompt + more, tokens + generated
            if not again.places or not again.places[0].whole:
                break
            options.resolve(doubt, again.places[0])
        if refused(text) and sum(options.shares.values()) < UNKNOWN:
            return Score(None, text, prompt, tokens, refused=True)
        if options.best is None:
            return Score(None, text, prompt, tokens, cut=cut)
        logprobs = tuple(options.logprob(option) for option in request.options)
        return Score(logprobs if options.complete else None, options.best, prompt, tokens)

    async def _ask(self, request: Request, start: str) -> tuple[Received, int, int]:
        """Send a request until it is answered; returns the answer, its prompt tokens and its generated tokens."""
        began, attempt = time.monotonic(), 0
        while True:
            path, body = self._bodies.of(request, start)
            await self._requests.take(1)
            expected = self._spending.expected(request) + request.sampling.max_tokens
            await self._tokens.take(expected)
            async with self._gate.passing():
                if self._stop is not None:
                    raise self._stop
                sent = time.monotonic()
                try:
                    received = read(await self._client.post(path, body=body, cast_to=str))
                except (self._openai.OpenAIError, Reported, ValueError, OSError) as error:
                    if isinstance(error, Unreadable) and error.usage.generated:
                        self._spending.add(request, error.usage.prompt_tokens or 0, error.usage.generated)
                    if self._bodies.formed(request) and self._form.refused(error):
                        continue
                    wait = self._failures.wait(error, request, (began, sent), attempt)
                else:
                    self._gate.open(sent)
                    prompt, tokens = self._used(received, request)
                    self._tokens.correct(prompt + tokens - expected)
                    return received, prompt, tokens
            if wait is not None:
                attempt += 1
                await self._gate.rest(wait)

    def _used(self, received: Received, request: Request) -> tuple[int, int]:
        """Prompt tokens and generated tokens, counted against the budget; anything odd is reported once."""
        self._failures.reached = True
        prompt = received.prompt_tokens or int(self._spending.expected(request))
        tokens = received.tokens or math.ceil((len(received.text) + received.reasoning) / CHARACTERS)
        self._spending.add(request, prompt, tokens)
        if received.flaw and request.options:
            self._say_once(
                "log-probabilities",
                f"cannot be read ({received.flaw}); such surveys are read from the generated text.",
            )
        if received.reasoning and not received.text.strip():
            self._say_once(
                "reasoning",
                "used up an answer's tokens, so that nothing was said; turn it off (for vLLM and llama.cpp: "
                "+engine.extra.chat_template_kwargs.enable_thinking=false), or allow longer answers.",
            )
        return prompt, tokens

    def _say_once(self, what: str, then: str) -> None:
        if what not in self._told:
            self._told.add(what)
            say(f"{self._settings.base_url}: {what} {then}")

    def close(self) -> None:
        """Close the connections."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._client.close())
            self._loop.close()


def _finish(received: Received, tokens: int, request: Request) -> Literal["stop", "length"]:
    """How an answer ended; judged by its length if the endpoint does not say."""
    return received.finish or ("length" if tokens >= request.sampling.max_tokens else "stop")
