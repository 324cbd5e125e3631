"""Who sits in which debate, and as whom."""

from pathlib import Path

import pytest
from helpers import settings, starts_of
from hypothesis import given
from hypothesis import strategies as st

from hustings.debate import personas
from hustings.debate.prompts import Prompts
from hustings.debate.roles import Persona, Seating, seating
from hustings.errors import SettingsError
from hustings.files import read_lines
from hustings.settings import CompositionSettings, DefaultAgentSettings


def composition(*roles: str, observers: tuple[str, ...] = ()) -> CompositionSettings:
    return CompositionSettings(name="test", roles=roles, observers=observers, rounds=1)


def seated(of: CompositionSettings, default: DefaultAgentSettings, *overrides: str) -> Seating:
    """A seating of these agents on racism, without a shadow."""
    plain = settings("topic=racism", "shadow=false", *overrides)
    society = plain.society.model_copy(update={"default": default})
    whole = plain.model_copy(update={"composition": of, "society": society})
    return Seating(whole, {role: f"on {role}" for role in whole.roles})


def table(of: CompositionSettings, repetitions: int, seed: int = 1, size: int = 40) -> list[list[int]]:
    sizes = {"republican": size, "democrat": size}
    return [seating(of, repetition, seed, sizes) for repetition in range(repetitions)]


def test_repetition_i_takes_republican_i_and_democrat_i() -> None:
    assert table(composition("republican", "democrat", "default"), 40) == [[i, i, -1] for i in range(40)]


@given(st.integers(0, 2**32), st.integers(2, 60))
def test_partners_of_an_echo_debate_are_a_derangement_of_all_personas(seed: int, size: int) -> None:
    pairs = table(composition("democrat", "democrat"), size, seed, size)
    assert [first for first, _ in pairs] == list(range(size))
    assert sorted(second for _, second in pairs) == list(range(size))
    assert all(first != second for first, second in pairs)


def test_partners_stay_when_repetitions_grow() -> None:
    of = composition("republican", "republican")
    assert table(of, 40)[:7] == table(of, 7)


def test_another_seed_draws_other_partners() -> None:
    of = composition("republican", "republican")
    assert table(of, 40, seed=1) != table(of, 40, seed=2)


@given(st.integers(2, 8), st.integers(0, 2**32), st.integers(8, 40))
def test_agents_of_one_party_in_one_debate_are_all_different(seats: int, seed: int, size: int) -> None:
    rows = table(composition(*["republican"] * seats), size, seed, size)
    assert all(len(set(row)) == seats for row in rows)
    for place in range(seats):
        assert sorted(row[place] for row in rows) == list(range(size))


def test_more_repetitions_than_personas_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"^repetitions=41: party republican has 40 personas.*at most 40"):
        table(composition("republican", "democrat"), 41)


def test_nobody_is_paired_with_itself_when_there_is_one_persona() -> None:
    with pytest.raises(SettingsError, match=r"^composition=test: it seats 2 agents of party democrat.*1 persona,"):
        table(composition("democrat", "democrat"), 1, size=1)


def test_agents_have_their_own_stories_and_default_agents_neutral_names() -> None:
    stories = {party: {3: Persona(party, 3, name, f"{name}'s story")} for party, name in
               (("republican", "Ann"), ("democrat", "Bob"))}  # fmt: skip
    default = DefaultAgentSettings(label="D", story="You are.", colour="#000000", names=("Kim", "Sam"))
    of = composition("republican", "democrat", "default", observers=("default",))
    agents = seated(of, default).agents("racism", [3, 3, -1, -1], stories)
    assert [(agent.name, agent.persona, agent.story, agent.speaks) for agent in agents] == [
        ("Ann", "republican/03", "Ann's story", True),
        ("Bob", "democrat/03", "Bob's story", True),
        ("Kim", "default", "You are.", True),
        ("Sam", "default", "You are.", False),
    ]


@pytest.mark.parametrize("society", ["us", "uk"])
def test_no_first_name_is_shared_within_a_society(society: str) -> None:
    of = settings(f"society={society}", *(["topic=uk", "composition=uk_mixed"] if society == "uk" else []))
    names = [name for party in of.society.parties.values() for name in party.names]
    names += of.society.default.names
    assert len(names) == len(set(names))
    assert all(len(party.names) == 40 for party in of.society.parties.values())


def test_every_agent_may_be_the_first_to_speak() -> None:
    starts = starts_of(settings("repetitions=40", "topic=racism"))
    counts = [sum(start.first == place for start in starts) for place in range(3)]
    assert sum(counts) == 40
    assert min(counts) >= 5


def test_personas_written_to_a_file_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "personas.jsonl"
    written = [Persona("democrat", index, f"Zoë{index}", "You are “Zoë”.\nYes.") for index in (4, 0)]
    path.write_text("".join(f"{personas.line(it)}\n" for it in written), encoding="utf-8")
    assert personas.of_party("democrat", path, read_lines(path)) == {4: written[0], 0: written[1]}


def test_personas_of_the_users_own_are_numbered_by_party_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [("republican", "A"), ("democrat", "B"), ("republican", "C")]
    path.write_text("\n\n".join(f'{{"party":"{party}","name":"{name}","story":"s"}}' for party, name in rows))
    found = personas.load(path, ["republican", "democrat"])
    assert [(index, persona.id, persona.name) for index, persona in found["republican"].items()] == [
        (0, "republican/00", "A"),
        (1, "republican/01", "C"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not json", r"line 1: not a persona"),
        ('{"party":"democrat","name":"A"}', r"line 1: not a persona"),
        ('["democrat"]', r"line 1: not a persona"),
        ('{"party":"democrat","name":"A","story":3}', r"line 1: not a persona"),
        ('{"party":"democrat","name":"A","story":"\\ud83d"}', r"line 1: the name or story has half a character"),
        ('{"party":"green","name":"A","story":"s"}', r"line 1: there is no party 'green'.*democrat"),
    ],
)
def test_a_line_that_is_no_persona_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(SettingsError, match=said):
        personas.load(path, ["democrat", "republican"])


def test_a_store_s_personas_can_be_given_back_whatever_their_indices(tmp_path: Path) -> None:
    path = tmp_path / "personas.jsonl"
    path.write_text("".join(personas.line(Persona("democrat", i, f"N{i}", "s")) + "\n" for i in (17, 3)))
    assert [persona.id for persona in personas.load(path, ["democrat"])["democrat"].values()] == [
        "democrat/00",
        "democrat/01",
    ]


@pytest.mark.parametrize(
    ("story", "flaw"),
    [
        ("You are Ann.", "is empty or nearly so"),
        ("You " + "are here and vote " * 6, "does not have the name"),
        ("You are Bob, called Ann by some. " + "You vote as you like. " * 5, "is about Bob"),
        ("I am Ann. " + "I vote as I like. " * 5, "does not say 'you'"),
        ("You are Ann. " + "You vote as you like. " * 5, None),
    ],
)
def test_a_story_needs_length_the_right_name_and_the_second_person(story: str, flaw: str | None) -> None:
    assert personas.flaw(story, "Ann", ["Ann", "Bob"]) == flaw


def test_a_sentence_that_was_cut_off_is_left_out_of_a_story() -> None:
    assert personas.tidy("You are Ann.\n\nYou said “yes.” Then you w") == "You are Ann. You said “yes.”"


def test_agents_of_a_ring_know_whom_they_hear_and_everybody_what_it_runs_on() -> None:
    stories = {"democrat": {i: Persona("democrat", i, f"N{i}", "s") for i in range(4)}}
    default = DefaultAgentSettings(label="D", story="You are.", colour="#000000", names=("Kim",))
    of = composition(*["democrat"] * 4, observers=("default",))
    agents = seated(of, default, "topology=ring").agents("racism", [0, 1, 2, 3, -1], stories)
    assert [agent.hears for agent in agents] == [(1, 3), (0, 2), (1, 3), (0, 2), "all"]
    assert [agent.runs_on for agent in agents] == ["on democrat"] * 4 + ["on default"]
    three = seated(composition(*["democrat"] * 3), default, "topology=ring").agents("racism", [0, 1, 2], stories)
    assert [agent.hears for agent in three] == ["all"] * 3


def writer(*overrides: str) -> personas.Writer:
    of = settings(*overrides)
    return personas.Writer(of.society, Prompts(of.prompt), of.personas, of.seed)


def test_what_changes_a_story_is_what_its_prompt_says() -> None:
    tax = "+society.parties.democrat.stances.tax={pole: low, position: taxes are no problem}"
    plain, more = writer().substance("democrat"), writer(tax).substance("democrat")
    assert plain != more
    mute = ("prompt.persona='Write about {{ name }}.'", "prompt.persona_start='You are {{ name }}.'")
    assert writer(*mute).substance("democrat") == writer(*mute, tax).substance("democrat")
    assert writer().substance("republican") == writer(tax).substance("republican")
