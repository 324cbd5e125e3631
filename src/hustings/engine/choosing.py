"""Chooses each answer from several, with any engine that can score texts (Source: protocol.md, rerank).

It does not know how an engine works.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from hustings.engine.base import Answer, Completion, Engine, Likelihood, Request
from hustings.identity import seed_of

_OWN, _RIVAL = 0, 1


@dataclass(slots=True)
class _Candidate:
    """One of the answers to a request."""

    answer: Completion
    scores: dict[int, Likelihood] = field(default_factory=dict[int, Likelihood])
    """By context: the agent's own and the rival's."""

    @property
    def typical(self) -> float:
        """Log-probability per token in the agent's own context, minus that in the rival's."""
        return self.own - self.scores[_RIVAL].logprob / max(1, self.scores[_RIVAL].length)

    @property
    def own(self) -> float:
        """Log-probability per token in the agent's own context."""
        return self.scores[_OWN].logprob / max(1, self.scores[_OWN].length)


@dataclass(slots=True)
class _Chosen:
    """A request whose answer is chosen, and what has been drawn for it."""

    request: Request
    count: int
    margin: float
    candidates: dict[int, _Candidate] = field(default_factory=dict[int, _Candidate])

    @property
    def complete(self) -> bool:
        """Whether every answer has been drawn and scored in both contexts."""
        return len(self.candidates) == self.count and all(len(it.scores) == 2 for it in self.candidates.values())

    def best(self) -> Completion:
        """The answer that is kept; its token counts cover all candidates and their scoring."""
        candidates = [it for _, it in sorted(self.candidates.items())]
        most = max(it.own for it in candidates)
        likely = [it for it in candidates if it.own >= most - self.margin]
        best = max(likely, key=lambda it: it.typical)
        scores = [score for it in candidates for score in it.scores.values()]
        return replace(
            best.answer,
            tokens=sum(it.answer.tokens for it in candidates),
            prompt_tokens=sum(it.answer.prompt_tokens for it in candidates) + sum(it.prompt_tokens for it in scores),
        )


def answers(engine: Engine, queue: deque[Request]) -> Iterator[tuple[Request, Answer]]:
    """Like `engine.stream`, but a request that has a choice gets the best of several answers.

    The first candidate is the answer that would be given without a choice. An empty answer is chosen only if all are
    empty.
    """
    inner: deque[Request] = deque()
    origins: dict[int, tuple[_Chosen, int, int]] = {}
    """For the id of each request sent: the choice it belongs to, its candidate, and the context that scores it."""
    kept: list[Request] = []

    def send(request: Request, chosen: _Chosen, number: int, context: int = -1) -> None:
        origins[id(request)] = chosen, number, context
        kept.append(request)  # so that no other request gets its id
        inner.append(request)

    def refill() -> None:
        while queue:
            request = queue.popleft()
            choice = request.choice
            if choice is None or choice.count == 1:
                inner.append(replace(request, choice=None))
                continue
            chosen = _Chosen(request, choice.count, choice.margin)
            for number in range(choice.count):
                seed = request.seed if number == 0 else seed_of(request.seed, "candidate", number)
                send(replace(request, choice=None, seed=seed), chosen, number)

    refill()
    while inner:
        for request, answer in engine.stream(inner):
            origin = origins.pop(id(request), None)
            if origin is None:
                yield request, answer
            else:
                chosen, number, context = origin
                _take(chosen, number, context, answer, send)
                if chosen.complete:
                    yield chosen.request, chosen.best()
            refill()


def _take(chosen: _Chosen, number: int, context: int, answer: Answer, send: Callable[..., None]) -> None:
    """Store a candidate and ask how probable it is in both contexts, or store the answer to such a question."""
    if isinstance(answer, Likelihood):
        chosen.candidates[number].scores[context] = answer
        return
    assert isinstance(answer, Completion)
    request, choice = chosen.request, chosen.request.choice
    assert choice is not None
    candidate = chosen.candidates[number] = _Candidate(answer)
    text = answer.text.removeprefix(request.start)
    if not text.strip():
        candidate.scores = dict.fromkeys((_OWN, _RIVAL), Likelihood(-math.inf, 1, 0))
        return
    scored = replace(request, choice=None, text=text)
    send(scored, chosen, number, _OWN)
    send(replace(scored, prompt=choice.prompt, system=choice.system), chosen, number, _RIVAL)
