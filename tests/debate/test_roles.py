"""Who sits in which debate, and as whom."""

import unicodedata
from pathlib import Path

import pytest
from helpers import settings, starts_of
from hypothesis import given
from hypothesis import strategies as st

from hustings.debate import personas
from hustings.debate.prompts import Prompts
from hustings.debate.roles import Persona, Seating, check, seating
from hustings.errors import SettingsError
from hustings.files import read_lines
from hustings.settings import CompositionSettings, DefaultAgentSettings
from hustings.simulation.plan import Plan


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


def test_more_repetitions_than_personas_are_refused_as_they_were_asked_for() -> None:
    with pytest.raises(SettingsError, match=r"^repetitions=99: party republican has 40 personas.*at most 40"):
        Plan.of(settings("topic=racism", "repetitions=99"))


def test_nobody_is_paired_with_itself_when_there_is_one_persona() -> None:
    with pytest.raises(SettingsError, match=r"^composition=test: it seats 2 agents of party democrat.*1 persona,"):
        check(composition("democrat", "democrat"), 1, {"democrat": 1})


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


GOOD = '{"party":"democrat","name":"A","story":"s"}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not json", r"line 2: not a persona, as it is not JSON \(Expecting value"),
        ('{"party":"democrat","name":"A"}', r"line 2: not a persona, as it has no story; each line is .*such as {"),
        ('["democrat"]', r"line 2: not a persona, as it is not an object"),
        ('{"party":"democrat","name":"A","story":3}', r"line 2: not a persona, as its story is not a text"),
        ('{"party":"democrat","name":" ","story":"s"}', r"line 2: not a persona, as its name is empty"),
        ('{"party":"democrat","name":"A","story":null}', r"line 2: not a persona, as its story is empty"),
        ('{"party":"democrat","name":"A","story":"\\ud83d"}', r"line 2: .*its story has half a character"),
        ('{"party":"democrat","name":"A\\nBob","story":"s"}', r"line 2: .*its name has a line break"),
        ('{"party":"green","name":"A","story":"s"}', r"line 2: there is no party 'green'.*democrat"),
        ("[" * 100_000, r"line 2: not a persona"),
        ("party,name,story", r"line 2: not a persona, as it is not JSON"),
        ('{"party":"democrat","name":"Jos\u00e9","story":"s"}'.encode("latin-1"), r"line 2: this is not UTF-8 text"),
    ],
)
def test_a_line_that_is_no_persona_is_named(tmp_path: Path, line: str | bytes, said: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(f"{GOOD}\n".encode() + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(SettingsError, match=said) as refused:
        personas.load(path, ["democrat", "republican"])
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_of_another_system_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n\r\n   \r\n{GOOD.replace('A', ' Zoë ')}".encode())
    found = personas.load(path, ["democrat"])["democrat"]
    assert [it.name for it in found.values()] == ["A", "Zoë"]


@pytest.mark.parametrize("path", ["", "nothing.jsonl", "\0"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(SettingsError, match=r"^personas\.file=.*cannot be read"):
        personas.load(tmp_path / path, ["democrat"])


def test_agents_whose_names_are_typed_differently_but_equal_are_refused() -> None:
    names = ("José", unicodedata.normalize("NFD", "josé"))
    stories = {
        party: {0: Persona(party, 0, name, "s")} for party, name in zip(("republican", "democrat"), names, strict=True)
    }
    default = DefaultAgentSettings(label="D", story="You are.", colour="#000000", names=("Kim",))
    with pytest.raises(SettingsError, match="two agents of one debate would be called José"):
        seated(composition("republican", "democrat"), default).agents("racism", [0, 0], stories)


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
        ("You are Annabel. " + "You vote as you like. " * 5, "does not have the name"),
        ("You are Bob, called Ann by some. " + "You vote as you like. " * 5, "is about Bob"),
        ("I am Ann. " + "I vote as I like. " * 5, "does not say 'you'"),
        ("You are Ann. " + "You vote as you like. " * 5, None),
    ],
)
def test_a_story_needs_length_the_right_name_and_the_second_person(story: str, flaw: str | None) -> None:
    assert personas.flaw(story, "Ann", ["Ann", "Bob"], "en") == flaw


GERMAN = (
    "Du bist {}, eine Wählerin aus Köln. Du arbeitest seit Jahren in einem Krankenhaus, und dein Vater war ein Bäcker. "
)
FORMAL = (
    "Liebe Frau, heute sind Sie {} aus Köln. Seit Jahren arbeiten Sie in einer Klinik, und früher war Ihr Vater dort."
)
CHINESE = (
    "你叫{}，是一名来自成都的选民。你在医院工作了很多年，你的父亲是一位面包师。生活教会你，种族主义是一个很大的问题。"
)
THAI = "คุณคือชูศรีเป็นผู้มีสิทธิเลือกตั้งจากเชียงใหม่ คุณทำงานในโรงพยาบาลมาหลายปี และพ่อของคุณเป็นคนทำขนมปัง"
HINDI = "आप {0} हैं और लखनऊ में रहती हैं। आप अस्पताल में काम करती हैं। आपके पिता एक नानबाई थे और आप {0} कहलाती हैं।"
ENGLISH = (
    "You are {}. You vote as you like, and so did your father, and you have lived in your town for all of your life."
)


@pytest.mark.parametrize(
    ("story", "name", "language", "flaw"),
    [
        (GERMAN.format("Ann"), "Ann", "de", None),
        (FORMAL.format("Ann"), "Ann", "de", None),
        (GERMAN.format("Bob") + "Ann ist deine Mutter.", "Ann", "de", "is about Bob"),
        (
            "Ich heiße Ann. " + "Ich wähle, was mir gefällt, und mein Vater auch. " * 3,
            "Ann",
            "de",
            "does not say 'you'",
        ),
        (GERMAN.format("Ann"), "Ann", "en", "does not say 'you'"),
        (GERMAN.format("Ann"), "Ann", "nl", None),
        (GERMAN.format("Ann"), "Ann", None, None),
        (CHINESE.format("王伟"), "王伟", "zh", None),
        (CHINESE.format("李娜") + "王伟是你的朋友。", "王伟", "zh", "is about 李娜"),
        (CHINESE.format("王伟").replace("你", "我"), "王伟", "zh", "does not say 'you'"),
        ("你叫王伟。", "王伟", "zh", "is empty or nearly so"),
        (THAI, "ชูศรี", "th", None),
        (HINDI.format("प्रिया"), "प्रिया", "hi", None),
        (HINDI.format("प्रियांका"), "प्रिया", "hi", "does not have the name"),
        (ENGLISH.format("Martin Jr."), "Martin Jr.", "en", None),
        (ENGLISH.format("Martin Jr"), "Martin Jr.", "en", None),
        (ENGLISH.format("Mark"), "Mark Thompson", "en", None),
        (ENGLISH.format("Mark Thompson"), "Mark", "en", "is about Mark Thompson"),
        (ENGLISH.format("José"), unicodedata.normalize("NFD", "José"), "en", None),
        (ENGLISH.format(unicodedata.normalize("NFD", "José")), "José", "en", None),
        (ENGLISH.format("A.*"), "A.*", "en", None),
        (ENGLISH.format("Abc"), "A.*", "en", "does not have the name"),
    ],
)
def test_a_story_is_checked_by_the_rules_of_its_language(
    story: str, name: str, language: str | None, flaw: str | None
) -> None:
    everybody = ["Ann", "Bob", "王伟", "李娜", "ชูศรี", "Martin Jr.", "Mark", "Mark Thompson", "José", "A.*"]
    assert personas.flaw(story, name, everybody, language) == flaw


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
