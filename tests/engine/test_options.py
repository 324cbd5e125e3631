"""Constrained choice, apart from any engine."""

import math

import pytest

from hustings.engine.options import disjoint, prefixes_of, score_of

ONE, TEN, HUNDRED = (1,), (1, 0), (1, 0, 0)


def test_an_option_that_begins_others_keeps_what_they_leave() -> None:
    logprobs = {ONE: math.log(0.8), TEN: math.log(0.5), HUNDRED: math.log(0.2), (2,): math.log(0.1)}
    found = disjoint(logprobs, [ONE, TEN, HUNDRED, (2,)])
    assert [math.exp(it) for it in found] == pytest.approx([0.3, 0.3, 0.2, 0.1])


def test_options_are_apart_in_any_order_and_with_several_that_begin_alike() -> None:
    logprobs = {ONE: math.log(0.8), (1, 5): math.log(0.3), TEN: math.log(0.4), HUNDRED: math.log(0.4)}
    found = disjoint(logprobs, [HUNDRED, (1, 5), ONE, TEN])
    assert [math.exp(it) for it in found] == pytest.approx([0.4, 0.3, 0.1, 0], abs=1e-9)


def test_every_prefix_is_asked_for_once() -> None:
    assert prefixes_of([(7, 8, 9), (7, 8, 5), (4,), (7, 8)]) == [(), (7,), (7, 8)]


def test_an_option_of_several_tokens_has_their_product() -> None:
    after = {(): {7: math.log(0.5), 4: math.log(0.2)}, (7,): {8: math.log(0.5)}, (7, 8): {9: math.log(0.4)}}
    score = score_of(("Agree", "Agree strongly", "No"), [(7, 8), (7, 8, 9), (4,)], after, 12)
    assert score.logprobs is not None
    assert [math.exp(it) for it in score.logprobs] == pytest.approx([0.15, 0.1, 0.2])
    assert (score.text, score.prompt_tokens, score.tokens) == ("No", 12, 1)
