"""Debates as they are played: what stands in every prompt that is sent, and what becomes of every answer."""

from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest
from helpers import CONF, Recorder, Scripted, planted, play_all, settings, starts_of

from hustings.engine.base import Answer, Completion, Request, Score
from hustings.errors import SettingsError
from hustings.records import End, Event, Reply, Start, Survey
from hustings.settings import SimulateSettings

SMALL = ("repetitions=2", "engine.concurrency=3")
US = [path.stem for path in sorted((CONF / "composition").glob("*.yaml")) if not path.stem.startswith("uk")]
ADVOCATES = ("advocates_low", "advocates_high", "advocates_both")
ITEM = (
    "{wordings: {any: ['How big a problem is it?']}, options: ['1','2','3','4','5'], values: [0,2.5,5,7.5,10], "
    "low: null, high: null, direction: DIRECTION, parcel: 1}"
)
TWO_ITEMS = (
    "~instrument.items.severity",
    f"+instrument.items.plain={ITEM.replace('DIRECTION', 'normal')}",
    f"+instrument.items.turned={ITEM.replace('DIRECTION', 'reversed')}",
)
"""An instrument of two items with five options, one of them reverse-keyed."""
CASES: dict[str, tuple[str, ...]] = {
    **{name: (f"composition={name}", "topic=all") for name in US},
    **{
        name: ("society=uk", "topic=uk", f"composition={name}")
        for name in ("uk_mixed", "uk_echo_labour", "uk_echo_conservative")
    },
    "two default agents": ("composition.roles=[default,default,democrat]", "topic=racism"),
    "eight agents": (
        "composition.roles=[republican,democrat,republican,democrat,republican,democrat,democrat,default]",
        "topic=racism",
    ),
    "retest": ("control=retest", "topic=racism"),
    "retest with an observer": ("control=retest", "topic=racism", "composition=rep_dem"),
    **{name: (f"control={name}", "topic=racism") for name in ("off_topic", *ADVOCATES)},
    "advocates without the Default": ("control=advocates_both", "topic=racism", "composition=rep_dem"),
    "without a shadow": ("shadow=false", "topic=racism"),
    "balanced": ("first_speaker=balanced", "topic=racism"),
    "story in the system slot": ("prompt.system=story", "topic=racism"),
    "me": ("prompt=sauce_like", "topic=racism"),
    "reversed scale": ("prompt=reversed_scale", "topic=racism"),
    "conversation": ("prompt=conversation", "topic=racism"),
    "ring of five": (
        "topology=ring",
        "composition.roles=[republican,democrat,republican,democrat,default]",
        "topic=racism",
    ),
    "reminded": ("mitigation=reminder", "topic=racism"),
    "two items": ("topic=racism", *TWO_ITEMS),
}


class Played:
    """A whole planted run: its settings, requests, answers and events."""

    def __init__(self, *overrides: str) -> None:
        self.of: SimulateSettings = settings(*SMALL, *overrides)
        self.engine = Recorder(planted(self.of))
        self.events: list[Event] = play_all(self.of, self.engine)
        self.starts = {start.debate: start for start in starts_of(self.of)}

    def asked(self, purpose: str) -> list[Request]:
        return [request for request in self.engine.asked if request.turn.purpose == purpose]


@pytest.fixture(scope="module", params=CASES)
def played(request: pytest.FixtureRequest) -> Played:
    return Played(*CASES[request.param])


def test_survey_questions_and_answers_never_reach_a_prompt_but_the_one_that_asks(played: Played) -> None:
    questions = ["How big a problem is it?", *(topic.question for topic in played.of.topics.values())]
    for request in played.engine.asked:
        count = sum(request.prompt.count(question) for question in questions)
        assert count == (request.turn.purpose == "survey")
        assert request.prompt.count("Answer with one number") == (request.turn.purpose == "survey")


def test_no_prompt_depends_on_what_was_answered_to_any_survey(played: Played) -> None:
    inner = planted(played.of)

    def answer(request: Request) -> Answer:
        return Score(None, request.options[-1], 1, 1) if request.options else inner.complete([request])[0]

    engine = Recorder(Scripted(answer))
    play_all(played.of, engine)
    assert sorted(it.prompt for it in engine.asked) == sorted(it.prompt for it in played.engine.asked)


def test_a_prompt_has_the_story_of_its_own_agent_and_nobody_elses(played: Played) -> None:
    for request in played.engine.asked:
        agents = played.starts[request.turn.debate].agents
        own = agents[request.turn.agent]
        others = {agent.story for agent in agents} - {own.story}
        whole = f"{request.system or ''}\n{request.prompt}"
        assert whole.count(own.story) == 1
        assert [story for story in others if story in whole] == []


def test_nobody_is_told_of_the_shadow_and_nobody_but_advocates_what_they_are_to_argue(played: Played) -> None:
    for request in played.engine.asked:
        for agent in played.starts[request.turn.debate].agents:
            if agent.role == "shadow" and agent.role != request.turn.role:
                assert agent.name not in request.prompt
            if agent.role.startswith("advocate") and agent.role != request.turn.role:
                assert agent.story not in request.prompt
                assert request.turn.role.startswith("advocate") or "Whatever anybody says" not in request.prompt


def test_the_shadow_only_listens_and_is_surveyed_like_everybody_else(played: Played) -> None:
    for start in played.starts.values():
        places = [place for place, agent in enumerate(start.agents) if agent.role == "shadow"]
        assert len(places) == played.of.shadow
        for place in places:
            mine = [it for it in played.events if it.debate == start.debate and getattr(it, "agent", None) == place]
            assert {type(it) for it in mine} == {Survey}
            assert len(mine) == (played.of.rounds + 1) * len(played.of.instrument.items)


def test_a_prompt_has_what_its_agent_heard_before_it_in_order_and_nothing_else(played: Played) -> None:
    said: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for event in played.events:
        if isinstance(event, Reply):
            name = played.starts[event.debate].agents[event.agent].name
            said[event.debate].append((event.agent, name, event.text))
    for request in played.engine.asked:
        agent = played.starts[request.turn.debate].agents[request.turn.agent]
        me = "Me" if played.of.prompt.name == "sauce_like" else agent.name
        whole = [
            (place, f"{me if place == request.turn.agent else name}: {text}")
            for place, name, text in said[request.turn.debate]
        ]
        before = whole[: request.turn.iteration]
        lines = [line for place, line in before if agent.hears == "all" or place in {*agent.hears, request.turn.agent}]
        assert ("\n".join(lines) or "(Nobody has spoken yet.)") in request.prompt
        assert sum(line in request.prompt for line in {line for _, line in whole}) == len(set(lines))


def context(prompt: str) -> str:
    """A prompt without its instruction and what a treatment put before it."""
    return prompt.rpartition("\n\n")[0].partition("\n\nRemember, ")[0]


def test_a_survey_and_the_next_reply_of_an_agent_differ_in_the_instruction_only(played: Played) -> None:
    replies = {(it.turn.debate, it.turn.agent, it.turn.iteration): it.prompt for it in played.asked("reply")}
    pairs = [
        (it.prompt, replies[key])
        for it in played.asked("survey")
        if (key := (it.turn.debate, it.turn.agent, it.turn.iteration)) in replies
    ]
    items = len(played.of.instrument.items)
    begun = sum(start.agents[start.first].surveyed == "always" for start in played.starts.values())
    assert len(pairs) == (begun * played.of.rounds * items if played.of.control.speak else 0)
    for one, other in pairs:
        assert context(one) == context(other)
        assert one.startswith(f"{context(one)}\n\n")
        assert other.startswith(f"{context(one)}\n\n")


def test_the_context_of_an_agent_only_grows_at_its_end(played: Played) -> None:
    contexts: dict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
    for request in played.engine.asked:
        contexts[request.lane].append((request.turn.iteration, context(request.prompt)))
    for of_agent in contexts.values():
        spoken = [text for iteration, text in sorted(of_agent) if iteration > 0 and "Nobody has spoken" not in text]
        assert all(later.startswith(earlier) for earlier, later in pairwise(spoken))


def test_each_debate_has_its_replies_in_turn_and_its_surveys_at_each_round_end(played: Played) -> None:
    for key, start in played.starts.items():
        speakers = sum(agent.speaks for agent in start.agents)
        last = played.of.rounds * speakers
        events = [event for event in played.events if event.debate == key]
        assert isinstance(events[0], Start)
        assert isinstance(events[-1], End)
        replies = [(event.iteration, event.agent) for event in events if isinstance(event, Reply)]
        turns = [(i, (start.first + i - 1) % speakers) for i in range(1, last + 1)]
        assert replies == (turns if played.of.control.speak else [])
        surveys = sorted((event.iteration, event.agent, event.item) for event in events if isinstance(event, Survey))
        due = [
            (i, place)
            for i in range(0, last + 1, speakers)
            for place, agent in enumerate(start.agents)
            if agent.surveyed == "always" or (agent.surveyed == "first" and i == 0)
        ]
        assert surveys == sorted((*point, item) for point in due for item in played.of.instrument.items)
        assert len(events) == len(replies) + len(surveys) + 2


def test_every_question_is_asked_once_with_a_seed_of_its_own(played: Played) -> None:
    asked = played.engine.asked
    assert len({(it.turn, it.seed) for it in asked}) == len(asked)
    assert len({it.seed for it in asked}) == len(asked)
    assert len(asked) == sum(isinstance(event, Reply | Survey) for event in played.events)


def test_surveys_are_asked_at_temperature_0_and_replies_as_set(played: Played) -> None:
    assert {it.sampling.temperature for it in played.asked("survey")} == {0.0}
    assert {it.sampling.temperature for it in played.asked("reply")} <= {played.of.sampling.temperature}
    assert {it.options for it in played.asked("survey")} == {it.options for it in played.of.instrument.items.values()}


def test_debates_come_out_the_same_however_many_are_played_at_once() -> None:
    runs = [
        {event.model_dump_json() for event in play_all(of, planted(of))}
        for of in (settings("repetitions=3", "topic=all", f"engine.concurrency={count}") for count in (1, 2, 64))
    ]
    assert runs[0] == runs[1] == runs[2]


def test_no_more_debates_are_open_than_allowed() -> None:
    of = settings("repetitions=5", "topic=all", "engine.concurrency=3")
    begun = ended = 0
    for event in play_all(of, planted(of)):
        begun += isinstance(event, Start)
        ended += isinstance(event, End)
        assert begun - ended <= 3
    assert ended == 20


def reply_with(text: str | Callable[[int], str], finish: str = "stop") -> tuple[Recorder, list[Event]]:
    """One two-agent, one-round debate in which replies are `text`, or `text` of the count of replies before."""
    of = settings("repetitions=1", "topic=racism", "composition=rep_dem", "rounds=1", "sampling.attempts=3")
    count = iter(range(1000))

    def answer(request: Request) -> Answer:
        if request.options:
            return Score(None, "I will not say.", 1, 1)
        said = text if isinstance(text, str) else text(next(count))
        return Completion(said, 1, 7, finish)  # type: ignore[arg-type]

    engine = Recorder(Scripted(answer))
    return engine, play_all(of, engine)


def test_an_empty_reply_is_asked_again_with_another_seed_then_kept_and_flagged() -> None:
    engine, events = reply_with(" \n")
    replies = [request for request in engine.asked if request.turn.purpose == "reply"]
    assert len(replies) == 2 * 3
    assert len({request.seed for request in replies}) == 6
    assert len({request.prompt for request in replies[:3]}) == 1
    kept = [(event.text, event.finish) for event in events if isinstance(event, Reply)]
    assert kept == [("", "empty"), ("", "empty")]
    assert isinstance(events[-1], End)


def test_a_reply_that_comes_at_the_second_try_is_kept_as_it_is() -> None:
    engine, events = reply_with(lambda count: ["", "Well."][count % 2], "length")
    assert [(it.text, it.finish, it.tokens) for it in events if isinstance(it, Reply)] == [("Well.", "length", 7)] * 2
    assert sum(it.turn.purpose == "reply" for it in engine.asked) == 4


def test_a_reply_in_which_only_others_speak_is_empty() -> None:
    _, events = reply_with("Moderator: Welcome to the debate.")
    assert [event.finish for event in events if isinstance(event, Reply)] == ["empty", "empty"]


@pytest.mark.parametrize(
    ("text", "heard", "full"),
    [
        ("I agree. We must ac", "I agree.", "I agree. We must ac"),
        ("We must ac", "We must ac", None),
        ("I agree.", "I agree.", None),
        ("Yes! “No.” And th", "Yes! “No.”", "Yes! “No.” And th"),
    ],
)
def test_a_reply_that_was_cut_is_shortened_to_its_whole_sentences_and_kept_in_full(
    text: str, heard: str, full: str | None
) -> None:
    engine, events = reply_with(text, "length")
    replies = [event for event in events if isinstance(event, Reply)]
    assert {(it.text, it.full, it.finish) for it in replies} == {(heard, full, "length")}
    assert all((full or "\0") not in request.prompt for request in engine.asked)
    _, whole = reply_with(text)
    assert {it.text for it in whole if isinstance(it, Reply)} == {text}


def test_the_system_slot_is_left_alone_emptied_or_given_the_story() -> None:
    for system in ("template", "empty", "story"):
        played = Played("topic=racism", f"prompt.system={system}")
        for request in played.engine.asked:
            story = played.starts[request.turn.debate].agents[request.turn.agent].story
            assert request.system == {"template": None, "empty": "", "story": story}[system]
            assert request.prompt.startswith("Your name is" if system == "story" else story)


def test_each_seat_begins_equally_often_where_that_is_balanced() -> None:
    from collections import Counter

    from hustings.debate.protocol import first_speaker

    balanced = Counter(first_speaker(7, repetition, 3, balanced=True) for repetition in range(9))
    assert balanced == {0: 3, 1: 3, 2: 3}
    assert {first_speaker(7, repetition, 3, balanced=False) for repetition in range(9)} == {1}


def test_a_refused_survey_is_missing_with_its_words_and_asked_once() -> None:
    engine, events = reply_with("Well.")
    surveys = [event for event in events if isinstance(event, Survey)]
    assert {(it.value, it.expected, it.valid, it.raw) for it in surveys} == {(None, None, False, "I will not say.")}
    assert sum(bool(it.options) for it in engine.asked) == len(surveys) == 7


def test_both_items_of_an_instrument_measure_the_attitude_that_was_planted() -> None:
    of = settings("repetitions=3", "topic=racism", "engine.noise=0", *TWO_ITEMS)
    surveys = [event for event in play_all(of, planted(of)) if isinstance(event, Survey)]
    pairs: dict[tuple[str, int, int], dict[str, float | None]] = defaultdict(dict)
    for event in surveys:
        pairs[event.debate, event.iteration, event.agent][event.item] = event.expected
    assert len(pairs) == 3 * 4 * 4
    for both in pairs.values():
        assert both["plain"] == pytest.approx(both["turned"], abs=1e-5)


def played_with(*overrides: str) -> dict[tuple[str, str, int], str]:
    """Prompts of one debate by purpose, role and iteration."""
    played = Played("repetitions=1", "topic=racism", *overrides)
    return {(it.turn.purpose, it.turn.role, it.turn.iteration): it.prompt for it in played.engine.asked}


REMINDED = "Remember, "


@pytest.mark.parametrize(
    ("overrides", "replies", "survey"),
    [
        ((), {"republican", "democrat"}, set()),
        (("treatments.reminder.roles=[democrat]",), {"democrat"}, set()),
        (("treatments.reminder.scope=survey",), set(), {"republican", "democrat"}),
        (("treatments.reminder.scope=both",), {"republican", "democrat"}, {"republican", "democrat"}),
    ],
)
def test_a_treatment_is_in_the_prompts_of_its_roles_and_scope_and_in_no_other(
    overrides: tuple[str, ...], replies: set[str], survey: set[str]
) -> None:
    prompts = played_with("mitigation=reminder", *overrides)
    for purpose, treated in (("reply", replies), ("survey", survey)):
        assert {role for (kind, role, _), text in prompts.items() if kind == purpose and REMINDED in text} == treated
    for text in prompts.values():
        assert text.count(REMINDED) <= 1


def test_a_reminder_comes_every_dose_th_round() -> None:
    prompts = played_with("mitigation=reminder", "treatments.reminder.dose=2", "rounds=4")
    rounds = {
        iteration // 3 + 1 for (kind, _, iteration), text in prompts.items() if kind == "reply" and REMINDED in text
    }
    assert rounds == {1, 3}


def test_treatments_by_words_know_position_and_own_replies_and_stand_where_they_belong() -> None:
    text = "'[{{ party }}|{{ position }}|{{ topic }}|{{ replies | length }}|{{ iteration }}|{{ round }}|{{ dose }}]'"
    common = f"kind: prompt, roles: [democrat], scope: replies, text: {text}, dose: 0.5"
    prompts = played_with(
        f"+treatments.after={{{common}, place: instruction}}", f"+treatments.before={{{common}, place: story}}"
    )
    for (kind, role, iteration), prompt in prompts.items():
        if kind == "reply" and role == "democrat":
            said = iteration // 3
            note = f"[democrat|racism is a very big problem|racism|{said}|{iteration}|{said + 1}|0.5]"
            story, _, rest = prompt.partition(f"\n\n{note}\n\nYour name is ")
            assert story.endswith("story is yours alone.")
            assert f"\n\n{note}\n\n" in rest and rest.rpartition("\n\n")[0].endswith(note)


def test_a_treatment_with_an_unknown_variable_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^treatments\.reminder\.text: .*'stanza' is undefined.*it may use dose"):
        played_with("mitigation=reminder", "treatments.reminder.text='{{ stanza }}'")
