"""Studies made in memory from planted tables: known pulls, no engine and no files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hustings.runfolder import ModelName, RunManifest
from hustings.study import Study

LABELS = {"republican": "Republican", "democrat": "Democrat", "default": "Default"}
SHADOW = "shadow"
COLOURS = {"republican": "#d62728", "democrat": "#1f77b4", "default": "#7f7f7f"}
POLES = {("republican", "racism"): "low", ("democrat", "racism"): "high"}
FLIPPED = {("republican", "racism"): "high", ("democrat", "racism"): "low"}


NAMES = [f"N{place}" for place in range(40)]
"""Of every party."""


def planted(
    debates: int = 40,
    noise: float = 0.3,
    seed: int = 1,
    pulls: Sequence[float] = (0.1, 0.2, 0.05),
    first: Mapping[str, float] | None = None,
    hears: Any = None,
    bias: float = 6.0,
) -> pd.DataFrame:
    """A table of attitudes on racism over 3 rounds, with known alpha, beta, kappa, and a shadow Default that listens.

    Args:
        first: mean first attitude of each speaker, in order; a role may end in a digit, which is dropped. By default a
            Republican, a Democrat and a Default, who starts at 6. The shadow starts where the Default does, or at
            `bias`.
        hears: who hears whom, (speakers, speakers); by default everybody hears everybody else.
        bias: where the model pulls to.
    """
    alpha, beta, kappa = pulls
    rng = np.random.default_rng(seed)
    first = first or {"republican": 2.0, "democrat": 9.0, "default": 6.0}
    roles = [*(role.rstrip("0123456789") for role in first), SHADOW]
    spread = np.array([0.0 if role in ("default", SHADOW) else 0.5 for role in roles])
    mean = np.array([*first.values(), first.get("default", bias)])
    speakers = len(first)
    start = mean + spread * rng.normal(size=(debates, len(roles)))
    weights = np.zeros((len(roles), len(roles)))
    weights[:speakers, :speakers] = 1.0 - np.eye(speakers) if hears is None else hears
    weights[speakers, :speakers] = 1.0
    weights /= weights.sum(axis=1, keepdims=True)
    a, rows = start, []
    for t in range(4):
        now = speakers * t
        rows += [("racism", d, i, role, now, a[d, i]) for d in range(debates) for i, role in enumerate(roles)]
        moved = beta * (bias - a) + alpha * (a @ weights.T - a) + kappa * (start - a)
        a = a + moved + noise * rng.normal(size=a.shape)
    table = pd.DataFrame(rows, columns=["topic", "repetition", "agent", "role", "iteration", "expected"])
    table["score"] = table["expected"].round().clip(0, 10).astype("Float64")
    return table.assign(valid=True, composition="x", persona="", model="planted", adapter="", seed=1)


def study_of(
    table: pd.DataFrame,
    poles: Mapping[tuple[str, str], str] = POLES,
    outcome: str = "expected",
    values: Sequence[float] = tuple(range(11)),
    items: Sequence[str] = ("severity",),
    hears: Mapping[int, str] | None = None,
    humans: Mapping[str, Any] | None = None,
    parcels: Sequence[int] | None = None,
    control: str = "none",
    replies: pd.DataFrame | None = None,
) -> Study:
    """A study whose attitudes are in a table.

    Args:
        table: columns topic, repetition, agent, role, iteration and an outcome; what else `records.ATTITUDES` has is
            filled in where it is missing.
        poles: where each party stands, by party and topic.
        values: of the instrument's options, ascending.
        items: of the instrument; with several, the table has a column `item`.
        hears: by agent, as in agents.csv; an agent without one hears all.
        humans: the society's poll.
        parcels: of each item; 1 by default.
        control: that was in force.
        replies: columns topic, repetition, role, text, full and finish.
    """
    common = {"composition": "x", "persona": "", "item": items[0], "wording": 0, "score": pd.NA, "expected": np.nan,
              "mass": 1.0, "valid": True, "raw": "", "model": "planted", "adapter": "", "seed": 1}  # fmt: skip
    attitudes = table.assign(**{name: value for name, value in common.items() if name not in table})
    keys = ["topic", "composition", "repetition", "agent", "role", "persona"]
    after = attitudes[attitudes["iteration"] > 0]
    speaking = {*after["agent"]} if len(after) else {*attitudes["agent"]}
    agents = attitudes.drop_duplicates(keys)[keys]
    agents = agents.assign(
        name="", story="", surveyed="always", first=0, runs_on="", topology="round_robin", control=control,
        treatments="", reads=None, speaks=agents["agent"].isin(speaking) & (agents["role"] != SHADOW),
        hears=[(hears or {}).get(agent, "all") for agent in agents["agent"]],
    )  # fmt: skip
    manifest = RunManifest(
        command=[], versions={}, debates={}, promise=None, preamble=None, adapter=None, played={}, spent={},
        commit=None, model=ModelName(name="planted", sha256="planted"),
        settings={
            **_design(poles, outcome, humans),
            "control": {"name": control},
            "instrument": {"items": {
                item: {"values": [*values], "parcel": parcel}
                for item, parcel in zip(items, parcels or [1] * len(items), strict=True)
            }},
        },
    )  # fmt: skip
    return Study(Path("nowhere"), manifest, attitudes, pd.DataFrame() if replies is None else replies, agents)


def _design(poles: Mapping[tuple[str, str], str], outcome: str, humans: Any) -> dict[str, Any]:
    """The settings that a study reads."""
    topics = sorted({topic for _, topic in poles})
    parties = sorted({role for role, _ in poles})
    stances = {role: {topic: {"pole": poles[role, topic]} for topic in topics} for role in parties}
    shown = {
        role: {"label": LABELS.get(role, role.capitalize()), "colour": COLOURS.get(role, "#008800")}
        for role in [*parties, "default"]
    }
    return {
        "analysis": {"outcome": outcome},
        "seed": 1,
        "society": {
            "parties": {role: {**shown[role], "names": NAMES, "stances": stances[role]} for role in parties},
            "default": shown["default"],
            "humans": humans,
        },
        "composition": {"name": "x", "roles": [*parties, "default"]},
        "topics": {key: {"label": key.replace("_", " "), "low": "no", "high": "very"} for key in topics},
    }
