"""What the others hear of a reply: no names of speakers in any script, no turns of others, no quotes around it."""

import unicodedata

import pytest

from hustings.debate.speech import clean, whole_sentences

CLEANED = {
    "I agree.": "I agree.",
    "Ann: I agree.": "I agree.",
    "  Ann : I agree.": "I agree.",
    "**Ann:** I agree.": "I agree.",
    "**Ann**: I agree.": "I agree.",
    '"Ann: I agree."': "I agree.",
    "Ann: Ann: I agree.": "I agree.",
    "ANN: I agree.": "I agree.",
    "Ann：I agree.": "I agree.",
    "[Ann]: I agree.": "I agree.",
    "### Ann:\nI agree.": "I agree.",
    "Ann (thinking): I agree.": "I agree.",
    "\u200fAnn\u200f: I agree.": "I agree.",
    "Ann: *nods* I agree.": "*nods* I agree.",
    "Annabel: I agree.": "Annabel: I agree.",
    "Ann, you say? Ann: yes": "Ann, you say? Ann: yes",
    "I agree.\nBob: I do not.": "I agree.",
    "I agree.\n\n**Bob:** I do not.": "I agree.",
    "I agree.\nBob (smiling): I do not.": "I agree.",
    "I agree.\nBob (Democrat)：I do not.": "I agree.",
    "I agree.\r\nBob: I do not.": "I agree.",
    "I agree.\u2028bob: I do not.": "I agree.",
    "I agree.\nModerator: Thank you.": "I agree.",
    "I agree.\nAnn: And more.\nBob: No.": "I agree.",
    "I agree.\nEve: No.": "I agree.",
    "I told Bob: never again.": "I told Bob: never again.",
    "I agree.\nBobby: is my dog.": "I agree. Bobby: is my dog.",
    "Bob: I am Bob.": "",
    "Moderator: Welcome.": "",
    "": "",
    " \n\t": "",
    "Ann:": "",
    '"I agree."': "I agree.",
    "“I agree.”": "I agree.",
    "Ann: “I agree.”": "I agree.",
    "„Ja.“": "Ja.",
    "«\u202fOui.\u202f»": "Oui.",
    "「はい」": "はい",
    "“She said “no” to me.”": "She said “no” to me.",
    "“”": "",
    '"Yes" and "no"': '"Yes" and "no"',
    "“Well,” I said, “no.”": "“Well,” I said, “no.”",
    "„Ja“, sagte ich, „nein.“": "„Ja“, sagte ich, „nein.“",
    "“Well, he said “no.”": "“Well, he said “no.”",
    '"': '"',
    "I\nagree\n\nwith   you.": "I agree with you.",
}


@pytest.mark.parametrize(("text", "heard"), CLEANED.items(), ids=[repr(text) for text in CLEANED])
def test_a_reply_is_heard_without_names_quotes_and_other_speakers(text: str, heard: str) -> None:
    assert clean(text, "Ann", ["Ann", "Bob", "Eve (Jr.)"]) == heard


@pytest.mark.parametrize("text", CLEANED)
def test_a_clean_reply_stays_as_it_is(text: str) -> None:
    heard = clean(text, "Ann", ["Ann", "Bob"])
    assert clean(heard, "Ann", ["Ann", "Bob"]) == heard


EVERYBODY = [
    "Mark Thompson",
    "Ashley O'Brien",
    "Martin Jr.",
    "José",
    "प्रिया",
    "ชูศรี",
    "王小明",
    "محمد علي",
    "Dr: Lee",
    "A.*",
]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *(
            ("Mark Thompson", it)
            for it in ("Mark", "Thompson", "**Mark**", "Mark Thompson (Republican)", "mark thompson")
        ),
        ("Ashley O'Brien", "O’Brien"),
        ("Ashley O'Brien", "Ashley"),
        ("Martin Jr.", "Martin"),
        ("Martin Jr.", "Martin Jr"),
        ("José", unicodedata.normalize("NFD", "José")),
        (unicodedata.normalize("NFD", "José"), "José"),
        ("प्रिया", "प्रिया"),
        ("ชูศรี", "ชูศรี"),
        ("王小明", "王小明"),
        ("王小明", "小明"),
        ("محمد علي", "محمد"),
        ("Dr: Lee", "Dr: Lee"),
        ("A.*", "A.*"),
        ("Mary Jane Watson", "Mary Watson"),
    ],
)
@pytest.mark.parametrize("colon", [":", " :", "："])
def test_a_name_in_any_script_or_a_part_of_it_marks_a_turn(name: str, label: str, colon: str) -> None:
    everybody = [*EVERYBODY, "Mary Jane Watson"]
    assert clean(f"{label}{colon} Well, no.", name, everybody) == "Well, no."
    assert clean(f"Well, no.\n{label}{colon} Yes.", "Kim", ["Kim", *everybody]) == "Well, no."


def test_a_name_that_is_anothers_whole_name_is_not_its_owners() -> None:
    assert clean("Mark: Yes.", "Mark Thompson", ["Mark", "Mark Thompson"]) == ""
    assert clean("Thompson: Yes.", "Mark Thompson", ["Mark", "Mark Thompson", "Ann Thompson"]) == "Yes."
    assert clean("Annabel: Yes.", "Ann", ["Ann", "Annabel"]) == ""


def test_a_label_that_the_prompt_asks_for_is_left_out_and_other_words_are_kept() -> None:
    assert clean("Me: Yes.", "Ann", ["Ann", "Bob"], "Me:") == "Yes."
    assert clean("**Me:** Yes.", "Ann", ["Ann", "Bob"], "Me:") == "Yes."
    assert clean("As a voter, I agree.", "Ann", ["Ann", "Bob"], "As a voter,") == "As a voter, I agree."


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("I agree. We mu", "I agree."),
        ("我同意。我们必", "我同意。"),
        ("“好。”我说", "“好。”"),
        ("मैं सहमत हूँ। हमें", "मैं सहमत हूँ।"),
        ("هل توافق؟ يجب", "هل توافق؟"),
        ("ฉันเห็นด้วย", "ฉันเห็นด้วย"),
    ],
)
def test_sentences_end_as_they_do_in_their_script(text: str, whole: str) -> None:
    assert whole_sentences(text) == whole
