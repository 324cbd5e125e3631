"""Mitigations as they are played: what each does to prompts and requests, and that a dose of nothing does nothing."""

import pytest
from helpers import Recorder, Scripted, planted, play_all, settings, starts_of

from hustings.debate.estimate import Estimate, count
from hustings.debate.play import Rules
from hustings.debate.treatments.rerank import RerankSettings
from hustings.engine.base import Answer, Completion, Request
from hustings.records import Event, Note, Reply

SMALL = ("topic=racism", "repetitions=2", "rounds=3", "composition=rep_dem_default")
RERANK = RerankSettings(kind="rerank", roles=None, scope="replies", dose=4, margin=0.5)
NOTE = "Note of agent {place} after {iteration}."
NOTHING = {
    "confirmation": "treatments.confirmation.dose=0",
    "stance_note": "treatments.stance_note.dose=0",
    "system_story": "treatments.system_story.dose=0",
}
"""The dose at which each does nothing."""


def played(*overrides: str, logged: list[Event] | None = None) -> tuple[list[Event], list[Request]]:
    """Events and requests of a run in which notes can be told from each other."""
    of = settings(*SMALL, *overrides)
    inner = planted(of)

    def answer(request: Request) -> Answer:
        if request.turn.purpose == "note":
            text = NOTE.format(place=request.turn.agent, iteration=request.turn.iteration)
            return Completion(text, 1, 1, "stop")
        return inner._answer(request)  # pyright: ignore[reportPrivateUsage]

    engine = Recorder(Scripted(answer))
    before: dict[str, list[Event]] = {}
    for event in logged or []:
        before.setdefault(event.debate, []).append(event)
    return play_all(of, engine, before), engine.asked


def without_start(events: list[Event]) -> list[str]:
    return [event.model_dump_json() for event in events if event.kind != "start"]


@pytest.mark.parametrize("name", NOTHING)
def test_a_dose_of_nothing_gives_the_log_of_no_mitigation(name: str) -> None:
    plain, _ = played()
    treated, asked = played(f"mitigation={name}", NOTHING[name])
    assert without_start(treated) == without_start(plain)
    assert {request.turn.purpose for request in asked} == {"reply", "survey"}


def test_partisans_write_one_note_before_anybody_speaks_and_see_it_before_each_turn() -> None:
    events, asked = played("mitigation=stance_note")
    notes = [event for event in events if isinstance(event, Note)]
    assert {(note.iteration, note.agent) for note in notes} == {(0, 0), (0, 1)}
    for request in asked:
        mine = NOTE.format(place=request.turn.agent, iteration=0)
        speaks = request.turn.purpose == "reply" and request.turn.role != "default"
        assert (mine in request.prompt) == speaks
        if request.turn.purpose == "note":
            assert "2 reasons" in request.prompt and "(Nobody has spoken yet.)" in request.prompt


def test_a_note_may_be_written_anew_after_each_round_with_the_last_one_in_sight() -> None:
    events, asked = played("mitigation=stance_note", "treatments.stance_note.update=rounds")
    assert {event.iteration for event in events if isinstance(event, Note)} == {0, 3, 6}
    for request in asked:
        seen = [at for at in (0, 3, 6) if NOTE.format(place=request.turn.agent, iteration=at) in request.prompt]
        rounds = request.turn.iteration // 3
        partisan = request.turn.role in ("republican", "democrat")
        wanted = {"reply": [rounds * 3], "note": [rounds * 3 - 3] if rounds else [], "survey": []}
        assert seen == (wanted[request.turn.purpose] if partisan else [])


@pytest.mark.parametrize("control", ["none", "retest"])
def test_a_survey_shows_the_note_only_where_the_scope_says_so_and_waits_for_it(control: str) -> None:
    words = ("mitigation=stance_note", f"control={control}", "treatments.stance_note.scope=both")
    _, asked = played(*words)
    for request in asked:
        if request.turn.purpose == "survey" and request.turn.role in ("republican", "democrat"):
            assert NOTE.format(place=request.turn.agent, iteration=0) in request.prompt
    replies_only = played("mitigation=stance_note", f"control={control}")[0]
    assert any(isinstance(event, Note) for event in replies_only) == (control == "none")


def test_a_run_that_is_resumed_after_any_event_is_the_same() -> None:
    words = ("mitigation=stance_note", "treatments.stance_note.update=rounds", "repetitions=1")
    whole, _ = played(*words)
    for kept in range(1, len(whole), 5):
        rest, asked = played(*words, logged=whole[:kept])
        assert sorted(without_start(whole[:kept] + rest)) == sorted(without_start(whole))
        assert len(asked) == len([event for event in rest if event.kind not in ("start", "end")])


def test_the_story_moves_to_the_system_slot_for_replies_alone() -> None:
    _, asked = played("mitigation=system_story")
    stories = {(start.debate, place): agent.story for start in starts_of(settings(*SMALL)) for place, agent in
               enumerate(start.agents)}  # fmt: skip
    for request in asked:
        story = stories[request.turn.debate, request.turn.agent]
        moved = request.turn.purpose == "reply"
        assert (request.system == story) == moved and (story in request.prompt) != moved


def test_replies_are_what_they_are_without_any_mitigation_where_only_the_survey_is_treated() -> None:
    words = ("mitigation=confirmation", "treatments.confirmation.scope=survey")
    plain, treated = (
        [event for event in played(*it)[0] if isinstance(event, Reply)] for it in ((), words)
    )  # fmt: skip
    assert plain == treated


def test_an_estimate_counts_notes_and_what_a_choice_costs() -> None:
    def counted(*overrides: str) -> Estimate:
        of = settings(*SMALL, *(it for it in overrides if "=" in it))
        if overrides == ("rerank",):
            of = of.model_copy(update={"treatments": {"rerank": RERANK}})
        return count(starts_of(of), {}, Rules.of(of), {})

    plain, noted, chosen = counted(), counted("mitigation=stance_note"), counted("rerank")
    assert noted.calls == plain.calls + 2 * 2
    replies = 2 * 6  # of partisans, in two debates
    assert chosen.calls == plain.calls + replies * (3 + 2 * 4)
    assert chosen.tokens > plain.tokens
