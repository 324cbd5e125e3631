"""Rules for some languages that check how long a life story is, whom it addresses and whom it is about.

It does not know whose story it is. A society names its language in `society.language`; add yours to `LANGUAGES`.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """Words that distinguish a story that addresses its person from one told by that person."""

    you: re.Pattern[str]
    """Words for the person addressed."""
    me: re.Pattern[str]
    """Words for the person who speaks."""
    introduction: str
    """A regular expression for the words right before the name of the person a story is about."""
    word: re.Pattern[str] = re.compile(r"\S+")


LANGUAGES = {
    "en": Language(
        you=re.compile(r"\b(?:you|you['’]re|you['’]ve|your|yours)\b", re.IGNORECASE),
        me=re.compile(r"\b(?:I|I['’]m|I['’]ve|me|my|mine)\b"),
        introduction=r"(?:\b[Yy]ou are|\b[Yy]ou['’]re|\bname is|\bnamed|\bcalled)\s+",
    ),
    "de": Language(
        you=re.compile(r"\b(?:[Dd]u|[Dd]ich|[Dd]ir|[Dd]eine?[mnrs]?|(?<=[a-zäöüß,] )(?:Sie|Ihnen|Ihre?[mnrs]?))\b"),
        me=re.compile(r"\b(?:ich|mich|mir|meine?[mnrs]?)\b", re.IGNORECASE),
        introduction=r"(?:\b[Dd]u bist|\bSie sind|\b(?:[Dd]u heißt|Sie heißen)|\bName ist|\bnamens)\s+",
    ),
    "zh": Language(
        you=re.compile("[你您]"),
        me=re.compile("我"),
        introduction=r"(?:[你您]是|[你您]叫|名叫|名字是)\s*",
        word=re.compile(r"\w{1,2}"),
    ),
}
"""Rules by language code (ISO 639-1). In any other language, a story may have any length and address anybody."""
