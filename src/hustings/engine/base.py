"""The interface of every engine: requests in, answers out, each as soon as it is ready.

An engine does not know what a debate is. It knows prompts, seeds and limits, and does not look at who asks (except
the planted engine, which has no model).
"""

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hustings.errors import EngineError
from hustings.models import Weights
from hustings.settings import ModelSettings, SimulateSettings

_NAME = r"(?:\w+:)?(?:think|thinking|thought|reasoning)"
_OPENED = (
    rf"<{_NAME}(?:\s[^<>]*)?>|\[think\]|◁think▷|<\|(?:begin_of_thought|start_thinking)\|>"
    r"|<\|channel\|>\s*(?:analysis|commentary)\b(?:\s*<\|message\|>)?"
)
_CLOSED = (
    rf"</{_NAME}\s*>|\[/think\]|◁/think▷|<\|(?:end_of_thought|end_thinking)\|>"
    r"|(?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>\s*final\b(?:\s*<\|message\|>)?"
)
_REASONING = re.compile(rf"(?:{_OPENED}).*?(?:{_CLOSED}|\Z)", re.IGNORECASE | re.DOTALL)
_REST_OF_REASONING = re.compile(rf"\A.*(?:{_CLOSED})", re.IGNORECASE | re.DOTALL)


def spoken(text: str) -> str:
    """A generated text without the model's reasoning (`<think>…</think>` and similar markers).

    If the reasoning was cut off, everything from its start is removed; if the chat template opened it, everything up to
    its end is removed.
    """
    return _REST_OF_REASONING.sub("", _REASONING.sub("", text))


PROMISES = {
    "fast": "two uninterrupted runs on the same machine give the same log; "
    "another batch size or order, or a resume, can change replies through rounding",
    "exact": "float32 throughout; at least 99 % of replies are identical in another batch or order, or after a resume",
}
"""What an engine in this process promises about repeating a run, for each precision."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a text is sampled from the model."""

    temperature: float
    """0 always picks the most probable token."""
    max_tokens: int
    """The longest answer, in tokens."""
    ignore_end: bool = False
    """Continue to `max_tokens` even when the model ends its turn (for benchmarks)."""
    top_p: float = 1.0
    """Tokens are drawn only from the most probable ones that together reach this probability."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A rival context: the next token is drawn from rival + γ (own − rival), in logits."""

    prompt: str
    """The rival's user turn."""
    system: str | None
    """The rival's system turn, as in a request."""
    gamma: float
    """1 draws from the agent's own context alone."""
    floor: float
    """Tokens whose probability in the agent's own context is below this fraction of the largest are never drawn."""


@dataclass(frozen=True, slots=True)
class Steering:
    """A vector that is added to the hidden states of the answer's tokens as they leave a layer."""

    file: Path
    """A safetensors file with a vector for each layer."""
    layer: int
    """From 0."""
    strength: float
    """The factor by which the vector is multiplied."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Draws several answers and keeps the one most typical of the agent's own context, compared with a rival's."""

    count: int
    """Number of answers drawn; with 1 there is nothing to choose."""
    margin: float
    """δ: answers whose log-probability per token is more than this below the most probable answer's are left out."""
    prompt: str
    """The rival's user turn."""
    system: str | None
    """The rival's system turn, as in a request."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Who asks, for error messages, progress and the planted engine; never part of the prompt."""

    debate: str
    """`topic/composition/repetition`, `personas/party/index`, `questions/example` or `answers/party/question/place`."""
    agent: int
    """Position of the agent in the debate, from 0."""
    role: str
    """Party of the agent, or `default`."""
    iteration: int
    """Number of replies before this request."""
    purpose: Literal["reply", "survey", "note", "persona", "question", "answer"]
    name: str
    """Name of the agent."""
    item: str = ""
    """The instrument's item, in a survey."""
    heard: tuple[tuple[int, str], ...] = ()
    """Speaker and text of every reply in the prompt, oldest first; negative speakers belong to other debates."""
    treatments: tuple[str, ...] = ()
    """Names of the treatments under which the agent speaks."""

    def __str__(self) -> str:
        return f"{self.debate}, agent {self.agent}, iteration {self.iteration}"


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the model: a single user turn, which the engine formats with the model's chat template."""

    prompt: str
    """The user turn."""
    seed: int
    """Seed of this request alone, 0 … 2³²−1."""
    sampling: Sampling
    turn: Turn
    start: str = ""
    """Prefilled start of the answer; it is part of the answer's text."""
    options: tuple[str, ...] = ()
    """If given, the answer is a Score of these strings; only engines that must generate text use `sampling`."""

    system: str | None = None
    """The system turn; None leaves it to the chat template, and an empty text leaves it empty."""
    text: str = ""
    """If given, nothing is generated: the answer is the Likelihood of this text as the answer. Needs an engine with the
    capability `text scores`."""
    contrast: "Contrast | None" = None
    """A context that the answer is pushed away from, on engines with the capability `contrast`."""
    steering: "Steering | None" = None
    """What is added to the model's activations, on engines with the capability `steering`."""
    choice: "Choice | None" = None
    """How the answer is chosen from several; `choosing.answers` does this with any engine that has the capability `text
    scores`."""

    @property
    def lane(self) -> tuple[str, int]:
        """Requests of one lane share a prefix, so an engine with a prefix cache runs them one after the other."""
        return self.turn.debate, self.turn.agent


@dataclass(frozen=True, slots=True)
class Completion:
    """The text that answers a request."""

    text: str
    """Without the model's reasoning, even if the engine included it; the reasoning's tokens are counted."""
    prompt_tokens: int
    tokens: int
    """Generated tokens."""
    finish: Literal["stop", "length"]
    refused: bool = False
    """The model declined to answer, according to the endpoint or to the text itself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", spoken(self.text))


@dataclass(frozen=True, slots=True)
class Score:
    """How probable the model finds each option of a request."""

    logprobs: tuple[float, ...] | None
    """Natural log-probability that the answer is exactly option i, not a longer one that begins with it; None if the
    engine provides none.

    An option too improbable for the engine to list has minus infinity."""
    text: str
    """The most probable option, or the generated text (without reasoning) when there are no log-probabilities."""
    prompt_tokens: int
    tokens: int
    """Generated tokens."""
    refused: bool = False
    """The model declined to answer, according to the endpoint or to the text itself."""
    cut: bool = False
    """The generated text was cut at the token limit."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", spoken(self.text))


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How probable the model finds a text as the answer."""

    logprob: float
    """Natural logarithm, summed over the text's tokens."""
    length: int
    """Tokens of the text."""
    prompt_tokens: int
    """Tokens of the prompt and the text, both of which are read."""
    tokens: int = 0
    """Generated tokens: none."""
    refused: bool = False


Answer = Completion | Score | Likelihood


@dataclass(frozen=True, slots=True)
class Order:
    """What an engine is built for."""

    model: ModelSettings
    weights: Weights
    adapter: Path | None = None
    """Folder of a PEFT adapter for the model."""
    debates: SimulateSettings | None = None
    """The run whose debates are played; None for other work. Only the planted engine reads it."""


class Engine(ABC):
    """A language model, or a stand-in for one; as a context manager, it frees the weights on exit."""

    promise: str
    """What the engine promises about repeating a run, in one sentence for the manifest."""
    preamble: str = ""
    """What the model's chat template adds before a user turn on its own; empty if that is unknown."""

    @abstractmethod
    def stream(self, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answer the requests in `queue`, including those added meanwhile, and yield each answer as it arrives.

        The engine takes requests from the left of the queue whenever it has room for them, and stops when the queue
        is empty and all answers have been yielded.

        Raises:
            EngineError: a request cannot be answered.
        """

    def _list(self, requests: Sequence[Request]) -> list[Answer]:
        places = {id(request): place for place, request in enumerate(requests)}
        answers: list[Answer | None] = [None] * len(requests)
        for request, answer in self.stream(deque(requests)):
            answers[places[id(request)]] = answer
        return [answer for answer in answers if answer is not None]

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer requests without options, in the given order."""
        return [answer for answer in self._list(requests) if isinstance(answer, Completion)]

    def score(self, requests: Sequence[Request]) -> list[Score]:
        """Answer requests with options, in the given order."""
        return [answer for answer in self._list(requests) if isinstance(answer, Score)]

    def prepare(self) -> None:  # noqa: B027
        """Do any slow loading now, so that progress measures only the work; does nothing if the engine is ready."""

    def close(self) -> None:  # noqa: B027
        """Free the engine's resources; by default there are none."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_length(request: Request, prompt: int, answer: int, context: int) -> None:
    """Refuse a request that does not fit into the model's context.

    Args:
        prompt: length of the prompt, in tokens.
        answer: the longest answer, in tokens.
        context: length of the model's context, in tokens.

    Raises:
        EngineError: the request is too long; the message names the debate and the lengths.
    """
    if prompt + answer > context:
        raise EngineError(
            f"{request.turn}: the prompt has {prompt} tokens and the answer up to {answer}, which exceeds the model's "
            f"context of {context}; use fewer rounds or agents, a smaller sampling.max_tokens, or a model with a "
            "longer context (model.context)."
        )
