"""Transcripts as the page's script wants them: whole debates, sampled where there are too many for one page."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hustings.runfolder import DebateKey
from hustings.study import Study

if TYPE_CHECKING:
    import pandas as pd

INVALID = 200
"""Invalid answers that are quoted for each run."""
_ROW = 24
"""Characters of a row of JSON beside its text."""
_DEBATE = ["topic", "repetition"]


@dataclass(frozen=True, slots=True)
class Transcripts:
    """A sample of a study's debates, and counts over all of them."""

    debates: list[dict[str, Any]]
    """`key`, and `agents`, `surveys` and `replies` as `_agent`, `_surveys` and `_replies` list them."""
    stories: list[str]
    """Each life story once; agents refer to them by position."""
    counts: Counter[str]
    """Debates, replies, reply tokens, invalid answers, and replies by how they finished."""
    invalid: list[list[Any]]
    """The first invalid answers: debate, iteration, role, name, item, text."""


def transcripts(study: Study, budget: int) -> Transcripts:
    """Take as many whole debates as the budget allows, the same ones each time.

    Args:
        budget: characters; at least one debate is taken.
    """
    chosen = _sample(study, budget)
    debates = {
        key: {"key": str(key), "agents": [], "surveys": [], "replies": []}
        for key in sorted(chosen, key=lambda key: (key.topic, key.repetition))
    }
    stories: dict[str, int] = {}
    for key, rows in _by_debate(study, study.agents, chosen):
        debates[key]["agents"] = _agents(study, rows, stories)
    for key, rows in _by_debate(study, study.replies, chosen):
        debates[key]["replies"] = rows[["iteration", "agent", "text", "finish"]].to_numpy(object).tolist()
    for key, rows in _by_debate(study, _surveys(study), chosen):
        debates[key]["surveys"] = rows[["iteration", "agent", "score", "expected", "items"]].to_numpy(object).tolist()
    return Transcripts(list(debates.values()), list(stories), _counts(study), _invalid(study))


def _sample(study: Study, budget: int) -> set[DebateKey]:
    """Debates in the order of their keys' hashes, up to the budget."""
    sizes: Any = study.agents.groupby(_DEBATE).size() * 0  # debates without a reply are debates too
    for table, text in ((study.replies, "text"), (study.attitudes, "raw")):
        sizes = sizes.add((table[text].str.len() + _ROW).groupby([table[it] for it in _DEBATE]).sum(), fill_value=0)
    keys = {_key(study, topic, repetition): size for (topic, repetition), size in sizes.items()}
    chosen: set[DebateKey] = set()
    for key in sorted(keys, key=lambda key: hashlib.sha256(str(key).encode()).digest()):
        budget -= int(keys[key])
        if budget < 0 and chosen:
            break
        chosen.add(key)
    return chosen


def _key(study: Study, topic: Any, repetition: Any) -> DebateKey:
    return DebateKey(str(topic), study.design["composition"]["name"], int(repetition))


def _by_debate(study: Study, table: "pd.DataFrame", chosen: set[DebateKey]) -> "list[tuple[DebateKey, pd.DataFrame]]":
    """The rows of each chosen debate."""
    keys = [_key(study, topic, repetition) for topic, repetition in zip(*(table[it] for it in _DEBATE), strict=True)]
    mine: Any = table[[key in chosen for key in keys]]
    return [(_key(study, *place), rows) for place, rows in mine.groupby(_DEBATE, sort=False)]


def _agents(study: Study, rows: "pd.DataFrame", stories: dict[str, int]) -> list[list[Any]]:
    """Role, persona, name, position of the story, whether it speaks, whom it hears, what it runs on.

    The last two are None where they go without saying: everybody hears everybody, all agents run on the same.
    """
    ring = study.design["topology"]["name"] != "round_robin"
    mixed = rows["runs_on"].nunique() > 1
    return [
        [
            agent["role"],
            agent["persona"],
            agent["name"],
            stories.setdefault(agent["story"], len(stories)),
            bool(agent["speaks"]),
            _heard(agent["hears"]) if ring else None,
            agent["runs_on"] if mixed else None,
        ]
        for agent in rows.sort_values("agent").to_dict("records")
    ]


def _heard(hears: str) -> Any:
    """`all`, or positions."""
    return hears if hears == "all" else [int(place) for place in hears.split()]


def _surveys(study: Study) -> "pd.DataFrame":
    """One row for each agent and survey: attitude, expected attitude, and the answer to each item.

    Returns:
        Columns topic, repetition, iteration, agent, score, expected (None where there is none), and items: value and
        text of every item, in the order of the instrument.
    """
    import pandas as pd

    items = {name: place for place, name in enumerate(study.design["instrument"]["items"])}
    table = study.attitudes.sort_values(["topic", "repetition", "iteration", "agent"], kind="stable")
    answers: dict[tuple[Any, ...], list[Any]] = {}
    columns = ("topic", "repetition", "iteration", "agent", "item", "score", "raw")
    for *place, item, score, raw in zip(*(table[column] for column in columns), strict=True):
        answers.setdefault(tuple(place), [None] * len(items))[items[item]] = [number(score), raw]
    surveys = pd.DataFrame(answers.keys(), columns=list(columns[:4])).astype({"repetition": int, "agent": int})
    surveys["items"] = pd.Series(list(answers.values()), dtype=object)
    for outcome in ("score", "expected"):
        known = study.attitudes[outcome].notna().any()
        values = study.analysed_as(outcome).answers["value"] if known else [None] * len(surveys)
        surveys[outcome] = pd.Series([number(value) for value in values], dtype=object)
    return surveys


def number(value: Any) -> float | int | None:
    """A value with two decimals at most; None where it is missing."""
    if value is None or value != value:
        return None
    rounded = round(float(value), 2)
    return int(rounded) if rounded.is_integer() else rounded


def _counts(study: Study) -> Counter[str]:
    counts = Counter[str](study.replies["finish"].tolist())
    counts["debates"] = len(study.agents.drop_duplicates(_DEBATE))
    counts["replies"] = len(study.replies)
    counts["tokens"] = int(study.replies["tokens"].sum())
    counts["invalid"] = int((~study.attitudes["valid"].astype(bool)).sum())
    return counts


def _invalid(study: Study) -> list[list[Any]]:
    wrong = study.attitudes[~study.attitudes["valid"].astype(bool)].head(INVALID)
    seats = study.agents[[*_DEBATE, "agent", "name"]]
    rows = wrong.merge(seats, on=[*_DEBATE, "agent"], how="left")
    return [
        [str(_key(study, row["topic"], row["repetition"])), row["iteration"], row["role"], row["name"], row["item"],
         row["raw"]]
        for row in rows.to_dict("records")
    ]  # fmt: skip
