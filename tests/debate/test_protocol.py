"""Who speaks when, and when everybody is surveyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustings.debate.protocol import heard, iterations, speaker, surveys
from hustings.errors import SettingsError

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


@given(speakers_of)
def test_in_a_round_robin_everybody_hears_all_others(speakers: int) -> None:
    for place in range(speakers):
        assert heard("round_robin", place, speakers) == tuple(it for it in range(speakers) if it != place)


@given(speakers_of)
def test_in_a_ring_everybody_hears_its_two_neighbours_and_is_heard_by_them(speakers: int) -> None:
    hears = [heard("ring", place, speakers) for place in range(speakers)]
    for place in range(speakers):
        neighbours = {(place + 1) % speakers, (place - 1) % speakers} - {place}
        assert {*hears[place]} == neighbours
        assert all(place in hears[other] for other in hears[place])


def test_an_unknown_topology_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match=r"topology\.name=line: there is no such .*; there is round_robin, ring"):
        heard("line", 0, 3)
