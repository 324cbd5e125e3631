"""Strips everything around what an agent said (speaker names, others' turns, quotes), in the same way for all engines.

It does not know about debates.
"""

import functools
import re
from collections.abc import Iterable
from itertools import accumulate

from hustings import names

_STRANGERS = ("Moderator", "Host", "Interviewer", "Narrator", "User", "Assistant")
_QUOTES = (('"', '"'), ("“", "”"), ("„", "“"), ("„", "”"), ("«", "»"), ("»", "«"), ("「", "」"), ("『", "』"))
_OPENING = "".join(dict.fromkeys(opening for opening, _ in _QUOTES))
_COLONS = ":：﹕"
_HIDDEN = "\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
"""Invisible marks of direction and width."""
_BEFORE = rf"[\s*_#>`\[{_HIDDEN}]*"
"""What may come before a speaker's name: emphasis, a heading, a bracket."""
_BEHIND = rf"(?:[^\S\n]|[*_`\]{_HIDDEN}])*"
_AFTER = rf"{_BEHIND}(?:[(（\[][^()（）\n]*[)）\]]{_BEHIND})?[{_COLONS}]"
"""What may come between a speaker's name and the colon: "(smiling)", or the party."""
_SENTENCE_END = re.compile(r"[.!?؟۔।॥][\"'”“’»«)\]]*(?=\s|$)|[。！？｡][」』”’»）]*")


def whole_sentences(text: str) -> str:
    """A text without a sentence that was cut off at its end; the whole text if that is its only sentence."""
    ends = list(_SENTENCE_END.finditer(text))
    return text[: ends[-1].end()] if ends else text


def clean(text: str, name: str, everybody: Iterable[str], start: str = "") -> str:
    """A reply as the others hear it: without the speaker's own name, cut where somebody else begins to speak.

    Args:
        name: the speaker's name; a part of it may be used as well.
        everybody: names of all debaters; a part of one of them, followed by a colon, begins another turn.
        start: words that the reply was asked to begin with; a label such as "Me:" is removed like the name.
    """
    reply = "\n".join(names.composed(text).splitlines())
    if any(colon in reply for colon in _COLONS):  # without a colon there is no label
        own, other = _labels(name, tuple(sorted({*everybody, name})), start)
        reply = own.sub(r"\g<quote>", reply)
        turn = other.search(reply)
        reply = reply[: turn.start()] if turn else reply
    reply = " ".join(reply.split())
    while (inside := _inside_quotes(reply)) is not None:
        reply = inside
    return reply


@functools.lru_cache(maxsize=1024)
def _labels(name: str, everybody: tuple[str, ...], start: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns for what marks the speaker's own turn at the start of a reply, and anybody's at the start of a line."""
    others = {names.key(it) for it in everybody} - {names.key(name)}
    mine = [it for it in names.parts(name) if names.key(it) not in others]
    stem = start.rstrip()
    if stem.endswith(tuple(_COLONS)):
        mine.append(stem.rstrip(_COLONS).strip() or name)
    anybody = [*(part for it in everybody for part in names.parts(it)), *_STRANGERS]
    quote = rf"(?P<quote>[{_OPENING}]?)"
    return (
        re.compile(rf"^{_BEFORE}{quote}(?:{_BEFORE}(?:{names.pattern(mine)}){_AFTER}[*_]*\s*)+", re.IGNORECASE),
        re.compile(rf"(?:^|\n){_BEFORE}(?:{names.pattern(anybody)}){_AFTER}", re.IGNORECASE),
    )


def _inside_quotes(text: str) -> str | None:
    """The text inside quotes that enclose the whole text; None if there are none.

    The last character must close the first quote: “Well,” I said, “no.” has two pairs.
    """
    for opening, closing in _QUOTES:
        if len(text) < 2 or not (text.startswith(opening) and text.endswith(closing)):
            continue
        if opening == closing:
            whole = text.count(opening) == 2
        else:
            depths = accumulate((it == opening) - (it == closing) for it in text)
            whole = next((place for place, depth in enumerate(depths) if depth == 0), -1) == len(text) - 1
        if whole:
            return text[1:-1].strip()
    return None
