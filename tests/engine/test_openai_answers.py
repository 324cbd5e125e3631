"""What the most probable tokens of an endpoint say about the options of a survey."""

import math
from typing import Any

import pytest

from hustings.engine.openai_answers import Options, Place, places_of, refused

NUMBERS = tuple(map(str, range(11)))
LIKERT = ("Strongly disagree", "Disagree", "Neither", "Agree", "Strongly agree")


def place(tokens: dict[str, float]) -> Place:
    """A place with these probabilities, whose first token is the one generated."""
    likely = tuple((token, math.log(share)) for token, share in tokens.items())
    return Place(likely[0][0], likely)


def read(options: tuple[str, ...], *tokens: dict[str, float]) -> Options:
    places = [place(it) for it in tokens]
    read = Options(options, places[0])
    read.follow(places)
    return read


def shares(read: Options) -> dict[str, float]:
    return {option: round(share, 4) for option, share in read.shares.items()}


def test_ten_as_one_token_is_an_option_of_its_own() -> None:
    found = read(NUMBERS, {"10": 0.6, "1": 0.1, "9": 0.25, "The": 0.049})
    assert shares(found) == {"10": 0.6, "1": 0.1, "9": 0.25}
    assert found.complete and found.best == "10"


def test_ten_in_two_tokens_takes_its_part_from_one() -> None:
    found = read(NUMBERS, {"1": 0.8, "9": 0.19, "The": 0.009}, {"0": 0.75, "The": 0.25})
    assert shares(found) == {"1": 0.2, "10": 0.6, "9": 0.19}
    assert found.complete and found.best == "10"


def test_what_follows_an_option_that_was_not_generated_is_not_made_up() -> None:
    found = read(NUMBERS, {"The": 0.6, "1": 0.1, "9": 0.299}, {" answer": 1.0})
    assert found.doubt == "1" and "10" not in found.shares
    assert found.best == "9" and not found.complete
    found.resolve("1", place({"0": 0.4, ".": 0.6}))
    assert shares(found) == {"1": 0.06, "10": 0.04, "9": 0.299} and found.complete


def test_an_option_that_may_be_less_probable_than_its_longer_ones_is_not_the_best() -> None:
    assert read(NUMBERS, {"1": 0.6, "9": 0.399}).best is None


def test_unlisted_options_are_missing_once_they_could_hold_more_than_one_percent() -> None:
    found = read(NUMBERS, {"The": 0.5, "My": 0.2, "5": 0.1})
    assert (shares(found), found.best, found.doubt, found.complete) == ({"5": 0.1}, "5", None, False)


def test_options_that_begin_each_other_twice_are_followed_to_their_ends() -> None:
    found = read(("1", "10", "100"), {"1": 0.9, "The": 0.0999}, {"0": 0.8, ".": 0.2}, {"0": 0.25, ".": 0.75})
    assert shares(found) == {"1": 0.18, "10": 0.54, "100": 0.18} and found.complete
    found = read(("1", "10", "100"), {"The": 0.1, "1": 0.9}, {" end": 1.0})
    assert found.doubt == "1"
    found.resolve("1", place({"0": 0.8}))
    assert found.doubt == "10"
    found.resolve("10", place({"0": 0.25}))
    assert shares(found) == {"1": 0.18, "10": 0.54, "100": 0.18} and found.doubt is None


def test_the_beginning_of_one_option_counts_for_it() -> None:
    found = read(LIKERT, {"Ag": 0.5, " Dis": 0.3, "Neither": 0.195, "Strong": 0.004, "Yes": 0.0009})
    assert shares(found) == {"Agree": 0.5, "Disagree": 0.3, "Neither": 0.195}
    assert found.complete and found.best == "Agree"


def test_shorter_beginnings_of_an_option_are_other_words() -> None:
    found = read(LIKERT, {"Ag": 0.2, "A": 0.5, "D": 0.1, "Dis": 0.1999})
    assert shares(found) == {"Agree": 0.2, "Disagree": 0.1999}


def test_the_beginning_of_several_options_counts_for_none_of_them() -> None:
    found = read(LIKERT, {"Agree": 0.5, "Strong": 0.3, "Neither": 0.1999})
    assert shares(found) == {"Agree": 0.5, "Neither": 0.1999}
    assert found.doubt == "Strong" and not found.complete
    assert found.best == "Agree"  # neither option that begins with Strong can be as probable
    assert read(LIKERT, {"Agree": 0.3, "Strong": 0.5}).best is None


def test_a_generated_answer_is_followed_through_what_several_options_begin_with() -> None:
    found = read(LIKERT, {"Strong": 0.6, "Agree": 0.3999}, {"ly": 1.0}, {" agree": 0.75, " disagree": 0.25})
    assert shares(found) == {"Agree": 0.3999, "Strongly agree": 0.45, "Strongly disagree": 0.15}
    assert found.complete and found.best == "Strongly agree"


def test_a_shorter_option_in_words_leaves_the_longer_one_its_part() -> None:
    found = read(("Agree", "Agree strongly"), {"Agree": 0.9}, {"<|im_end|>": 0.6, " strong": 0.4})
    assert shares(found) == {"Agree": 0.54, "Agree strongly": 0.36}


def test_spaces_around_a_token_do_not_matter() -> None:
    found = read(("A", "B"), {"A\n": 0.4, " A": 0.2, "\nB": 0.3, " ": 0.05})
    assert shares(found) == {"A": 0.6, "B": 0.3}


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": "7"}, "logprobs": {"content": [
            {"token": "7", "logprob": -0.1, "top_logprobs": [{"token": "7", "logprob": -0.1},
                                                             {"token": "8", "logprob": -3.0}]}]}},
        {"text": "7", "logprobs": {"tokens": ["7"], "top_logprobs": [{"7": -0.1, "8": -3.0}]}},
        {"text": "7", "logprobs": {"top_logprobs": [{"8": -3.0, "7": -0.1}]}},
    ],
)  # fmt: skip
def test_both_formats_of_the_protocol_are_read(choice: dict[str, Any]) -> None:
    (found,) = places_of(choice)
    assert found.token == "7" and dict(found.likely) == {"7": -0.1, "8": -3.0}


@pytest.mark.parametrize("choice", [{}, {"logprobs": None}, {"logprobs": {"content": None}}])
def test_an_answer_without_log_probabilities_has_no_places(choice: dict[str, Any]) -> None:
    assert places_of(choice) == []


def test_refusals_are_told_from_answers() -> None:
    assert refused("I'm sorry, but I can't share personal opinions.") and refused("As an AI, I have none.")
    assert not refused("I agree.") and not refused("Strongly agree")
