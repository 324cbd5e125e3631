"""From an engine's answer to a score, and never to a guess."""

import math
from typing import Any

import pytest
from helpers import settings
from hypothesis import given
from hypothesis import strategies as st

from hustings.debate.instrument import Instrument, parse
from hustings.engine.base import Score
from hustings.engine.options import disjoint
from hustings.errors import SettingsError
from hustings.settings import InstrumentSettings

OPTIONS = tuple(map(str, range(11)))

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
    # ends of the scale in other words
    "On a scale where 0 means not a": None,
    "With 10 being a very big problem": None,
    "With 0 being the least": None,
    "10 being the highest, 4": 4,
    "If 10 is a very big problem, then 6": 6,
    "10 = very big": None,
    "0 is not a problem at all, 10 is": None,
    "0: not a problem at all\n10: a very big problem": None,
    "0 (not a problem at all) and 10 (a very big problem)": None,
    "0 means not a problem and 10 means a very big problem, I'd say 6": 6,
    "On a scale of 0-10 where 10 is a very big problem I'd say 7": 7,
    "10: a very big problem": 10,
    # counts, ages, times, ordinals
    "As a father of 2, I'd say 8.": 8,
    "As a mother of 4": None,
    "I have 3 kids, so 7": 7,
    "I've lived here since I was 8.": None,
    "Okay, 3 things": None,
    "3 Republicans told me": None,
    "2 of my 3 kids": None,
    "I'd say there are 3 things": None,
    "I'd say my family of 2": None,
    "8 out of 10 people agree": None,
    "5 stars": None,
    "Top 10 problem": None,
    "It's the No. 1 issue": None,
    "It's 1 of the": None,
    "24/7": None,
    "9/11 changed it. I'd say 5": 5,
    "5:30": None,
    "Psalm 8:5": None,
    "March 3": None,
    "Level 5": None,
    # several, bounds, denials
    "7 or 8": None,
    "I'd say 7 or 8": None,
    "7, 8": None,
    "Between 6 and 7": None,
    "7+": None,
    "at least 8": None,
    "more than 5": None,
    "It's not a 10.": None,
    "Not a 10, but an 8": 8,
    "I wouldn't say 10, more like 7": None,
    "I say 7, not 3": 7,
    # stated
    "My rating is 8": 8,
    "My answer would be 9.": 9,
    "My score for this would be 10": 10,
    "I would rate racism as a problem at 8.": 8,
    "I would rate the issue of racism as 8": 8,
    "I'd rate it a 9 because of my family of 4": 9,
    "I'd give it a solid 7": 7,
    "It's a 9.": 9,
    "Probably 7": 7,
    "8 is my answer": 8,
    "8 in my view": 8,
    "Answer - 5": 5,
    "7\n\nExplanation: 3 things": 7,
    '{"answer": 7}': 7,
    "<answer>7</answer>": 7,
    "答案：8": 8,
    # reasoning
    "<think>\nOkay, 3 things": None,
    "<think>I'd say 3": None,
    "<think>3</think>\n\n7": 7,
    "I'd say 3</think>7": 7,
    "[THINK]3[/THINK]7": 7,
}

CUT = {
    "My answer to this is: 1": None,
    "7": None,
    "7.": None,
    "I'd say 8": None,
    "I rate it 8/10": None,
    "8 out": None,
    "As someone who is 7": None,
    '{"answer": "1': None,
    "On a scale where 0 means not a": None,
    "8, because": 8,
    "8. It is": 8,
    "8 out of 10 I": 8,
    "7\n\nBec": 7,
    "I'd say 8 because": 8,
    "My answer to this is: 10 (a very": 10,
}


@pytest.mark.parametrize(("text", "score"), CUT.items(), ids=[repr(text) for text in CUT])
def test_a_number_at_the_end_of_an_answer_that_was_cut_may_not_be_whole(text: str, score: int | None) -> None:
    assert parse(text, OPTIONS, cut=True) == score
    whole = read(Score(None, text, 1, 8, cut=True))
    assert (whole.value, whole.raw) == (score, text)


@pytest.mark.parametrize(("text", "score"), ANSWERS.items(), ids=[repr(text) for text in ANSWERS])
def test_an_answer_in_words_is_a_number_or_missing(text: str, score: int | None) -> None:
    assert parse(text, OPTIONS) == score


@given(st.text())
def test_no_text_makes_parsing_fail_or_leave_the_scale(text: str) -> None:
    assert parse(text, OPTIONS) in {None, *range(11)}


@given(st.integers(0, 10), st.sampled_from(["{}", "I'd say {}.", "{}/10", "{} out of 10", "From 0 to 10: {}"]))
def test_every_number_of_the_scale_can_be_said_in_every_way(score: int, way: str) -> None:
    assert parse(way.format(score), OPTIONS) == score


def paper(scale: str = "normal") -> Instrument:
    return Instrument(settings().instrument, scale)  # type: ignore[arg-type]


def read(answer: Score, scale: str = "normal") -> Any:
    return paper(scale).read("severity", answer)


def score_of(**probabilities: float) -> Score:
    shares = [probabilities.get(f"p{option}", 1e-9) for option in OPTIONS]
    best = max(range(11), key=shares.__getitem__)
    return Score(tuple(map(math.log, shares)), OPTIONS[best], 1, 1)


def test_log_probabilities_give_the_likeliest_option_and_the_mean() -> None:
    reading = read(score_of(p2=0.1, p3=0.6, p10=0.3), "normal")
    assert (reading.value, reading.raw) == (3, "3")
    assert reading.expected == pytest.approx(0.2 + 1.8 + 3.0, abs=1e-6)


def test_the_mean_is_taken_under_renormalised_probabilities() -> None:
    whole, part = score_of(p2=0.5, p4=0.5), score_of(p2=0.05, p4=0.05)
    assert read(part, "normal").expected == pytest.approx(read(whole, "normal").expected, abs=1e-5)


def test_a_reversed_scale_turns_score_and_mean_but_not_the_raw_answer() -> None:
    answer = score_of(p2=0.1, p3=0.6, p10=0.3)
    normal, turned = read(answer, "normal"), read(answer, "reversed")
    assert (turned.value, turned.raw) == (7, "3")
    assert turned.expected == pytest.approx(10 - (normal.expected or 0))


def test_without_log_probabilities_the_text_is_parsed_and_there_is_no_mean() -> None:
    reading = read(Score(None, "I'd say 8/10.", 1, 5), "reversed")
    assert (reading.value, reading.expected, reading.raw) == (2, None, "I'd say 8/10.")


@pytest.mark.parametrize("scale", ["normal", "reversed"])
def test_an_answer_without_a_number_stays_missing_on_either_scale(scale: str) -> None:
    reading = read(Score(None, "As an AI I have no opinion.", 1, 5), scale)
    assert (reading.value, reading.expected, reading.raw) == (None, None, "As an AI I have no opinion.")


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


def test_the_probability_that_the_answer_is_an_option_is_kept_beside_all_log_probabilities() -> None:
    reading = read(score_of(p2=0.1, p3=0.5, p10=0.2))
    assert reading.mass == pytest.approx(0.8, abs=1e-6)
    assert reading.logprobs is not None and len(reading.logprobs) == 11
    assert [math.exp(reading.logprobs[place] or 0) for place in (2, 3, 10)] == pytest.approx([0.1, 0.5, 0.2], abs=1e-5)


def test_an_option_too_improbable_to_be_listed_is_empty_and_counts_as_impossible() -> None:
    logprobs = tuple(math.log(0.5) if option in ("4", "6") else -math.inf for option in OPTIONS)
    reading = read(Score(logprobs, "4", 1, 1))
    assert (reading.value, reading.expected, reading.mass) == (4, pytest.approx(5.0), pytest.approx(1.0))
    assert reading.logprobs is not None
    assert [place for place, it in enumerate(reading.logprobs) if it is not None] == [4, 6]


AGREE = ("Strongly disagree", "Disagree", "Neither", "Agree", "Strongly agree")


def two_items() -> InstrumentSettings:
    item = {
        "wordings": {"any": ["{{ topic | capitalize }} is a problem."]},
        "options": list(AGREE),
        "values": [1, 2, 3, 4, 5],
        "low": None,
        "high": "it is",
        "direction": "normal",
        "parcel": 1,
    }
    turned = {**item, "direction": "reversed", "wordings": {"any": ["First.", "Second."], "racism": ["Third."]}}
    answer = "{{ options | join(', ') }} ({{ first }} to {{ last }})?"
    plain = {"name": "two", "answer": answer, "items": {"plain": item, "turned": turned}}
    return InstrumentSettings.model_validate(plain)


WORDS = {
    "Agree": 3,
    "disagree.": 1,
    "I strongly agree!": 4,
    "STRONGLY DISAGREE": 0,
    "I neither know nor care": 2,
    "I agree, or strongly agree": None,
    "I disagreed with him once": None,
    "": None,
    "I do not agree": None,
    "I don't really agree, I disagree": 1,
    "<think>I agree": None,
    "<think>I agree</think>Disagree": 1,
}


def test_an_option_at_the_end_of_an_answer_that_was_cut_may_not_be_whole() -> None:
    assert parse("I agree", AGREE, cut=True) is None
    assert parse("I agree with", AGREE, cut=True) == 3


@pytest.mark.parametrize(("text", "place"), WORDS.items(), ids=[repr(text) for text in WORDS])
def test_among_options_in_words_the_answer_is_the_one_that_is_named(text: str, place: int | None) -> None:
    assert parse(text, AGREE) == place


@pytest.mark.parametrize(
    ("item", "scale", "value"),
    [("plain", "normal", 2), ("turned", "normal", 4), ("plain", "reversed", 4), ("turned", "reversed", 2)],
)
def test_a_reverse_keyed_item_and_a_reversed_scale_count_from_the_other_end(
    item: str, scale: Any, value: float
) -> None:
    instrument = Instrument(two_items(), scale)
    assert instrument.read(item, Score(None, "Disagree", 1, 1)).value == value
    logprobs = tuple(math.log(share) for share in (0.1, 0.6, 0.1, 0.1, 0.1))
    low = instrument.read(item, Score(logprobs, "Disagree", 1, 1))
    assert (low.value, low.expected) == (value, pytest.approx(2.5 if value == 2 else 3.5))


def test_an_item_has_one_wording_on_an_occasion_and_the_topics_own_before_any() -> None:
    instrument, topic = Instrument(two_items(), "normal"), settings("topic=racism").topics["racism"]
    chosen = {instrument.wording("turned", "guns", 1, f"guns/x/{n:04d}", 0, 0) for n in range(40)}
    assert chosen == {0, 1}
    assert instrument.wording("turned", "guns", 1, "d", 3, 0) == instrument.wording("turned", "guns", 1, "d", 3, 0)
    assert instrument.wording("turned", "racism", 1, "d", 3, 0) == 0
    assert instrument.question("turned", 0, "racism", topic).startswith("Third. ")
    assert instrument.question("turned", 1, "guns", topic).startswith("Second. ")
    asked = instrument.question("plain", 0, "racism", topic)
    options = "Strongly disagree, Disagree, Neither, Agree, Strongly agree"
    assert asked == f"Racism is a problem. {options} (not a problem at all to it is)?"
    swapped = Instrument(two_items(), "reversed").question("plain", 0, "racism", topic)
    assert swapped.endswith("(it is to not a problem at all)?")


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "values": ({"values": [1, 2]}, "one value for each of the 5 options"),
    "twice": ({"options": ["A", "A", "B", "C", "D"]}, "each option may appear only once"),
    "falling": ({"values": [5, 4, 3, 2, 1]}, "values must ascend"),
    "scales": ({"values": [0, 2, 4, 6, 8]}, "every item must run over one scale"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_instrument_that_measures_nothing_is_refused(case: str) -> None:
    change, said = BROKEN[case]
    plain = two_items().model_dump(mode="json")
    plain["items"]["plain"] |= change
    with pytest.raises(ValueError, match=said):
        InstrumentSettings.model_validate(plain)


def test_a_wording_that_does_not_compile_is_named() -> None:
    plain = two_items().model_dump(mode="json")
    plain["items"]["plain"]["wordings"]["any"] = ["{{ topic }"]
    with pytest.raises(SettingsError, match=r"^instrument\.items\.plain\.wordings\.any: this Jinja template does not"):
        Instrument(InstrumentSettings.model_validate(plain), "normal")
