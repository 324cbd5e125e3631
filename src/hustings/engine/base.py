"""What every engine is: requests in, answers out, each as soon as it is there.

An engine does not know what a debate is. It knows prompts, seeds and limits; who asked is carried along unread
(the planted engine, which has no model, reads it).
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hustings.errors import EngineError
from hustings.models import Weights
from hustings.settings import ModelSettings, SimulateSettings


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a text is drawn from the model."""

    temperature: float
    """0 takes the most probable token each time."""
    max_tokens: int
    """The longest answer, in tokens."""
    ignore_end: bool = False
    """Continue to `max_tokens` even when the model ends its turn (for benchmarks)."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Who asks, for errors, progress and the planted engine; never part of the prompt."""

    debate: str
    """`topic/composition/repetition`, `personas/party/index`, `questions/example` or `answers/party/question/place`."""
    agent: int
    """Position of the agent in the debate, from 0."""
    role: str
    """Party of the agent, or `default`."""
    iteration: int
    """Replies that had been made before this request."""
    purpose: Literal["reply", "survey", "persona", "question", "answer"]
    name: str
    """Name of the agent."""
    item: str = ""
    """Of the instrument, in a survey."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the model: a single user turn, put through the model's chat template by the engine."""

    prompt: str
    """The user's turn."""
    seed: int
    """Seed of this request alone, 0 … 2³²−1."""
    sampling: Sampling
    turn: Turn
    start: str = ""
    """Prefilled beginning of the answer; it is part of the answer's text."""
    options: tuple[str, ...] = ()
    """When given, the answer is a Score of these strings and `sampling` only limits engines that have to generate."""

    @property
    def lane(self) -> tuple[str, int]:
        """Requests of one lane begin alike; an engine with a prefix cache runs them one after the other."""
        return self.turn.debate, self.turn.agent


@dataclass(frozen=True, slots=True)
class Completion:
    """The text that answers a request."""

    text: str
    prompt_tokens: int
    tokens: int
    """Generated tokens."""
    finish: Literal["stop", "length"]
    refused: bool = False
    """The endpoint or the text itself says that there is no answer."""


@dataclass(frozen=True, slots=True)
class Score:
    """What the model thinks of each option of a request."""

    logprobs: tuple[float, ...] | None
    """Natural log-probability that the answer is option i and not a longer one; None if the engine gives none.

    Minus infinity stands for an option too improbable to be listed."""
    text: str
    """The most probable option, or the generated text when there are no log-probabilities."""
    prompt_tokens: int
    tokens: int
    """Generated tokens."""
    refused: bool = False
    """The endpoint or the text itself says that there is no answer."""


Answer = Completion | Score


@dataclass(frozen=True, slots=True)
class Order:
    """What an engine is built for."""

    model: ModelSettings
    weights: Weights
    adapter: Path | None = None
    """Folder of a PEFT adapter for the model."""
    debates: SimulateSettings | None = None
    """The run whose debates are played; None for other work. Only the planted engine looks at it."""


class Engine(ABC):
    """A language model, or a stand-in for one. Used as a context manager, it frees the weights at the end."""

    promise: str
    """What the engine promises about repeating a run, one sentence for the manifest."""

    @abstractmethod
    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer the requests in `queue`, and those put there meanwhile, yielding each answer as it arrives.

        The engine takes requests from the left of the queue when it has room for them, and stops when the
        queue and its own work are both empty. Raises EngineError when a request cannot be answered.
        """

    def _list(self, requests: Sequence[Request]) -> list[Answer]:
        places = {id(request): place for place, request in enumerate(requests)}
        answers: list[Answer | None] = [None] * len(requests)
        for request, answer in self.stream(deque(requests)):
            answers[places[id(request)]] = answer
        return [answer for answer in answers if answer is not None]

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer requests without options, in their order."""
        return [answer for answer in self._list(requests) if isinstance(answer, Completion)]

    def score(self, requests: Sequence[Request]) -> list[Score]:
        """Answer requests with options, in their order."""
        return [answer for answer in self._list(requests) if isinstance(answer, Score)]

    def close(self) -> None:  # noqa: B027
        """Free what the engine holds; an engine that holds nothing has nothing to do."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_length(request: Request, prompt: int, answer: int, context: int) -> None:
    """Refuse a request that the model has no room for; `prompt`, `answer` and `context` in tokens.

    Raises:
        EngineError: it says how many tokens, and which debate.
    """
    if prompt + answer > context:
        turn = request.turn
        raise EngineError(
            f"{turn.debate}, agent {turn.agent}, iteration {turn.iteration}: the prompt has {prompt} tokens and the "
            f"answer up to {answer}, more than the model's context of {context}; take fewer rounds or agents, a "
            "smaller sampling.max_tokens, or a model with a longer context (model.context)."
        )
