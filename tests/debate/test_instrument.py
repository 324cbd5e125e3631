"""From an engine's answer to a score, and never to a guess."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustings.debate.survey import OPTIONS, parse, read
from hustings.engine.base import Score, disjoint

ANSWERS = {
    "": None,
    "zero": None,
    "I would rather not say.": None,
    "10": 10,
    "0": 0,
    " 7\n": 7,
    "**7**": 7,
    "(5)": 5,
    "#7": 7,
    "6!": 6,
    "I'd say 3.": 3,
    "Answer:5": 5,
    "7, because 3 people told me": 7,
    "6\n\n10": 6,
    # not whole, or not in 0 … 10
    "11": None,
    "100": None,
    "7.5": None,
    "8,5": None,
    "8.0": None,
    "-3": None,
    "−3": None,
    "3rd": None,
    "100%": None,
    "8 %": None,
    "10 percent": None,
    "$5": None,
    "٣": None,
    "In 2023, I'd say 8": 8,
    "1,000 people; 8": 8,
    # out of ten, and other shares
    "8/10": 8,
    "8 / 10.": 8,
    "10/10": 10,
    "8 out of 10": 8,
    "8 of 10": 8,
    "3 reasons: 8/10": 8,
    "12/10": None,
    "11 out of 10": None,
    "7.5/10": None,
    "4 out of 5": None,
    "8/10/2023": None,
    "1 in 10 have seen it; I say 6": 6,
    # the scale, quoted from the question
    "on a scale of 0 to 10, 8": 8,
    "on a scale of 1 to 10, 8": 8,
    "on a 0-to-10 scale, 9": 9,
    "between 0 and 10 I choose 4": 4,
    "0-10: 6": 6,
    "0–10: 6": 6,
    "9 on a 0 to 10 scale": 9,
    "From 0 (not a problem at all) to 10 (a very big problem): 9": 9,
    "from 0 (not a problem at all) to 10 (a very big problem), 10 (a very big problem)": 10,
    "0 (not a problem at all)": 0,
    "0 to 10": None,
    "Between 0 and 10": None,
    "3-4": None,
}


@pytest.mark.parametrize(("text", "score"), ANSWERS.items(), ids=[repr(text) for text in ANSWERS])
def test_an_answer_in_words_is_a_number_or_missing(text: str, score: int | None) -> None:
    assert parse(text) == score


@given(st.text())
def test_no_text_makes_parsing_fail_or_leave_the_scale(text: str) -> None:
    assert parse(text) in {None, *range(11)}


@given(st.integers(0, 10), st.sampled_from(["{}", "I'd say {}.", "{}/10", "{} out of 10", "From 0 to 10: {}"]))
def test_every_number_of_the_scale_can_be_said_in_every_way(score: int, way: str) -> None:
    assert parse(way.format(score)) == score


def score_of(**probabilities: float) -> Score:
    shares = [probabilities.get(f"p{option}", 1e-9) for option in OPTIONS]
    best = max(range(11), key=shares.__getitem__)
    return Score(tuple(map(math.log, shares)), OPTIONS[best], 1, 1)


def test_log_probabilities_give_the_likeliest_option_and_the_mean() -> None:
    reading = read(score_of(p2=0.1, p3=0.6, p10=0.3), "normal")
    assert (reading.score, reading.raw) == (3, "3")
    assert reading.expected == pytest.approx(0.2 + 1.8 + 3.0, abs=1e-6)


def test_the_mean_is_taken_under_renormalised_probabilities() -> None:
    whole, part = score_of(p2=0.5, p4=0.5), score_of(p2=0.05, p4=0.05)
    assert read(part, "normal").expected == pytest.approx(read(whole, "normal").expected, abs=1e-5)


def test_a_reversed_scale_turns_score_and_mean_but_not_the_raw_answer() -> None:
    answer = score_of(p2=0.1, p3=0.6, p10=0.3)
    normal, turned = read(answer, "normal"), read(answer, "reversed")
    assert (turned.score, turned.raw) == (7, "3")
    assert turned.expected == pytest.approx(10 - (normal.expected or 0))


def test_without_log_probabilities_the_text_is_parsed_and_there_is_no_mean() -> None:
    reading = read(Score(None, "I'd say 8/10.", 1, 5), "reversed")
    assert (reading.score, reading.expected, reading.raw) == (2, None, "I'd say 8/10.")


@pytest.mark.parametrize("scale", ["normal", "reversed"])
def test_an_answer_without_a_number_stays_missing_on_either_scale(scale: str) -> None:
    reading = read(Score(None, "As an AI I have no opinion.", 1, 5), scale)  # type: ignore[arg-type]
    assert (reading.score, reading.expected, reading.raw) == (None, None, "As an AI I have no opinion.")


def test_ten_can_win_over_the_one_that_it_begins_with() -> None:
    one, ten = (1,), (1, 0)
    whole = disjoint({one: math.log(0.6), ten: math.log(0.5), (2,): math.log(0.3)}, [one, ten, (2,)])
    assert [math.exp(value) for value in whole] == pytest.approx([0.1, 0.5, 0.3])


@given(st.floats(1e-6, 1), st.floats(0.001, 0.999))
def test_one_and_ten_share_what_one_had_before(raw: float, share: float) -> None:
    one, ten = (16,), (16, 15)
    whole = disjoint({one: math.log(raw), ten: math.log(raw * share)}, [one, ten])
    assert sum(map(math.exp, whole)) == pytest.approx(raw)


def test_options_that_begin_no_other_keep_their_probability() -> None:
    logprobs = {(place,): -float(place + 1) for place in range(11)}
    assert disjoint(logprobs, logprobs) == pytest.approx([-float(place + 1) for place in range(11)])
