"""What is logged of a finished run, read from its folder: curves, tables, pictures, and artifacts with their lineage.

An adapter's weights and the answers that it was trained on come from the artifact store.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.errors import ArtifactError
from hustings.files import read_table
from hustings.identity import canonical
from hustings.report.alerts import alerts
from hustings.runfolder import (
    ADAPTER,
    EVENTS,
    FIGURES,
    MANIFEST,
    SCORES,
    DebateKey,
    EvaluationManifest,
    TrainingManifest,
    kind_of,
    read_manifest,
)
from hustings.study import Outcome, Study, load
from hustings.tracking.session import Session

if TYPE_CHECKING:
    import pandas as pd
    import wandb

_SPOKEN = ["debate", "topic", "iteration", "agent", "role", "persona", "name", "text", "tokens", "finish"]
_LOGGED = ("debates", "last_loss", "score_count")
"""Names in the summary that show, for each kind of run, that it was logged completely."""


def log(run: "wandb.Run", session: Session, folder: Path) -> None:
    """Log the content of a finished run's folder, unless the same run was logged before.

    Raises:
        RecordError: the folder is not a run folder.
        ArtifactError: something that the run was made from is not in the artifact store.
    """
    if run.resumed and any(run.summary.get(name) is not None for name in _LOGGED):
        return
    match kind_of(folder):
        case "training":
            _training(run, session, folder)
        case "evaluation":
            _evaluation(run, folder)
        case _:
            _simulation(run, load(folder))


def _simulation(run: "wandb.Run", study: Study) -> None:
    """Log curves, tables, pictures and summary estimates; personas and adapter are inputs, the debates an output."""
    import wandb

    for row in _curves(study):
        run.log(row)
    tables = {"attitudes": study.attitudes, "transcripts": _transcripts(study)}
    if study.statistics is not None:
        tables["statistics"] = study.statistics
        run.summary.update(_estimates(study))
    run.log({name: wandb.Table(dataframe=table) for name, table in tables.items()})
    run.log(_pictures(study.folder / FIGURES))
    manifest = study.manifest
    model = {f"model_{key}": value for key, value in manifest.model.model_dump().items()}
    _use(run, _personas(study, model))
    if manifest.adapter:
        _use(run, _stored(_place(study.design, "adapters", manifest.adapter.id)))
    debates = wandb.Artifact(f"debates-{manifest.id}", "debates", metadata=model)
    debates.add_file(str(study.folder / EVENTS), name=EVENTS)
    run.log_artifact(debates)
    played = study.agents.drop_duplicates(["topic", "repetition"])
    run.summary.update({"warnings": alerts(study, study.statistics)})
    run.summary.update({"debates": len(played), "invalid": int((~study.attitudes["valid"].astype(bool)).sum())})


def _curves(study: Study) -> list[dict[str, Any]]:
    """One row for each iteration: mean, standard error and n of every outcome, topic and role."""
    from hustings.analysis.curves import curve

    rows: dict[int, dict[str, Any]] = {}
    for outcome in study.outcomes:
        for point in curve(study.analysed_as(outcome)).to_dict("records"):
            row = rows.setdefault(int(point["iteration"]), {"iteration": int(point["iteration"])})
            name = metric(outcome, point["topic"], point["role"])
            row |= {name: float(point["mean"]), f"{name}/n": int(point["n"])}
            if point["se"] == point["se"]:
                row[f"{name}/se"] = float(point["se"])
    return [rows[iteration] for iteration in sorted(rows)]


def metric(outcome: Outcome, topic: str, role: str) -> str:
    """Name of a curve at W&B: 'attitude/expected/racism/democrat'."""
    return f"attitude/{outcome}/{topic}/{role}"


def _transcripts(study: Study) -> "pd.DataFrame":
    """All replies, with who made them."""
    replies = study.replies
    keys = zip(replies["topic"], replies["composition"], replies["repetition"], strict=True)
    return replies.assign(debate=[str(DebateKey(*key)) for key in keys])[_SPOKEN]


def _estimates(study: Study) -> dict[str, float]:
    """Estimates for the summary, by `statistic/topic/role`, followed by the moment and the other outcome, if any."""
    found: dict[str, float] = {}
    if study.statistics is None:
        return found
    for row in study.statistics.dropna(subset=["estimate"]).to_dict("records"):
        other = row["outcome"] if row["outcome"] != study.outcome else ""
        name = "/".join(filter(None, (row["statistic"], row["topic"], row["role"], row["at"], other)))
        found[name] = float(row["estimate"])
    return found


def _personas(study: Study, model: dict[str, str]) -> "wandb.Artifact":
    """All participants, one line each."""
    import wandb

    people = study.agents.drop_duplicates("persona").sort_values("persona")
    artifact = wandb.Artifact(f"personas-{study.manifest.id}", "personas", metadata=model)
    with artifact.new_file("personas.jsonl", encoding="utf-8") as file:
        for person in people[["persona", "name", "story"]].to_dict("records"):
            file.write(f"{canonical(person)}\n")
    return artifact


def _pictures(folder: Path) -> "dict[str, wandb.Image]":
    import wandb

    return {f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}


def _evaluation(run: "wandb.Run", folder: Path) -> None:
    """Log mean scores over adapters in the summary, by `benchmark/metric`; all scores as a table; and the picture."""
    import wandb

    manifest = read_manifest(folder, EvaluationManifest)
    scores = read_table(folder / SCORES)
    run.log({"scores": wandb.Table(dataframe=scores.astype(object).where(scores.notna(), None))})
    run.log(_pictures(folder))
    means: Any = scores.groupby(["benchmark", "metric"])["score"].mean()
    run.summary.update({f"{benchmark}/{metric}": float(score) for (benchmark, metric), score in means.items()})
    run.summary.update({"score_count": len(scores)})
    for adapter in manifest.adapters:
        _use(run, _stored(_place(manifest.settings, "adapters", adapter)))


def _training(run: "wandb.Run", session: Session, folder: Path) -> None:
    """Log losses by step, losses on held-out answers, the picture, and the adapter with the artifacts behind it."""
    import wandb

    plain = read_manifest(folder, TrainingManifest).settings
    adapter = json.loads((folder / ADAPTER / MANIFEST).read_text(encoding="utf-8"))
    for row in read_table(folder / ADAPTER / "loss.csv", others="number").to_dict("records"):
        losses = {f"train/{name}": float(value) for name, value in row.items() if name != "step" and value == value}
        run.log({"step": int(row["step"]), **losses})
    run.log({"figures/loss": wandb.Image(str(folder / ADAPTER / "loss.png"))})
    run.summary.update({key: adapter[key] for key in ("first_loss", "last_loss", "rows", "seconds")})
    run.summary.update(dict(_held_out(adapter)))
    questions = _stored(_place(plain, "questions", adapter["questions"]))
    for party, id in adapter["answers"].items():
        answers = _stored(_place(plain, "answers", id), questions=adapter["questions"], party=party)
        _log_answers(session, plain, party, questions, answers)
        _use(run, answers)
    if "start" in adapter["of"]:
        _use(run, _stored(_place(plain, "adapters", adapter["of"]["start"])))
    made = {"answers": adapter["answers"], "base": adapter["base"], "base_sha256": adapter["of"]["model"]}
    run.log_artifact(_stored(_place(plain, "adapters", adapter["id"]), **made))


def _held_out(adapter: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Losses on held-out answers: `held_out/adapter/republican` and the loss."""
    for state, losses in adapter["held_out_loss"].items():
        for party, loss in losses.items():
            yield f"held_out/{state}/{party}", loss


def _log_answers(
    session: Session, plain: dict[str, Any], party: str, questions: "wandb.Artifact", answers: "wandb.Artifact"
) -> None:
    """Log a separate run that made a party's answers from the questions, so that W&B shows the lineage between them."""
    model = plain["model"]["name"] or plain["model"]["source"]
    own = replace(
        session,
        job="answers",
        group=session.tracker.group,
        id=answers.name.rpartition("-")[2],
        name=f"{model}-{party}-answers",
        tags=(model, party, *session.tracker.tags),
        config={key: plain[key] for key in ("model", "engine", "society", "interview")},
    )
    with own.begin() as run:
        _use(run, questions)
        run.log_artifact(answers)


def _place(plain: Mapping[str, Any], kind: str, id: str) -> Path:
    """The folder of an artifact in the run's store.

    Raises:
        ArtifactError: it does not exist.
    """
    folder = Path(plain["artifacts"]) / kind
    found = next(folder.glob(f"*-{id}"), None)
    if found is None:
        raise ArtifactError(
            f"{folder}: the artifact store has no {kind} {id}, which this run was made from, so it cannot be tracked; "
            "restore the store, or set tracker=none."
        )
    return found


def _stored(folder: Path, **facts: Any) -> "wandb.Artifact":
    """A stored artifact as a W&B artifact; the same name and content give the same version there."""
    import wandb

    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    artifact = wandb.Artifact(f"{manifest['kind']}-{manifest['id']}", manifest["kind"], metadata=facts)
    for file in manifest["files"]:
        artifact.add_file(str((folder / file).resolve()), name=file)
    return artifact


def _use(run: "wandb.Run", artifact: "wandb.Artifact") -> None:
    """Do what run.use_artifact does with a new artifact, which it refuses to do offline (wandb 0.31)."""
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)  # pyright: ignore[reportPrivateUsage]
