"""What every engine is: requests in, answers out, each as soon as it is there.

An engine does not know what a debate is. It knows prompts, seeds and limits; who asked is carried along unread
(the planted engine, which has no model, reads it).
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hustings.errors import EngineError, ModelError, first_line


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a text is drawn from the model."""

    temperature: float
    """0 takes the most probable token each time."""
    max_tokens: int
    """The longest answer, in tokens."""
    ignore_end: bool = False
    """Go on to `max_tokens` even when the model ends its turn (for benchmarks)."""


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
    """Words that the answer begins with; they are part of the answer's text."""
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
    """Natural log-probability that the answer is option i and no longer option; None if the engine cannot tell."""
    text: str
    """The most probable option, or the generated text when there are no log-probabilities."""
    prompt_tokens: int
    tokens: int
    """Generated tokens."""
    refused: bool = False
    """The endpoint or the text itself says that there is no answer."""


Answer = Completion | Score


class Engine(ABC):
    """A language model, or a stand-in for one. Use it as a context manager: leaving it frees the weights."""

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


class Chat:
    """One user turn, as the chat template of a model writes it; a model without one reads it and a blank line.

    Templates differ: some refuse a system's or a second user's turn, so there is neither; some write the token that
    begins a text, some leave it to the tokenizer; some set a space before the answer, some do not.

    Args:
        render: puts turns (role, content) through the template, with or without the opening of the answer; None when
            the model has no template.
        bos: the token that begins a text, as it is written; empty when there is none.

    Raises:
        ModelError: the template does not take a single user's turn.
    """

    def __init__(self, render: Callable[[list[dict[str, str]], bool], str] | None, bos: str) -> None:
        self._render, self._bos = render, bos
        self._gap = ""
        if render is None:
            return
        user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
        try:
            opened = render([user], True)
        except Exception as error:  # a template raises what it likes
            raise ModelError(
                f"The model's chat template refuses a single turn of the user ({first_line(error)}); take another "
                "model, or correct the template that is in its folder or file."
            ) from error
        try:
            if render([user, assistant], False).startswith(f"{opened} b"):
                self._gap = " "
        except Exception:  # it is not made for conversations
            pass

    def text(self, prompt: str, start: str = "") -> str:
        """What the model reads: the user's turn, and the words that the answer begins with."""
        if self._render is None:
            return f"{prompt}\n\n{start}"
        opened = self._render([{"role": "user", "content": prompt}], True)
        return f"{opened}{self._gap}{start}" if start else opened

    def begun(self, text: str) -> bool:
        """Whether a text has the token that begins it, so that the tokenizer must not add another."""
        return bool(self._bos) and text.startswith(self._bos)


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


def disjoint(logprobs: dict[tuple[int, ...], float], options: Iterable[tuple[int, ...]]) -> tuple[float, ...]:
    """Log-probabilities of the options as whole answers, from those of their token sequences.

    The tokens of "1" are also the beginning of "10"; the probability of "1" as a whole answer is what is left
    when "10" is taken away. An option that is no beginning of another keeps its value.
    """
    sequences = list(options)
    result: list[float] = []
    for option in sequences:
        longer = [logprobs[other] for other in sequences if len(other) > len(option) and other[: len(option)] == option]
        left = 1.0 - sum(math.exp(other - logprobs[option]) for other in longer)
        result.append(logprobs[option] + math.log(max(left, 1e-12)))
    return tuple(result)
