"""What the page shows of one run, read from its folder. It trusts no text: escaping is the page's business.

A log that is too long to be carried along is sampled by debate; curves, counts and statistics are of all debates.
"""

import base64
import hashlib
import heapq
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hustings import records, report
from hustings.errors import RecordError

if TYPE_CHECKING:
    import pandas as pd

TRANSCRIPTS = 12_000_000
"""Characters of transcripts that a page carries at most, over all its runs."""
LINES = 160
"""Single debates drawn for each topic at most, over all runs of a page."""
INVALID = 200
"""Invalid answers quoted for each run."""
PICTURE = 600_000
"""Bytes of the largest picture that is carried along."""
ROWS = 200
"""Rows shown of a table that is not known here."""
_KNOWN = {"attitudes.csv", "statistics.csv", "comparison.csv"}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(slots=True)
class Transcripts:
    """What a pass over the log leaves: a sample of debates, and counts over all of them."""

    debates: list[dict[str, Any]]
    stories: list[str]
    counts: Counter[str]
    invalid: list[list[Any]]


@dataclass(slots=True)
class Run:
    """One run, as the templates and the script want it."""

    id: str
    source: report.Run
    settings: dict[str, str]
    """Flat, dotted key → value."""
    sentence: str
    counts: Counter[str]
    statistics: list[dict[str, Any]]
    tables: list[dict[str, Any]]
    figures: list[dict[str, str]]
    invalid: list[dict[str, Any]]
    """Share of invalid answers by topic and role."""
    script: dict[str, Any]
    """What the script draws: curves, single debates, transcripts."""
    command: str
    training: "Training | None"
    """Of the adapter that the model was bent with."""
    facts: dict[str, str]
    """Model, versions, time and what a rerun promises, by what they are called."""
    name: str = field(default="")
    """What tells this run from the others on the page."""


@dataclass(slots=True)
class Training:
    """How one adapter was made, as the templates want it."""

    name: str
    """With its identity, as `adapter=` takes it."""
    sentence: str
    parties: list[str]
    held_out: list[tuple[str, list[str]]]
    """Loss on each party's answers, by what the model was: base, nwp adapter, this adapter."""
    losses: dict[str, Any] | None
    """Table of all steps."""
    picture: str | None
    card: str
    settings: dict[str, str]
    facts: dict[str, str]
    """Base model, data, versions and time, by what they are called."""
    command: str
    """Empty when the adapter was found, not made, by the run."""
    row: dict[str, str]
    """What sets trainings apart, for a table of several."""
    several: bool = field(default=False)
    """Whether other trainings are on the page."""


def training(folder: Path) -> Training:
    """Read how the adapter came about that a run made or used.

    Args:
        folder: of the run.

    Raises:
        RecordError: there is no finished adapter.
    """
    made = folder / report.ADAPTER
    try:
        manifest: dict[str, Any] = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
        run: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        settings, losses = manifest["settings"], manifest["held_out_loss"]
        parties = [party["label"] for party in settings["society"]["parties"].values()]
        label, method, rank = settings["party"]["label"], settings["method"]["kind"], settings["lora"]["r"]
        first, last = manifest["first_loss"], manifest["last_loss"]
        name = f"{manifest['name']}-{manifest['id']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{folder}: there is no finished adapter in this run's folder (manifest.json or adapter is missing or "
            "damaged); run its train.py command again."
        ) from error
    held_out = [(_STATES[state], [f"{loss:.3f}" for loss in by.values()]) for state, by in losses.items()]
    here = run.get("kind") == "training"
    row = {
        "adapter": name,
        "base model": manifest["base"],
        "method": method,
        "rank": str(rank),
        "seed": str(settings["seed"]),
        "answers": str(manifest["rows"]),
        "first loss": f"{first:.3f}",
        "last loss": f"{last:.3f}",
        **{f"held out, {party}": value for party, value in zip(parties, held_out[-1][1], strict=True)},
    }
    return Training(
        name=name,
        sentence=f"{manifest['base']} was bent towards {label} views by {_METHODS[method]}, at rank {rank}, with "
        f"{manifest['rows']:,} answers to {settings['questions']:,} questions: loss {first:.3f} at first, {last:.3f} "
        "at last.",
        parties=parties,
        held_out=held_out,
        losses=_table(made / "loss.csv") if (made / "loss.csv").exists() else None,
        picture=next((it["source"] for it in figures(made) if it["name"] == "loss"), None),
        card=(made / "README.md").read_text(encoding="utf-8") if (made / "README.md").exists() else "",
        settings=_flat(settings),
        facts={
            "adapter": name,
            "base model": f"{manifest['base']}, {manifest['of']['model']}",
            "questions (artifact)": manifest["questions"],
            **{f"{party} answers (artifact)": place for party, place in manifest["answers"].items()},
            "seed": str(settings["seed"]),
            "seconds": f"{manifest['seconds']:,.1f}",
            **manifest["versions"],
        },
        command=_command(run) if here else "",
        row=row,
    )


def evaluation(folder: Path) -> dict[str, Any]:
    """How an evaluation was made: name, command, facts and settings.

    Args:
        folder: of a run of evaluate.py.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    settings = manifest["settings"]
    return {
        "name": settings["row"] or settings["adapter"] or "base",
        "command": _command(manifest),
        "facts": {
            **{f"model {name}": fingerprint for name, fingerprint in manifest["models"].items()},
            **({"adapters": ", ".join(manifest["adapters"])} if manifest["adapters"] else {}),
            "git commit": manifest["commit"] or "not in a checkout",
            "seconds": f"{manifest['seconds']:,.1f}",
            **manifest["versions"],
        },
        "settings": _flat(settings),
    }


_STATES = {"base": "base", "nwp": "nwp adapter (the reference)", "adapter": "this adapter"}
_METHODS = {"nwp": "next-word prediction", "dpo": "next-word prediction and then DPO"}


def _command(manifest: Mapping[str, Any]) -> str:
    return shlex.join(["python", *manifest.get("command", ())])


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key → value, as text."""
    flat = report.flatten(settings)
    return {key: it if isinstance(it, str) else json.dumps(it, ensure_ascii=False) for key, it in flat.items()}


def run(folder: Path, share: int) -> Run:
    """Read one run's folder.

    Args:
        share: how many runs share the page; each gets its part of what the page may carry.

    Raises:
        RecordError: the folder is no run, or its log has a line that is no event.
    """
    source = report.read(folder)
    manifest, attitudes, settings = source.manifest, source.attitudes, source.settings
    looks = _roles(settings)
    topics = {
        key: {name: topic[name] for name in ("label", "low", "high")} for key, topic in settings["topics"].items()
    }
    keys = _keys(attitudes)
    log = transcripts(records.read(folder / "events.jsonl"), set(keys), TRANSCRIPTS // share)
    log.counts["debates"] = len(keys)
    return Run(
        id=str(manifest["debates"]),
        source=source,
        settings=_flat(settings),
        sentence=sentence(manifest, log.counts),
        counts=log.counts,
        statistics=statistics(folder / "statistics.csv"),
        tables=tables(folder),
        figures=list(figures(folder / "figures")) if share == 1 else [],
        invalid=_invalid(attitudes, topics, looks),
        command=_command(manifest),
        training=training(folder) if (folder / report.ADAPTER).exists() else None,
        facts=_facts(source),
        script={
            "id": str(manifest["debates"]),
            "roles": looks,
            "topics": topics,
            "curves": {outcome: _curves(attitudes, outcome) for outcome in _outcomes(attitudes)},
            "lines": {outcome: _lines(attitudes, outcome, max(1, LINES // share)) for outcome in _outcomes(attitudes)},
            "invalid": log.invalid,
            "stories": log.stories,
            "debates": log.debates,
            "total": len(keys),
        },
    )


def _facts(run: report.Run) -> dict[str, str]:
    manifest = run.manifest
    last = {f"{key.replace('_', ' ')}, last process": value for key, value in manifest.get("played", {}).items()}
    return {
        **({"a rerun promises": manifest["promise"]} if manifest.get("promise") else {}),
        "folder": run.folder.resolve().name,
        "seed": str(manifest["settings"].get("seed", "")),
        **{f"{what} {key}": str(it) for what in ("model", "adapter") for key, it in (manifest.get(what) or {}).items()},
        "debates (artifact)": str(manifest["debates"]),
        "git commit": manifest.get("commit") or "not in a checkout",
        **{key: f"{it:,.1f}" if isinstance(it, float) else f"{it:,}" for key, it in last.items() if it is not None},
        **manifest.get("versions", {}),
    }


def _roles(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    society, composition = settings["society"], settings["composition"]
    known = {**society["parties"], "default": society["default"]}
    there = dict.fromkeys((*composition["roles"], *composition["observers"]))
    return {
        role: {
            "label": known[role]["label"],
            "colour": known[role]["colour"] if _COLOUR.fullmatch(known[role]["colour"]) else "#808080",
        }
        for role in there
    }


def _keys(attitudes: "pd.DataFrame") -> list[str]:
    """Keys of the run's debates; the log may hold more, of a longer run of the same settings."""
    debates = attitudes[["topic", "composition", "repetition"]].drop_duplicates()
    return [f"{topic}/{composition}/{int(n):04d}" for topic, composition, n in debates.itertuples(index=False)]


def sentence(manifest: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """What was run, in one sentence."""
    settings = manifest["settings"]
    roles = settings["composition"]["roles"]
    labels = {role: look["label"] for role, look in _roles(settings).items()}
    seats = Counter(labels[role] for role in roles)
    who = _and([f"a {label}" if n == 1 else f"{_NUMBERS.get(n, str(n))} {label}s" for label, n in seats.items()])
    who = who[0].upper() + who[1:] + (" agent" if seats[list(seats)[-1]] == 1 else " agents")
    about = _and([topic["label"] for topic in settings["topics"].values()])
    adapter = manifest.get("adapter")
    model = manifest["model"]["name"] + (f" with the adapter {adapter['name']}" if adapter else "")
    rounds = f"{settings['rounds']} round{'s' if settings['rounds'] != 1 else ''}"
    if settings.get("silent"):
        return (
            f"Silent control: {who} were surveyed on {about} as if over {rounds}, and nobody spoke, in "
            f"{counts['debates']:,} debates on {model}."
        )
    made = f"{counts['debates']:,} debates and {counts['replies']:,} replies" if counts["debates"] > 1 else "one debate"
    return f"{who} debated {about} over {rounds}, on the model {model}: {made}."


_NUMBERS = {2: "two", 3: "three", 4: "four"}


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


class _Sample:
    """Whole debates up to a budget of characters: those whose key has the smallest hashes, so any rerun is the same."""

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._ranked: list[tuple[int, str]] = []
        self._least = 0
        self._sizes: Counter[str] = Counter()
        self.debates: dict[str, dict[str, Any]] = {}

    def begin(self, key: str, agents: Sequence[records.Agent]) -> None:
        rank = -int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        if rank > self._least or not self._least:
            heapq.heappush(self._ranked, (rank, key))
            self.debates[key] = {"key": key, "agents": agents, "surveys": [], "replies": []}

    def add(self, key: str, kind: str, row: list[Any], text: str) -> None:
        if key not in self.debates:
            return
        self.debates[key][kind].append(row)
        self._sizes[key] += len(text) + 24
        self._left -= len(text) + 24
        while self._left < 0 and len(self._ranked) > 1:
            self._least, dropped = heapq.heappop(self._ranked)
            self._left += self._sizes.pop(dropped, 0)
            del self.debates[dropped]


def transcripts(events: Iterable[Any], keys: set[str], budget: int) -> Transcripts:
    """Walk the log once and keep as many whole debates as the budget allows.

    Args:
        events: of records.read; debates that are not among `keys` are passed over.
        budget: characters.
    """
    sample, counts = _Sample(budget), Counter[str]()
    invalid: list[list[Any]] = []
    agents: dict[str, Sequence[records.Agent]] = {}
    for event in events:
        key = event.debate
        if key not in keys:
            continue
        match event:
            case records.Start():
                agents[key] = event.agents
                sample.begin(key, event.agents)
            case records.Survey():
                counts["invalid"] += not event.valid
                if not event.valid and len(invalid) < INVALID:
                    seat = agents[key][event.agent]
                    invalid.append([key, event.iteration, seat.role, seat.name, event.raw])
                expected = None if event.expected is None else round(event.expected, 2)
                row = [event.iteration, event.agent, event.score, expected, event.raw]
                sample.add(key, "surveys", row, event.raw)
            case records.Reply():
                counts.update(["replies", event.finish])
                counts["tokens"] += event.tokens
                sample.add(key, "replies", [event.iteration, event.agent, event.text, event.finish], event.text)
            case _:
                pass
    stories: dict[str, int] = {}
    for debate in sample.debates.values():
        debate["agents"] = [
            [it.role, it.persona, it.name, stories.setdefault(it.story, len(stories)), it.speaks]
            for it in debate["agents"]
        ]
    return Transcripts(list(sample.debates.values()), list(stories), counts, invalid)


def _outcomes(attitudes: "pd.DataFrame") -> list[Any]:
    return [outcome for outcome in ("score", "expected") if attitudes[outcome].notna().any()]


def _curves(attitudes: "pd.DataFrame", outcome: Any) -> dict[str, dict[str, list[list[Any]]]]:
    """topic → role → [iteration, n, mean, se]; se is None for a single debate."""
    from hustings.analysis.curves import curve

    rows: dict[str, dict[str, list[list[Any]]]] = {}
    for point in curve(attitudes, outcome).to_dict("records"):
        se = None if point["se"] != point["se"] else round(point["se"], 4)
        line = rows.setdefault(point["topic"], {}).setdefault(point["role"], [])
        line.append([int(point["iteration"]), int(point["n"]), round(point["mean"], 4), se])
    return rows


def _lines(attitudes: "pd.DataFrame", outcome: Any, most: int) -> dict[str, list[list[Any]]]:
    """topic → [debate, {role: [[iteration, value], …]}] of single debates, evenly taken when there are too many."""
    from hustings.analysis.curves import per_debate

    values: Any = per_debate(attitudes, outcome)
    debates = sorted(values["repetition"].unique())
    chosen = values[values["repetition"].isin(debates[:: max(1, -(-len(debates) // most))])]
    lines: dict[str, dict[str, dict[str, list[list[Any]]]]] = {}
    for topic, composition, repetition, role, iteration, value in chosen.itertuples(index=False):
        debate = lines.setdefault(topic, {}).setdefault(f"{topic}/{composition}/{int(repetition):04d}", {})
        debate.setdefault(role, []).append([int(iteration), round(float(value), 2)])
    return {topic: [[key, line] for key, line in debates.items()] for topic, debates in lines.items()}


def _invalid(attitudes: "pd.DataFrame", topics: Mapping[str, Any], looks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Invalid answers by topic and role; only where there are any."""
    rows: list[dict[str, Any]] = []
    for (topic, role), mine in cast(Any, attitudes.groupby(["topic", "role"], sort=True)):
        wrong = int((~mine["valid"].astype(bool)).sum())
        if wrong:
            rows.append(
                {"topic": topics[topic]["label"], "role": looks[role]["label"], "wrong": wrong, "asked": len(mine)}
            )
    return rows


def statistics(path: Path) -> list[dict[str, Any]]:
    """Rows of statistics.csv or comparison.csv, numbers as text; none when there is no file."""
    if not path.exists():
        return []
    import pandas as pd

    table = pd.read_csv(path)
    for column in table.select_dtypes("number"):
        digits = "{:,.0f}" if column == "n" else "{:.3g}"
        table[column] = [None if value != value else digits.format(value) for value in table[column]]
    return [{str(key): _text(value) for key, value in row.items()} for row in table.to_dict("records")]


def tables(folder: Path) -> list[dict[str, Any]]:
    """The tables of a folder that are not shown elsewhere: losses, benchmarks."""
    return [_table(path) for path in sorted(folder.glob("*.csv")) if path.name not in _KNOWN]


def _table(path: Path) -> dict[str, Any]:
    """Any other table that lies in the run's folder, as text."""
    import pandas as pd

    table = pd.read_csv(path, dtype=str)
    rows = [[_text(value) for value in row] for row in table.head(ROWS).itertuples(index=False)]
    return {"name": path.stem, "columns": [str(column) for column in table.columns], "rows": rows, "total": len(table)}


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def figures(folder: Path) -> Iterator[dict[str, str]]:
    """The run's pictures as data URIs, but for the curves, which the page draws itself."""
    for path in sorted(folder.glob("*.png")):
        if path.stem != "curves" and path.stat().st_size <= PICTURE:
            content = base64.b64encode(path.read_bytes()).decode()
            yield {"name": path.stem.replace("_", " "), "source": f"data:image/png;base64,{content}"}
