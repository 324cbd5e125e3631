"""The judge's job: rate every reply of a run that has no rating in the store yet, and write the table.

Ratings are stored by text, topic and judge, so the same words in another run are not rated again.
"""

import json
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hustings import artifacts, models
from hustings.analysis.blind import blind
from hustings.artifacts import Place, Rows
from hustings.debate.estimate import Counter
from hustings.engine.base import Engine, Order, Request, Score
from hustings.engine.lazy import LazyEngine
from hustings.errors import ArtifactError, SettingsError
from hustings.files import read_lines, write_table
from hustings.identity import seed_of
from hustings.judging.question import RATINGS, Poles, Question, Rated, name_of, read
from hustings.progress import Progress, duration, say, showing
from hustings.runfolder import STANCES, RunManifest, hashes, read_manifest, write_manifest
from hustings.settings import JudgeSettings
from hustings.study import RATINGS as COLUMNS
from hustings.study import Study

if TYPE_CHECKING:
    import pandas as pd

FILE = "ratings.jsonl"
_KIND = "ratings"
Key = tuple[str, str, Poles]
"""Topic, hash of the text, and poles."""
Known = Mapping[Key, Rated]


@dataclass(frozen=True, slots=True)
class Bench:
    """A judge and the replies of a run that it rates."""

    settings: JudgeSettings
    study: Study
    weights: models.Weights
    """The judge's weights."""
    replies: "pd.DataFrame"
    """Columns of records.REPLIES, and `blind`, the text that the judge reads. Empty replies are left out."""
    questions: Mapping[str, Question]
    """Questions by topic."""
    engine: Engine
    """The engine that answers the questions."""

    @classmethod
    def of(cls, settings: JudgeSettings, study: Study, engine: Engine | None = None) -> Self:
        """The judge with these settings; its model is not loaded yet.

        Args:
            engine: an engine that answers instead of the judge's own.

        Raises:
            SettingsError: nobody spoke in the run, or a template does not compile.
            ModelError: the judge's weights are missing.
        """
        replies = study.replies.assign(blind=blind(study))
        replies = replies[replies["blind"].str.strip() != ""]
        if replies.empty:
            raise SettingsError(f"{study.folder}: nobody speaks in this run, so there is nothing to judge.")
        topics = study.design["topics"]
        questions = {str(it): Question.of(settings.question, topics[it]) for it in sorted(replies["topic"].unique())}
        weights = models.resolve(settings.model, download=not settings.dry_run)
        own = LazyEngine(settings.engine, Order(settings.model, weights), weights.name)
        return cls(settings, study, weights, replies, questions, engine or own)

    @property
    def name(self) -> str:
        """The judge's name in tables."""
        return self.weights.name

    @property
    def poles(self) -> tuple[Poles, ...]:
        """The orders of the poles in which each reply is rated."""
        return ("normal", "exchanged") if self.settings.exchanged else ("normal",)

    def place(self, topic: str) -> Place:
        """Where the store keeps the ratings of replies on a topic."""
        judge = {"model": self.weights.fingerprint, "engine": self.settings.engine.substance()}
        substance = {**judge, "asked": self.questions[topic].substance(), "ratings": list(RATINGS)}
        return Place(Path(self.settings.artifacts), _KIND, f"{self.name}-{topic}", substance)

    def missing(self, known: Known) -> list[tuple[Key, Request]]:
        """The questions still to be asked, shuffled by seed, so that neighbouring replies are not rated in sequence."""
        asked: dict[Key, Request] = {}
        for topic, text in zip(self.replies["topic"], self.replies["blind"], strict=True):
            for poles in self.poles:
                key: Key = (str(topic), name_of(text), poles)
                if key not in known and key not in asked:
                    asked[key] = self.questions[topic].request(text, poles)
        return sorted(asked.items(), key=lambda it: seed_of(self.settings.seed, *it[0]))

    def table(self, known: Known) -> "pd.DataFrame":
        """The table with one row for each reply.

        Returns:
            The columns study.RATINGS.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for reply in self.replies.to_dict("records"):
            each = [known[str(reply["topic"]), name_of(reply["blind"]), poles] for poles in self.poles]
            rows.append({**dict[Any, Any](reply), "judge": self.name, **_joined(each)})
        return pd.DataFrame(rows, columns=COLUMNS)


def _joined(each: Sequence[Rated]) -> dict[str, Any]:
    """The combined result of the answers about one reply.

    The stance is the mean over the two orders of the poles, which cancels a preference for one end; it is missing if
    neither answer gave a number.
    """
    stances = [it.stance for it in each if it.stance is not None]
    none = [it.none for it in each if it.none is not None]
    return {
        "stance": sum(stances) / len(stances) if stances else None,
        "rating": each[0].turned,
        "exchanged": each[1].turned if len(each) > 1 else "",
        "p_none": sum(none) / len(none) if none else None,
        "pole_bias": stances[0] - stances[1] if len(stances) > 1 else None,
    }


def check_other(bench: Bench) -> None:
    """Refuse a judge that is the debaters' own model, unless it was chosen explicitly.

    Raises:
        SettingsError: it is the same model.
    """
    if bench.weights.fingerprint == bench.study.manifest.model.sha256:
        raise SettingsError(
            f"{bench.study.folder}: these agents ran on {bench.name}, which is also the judge where none is named. A "
            f"model is a poor judge of itself; name another with --model, or {bench.name} itself to go on with it."
        )


def estimate(bench: Bench) -> str:
    """An estimate of what rating the run would take, in one paragraph.

    Raises:
        ArtifactError: the store's ratings are damaged.
    """
    known: dict[Key, Rated] = {}
    calls = seconds = 0.0
    for topic in bench.questions:
        kept = artifacts.peek(bench.place(topic))
        path = kept.folder / FILE
        known |= _known(topic, path, read_lines(path)) if path.exists() else {}
        spent = kept.manifest.get("spent") or {}
        calls, seconds = calls + spent.get("calls", 0), seconds + spent.get("seconds", 0.0)
    missing = bench.missing(known)
    counter = Counter({"judge": bench.settings.engine.calls(4)}, lambda role, purpose: bench.settings.model.price)
    counter.score([request for _, request in missing])
    counted = counter.counted
    time_left = (
        f" It takes about {duration(counted.calls * seconds / calls)} at the speed of earlier ratings." if calls else ""
    )
    return (
        f"{len(bench.replies):,} replies to be rated by {bench.name}, {len(bench.poles)} × each; {len(missing):,} "
        f"ratings are not in the store yet: about {counted.calls:.0f} calls, {counted.prompt_tokens:.0f} tokens of "
        f"prompts and {counted.tokens:.0f} generated{counted.money}.{time_left if counted.calls else ''}"
    )


def judge(bench: Bench) -> "pd.DataFrame":
    """Rate the replies that have no rating in the store, and write the judge's rows into the run's stances.csv.

    Returns:
        The judge's rows, with the columns study.RATINGS.

    Raises:
        BusyError: another process is rating with this judge.
        EngineError: a question cannot be answered, or the budget is used up; answers received so far are kept.
    """
    if bench.settings.engine.kind == "openai":
        say(estimate(bench))
    with _kept(bench) as rows:
        known: dict[Key, Rated] = {}
        for topic, each in rows.items():
            known |= _known(topic, each.path, each.read())
        missing = bench.missing(known)
        if missing:
            _ask(bench, missing, rows, known)
    table = bench.table(known)
    _write(bench.study, table)
    return table


@contextmanager
def _kept(bench: Bench) -> Generator[dict[str, Rows]]:
    """The stored ratings of each topic, locked."""
    with ExitStack() as stack:
        yield {it: stack.enter_context(artifacts.rows(bench.place(it), FILE, wait=False)) for it in bench.questions}


def _known(topic: str, path: Path, lines: Iterator[tuple[int, bytes]]) -> dict[Key, Rated]:
    """The ratings in the store.

    Raises:
        ArtifactError: a line is not a rating.
    """
    known: dict[Key, Rated] = {}
    for number, line in lines:
        try:
            row = json.loads(line)
            logprobs = row["logprobs"]
            rated = Rated(row["poles"], row["rating"], None if logprobs is None else tuple(logprobs), row["raw"])
            known[topic, row["text"], rated.poles] = rated
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path}, line {number}: this is not a rating; restore the file, or delete its folder to have the "
                "replies rated again."
            ) from error
    return known


def _ask(
    bench: Bench, missing: Sequence[tuple[Key, Request]], rows: Mapping[str, Rows], known: dict[Key, Rated]
) -> None:
    """Ask the missing questions, and store each answer as it arrives."""
    keys = {id(request): key for key, request in missing}
    with bench.engine, showing("ratings", len(missing), 0, len(missing)) as progress:
        bench.engine.prepare()
        began, calls = time.monotonic(), 0
        try:
            for request, answer in bench.engine.stream(deque(request for _, request in missing)):
                assert isinstance(answer, Score)
                topic, text, poles = key = keys[id(request)]
                known[key] = rated = read(answer, poles)
                rows[topic].append(json.dumps({"text": text, **rated._asdict()}, ensure_ascii=False))
                calls += 1
                _count(bench, progress, answer, rated)
        finally:
            _spent(rows, calls, time.monotonic() - began)


def _count(bench: Bench, progress: Progress, answer: Score, rated: Rated) -> None:
    """Update the progress display."""
    progress.done += 1
    progress.answers += 1
    progress.tokens += answer.tokens
    progress.invalid += rated.rating is None
    if bench.settings.model.price is not None:
        dollars = bench.settings.model.price.dollars(answer.prompt_tokens, answer.tokens)
        progress.dollars = (progress.dollars or 0.0) + dollars
    progress.show()


def _spent(rows: Mapping[str, Rows], calls: int, seconds: float) -> None:
    """Record the calls and seconds spent, added up over all processes and split evenly between topics."""
    for each in rows.values():
        before = each.artifact.manifest.get("spent") or {"calls": 0, "seconds": 0.0}
        share = calls / len(rows)
        taken = {"calls": before["calls"] + share, "seconds": before["seconds"] + seconds / len(rows)}
        each.artifact.grow(spent=taken)


def _write(study: Study, table: "pd.DataFrame") -> None:
    """Replace the judge's rows in stances.csv; the new rows go last."""
    import pandas as pd

    before = study.stances
    if before is not None:
        others = before[before["judge"] != table["judge"].iloc[0]]
        table = pd.concat([others, table], ignore_index=True) if len(others) else table
    write_table(study.folder / STANCES, table)
    manifest = read_manifest(study.folder, RunManifest)
    files = {**manifest.files, **hashes(study.folder, [STANCES])}
    write_manifest(study.folder, manifest.model_copy(update={"files": files}))
