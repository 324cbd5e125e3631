"""Constrained choice: the probability of each option as a whole answer, from the probabilities of its tokens.

It does not know where the probabilities come from.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hustings.engine.base import Score
from hustings.huggingface import Tokens


def prefixes_of(sequences: Sequence[Tokens]) -> list[Tokens]:
    """Everything after which the next token of an option is asked for, the shortest, (), first."""
    return sorted({sequence[:length] for sequence in sequences for length in range(len(sequence))}, key=len)


def score_of(options: Sequence[str], sequences: Sequence[Tokens], after: Mapping[Tokens, Any], prompt: int) -> Score:
    """The score of options from the log-probabilities of their tokens.

    Args:
        options: what could be answered.
        sequences: the tokens of each.
        after: for every prefix of theirs, the log-probability of the next token, by token.
        prompt: length of the prompt, tokens.
    """
    whole = {
        sequence: sum(float(after[sequence[:place]][token]) for place, token in enumerate(sequence))
        for sequence in sequences
    }
    logprobs = disjoint(whole, sequences)
    best = max(range(len(options)), key=logprobs.__getitem__)
    return Score(logprobs, options[best], prompt, len(sequences[best]))


def disjoint(logprobs: Mapping[Tokens, float], options: Iterable[Tokens]) -> tuple[float, ...]:
    """Log-probabilities of the options as whole answers, from those of their token sequences.

    The tokens of "1" are also the beginning of "10"; the probability of "1" as a whole answer is what is left
    when "10" is taken away ("100" went with "10"). An option that begins no other keeps its value.
    """
    sequences = list(options)
    result: list[float] = []
    for option in sequences:
        longer = [other for other in sequences if len(other) > len(option) and other[: len(option)] == option]
        nearest = [it for it in longer if not any(len(o) < len(it) and it[: len(o)] == o for o in longer)]
        left = 1.0 - sum(math.exp(logprobs[other] - logprobs[option]) for other in nearest)
        result.append(logprobs[option] + math.log(max(left, 1e-12)))
    return tuple(result)
