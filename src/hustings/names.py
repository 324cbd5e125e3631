"""People's names in any script: when two are the same, where one occurs in a text, and what its parts are.

It does not know whose names they are.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable

_APOSTROPHES = "['’ʼ]"
_SHORT = 2
"""The fewest letters or digits with which a part of a name can stand for the whole."""
_GIVEN = {3: 1, 4: 2}
"""Where the given name begins in a Chinese, Japanese or Korean name without a space, by length of the name."""


def composed(text: str) -> str:
    """The text in a single Unicode form: 'é' becomes one character, however it was typed."""
    return unicodedata.normalize("NFC", text)


def key(name: str) -> str:
    """A key that equal names share, however their accents, apostrophes, spaces and final full stop are typed."""
    plain = " ".join(composed(composed(name).casefold()).split())
    return re.sub(_APOSTROPHES, "'", plain).rstrip(".,") or plain


def on_one_line(name: str) -> bool:
    """Whether a name can precede what somebody says: visible, and without line breaks or broken characters."""
    return bool(name.strip()) and all(unicodedata.category(it) not in ("Cc", "Cs", "Zl", "Zp") for it in name)


def parts(name: str) -> list[str]:
    """What a person may be called: the whole name first, then its parts ("Mary", "Watson", "Mary Watson")."""
    words = composed(name).split()
    if not words:
        return []
    spans = [(start, end) for start in range(len(words)) for end in range(start + 1, len(words) + 1)]
    called = [words[start:end] for start, end in spans] + [[words[0], words[-1]] for _ in words[2:]]
    given = _GIVEN.get(len(words[0]))
    if len(words) == 1 and given and all(_ideographic(it) for it in words[0]):
        called.append([words[0][given:]])
    known = [" ".join(it) for it in called if sum(map(str.isalnum, "".join(it))) >= _SHORT]
    return list(dict.fromkeys([" ".join(words), *known]))


def pattern(names: Iterable[str]) -> str:
    """A regular expression for any of these names in composed text, longest first, wherever they end.

    Words may be separated by any space, apostrophes may be curly, and a final full stop is optional.
    """
    return "|".join(map(_spelled, sorted(names, key=len, reverse=True))) or "(?!)"


def _spelled(name: str) -> str:
    stem = name.rstrip(".,") or name
    end = "[.,]?" if stem != name else ""
    return (
        r"[^\S\n]+".join(re.sub(_APOSTROPHES, _APOSTROPHES, re.escape(word)) for word in composed(stem).split()) + end
    )


@functools.lru_cache(maxsize=4096)
def _anywhere(name: str) -> re.Pattern[str]:
    words = composed(name).split()
    enough = [" ".join(words), *words[:1], *words[-1:]]
    return re.compile(pattern(it for it in parts(name) if it in enough), re.IGNORECASE)


def stands_in(name: str, text: str) -> bool:
    """Whether a name, or its first or last part, occurs in a text as whole words: "Ann" is not found in "Annabel"."""
    text = composed(text)
    return any(ends_at(text, it.start(), it.end()) for it in _anywhere(name).finditer(text))


def ends_at(text: str, start: int, end: int) -> bool:
    """Whether a name from `start` to `end` is not part of a longer word.

    Only scripts with upper and lower case reliably put spaces between words; in others, a name may be followed by a
    letter of the next word ("ชูศรีเป็น"), but not by a mark that changes its last letter.
    """
    before, after = text[start - 1 : start], text[end : end + 1]
    cut = _lettered(before) and _lettered(text[start])
    longer = (_lettered(after) and _lettered(text[end - 1])) or unicodedata.category(after or " ").startswith("M")
    return not cut and not longer


def _lettered(character: str) -> bool:
    return character.lower() != character.upper() or character.isdigit()


def _ideographic(character: str) -> bool:
    return unicodedata.name(character, "").startswith(("CJK UNIFIED", "HANGUL SYLLABLE", "HIRAGANA", "KATAKANA"))
