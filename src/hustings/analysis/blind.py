"""Replies without names and parties, for readers who must not know who is speaking.

It does not know who reads them (judges and annotators do).
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hustings import names

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

NAME, PARTY = "[name]", "[party]"
"""Placeholders for names and parties."""


def blind(study: "Study") -> "pd.Series":
    """The text of every reply, without the names of the agents in its debate and without party names.

    Nicknames for a party ("the GOP") are kept, and so is anything that only its voters would say.

    Returns:
        Texts, with the index of `study.replies`; empty text if the reply was empty.
    """
    import pandas as pd

    parties = _parties(study.design["society"]["parties"])
    people: dict[tuple[str, int], set[str]] = {}
    for topic, repetition, name in _cells(study.agents, ("topic", "repetition", "name")):
        people.setdefault((topic, repetition), set()).add(name)
    found = {place: re.compile(names.pattern(_called(each))) for place, each in people.items()}
    texts = [
        _without(parties, _without_names(found[topic, repetition], names.composed(text)))
        for topic, repetition, text in _cells(study.replies, ("topic", "repetition", "text"))
    ]
    return pd.Series(texts, index=study.replies.index, dtype=object)


def _cells(table: "pd.DataFrame", columns: Iterable[str]) -> Iterable[Any]:
    return zip(*(table[column].tolist() for column in columns), strict=True)


def _called(people: Iterable[str]) -> set[str]:
    """Every way to refer to these people: their full names, and parts of them."""
    return {part for name in people for part in names.parts(name)}


def _parties(parties: Mapping[str, Mapping[str, Any]]) -> re.Pattern[str]:
    """A pattern that matches the parties of a society and their voters."""
    words = {re.escape(party[key]) for party in parties.values() for key in ("label", "adjective")}
    return re.compile(rf"\b(?:{'|'.join(sorted(words, key=len, reverse=True))})(?:s|ic|an|ans)?\b")


def _without_names(known: re.Pattern[str], text: str) -> str:
    return known.sub(lambda it: NAME if names.ends_at(text, it.start(), it.end()) else it[0], text)


def _without(words: re.Pattern[str], text: str) -> str:
    return words.sub(PARTY, text)
