"""What stands in prompts: golden texts of the paper's templates, and refusals of broken ones."""

import pytest
from helpers import settings

from hustings.debate.instrument import Instrument
from hustings.debate.play import Debate, Rules
from hustings.debate.prompts import Prompts
from hustings.engine.base import Request
from hustings.errors import SettingsError
from hustings.records import Agent, Reply, Start

ANN = Agent(role="republican", persona="republican/00", name="Ann", story="You are Ann.\nYou vote.")


def prompts(**changes: str) -> Prompts:
    return Prompts(settings().prompt.model_copy(update=changes))


def survey_of(prompt: str) -> str:
    of = settings(f"prompt={prompt}", "topic=racism")
    return Instrument(of.instrument, of.prompt.scale).question("severity", 0, "racism", of.topics["racism"])


def asked(prompt: str, *said: str) -> Request:
    """What Ann is asked for her next reply, after Ann and Bob have spoken in turns."""
    of = settings(f"prompt={prompt}", "topic=racism")
    bob = ANN.model_copy(update={"name": "Bob"})
    debate = Debate(Start(debate="racism/x/0000", agents=(ANN, bob), first=0), Rules.of(of))
    for place, text in enumerate(said):
        debate.apply(Reply(debate=debate.key, iteration=place + 1, agent=place % 2, text=text, tokens=1, finish="stop"))
    (reply,) = [it for it in debate.due() if it.turn.purpose == "reply"]
    return reply


QUESTION = "How big a problem do you think racism is in the country today? Answer with one number from 0"


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("paper", f"{QUESTION} (not a problem at all) to 10 (a very big problem)."),
        ("conversation", f"{QUESTION} (not a problem at all) to 10 (a very big problem)."),
        ("reversed_scale", f"{QUESTION} (a very big problem) to 10 (not a problem at all)."),
    ],
)
def test_the_survey_asks_for_a_number_and_says_what_its_ends_mean(prompt: str, asked: str) -> None:
    assert survey_of(prompt) == asked


@pytest.mark.parametrize("prompt", ["paper", "conversation", "reversed_scale"])
def test_a_prompt_has_story_topic_and_conversation_in_this_order_and_the_instruction_last(prompt: str) -> None:
    request = asked(prompt, "Good evening.", "Hello.")
    text = request.prompt
    assert request.start == "Ann:"
    assert text.startswith("You are Ann.\nYou vote.\n\nYour name is Ann.")
    assert text.index("about racism") < text.index("Ann: Good evening.\nBob: Hello.\n\nAnn, it is your turn to speak.")
    assert text.endswith("and nothing else.")


def test_a_conversation_prompt_never_says_debate() -> None:
    text = asked("conversation").prompt + survey_of("conversation")
    assert "conversation" in text
    assert "debate" not in text


def test_nobody_has_spoken_before_the_first_reply() -> None:
    assert "(Nobody has spoken yet.)" in asked("paper").prompt


@pytest.mark.parametrize("party", ["republican", "democrat"])
def test_the_persona_prompt_holds_the_name_the_party_and_every_position(party: str) -> None:
    of = settings()
    prompt, start = Prompts(of.prompt).persona(of.society.parties[party], "Zoe", of.society.country)
    for text in (prompt, start):
        assert f"a committed {of.society.parties[party].adjective} voter in the United States" in text
        assert all(stance.position in text for stance in of.society.parties[party].stances.values())
    assert prompt.startswith("Write the life story of Zoe")
    assert start.startswith("You are Zoe")


def test_a_template_that_does_not_compile_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^prompt\.reply: .*does not compile.*conf/prompt/paper\.yaml\.$"):
        prompts(reply="{{ name }")


def test_a_template_with_an_unknown_variable_is_told_which_there_are() -> None:
    with pytest.raises(SettingsError, match=r"^prompt\.reply: .*'nme' is undefined.*it may use name, topic; correct"):
        prompts(reply="{{ nme }}").reply(ANN, settings("topic=racism").topics["racism"])


def test_text_in_a_reply_is_never_taken_for_a_template() -> None:
    text = "{{ story }} {% raw %} <b>&</b>"
    assert f"Ann: {text}\nBob: {text}" in asked("paper", text, text).prompt
