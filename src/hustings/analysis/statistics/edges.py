"""Where attitudes lie on the scale: floor and ceiling, the persona check, and agents compared with people."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hustings.analysis.measures import at, at_edges, has, last_iteration, of_role, parties, topics
from hustings.analysis.resampling import Floats, wilson
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import share, where, who
from hustings.settings.debate import DEFAULT, SHADOW

if TYPE_CHECKING:
    from hustings.study import Study

METHOD = "share of debates; 95 % Wilson interval"
AGENTS = "share of agents at iteration 0; 95 % Wilson interval"
TAKEN = 0.8
"""If the share of partisans on their own side is below this, the personas did not take hold."""
VERY_BIG = 0.75
"""Share of the scale from which an attitude counts as 'a very big problem': the highest of the poll's four answers."""

_MOMENTS: tuple[tuple[Literal["start", "end"], int], ...] = (("start", 0), ("end", -1))


def _moments(study: "Study", topic: str, role: str) -> Iterator[tuple[str, Floats, str]]:
    """`start` and `end`, with the role's attitudes at that moment, and the reason if there are none."""
    for moment, survey in _MOMENTS if last_iteration(study) else _MOMENTS[:1]:
        values = at(study, topic, role, survey)
        there = topic in study.panels and any(role == other for _, other in study.panels[topic].seats)
        why = "" if len(values) else "every answer was invalid" if there else "no agent of this role took part"
        yield moment, values, why


def edges(study: "Study") -> Iterator[Row]:
    """Rows of floor and ceiling by topic and role, at iteration 0 and at T (Source: protocol.md, floor, ceiling).

    Each is the share of debates in which the role's attitude is within 0.5 of 10 points of that end of the scale.
    """
    for place, name in enumerate(("floor", "ceiling")):
        for topic in topics(study):
            everybody = [*parties(study, topic), *(role for role in (DEFAULT, SHADOW) if has(study, role))]
            for role in everybody:
                for moment, values, why in _moments(study, topic, role):
                    if why:
                        yield Row(name, topic, role, 0, METHOD, why, at=moment)
                        continue
                    hits = int(at_edges(study, values)[place].sum())
                    yield Row(name, topic, role, len(values), METHOD, at=moment, **wilson(hits, len(values)))


def persona_check(study: "Study") -> Iterator[Row]:
    """Rows by topic and party: share of agents that start on their party's side of the scale's middle.

    Source: protocol.md, persona_check.
    """
    middle = sum(study.scale) / 2
    for topic in topics(study):
        for role in parties(study, topic):
            panel, pole = study.panels.get(topic), study.poles.get((role, topic))
            first = np.empty(0) if panel is None else of_role(panel, role)[:, :, 0].ravel()
            valid = first[np.isfinite(first)]
            n = 0 if panel is None else int(np.isfinite(of_role(panel, role)[:, :, 0]).any(axis=1).sum())
            if pole is None or len(valid) == 0:
                why = "every answer was invalid" if len(first) else "no agent of this role took part"
                why = why if pole else "the party has no pole on this topic"
                yield Row("persona_check", topic, role, n, AGENTS, why, at="start")
                continue
            own = valid > middle if pole == "high" else valid < middle
            yield Row("persona_check", topic, role, n, AGENTS, at="start", **wilson(int(own.sum()), len(valid)))


def untaken(study: "Study", row: Row) -> str:
    """The warning about personas that did not take hold; empty if they did."""
    if np.isnan(row.estimate) or row.estimate >= TAKEN:
        return ""
    agents, topic = who(row, study.labels), where(row, study.labels)
    return (
        f"Only {share(row)} of {agents} start on their party's side of the scale on {topic}: the personas did not take"
    )


def humans(study: "Study") -> Iterator[Row]:
    """Rows by topic and party, at iteration 0 and at T: the share that calls the topic a very big problem.

    The poll gives the share of each party that calls the topic a very big problem, the highest of four answers; for
    agents, it is the share in the highest quarter of the scale (Source: protocol.md, humans).
    """
    poll: Mapping[str, Any] | None = study.design["society"]["humans"]
    if poll is None:
        yield Row("humans", "", "", 0, METHOD, "there is no poll of this society")
        return
    for topic in topics(study):
        for role in parties(study, topic):
            people = poll["share"].get(role, {}).get(topic)
            if people is None:
                yield Row("humans", topic, role, 0, METHOD, "the poll did not ask about it", at="start")
                continue
            for moment, values, why in _moments(study, topic, role):
                if why:
                    yield Row("humans", topic, role, 0, METHOD, why, at=moment)
                    continue
                said = f"attitudes of {threshold(study):g} and more; {people:g} % among people ({poll['source']})"
                hits = int(very_big(study, values).sum())
                yield Row("humans", topic, role, len(values), METHOD, said, at=moment, **wilson(hits, len(values)))


def threshold(study: "Study") -> float:
    """The attitude from which a topic counts as a very big problem."""
    low, high = study.scale
    return low + VERY_BIG * (high - low)


def very_big(study: "Study", values: Floats) -> Floats:
    """1 where an attitude says that the topic is a very big problem."""
    return (values >= threshold(study) - 1e-9).astype(float)


def _edge(end: str) -> Any:
    def sentence(row: Row, labels: Mapping[str, str]) -> str:
        when = "began" if row.at == "start" else "ended"
        of = f"{row.n:,} debates on {where(row, labels)}"
        return f"In {share(row)} of {of}, {who(row, labels)} {when} at the {end} end of the scale"

    return sentence


def _persona_check(row: Row, labels: Mapping[str, str]) -> str:
    side = f"their party's side of the scale on {where(row, labels)}"
    return f"{share(row)} of {who(row, labels)} began on {side} (n = {row.n:,} debates)"


def _humans(row: Row, labels: Mapping[str, str]) -> str:
    when = "At the start" if row.at == "start" else "At the end"
    return f"{when}, {share(row)} of {who(row, labels)} called {where(row, labels)} a very big problem"


STATISTICS = (
    Statistic(
        name="floor",
        title="the share at the low end of the scale",
        about="How many attitudes are at the low end of the scale?",
        function=edges,
        sentence=_edge("low"),
        order=70,
    ),
    Statistic(
        name="ceiling",
        title="the share at the high end of the scale",
        about="How many attitudes are at the high end of the scale?",
        function=edges,
        sentence=_edge("high"),
        order=71,
    ),
    Statistic(
        name="persona_check",
        title="the share that begins on their party's side",
        about="Did the personas take?",
        function=persona_check,
        sentence=_persona_check,
        order=72,
    ),
    Statistic(
        name="humans",
        title="the share that calls the topic a very big problem",
        about="Do as many agents as people of their party call the topic a very big problem?",
        function=humans,
        sentence=_humans,
        order=90,
    ),
)
