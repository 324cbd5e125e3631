"""Limits on what is asked of an endpoint: requests and tokens per minute, and the budget.

It does not send anything.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hustings.engine.base import Request
from hustings.settings import ModelSettings

if TYPE_CHECKING:
    from hustings.engine.openai import OpenaiSettings

CHARACTERS = 4.0
"""Characters per token, until the endpoint has counted some tokens."""


class Pace:
    """Lets a fixed number of units per minute pass, evenly spaced.

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


class Spending:
    """Counts what a command has used, and what it may still use.

    Args:
        settings: the budgets.
        model: the model, for its price.
    """

    def __init__(self, settings: "OpenaiSettings", model: ModelSettings) -> None:
        self._settings, self._price = settings, model.price
        self._prompt, self._generated, self._characters = 0, 0, 0

    def add(self, request: Request, prompt: int, generated: int) -> None:
        """Count an answer: its prompt tokens and generated tokens."""
        self._characters += len(request.prompt)
        self._prompt += prompt
        self._generated += generated

    def expected(self, request: Request) -> float:
        """Tokens of a prompt, at the characters per token that the endpoint has counted so far."""
        ratio = self._characters / self._prompt if self._prompt else CHARACTERS
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
