"""One run in the form the page needs: words for the template, numbers for the script. It treats all text as untrusted.

If a run has more transcripts than a page can hold, they are sampled by debate; curves, counts and statistics still
cover all debates.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from hustings.page import tables
from hustings.page.sentence import facts, sentence, title
from hustings.page.statistics import Group, groups
from hustings.page.talk import Talk, talk_of
from hustings.page.training import Training, training
from hustings.page.transcripts import transcripts
from hustings.report.alerts import alerts
from hustings.report.finding import finding
from hustings.report.naming import OUTCOMES, roles
from hustings.runfolder import ADAPTER, FIGURES, STATISTICS, DebateKey
from hustings.study import Study

TRANSCRIPTS = 12_000_000
"""The most characters of transcripts and life stories on a page, over all its runs."""
LINES = 160
"""The most single debates drawn for each topic, over all runs of a page."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(slots=True)
class Run:
    """One run, in the form that the templates and the script need."""

    study: Study
    settings: dict[str, str]
    """Values by dotted key."""
    title: str
    sentence: str
    """What was run."""
    finding: list[str]
    """What was found, in three sentences."""
    counts: Counter[str]
    statistics: list[Group]
    labels: dict[str, str]
    """Labels of roles and topics."""
    alerts: list[str]
    """Warnings for the reader, one line each."""
    tables: list[dict[str, Any]]
    figures: list[dict[str, str]]
    invalid: list[dict[str, Any]]
    """Share of invalid answers by topic and role."""
    script: dict[str, Any]
    """What the script draws: curves, single debates, transcripts."""
    command: str
    training: Training | None
    """How the adapter that the run used was trained."""
    facts: dict[str, str]
    """Who heard whom, interventions, model, versions, time and what a rerun guarantees, by the label shown for each."""
    talk: Talk
    """A judge's ratings of the replies."""
    name: str = field(default="")
    """What distinguishes this run from the others on the page."""


def run(study: Study, share: int) -> Run:
    """The page's view of one run, from its tables and the other files in its folder.

    Args:
        share: how many runs share the page; each gets an equal share of the space.
    """
    folder = study.folder
    said = talk_of(study)
    read = transcripts(study, TRANSCRIPTS // share, said.marks)
    outcomes = sorted(study.outcomes, key=lambda outcome: outcome != study.outcome)
    studies = {outcome: study.analysed_as(outcome) for outcome in outcomes}
    seated, topics = _roles(study), _topics(study.design)
    return Run(
        study=study,
        settings=tables.settings(study.design),
        title=title(study),
        sentence=sentence(study),
        finding=[] if study.statistics is None else finding(study, study.statistics),
        counts=read.counts,
        statistics=groups(tables.statistics(folder / STATISTICS), study.outcome),
        labels={key: it["label"] for key, it in (*topics.items(), *seated.items())},
        alerts=alerts(study, study.statistics),
        tables=tables.tables(folder),
        figures=list(tables.figures(folder / FIGURES)) if share == 1 else [],
        invalid=_invalid(study, topics, seated),
        command=tables.command(study.manifest.command),
        training=training(folder) if (folder / ADAPTER).exists() else None,
        facts=facts(study),
        talk=said,
        script={
            "id": study.manifest.id,
            "roles": seated,
            "topics": topics,
            "scale": study.scale,
            "items": list(study.design["instrument"]["items"]),
            "control": study.control,
            "outcomes": {outcome: OUTCOMES[outcome] for outcome in outcomes},
            "curves": {outcome: _curves(each) for outcome, each in studies.items()},
            "lines": {outcome: _lines(each, max(1, LINES // share)) for outcome, each in studies.items()},
            "invalid": read.invalid,
            "stories": read.stories,
            "debates": read.debates,
            "total": read.counts["debates"],
            "talk": said.script,
        },
    )


def _roles(study: Study) -> dict[str, dict[str, str]]:
    """Label, colour and kind of every role in the run."""
    return {
        role: {
            "label": one.label,
            "colour": one.colour if _COLOUR.fullmatch(one.colour) else "#808080",
            "kind": one.kind,
        }
        for role, one in roles(study).items()
    }


def _topics(design: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Label and the meaning of both ends of the scale, by topic."""
    return {key: {name: topic[name] for name in ("label", "low", "high")} for key, topic in design["topics"].items()}


def _curves(study: Study) -> dict[str, dict[str, list[list[Any]]]]:
    """topic → role → [iteration, n, mean, se]; se is None for a single debate."""
    from hustings.analysis.curves import curve

    rows: dict[str, dict[str, list[list[Any]]]] = {}
    for point in curve(study).to_dict("records"):
        se = None if point["se"] != point["se"] else round(point["se"], 4)
        line = rows.setdefault(point["topic"], {}).setdefault(point["role"], [])
        line.append([int(point["iteration"]), int(point["n"]), round(point["mean"], 4), se])
    return rows


def _lines(study: Study, most: int) -> dict[str, list[list[Any]]]:
    """topic → [debate, {role: [[iteration, value], …]}] for single debates, evenly spaced if there are too many."""
    from hustings.analysis.curves import per_debate

    values: Any = per_debate(study)
    debates = sorted(values["repetition"].unique())
    chosen = values[values["repetition"].isin(debates[:: max(1, -(-len(debates) // most))])]
    lines: dict[str, dict[str, dict[str, list[list[Any]]]]] = {}
    for row in chosen.to_dict("records"):
        key = DebateKey(row["topic"], row["composition"], int(row["repetition"]))
        debate = lines.setdefault(key.topic, {}).setdefault(str(key), {})
        debate.setdefault(row["role"], []).append([int(row["iteration"]), round(float(row["value"]), 2)])
    return {topic: [[key, line] for key, line in debates.items()] for topic, debates in lines.items()}


def _invalid(study: Study, topics: Mapping[str, Any], roles: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Counts of invalid answers by topic and role, only where there are any."""
    rows: list[dict[str, Any]] = []
    for (topic, role), mine in cast(Any, study.attitudes.groupby(["topic", "role"], sort=True)):
        wrong = int((~mine["valid"].astype(bool)).sum())
        if wrong:
            named = {"topic": topics[topic]["label"], "role": roles[role]["label"]}
            rows.append({**named, "wrong": wrong, "asked": len(mine)})
    return rows
