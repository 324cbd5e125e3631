"""A run as tables: everything that statistics, figures, the page, trackers and users read.

It does not know how the run was made, and it never loads a model.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hustings import records
from hustings.errors import RecordError
from hustings.files import read_lines, read_table, trouble, write_table
from hustings.identity import identity
from hustings.progress import say
from hustings.runfolder import (
    AGENTS,
    ATTITUDES,
    EVENTS,
    PACKED,
    PERPLEXITY,
    REPLIES,
    STANCES,
    STATISTICS,
    RunManifest,
    changed,
    kind_of,
    read_manifest,
    unpack,
)
from hustings.settings.debate import DEFAULT, SHADOW

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Outcome = Literal["score", "expected"]
"""`score`: the value of the chosen option; `expected`: the mean over the options' probabilities."""
Pole = Literal["low", "high"]
Poles = Mapping[tuple[str, str], Pole]
"""The pole at which a party stands, by party and topic."""
KEY = ("topic", "repetition", "agent", "iteration")
"""Columns that identify a reply within its run."""
RATINGS = [*("topic", "composition", "repetition", "agent", "role", "iteration", "judge"),
           *("stance", "rating", "exchanged", "p_none", "pole_bias")]  # fmt: skip
"""Columns of stances.csv. `rating` is the judge's choice, `exchanged` its choice with exchanged poles, turned back;
`pole_bias` is how much higher the stance is with the poles in their normal order; `p_none` is the probability of no
stance."""


@dataclass(frozen=True, slots=True)
class Panel:
    """The attitudes on one topic as an array: debates × agents × surveys."""

    repetitions: "NDArray[np.int64]"
    """Repetitions of the debates, ascending, (debates,)."""
    seats: tuple[tuple[int, str], ...]
    """Position and role of each agent."""
    times: "NDArray[np.int64]"
    """Iterations with a survey on any topic, ascending, (surveys,)."""
    values: "NDArray[np.float64]"
    """Attitudes, (debates, agents, surveys); NaN if there is no valid answer."""


@dataclass(frozen=True)
class Study:
    """The tables of one run. Text that is repeated in many rows (topic, role, story) is categorical.

    Example:
        >>> import hustings
        >>> study = hustings.simulate(hustings.compose("engine=planted", "topic=racism", "repetitions=2"))
        >>> sorted(study.attitudes["role"].unique())
        ['default', 'democrat', 'republican', 'shadow']
    """

    folder: Path
    """The run's folder."""
    manifest: RunManifest
    """Settings, identities, versions, counts."""
    attitudes: "pd.DataFrame"
    """One row for each agent, survey and item; the columns of `records.ATTITUDES`."""
    replies: "pd.DataFrame"
    """One row for each reply; the columns of `records.REPLIES`."""
    agents: "pd.DataFrame"
    """One row for each agent in each debate; the columns of `records.AGENTS`."""

    @property
    def design(self) -> Mapping[str, Any]:
        """The resolved settings, as plain values."""
        return self.manifest.settings

    @cached_property
    def outcome(self) -> Outcome:
        """The outcome that is analysed: `score` if a role's engine gave no probabilities, whatever the settings say."""
        wanted: Outcome = self.design["analysis"]["outcome"]
        return wanted if wanted in self.outcomes else "score"

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The outcomes that can be analysed: `expected` only if every role with valid answers has expected values."""
        answered = self.attitudes[self.attitudes["score"].notna()]
        without = {*answered["role"].unique()} - {*answered.loc[answered["expected"].notna(), "role"].unique()}
        return ("score",) if without else ("score", "expected")

    @cached_property
    def perplexity(self) -> "pd.DataFrame":
        """Log-probability and tokens of each reply scored by `hustings perplexity`; empty if none was.

        Lines that are damaged, or that score another reply than the run has now, are left out with a warning.

        Returns:
            The columns KEY, `logprob` and `tokens`.
        """
        import pandas as pd

        path = self.folder / PERPLEXITY
        lines = [line for _, line in read_lines(path)] if path.exists() else []
        scores = [score for line in lines if (score := self._score(line))]
        if len(scores) < len(lines):
            say(
                f"Warning: {len(lines) - len(scores)} of {len(lines)} lines in {path} are damaged or do not score the "
                f"replies that the run has now, and are not read; `hustings perplexity {self.folder}` scores the "
                "replies that lack a score."
            )
        table = pd.DataFrame(scores, columns=[*KEY, "logprob", "tokens"])
        return table.drop_duplicates([*KEY], ignore_index=True)

    def score_line(self, key: tuple[Any, ...], logprob: float, tokens: int) -> str:
        """A line of perplexity.jsonl: the score of a reply, and an identity of the score, its debates and its text."""
        score = {**dict(zip(KEY, key, strict=True)), "logprob": logprob, "tokens": tokens}
        scored = [json.dumps(score), self.manifest.debates.get(key[0]), self._texts.get(key)]
        return json.dumps({**score, "id": identity(scored)})

    def _score(self, line: bytes) -> tuple[Any, ...] | None:
        """The score on a line of perplexity.jsonl; None if the line is not as `score_line` writes it."""
        try:
            found = json.loads(line)
            key = tuple(found[name] for name in KEY)
            right = self.score_line(key, found["logprob"], found["tokens"]) == line.decode().rstrip("\n")
        except (ValueError, LookupError, TypeError):
            return None
        return (*key, found["logprob"], found["tokens"]) if right else None

    @cached_property
    def _texts(self) -> "Mapping[tuple[Any, ...], str]":
        """The text of each reply by KEY."""
        keys = self.replies[[*KEY]].itertuples(index=False, name=None)
        return dict(zip(keys, self.replies["text"], strict=True))

    @property
    def control(self) -> str:
        """The control that was used; `none` for a debate."""
        return self.design["control"]["name"]

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.design["seed"]

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest attitude."""
        values = next(iter(self.design["instrument"]["items"].values()))["values"]
        return values[0], values[-1]

    @property
    def poles(self) -> dict[tuple[str, str], Pole]:
        """The pole of each party of the run on each of its topics."""
        parties = self.design["society"]["parties"]
        present = {role for role in self.design["composition"]["roles"] if role in parties}
        return {
            (role, topic): parties[role]["stances"][topic]["pole"]
            for role in sorted(present)
            for topic in self.design["topics"]
        }

    @property
    def labels(self) -> dict[str, str]:
        """Labels of roles and topics, in the form used in sentences."""
        society = self.design["society"]
        roles = {role: party["label"] for role, party in society["parties"].items()}
        topics = {key: topic["label"] for key, topic in self.design["topics"].items()}
        default = society["default"]["label"]
        return {**roles, DEFAULT: default, SHADOW: f"shadow {default}", **topics}

    @cached_property
    def answers(self) -> "pd.DataFrame":
        """Attitudes: the mean of an agent's items at a survey, in an order that does not depend on the log's order.

        Returns:
            One row for each agent and survey: topic, repetition, iteration, agent, role, `value` (the analysed outcome;
            missing unless every item has a valid answer) and `valid`.
        """
        return self._mean_of([*self.design["instrument"]["items"]])

    def _mean_of(self, items: Collection[str]) -> "pd.DataFrame":
        """Like `answers`, but only from these items."""
        import numpy as np

        keys = ["topic", "repetition", "iteration", "agent", "role"]
        asked = self.attitudes
        if len(items) < len(self.design["instrument"]["items"]):
            asked = asked[asked["item"].isin([*items])]
        table = asked[[*keys, "valid"]].copy()
        table["value"] = asked[self.outcome].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        table["valid"] = table["valid"].astype(bool)
        if len(items) > 1:
            groups: Any = table.groupby(keys, sort=False)
            means = groups.agg(value=("value", "mean"), answered=("value", "count"), size=("value", "size"))
            whole = means.assign(valid=groups["valid"].all())
            table = whole.assign(value=whole["value"].where(whole["answered"] == whole["size"])).reset_index()
        return table.sort_values(["topic", "repetition", "iteration", "agent"], kind="stable", ignore_index=True)

    @cached_property
    def panels(self) -> dict[str, Panel]:
        """The answers as arrays, by topic."""
        return _panels(self.answers)

    @cached_property
    def parcels(self) -> tuple[dict[str, Panel], ...]:
        """The answers to each of the instrument's two parcels as arrays, by topic; empty if it has only one."""
        items: Mapping[str, Any] = self.design["instrument"]["items"]
        halves = [[name for name, item in items.items() if item["parcel"] == number] for number in (1, 2)]
        return tuple(_panels(self._mean_of(half)) for half in halves) if all(halves) else ()

    @cached_property
    def statistics(self) -> "pd.DataFrame | None":
        """The table of statistics in the run's folder; None if it has not been made."""
        path = self.folder / STATISTICS
        whole = path.exists() and STATISTICS not in changed(self.folder, self.manifest)
        return read_statistics(path) if whole else None

    @cached_property
    def stances(self) -> "pd.DataFrame | None":
        """The judges' ratings, one row for each reply and judge; None if nobody has judged the replies.

        Returns:
            The columns RATINGS: `stance` is between −3 (the low end of the topic's scale) and +3, and missing if a
            reply takes no stance.
        """
        if STANCES not in self.manifest.files or STANCES in changed(self.folder, self.manifest):
            return None
        path = self.folder / STANCES
        return _table(self.folder, STANCES, RATINGS) if path.exists() else None

    def analysed_as(self, outcome: Outcome | None) -> "Study":
        """The same study with another outcome; None keeps the outcome.

        Raises:
            RecordError: the engine gave no probabilities, so there are no expected values.
        """
        if outcome is None or outcome == self.outcome:
            study = self
        else:
            analysis = {**self.design["analysis"], "outcome": outcome}
            manifest = self.manifest.model_copy(update={"settings": {**self.design, "analysis": analysis}})
            study = replace(self, manifest=manifest)
        if outcome is not None and outcome not in study.outcomes:
            raise RecordError(
                f"{self.folder}: its engine gave no probabilities, so there are no expected values; set outcome to "
                "score."
            )
        return study


def _panels(answers: "pd.DataFrame") -> dict[str, Panel]:
    """Answers as arrays, by topic."""
    import numpy as np

    times = np.unique(answers["iteration"].to_numpy(np.int64))
    panels: dict[str, Panel] = {}
    for topic in answers["topic"].unique().tolist():
        mine = answers[answers["topic"] == topic]
        repetitions, row = np.unique(mine["repetition"].to_numpy(np.int64), return_inverse=True)
        seats = sorted(mine[["agent", "role"]].drop_duplicates().itertuples(index=False, name=None))
        values = np.full((len(repetitions), len(seats), len(times)), np.nan)
        column = np.zeros(len(mine), dtype=np.int64)
        for place, (agent, role) in enumerate(seats):
            column[(mine["agent"] == agent).to_numpy() & (mine["role"] == role).to_numpy()] = place
        values[row, column, np.searchsorted(times, mine["iteration"].to_numpy(np.int64))] = mine["value"].to_numpy(
            float
        )
        panels[topic] = Panel(repetitions, tuple(seats), times, values)
    return panels


def read_statistics(path: Path) -> "pd.DataFrame":
    """A table of statistics as it was written: text stays text, empty numbers are missing.

    Raises:
        RecordError: the table is a run's, and has been modified since.
    """
    folder = path.parent
    of_run = path.name == STATISTICS and kind_of(folder) == "run"
    if of_run and STATISTICS in changed(folder, read_manifest(folder, RunManifest)):
        raise RecordError(f"{path}: this file was changed; `hustings report {folder}` makes it again.")
    return read_table(path)


def load(folder: Path | str, outcome: Outcome | None = None) -> Study:
    """Load the study in a run's folder, wherever that was copied to.

    Args:
        folder: the folder that a run printed in its last line.
        outcome: the outcome to analyse; None keeps the run's own.

    Raises:
        RecordError: the folder is not a run folder, another version of Hustings made it, or its answers do not have
            this outcome.

    Example:
        >>> import hustings
        >>> made = hustings.simulate(hustings.compose("engine=planted", "topic=racism", "repetitions=2"))
        >>> study = hustings.load(made.folder)
        >>> len(study.replies)
        18
    """
    folder = Path(folder)
    manifest = read_manifest(folder, RunManifest)
    unpack(folder)
    _mend(folder, manifest)
    tables = [_table(folder, file, columns) for file, columns in _TABLES.items()]
    return Study(folder, manifest, *tables).analysed_as(outcome)


def _mend(folder: Path, manifest: RunManifest) -> None:
    """Remake tables from the log if they were modified after the run, or were not packed with it.

    Raises:
        RecordError: the log is damaged too.
    """
    damaged = changed(folder, manifest)
    tables = sorted(damaged & _TABLES.keys())
    missing = [file for file in _TABLES if not (folder / file).exists()]
    log = (folder / EVENTS).exists() and EVENTS not in damaged
    if not log and (tables or missing):
        what = "are damaged or missing" if missing else "were changed after the run"
        raise RecordError(
            f"{folder}: {EVENTS} and {', '.join([*tables, *missing])} {what}; restore the folder, or run the run's "
            "command again (its debates are in the store)."
        )
    if EVENTS in damaged:
        say(
            f"Warning: {folder / EVENTS} was changed after the run. The tables are as they were, and are what is "
            "read; run the run's command again for a whole log."
        )
    if STANCES in damaged:
        say(
            f"Warning: {folder / STANCES} was changed after `hustings judge` wrote it, and is not read; run that "
            "command again, which asks nothing twice."
        )
    if tables:
        say(f"Warning: {folder}: {', '.join(tables)} changed after the run, and is made again from {EVENTS}.")
    if tables or (missing and (folder / PACKED).exists()):
        adapter = manifest.adapter.name if manifest.adapter else ""
        made = records.tables(records.read(folder / EVENTS), manifest.model.name, adapter, manifest.settings["seed"])
        for file, table in zip((ATTITUDES, REPLIES, AGENTS), made, strict=True):
            write_table(folder / file, table)


_TABLES = {ATTITUDES: records.ATTITUDES, REPLIES: records.REPLIES, AGENTS: records.AGENTS}
"""Columns of each table."""


def _table(folder: Path, file: str, columns: Sequence[str]) -> "pd.DataFrame":
    """One of a run's tables.

    Raises:
        RecordError: it is missing or damaged.
    """
    whole = "give the folder that a run printed as its last line, or run its command again."
    try:
        table = read_table(folder / file, repeated=records.REPEATED if file in _TABLES else ())
    except (OSError, ValueError) as error:
        if said := trouble(error):
            raise RecordError(said) from error
        raise RecordError(
            f"{folder}: this is not a whole run's folder ({file} is missing or damaged); {whole}"
        ) from error
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise RecordError(f"{folder / file}: this table lacks the column {lacking[0]}; {whole}")
    return table
