"""Constrained choice: the probability of each option as a complete answer, from the probabilities of its tokens.

It does not know where the probabilities come from.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hustings.engine.base import Score
from hustings.huggingface import Tokens


def prefixes_of(sequences: Sequence[Tokens]) -> list[Tokens]:
    """Every distinct proper prefix of the sequences, shortest first, from () on; a token is scored after each."""
    return sorted({sequence[:length] for sequence in sequences for length in range(len(sequence))}, key=len)


def score_of(options: Sequence[str], sequences: Sequence[Tokens], after: Mapping[Tokens, Any], prompt: int) -> Score:
    """The score of options, from the log-probabilities of their tokens.

    Args:
        options: the possible answers.
        sequences: the tokens of each option.
        after: for every prefix of a sequence, the log-probability of the next token, by token.
        prompt: length of the prompt, in tokens.
    """
    whole = {
        sequence: sum(float(after[sequence[:place]][token]) for place, token in enumerate(sequence))
        for sequence in sequences
    }
    logprobs = disjoint(whole, sequences)
    best = max(range(len(options)), key=logprobs.__getitem__)
    return Score(logprobs, options[best], prompt, len(sequences[best]))


def disjoint(logprobs: Mapping[Tokens, float], options: Iterable[Tokens]) -> tuple[float, ...]:
    """Log-probabilities of the options as complete answers, from those of their token sequences.

    The tokens of "1" are also the start of "10", so the probability of "1" as a complete answer is that of its tokens
    minus that of "10" (which already includes "100"). An option that is not the start of another keeps its value.
    """
    sequences = list(options)
    result: list[float] = []
    for option in sequences:
        longer = [other for other in sequences if _extends(other, option)]
        nearest = [other for other in longer if not any(_extends(other, between) for between in longer)]
        left = 1.0 - sum(math.exp(logprobs[other] - logprobs[option]) for other in nearest)
        result.append(logprobs[option] + math.log(max(left, 1e-12)))
    return tuple(result)


def _extends(sequence: Tokens, start: Tokens) -> bool:
    """Whether a sequence begins with `start` and is longer."""
    return len(sequence) > len(start) and sequence[: len(start)] == start
