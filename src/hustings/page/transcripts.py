"""Transcripts in the form that the page's script needs: whole debates, sampled if there are too many for one page."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.runfolder import DebateKey
from hustings.study import Outcome, Study

if TYPE_CHECKING:
    import pandas as pd

INVALID = 200
"""The most invalid answers quoted for each run."""
_ROW = 24
"""Characters that a JSON row needs besides its text."""
_LOOKED_AT = 1000
"""How many debates are measured at a time, until no more fit."""
_DEBATE = ["topic", "repetition"]
_Place = tuple[str, int]
"""Topic and repetition, which identify a debate because a study has only one composition."""
_UNMARKED: Mapping[tuple[str, int, int], Any] = {}


@dataclass(frozen=True, slots=True)
class Transcripts:
    """A sample of a study's debates, and counts over all of them."""

    debates: list[dict[str, Any]]
    """`key`; `agents` as in `_agents`; `reads`: key of the debate that they read, or None; `surveys` as in `_surveys`;
    `replies`: iteration, agent, text, finish, the full generated text if it was shortened, and the judge's mark
    (page.talk) if there is one."""
    stories: list[str]
    """Each distinct life story; agents refer to them by position."""
    counts: Counter[str]
    """Counts: debates, replies, reply tokens, invalid answers, replies by how they finished, and shortened replies."""
    invalid: list[list[Any]]
    """The first invalid answers: debate, iteration, role, name, item, text."""


def transcripts(study: Study, budget: int, marks: Mapping[tuple[str, int, int], Any] = _UNMARKED) -> Transcripts:
    """Select as many whole debates as fit the budget, the same ones each time.

    Args:
        budget: characters; at least one debate is selected.
        marks: a judge's marks, by topic, repetition and iteration.
    """
    chosen = _sample(study, budget)
    few = _only(study, chosen)
    debates: dict[_Place, dict[str, Any]] = {
        place: {"key": _key(study, place), "reads": None, "agents": [], "surveys": [], "replies": []}
        for place in sorted(chosen)
    }
    for place, (reads,) in _rows(few.agents, ("reads",)):
        debates[place]["reads"] = reads or None
    stories: dict[str, int] = {}
    for place, agent in _agents(few, stories):
        debates[place]["agents"].append(agent)
    for place, (*reply, full) in _rows(few.replies, ("iteration", "agent", "text", "finish", "full")):
        mark = marks.get((*place, reply[0]))
        debates[place]["replies"].append([*reply, full if isinstance(full, str) else None, mark])
    for place, survey in _surveys(few):
        debates[place]["surveys"].append(survey)
    return Transcripts(list(debates.values()), list(stories), _counts(study), _invalid(study))


def _key(study: Study, place: _Place) -> str:
    return str(DebateKey(place[0], study.design["composition"]["name"], place[1]))


def _sample(study: Study, budget: int) -> set[_Place]:
    """Debates ordered by the hash of their key, until the budget is full; a shared life story counts only once."""
    debates: Any = study.agents[_DEBATE].drop_duplicates()
    places: list[_Place] = sorted(
        debates.itertuples(index=False, name=None),
        key=lambda place: hashlib.sha256(_key(study, place).encode()).digest(),
    )
    chosen: set[_Place] = set()
    told: set[str] = set()
    for begin in range(0, len(places), _LOOKED_AT):
        some = places[begin : begin + _LOOKED_AT]
        size, stories = _sizes(_only(study, some))
        for place in some:
            new = stories[place] - told
            budget -= size[place] + sum(len(story) + _ROW for story in new)
            if budget < 0 and chosen:
                return chosen
            chosen.add(place)
            told |= new
    return chosen


def _only(study: Study, chosen: Collection[_Place]) -> Study:
    """The study with only these debates."""
    repetitions: dict[str, list[int]] = {}
    for topic, repetition in chosen:
        repetitions.setdefault(topic, []).append(repetition)

    def rows(table: "pd.DataFrame") -> "pd.DataFrame":
        inside = [(table["topic"] == topic) & table["repetition"].isin(it) for topic, it in repetitions.items()]
        return table[np.logical_or.reduce(inside)]

    return replace(study, **{name: rows(getattr(study, name)) for name in ("attitudes", "replies", "agents")})


def _sizes(study: Study) -> tuple[dict[_Place, int], dict[_Place, set[str]]]:
    """Characters of each debate without its life stories, and the set of those stories."""
    sizes: Any = study.agents.groupby(_DEBATE).size() * 0  # a debate without replies still counts
    for table, text in ((study.replies, "text"), (study.replies, "full"), (study.attitudes, "raw")):
        characters = table[text].astype(object).str.len().fillna(0) + _ROW
        sizes = sizes.add(characters.groupby([table[it] for it in _DEBATE]).sum(), fill_value=0)
    size = {place: int(characters) for place, characters in sizes.items()}
    stories: dict[_Place, set[str]] = {}
    for topic, repetition, story in zip(*(study.agents[it].tolist() for it in (*_DEBATE, "story")), strict=True):
        stories.setdefault((topic, repetition), set()).add(story)
    return size, stories


def _rows(table: "pd.DataFrame", columns: Sequence[str]) -> Iterator[tuple[_Place, list[Any]]]:
    """The rows of each debate, as plain values."""
    for topic, repetition, *row in zip(*(table[it].tolist() for it in (*_DEBATE, *columns)), strict=True):
        yield (topic, repetition), row


def _agents(study: Study, stories: dict[str, int]) -> Iterator[tuple[_Place, list[Any]]]:
    """Role, persona, name, position of the story, whether it speaks, whom it hears, what it runs on, when surveyed.

    Whom it hears is None if everybody hears everybody; what it runs on is None if all agents run on the same model.
    """
    everybody = {*study.agents["hears"]} == {"all"}
    alike = study.agents["runs_on"].nunique() == 1
    columns = ("role", "persona", "name", "story", "speaks", "hears", "runs_on", "surveyed")
    for place, (*who, story, speaks, hears, runs_on, surveyed) in _rows(study.agents, columns):
        heard = None if everybody else hears if hears == "all" else [int(other) for other in hears.split()]
        known = stories.setdefault(story, len(stories))
        yield place, [*who, known, bool(speaks), heard, None if alike else runs_on, surveyed]


def _surveys(study: Study) -> Iterator[tuple[_Place, list[Any]]]:
    """Iteration, agent, score, expected attitude, and value and answer of each item in the order of the settings.

    Missing values are None: the score unless every item has a valid answer, the expected attitude without
    probabilities.
    """
    items = {name: place for place, name in enumerate(study.design["instrument"]["items"])}
    given: dict[tuple[_Place, int, int], list[Any]] = {}
    columns = ("iteration", "agent", "item", "score", "raw")
    for place, (iteration, agent, item, score, raw) in _rows(study.attitudes, columns):
        given.setdefault((place, iteration, agent), [None] * len(items))[items[item]] = [_short(score), raw]
    values = [_attitudes(study, outcome) for outcome in ("score", "expected")]
    for survey, answers in given.items():
        place, iteration, agent = survey
        yield place, [iteration, agent, *(value.get(survey) for value in values), answers]


def _attitudes(study: Study, outcome: Outcome) -> dict[tuple[_Place, int, int], float | None]:
    """Attitudes by debate, iteration and agent; empty if the engine did not give this outcome."""
    if outcome not in study.outcomes:
        return {}
    rows = _rows(study.analysed_as(outcome).answers, ("iteration", "agent", "value"))
    return {(place, iteration, agent): _short(value) for place, (iteration, agent, value) in rows}


def _short(value: Any) -> float | int | None:
    """A value rounded to two decimals; None if it is missing."""
    if value is None or value != value:
        return None
    rounded = round(float(value), 2)
    return int(rounded) if rounded.is_integer() else rounded


def _counts(study: Study) -> Counter[str]:
    counts = Counter[str](study.replies["finish"].tolist())
    counts["debates"] = len(study.agents.drop_duplicates(_DEBATE))
    counts["replies"] = len(study.replies)
    counts["tokens"] = int(study.replies["tokens"].sum())
    counts["shortened"] = int(study.replies["full"].notna().sum())
    counts["invalid"] = int((~study.attitudes["valid"].astype(bool)).sum())
    return counts


def _invalid(study: Study) -> list[list[Any]]:
    wrong = study.attitudes[~study.attitudes["valid"].astype(bool)].head(INVALID)
    rows: Any = wrong.merge(study.agents[[*_DEBATE, "agent", "name"]], on=[*_DEBATE, "agent"], how="left")
    quoted = rows[[*_DEBATE, "iteration", "role", "name", "item", "raw"]].to_numpy(object).tolist()
    return [[_key(study, (topic, repetition)), *row] for topic, repetition, *row in quoted]
