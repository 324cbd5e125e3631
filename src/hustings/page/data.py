"""One run as the page wants it: words for the template, numbers for the script. It trusts no text.

A run with more transcripts than a page can carry is sampled by debate; curves, counts and statistics cover all debates.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hustings.page import tables
from hustings.page.training import Training, training
from hustings.page.transcripts import transcripts
from hustings.report.naming import runs_on
from hustings.runfolder import ADAPTER, FIGURES, STATISTICS, DebateKey
from hustings.settings.debate import DEFAULT
from hustings.study import Outcome, Study, load

TRANSCRIPTS = 12_000_000
"""Characters of transcripts that a page carries at most, over all its runs."""
LINES = 160
"""Single debates that are drawn for each topic at most, over all runs of a page."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_NUMBERS = {2: "two", 3: "three", 4: "four"}


@dataclass(slots=True)
class Run:
    """One run, as the templates and the script want it."""

    study: Study
    settings: dict[str, str]
    """By dotted key."""
    sentence: str
    counts: Counter[str]
    statistics: list[dict[str, str]]
    tables: list[dict[str, Any]]
    figures: list[dict[str, str]]
    invalid: list[dict[str, Any]]
    """Share of invalid answers by topic and role."""
    script: dict[str, Any]
    """What the script draws: curves, single debates, transcripts."""
    command: str
    training: Training | None
    """Of the adapter that the run used."""
    facts: dict[str, str]
    """Who heard whom, interventions, model, versions, time and what a rerun promises, by what they are called."""
    name: str = field(default="")
    """What distinguishes this run from the others on the page."""


def run(folder: Path, share: int) -> Run:
    """Read one run's folder.

    Args:
        share: how many runs share the page; each gets its part of what the page may carry.

    Raises:
        RecordError: the folder is not a run's.
    """
    study = load(folder)
    read = transcripts(study, TRANSCRIPTS // share)
    studies = {outcome: study.analysed_as(outcome) for outcome in _outcomes(study)}
    roles, topics = _roles(study.design), _topics(study.design)
    return Run(
        study=study,
        settings=tables.settings(study.design),
        sentence=sentence(study),
        counts=read.counts,
        statistics=tables.statistics(folder / STATISTICS),
        tables=tables.tables(folder),
        figures=list(tables.figures(folder / FIGURES)) if share == 1 else [],
        invalid=_invalid(study, topics, roles),
        command=tables.command(study.manifest.command),
        training=training(folder) if (folder / ADAPTER).exists() else None,
        facts=_facts(study),
        script={
            "id": study.manifest.id,
            "roles": roles,
            "topics": topics,
            "scale": study.scale,
            "items": list(study.design["instrument"]["items"]),
            "curves": {outcome: _curves(each) for outcome, each in studies.items()},
            "lines": {outcome: _lines(each, max(1, LINES // share)) for outcome, each in studies.items()},
            "invalid": read.invalid,
            "stories": read.stories,
            "debates": read.debates,
            "total": read.counts["debates"],
        },
    )


def _outcomes(study: Study) -> list[Outcome]:
    outcomes: tuple[Outcome, ...] = ("score", "expected")
    return [outcome for outcome in outcomes if study.attitudes[outcome].notna().any()]


def _roles(design: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Label and colour of everybody in the run, by role."""
    society, composition = design["society"], design["composition"]
    known = {**society["parties"], DEFAULT: society["default"]}
    return {
        role: {
            "label": known[role]["label"],
            "colour": known[role]["colour"] if _COLOUR.fullmatch(known[role]["colour"]) else "#808080",
        }
        for role in dict.fromkeys((*composition["roles"], *composition["observers"]))
    }


def _topics(design: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Label and ends of the scale, by topic."""
    return {key: {name: topic[name] for name in ("label", "low", "high")} for key, topic in design["topics"].items()}


def sentence(study: Study) -> str:
    """What was run, in one sentence."""
    design, manifest = study.design, study.manifest
    roles = design["composition"]["roles"]
    seats = Counter(_roles(design)[role]["label"] for role in roles)
    who = _and([f"a {label}" if n == 1 else f"{_NUMBERS.get(n, str(n))} {label}" for label, n in seats.items()])
    who = who[0].upper() + who[1:] + (" agent" if seats[list(seats)[-1]] == 1 else " agents")
    about = _and([topic["label"] for topic in design["topics"].values()])
    model = manifest.model.name + (f" with the adapter {manifest.adapter.name}" if manifest.adapter else "")
    own = {role: name for role, name in runs_on(study).items() if role in design["cast"]}
    model += "".join(f" ({study.labels[role]}: {name})" for role, name in own.items())
    names = list(design["treatments"])
    treated = f" with the treatment{'s' if len(names) > 1 else ''} {_and(names)}" if names else ""
    rounds = f"{design['rounds']} round{'s' if design['rounds'] != 1 else ''}"
    debates = len(study.agents.drop_duplicates(["topic", "repetition"]))
    if design["silent"]:
        return (
            f"Silent control: {who} were surveyed on {about} as often as in a debate of {rounds}, without speaking, "
            f"{debates:,} time{'s' if debates != 1 else ''} on the model {model}{treated}."
        )
    made = f"{debates:,} debates and {len(study.replies):,} replies" if debates > 1 else "one debate"
    return f"{who} debated {about} over {rounds}, on the model {model}{treated}: {made}."


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _facts(study: Study) -> dict[str, str]:
    manifest = study.manifest
    last = {f"{key.replace('_', ' ')}, last process": value for key, value in manifest.played.items()}
    return {
        **({"a rerun promises": manifest.promise} if manifest.promise else {}),
        **_conduct(study),
        "folder": study.folder.resolve().name,
        "seed": str(study.seed),
        "model name": manifest.model.name,
        "model sha256": manifest.model.sha256,
        **({"adapter name": manifest.adapter.name, "adapter id": manifest.adapter.id} if manifest.adapter else {}),
        **{f"debates on {study.labels[topic]} (artifact)": place for topic, place in manifest.debates.items()},
        "git commit": manifest.commit or "not in a checkout",
        **{key: f"{it:,.1f}" if isinstance(it, float) else f"{it:,}" for key, it in last.items() if it is not None},
        **manifest.versions,
    }


def _conduct(study: Study) -> dict[str, str]:
    """What was in force in the debates, as their records say: who heard whom, control, treatments, models."""
    agents = study.agents
    topologies, controls, treatments = (
        ", ".join(sorted({*agents[column]} - {"", "none"})) for column in ("topology", "control", "treatments")
    )
    models = runs_on(study)
    differ = len({*models.values()}) > 1
    return {
        "who hears whom": topologies,
        "control": controls or "none",
        "treatments": treatments or "none",
        **({f"{study.labels[role]} runs on": name for role, name in models.items()} if differ else {}),
    }


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
    """topic → [debate, {role: [[iteration, value], …]}] of single debates, evenly spaced when there are too many."""
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
    """Invalid answers by topic and role; only where there are any."""
    rows: list[dict[str, Any]] = []
    for (topic, role), mine in cast(Any, study.attitudes.groupby(["topic", "role"], sort=True)):
        wrong = int((~mine["valid"].astype(bool)).sum())
        if wrong:
            named = {"topic": topics[topic]["label"], "role": roles[role]["label"]}
            rows.append({**named, "wrong": wrong, "asked": len(mine)})
    return rows
