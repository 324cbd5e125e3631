"""Who speaks when, and when everybody is surveyed."""

from hypothesis import given
from hypothesis import strategies as st

from hustings.debate.protocol import iterations, speaker, surveys

speakers_of = st.integers(2, 8)
rounds_of = st.integers(1, 12)


@given(speakers_of, rounds_of, st.data())
def test_every_round_has_every_speaker_once_from_the_first_as_drawn(
    speakers: int, rounds: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, speakers - 1))
    order = [speaker(iteration, first, speakers) for iteration in range(1, iterations(rounds, speakers) + 1)]
    assert order[0] == first
    for begin in range(0, len(order), speakers):
        assert sorted(order[begin : begin + speakers]) == list(range(speakers))


@given(speakers_of, rounds_of, st.data())
def test_the_order_of_the_first_round_is_kept(speakers: int, rounds: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, speakers - 1))
    for iteration in range(1, iterations(rounds, speakers) - speakers + 1):
        assert speaker(iteration, first, speakers) == speaker(iteration + speakers, first, speakers)


@given(speakers_of, rounds_of)
def test_surveys_are_before_the_first_reply_and_at_the_end_of_each_round(speakers: int, rounds: int) -> None:
    assert list(surveys(rounds, speakers)) == [round_ * speakers for round_ in range(rounds + 1)]
    assert surveys(rounds, speakers)[-1] == iterations(rounds, speakers)
