"""What went wrong in agents' answers: replies cut at the limit, unreadable survey answers, and broken character."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.measures import has, parties, topics
from hustings.analysis.resampling import INTERVAL, Floats, Numbers, bootstrap, few, generator, interval, ratio
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import evidence, share, where, whose
from hustings.settings.debate import DEFAULT, SHADOW

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

_AI = r"(?:an?|your) (?:ai\b|artificial intelligence|(?:large )?language model|(?:virtual|digital) assistant)"
DISCLAIMER = re.compile(rf"\b(?:as|i am|i['’]m|being|speaking as|i am just|i['’]m just) {_AI}", re.IGNORECASE)
"""What a reply contains when the model speaks as itself."""
REPLIES = f"share of replies; {INTERVAL}"
ANSWERS = f"share of survey answers; {INTERVAL}"


def conduct(study: "Study") -> Iterator[Row]:
    """Rows of truncated, invalid and disclaimer by topic and role (Source: protocol.md, statistics).

    n counts debates; the interval resamples debates and is missing if all of them have the same share.
    """
    import pandas as pd

    replies = study.replies if len(study.replies) else pd.DataFrame(columns=["topic", "role", "repetition", "finish",
                                                                             "text", "full"])  # fmt: skip
    whole = replies["full"].where(replies["full"].notna(), replies["text"]).astype(str)
    cut, broken = replies["finish"] == "length", whole.str.contains(DISCLAIMER)
    yield from _rows(study, "truncated", replies, cut)
    yield from _rows(study, "invalid", study.attitudes, ~study.attitudes["valid"].astype(bool))
    yield from _rows(study, "disclaimer", replies, broken)


def _rows(study: "Study", name: str, table: "pd.DataFrame", hit: "pd.Series") -> Iterator[Row]:
    """Rows with the share of hits among a table's rows."""
    survey = name == "invalid"
    method, nobody = (ANSWERS, "no agent of this role took part") if survey else (REPLIES, "nobody of this role spoke")
    for topic in topics(study):
        others = [role for role in (DEFAULT, SHADOW) if has(study, role) and (survey or role != SHADOW)]
        for role in [*parties(study, topic), *others]:
            mine: Any = (table["topic"] == topic) & (table["role"] == role)
            groups: Any = hit[mine].groupby(table.loc[mine, "repetition"])
            hits, asked = np.asarray(groups.sum(), dtype=np.float64), np.asarray(groups.count(), dtype=np.float64)
            n = len(asked)
            if n == 0:
                yield Row(name, topic, role, 0, method, nobody)
                continue
            numbers: Numbers = {"estimate": float(hits.sum() / asked.sum())}
            if np.ptp(hits / asked) > 0:
                samples = bootstrap(generator(study.seed, name, topic), n, partial(_shares, hits, asked))
                numbers["ci_low"], numbers["ci_high"] = interval(samples, n)
            yield Row(name, topic, role, n, method, few(n) if "ci_low" in numbers else "", **numbers)


def _shares(hits: Floats, asked: Floats, weights: Floats) -> Floats:
    return ratio(weights @ hits, weights @ asked)


def _said(what: str, of: str) -> Any:
    def sentence(row: Row, labels: Mapping[str, str]) -> str:
        return f"{share(row)} of {whose(row, labels)} {of} on {where(row, labels)} {what} ({evidence(row)})"

    return sentence


STATISTICS = (
    Statistic(
        name="truncated",
        title="the share of replies cut at the token limit",
        about="How many replies were cut at the token limit?",
        function=conduct,
        sentence=_said("were cut at the token limit", "replies"),
        order=80,
    ),
    Statistic(
        name="invalid",
        title="the share of invalid answers",
        about="How many survey answers could not be used?",
        function=conduct,
        sentence=_said("were invalid", "answers"),
        order=81,
    ),
    Statistic(
        name="disclaimer",
        title="the share of replies in which the model speaks for itself",
        about="How many replies say that an AI speaks?",
        function=conduct,
        sentence=_said("said that an AI speaks", "replies"),
        order=82,
    ),
)
