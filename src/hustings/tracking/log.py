"""Weights & Biases, or nothing. It is told of a run when it begins and reads the rest from the run's folder at its end.

With `tracker=none` wandb is not even imported. Only the process of rank zero tracks.
"""

import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings import records
from hustings.artifacts import write_atomically
from hustings.errors import RecordError, SettingsError, first_line
from hustings.identity import canonical, identity
from hustings.page import data
from hustings.progress import say
from hustings.report import ADAPTER, flatten
from hustings.settings import EvaluateSettings, SimulateSettings, TrainSettings, WandbSettings

if TYPE_CHECKING:
    import wandb
    from wandb_workspaces.reports.v2 import interface as v2

_OURS = {"tracker", "artifacts", "analysis", "trainer"}
_SPOKEN = ["debate", "topic", "iteration", "agent", "role", "persona", "name", "text", "tokens", "finish"]


@contextmanager
def tracked(
    settings: SimulateSettings | TrainSettings | EvaluateSettings, job: str, group: str | None
) -> Generator[Callable[[Path], None]]:
    """Track what happens in the block; it is marked failed when the block raises.

    Args:
        job: what runs: `simulate`, `train`, `evaluate`.
        group: the experiment's name, where the settings give no group.

    Yields:
        A function that takes the finished run's folder and logs what is in it.

    Raises:
        SettingsError: `tracker.mode=online`, and W&B cannot be reached or nobody is logged in.
    """
    tracker = settings.tracker
    if not isinstance(tracker, WandbSettings) or int(os.environ.get("RANK", "0")) > 0:
        yield lambda folder: None
        return
    plain = settings.model_dump(mode="json")
    run = _begin(tracker, plain, job, group, id_of(plain), *_called(plain))
    try:
        yield lambda folder: _log(run, tracker, folder)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=0)
    if tracker.mode == "offline":
        say(f"tracked offline; to send it: wandb sync {os.path.relpath(Path(run.dir).parent)}")


def id_of(plain: dict[str, Any]) -> str:
    """The id under which a run is tracked, equal for the same command.

    Args:
        plain: settings as a manifest holds them.
    """
    return identity({key: value for key, value in plain.items() if key not in _OURS})


def _called(plain: dict[str, Any]) -> tuple[str, list[str]]:
    """Name and tags of a run."""
    model = plain["model"]["name"] or plain["model"]["source"]
    if "benchmark" in plain:
        of = [plain["row"] or Path(plain["adapter"] or "base").name, *plain["benchmark"]["tasks"]]
        return f"{model}-{of[0]}-scores", [model, *of]
    if "lora" in plain:
        of = [plain["party"]["name"], plain["method"]["kind"], f"r{plain['lora']['r']}"]
        return f"{model}-{'_'.join(of)}-{plain['seed']}", [model, *of]
    model, composition = "planted" if plain["engine"]["kind"] == "planted" else model, plain["composition"]["name"]
    return f"{model}-{composition}-{plain['seed']}", [model, composition, *plain["topics"]]


def _begin(
    tracker: WandbSettings, plain: dict[str, Any], job: str, group: str | None, id: str, name: str, tags: list[str]
) -> "wandb.Run":
    import wandb

    try:
        run = wandb.init(
            project=tracker.project,
            entity=tracker.entity,
            mode=tracker.mode,
            dir=Path(tracker.folder).resolve(),
            id=id,
            resume="allow",
            reinit="create_new",
            name=name,
            group=tracker.group or group,
            job_type=job,
            tags=[*tags, *tracker.tags],
            config=flatten({key: value for key, value in plain.items() if key not in _OURS}),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )
    except wandb.Error as error:
        raise SettingsError(
            f"tracker.mode={tracker.mode}: W&B could not begin a run ({first_line(error)}); `wandb login` once, or "
            "choose tracker.mode=offline."
        ) from error
    for step, curves in (("iteration", "attitude/*"), ("step", "train/*")):
        run.define_metric(step)
        run.define_metric(curves, step_metric=step)
    return run


def _log(run: "wandb.Run", tracker: WandbSettings, folder: Path) -> None:
    """Log what is in a run's folder: curves, tables, pictures, and artifacts with what they were made from."""
    import pandas as pd
    import wandb

    if run.resumed and any(run.summary.get(name) is not None for name in ("debates", "last_loss", "scores_told")):
        return
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["kind"] == "training":
        _log_training(run, tracker, folder, manifest["settings"])
        return
    if manifest["kind"] == "evaluation":
        _log_evaluation(run, folder, manifest)
        return
    attitudes = pd.read_csv(folder / "attitudes.csv", dtype={"adapter": str})
    for row in _curves(attitudes):
        run.log(row)
    tables = {"attitudes": attitudes, "transcripts": _transcripts(folder)}
    if (folder / "statistics.csv").exists():
        tables["statistics"] = pd.read_csv(folder / "statistics.csv")
        run.summary.update(_estimates(tables["statistics"]))
    run.log({name: wandb.Table(dataframe=table) for name, table in tables.items()})
    run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted((folder / "figures").glob("*.png"))})
    _artifacts(run, folder, manifest)
    debates = attitudes[["topic", "composition", "repetition"]].drop_duplicates()
    run.summary.update({"debates": len(debates), "invalid": int((~attitudes["valid"].astype(bool)).sum())})


def _curves(attitudes: Any) -> list[dict[str, Any]]:
    """One row an iteration: mean, standard error and n of every topic and role."""
    from hustings.analysis.curves import curve

    rows: dict[int, dict[str, Any]] = {}
    for topic, _, role, iteration, n, mean, se in curve(attitudes, "score").itertuples(index=False):
        row = rows.setdefault(int(iteration), {"iteration": int(iteration)})
        name = f"attitude/{topic}/{role}"
        row |= {name: float(mean), f"{name}/n": int(n)}
        if se == se:
            row[f"{name}/se"] = float(se)
    return [rows[iteration] for iteration in sorted(rows)]


def _transcripts(folder: Path) -> Any:
    """Every reply with who gave it."""
    import pandas as pd

    agents: dict[str, tuple[records.Agent, ...]] = {}
    rows: list[list[Any]] = []
    for event in records.read(folder / "events.jsonl"):
        match event:
            case records.Start():
                agents[event.debate] = event.agents
            case records.Reply():
                seat = agents[event.debate][event.agent]
                who = [event.iteration, event.agent, seat.role, seat.persona, seat.name]
                rows.append([event.debate, event.debate.split("/")[0], *who, event.text, event.tokens, event.finish])
            case _:
                pass
    return pd.DataFrame(rows, columns=_SPOKEN)


def _estimates(statistics: Any) -> dict[str, float]:
    """Estimates for the summary, by `statistic/topic/role`."""
    names = ("statistic", "topic", "role")
    return {
        "/".join(row[name] for name in names if isinstance(row[name], str)): float(row["estimate"])
        for row in statistics.dropna(subset=["estimate"]).to_dict("records")
    }


def _log_evaluation(run: "wandb.Run", folder: Path, manifest: dict[str, Any]) -> None:
    """Scores in the summary, by `benchmark/metric`, means over the adapters; all as a table; and the picture."""
    import pandas as pd
    import wandb

    scores = pd.read_csv(folder / "scores.csv")
    run.log({"scores": wandb.Table(dataframe=scores)})
    run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))})
    means: Any = scores.groupby(["benchmark", "metric"])["score"].mean()
    run.summary.update({f"{benchmark}/{metric}": float(score) for (benchmark, metric), score in means.items()})
    run.summary.update({"scores_told": len(scores)})
    for adapter in manifest["adapters"]:
        _use(run, _stored(_place(Path(manifest["settings"]["artifacts"]), "adapters", adapter)))


def _log_training(run: "wandb.Run", tracker: WandbSettings, folder: Path, plain: dict[str, Any]) -> None:
    """Losses over steps, losses on held-out answers, the picture, and the adapter with what it was made from."""
    import pandas as pd
    import wandb

    adapter = json.loads((folder / ADAPTER / "manifest.json").read_text(encoding="utf-8"))
    for row in pd.read_csv(folder / ADAPTER / "loss.csv").to_dict("records"):
        losses = {f"train/{name}": float(value) for name, value in row.items() if name != "step" and value == value}
        run.log({"step": int(row["step"]), **losses})
    run.log({"figures/loss": wandb.Image(str(folder / ADAPTER / "loss.png"))})
    run.summary.update(
        {
            **{key: adapter[key] for key in ("first_loss", "last_loss", "rows", "seconds")},
            **{f"{key}/{value}": loss for key, value, loss in _held_out(adapter)},
        }
    )
    store = Path(plain["artifacts"])
    questions = _stored(_place(store, "questions", adapter["questions"]))
    for party, place in adapter["answers"].items():
        answers = _stored(_place(store, "answers", place), questions=adapter["questions"], party=party)
        _log_answers(tracker, plain, party, questions, answers)
        _use(run, answers)
    if "start" in adapter["of"]:
        _use(run, _stored(_place(store, "adapters", adapter["of"]["start"])))
    made = {"answers": adapter["answers"], "base": adapter["base"], "base_sha256": adapter["of"]["model"]}
    run.log_artifact(_stored(folder / ADAPTER, **made))


def _held_out(adapter: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Losses on held-out answers: `held_out/adapter`, the party, the loss."""
    return [
        (f"held_out/{state}", party, loss)
        for state, by in adapter["held_out_loss"].items()
        for party, loss in by.items()
    ]


def _log_answers(
    tracker: WandbSettings, plain: dict[str, Any], party: str, questions: "wandb.Artifact", answers: "wandb.Artifact"
) -> None:
    """A run of its own that made a party's answers from the questions, so that W&B draws the line between them."""
    model = plain["model"]["name"] or plain["model"]["source"]
    of = {key: plain[key] for key in ("model", "engine", "society", "interview")}
    name = f"{model}-{party}-answers"
    with _begin(tracker, of, "answers", tracker.group, answers.name.rpartition("-")[2], name, [model, party]) as run:
        _use(run, questions)
        run.log_artifact(answers)


def _place(store: Path, kind: str, id: str) -> Path:
    """The folder of an artifact."""
    return next((store / kind).glob(f"*-{id}"))


def _stored(folder: Path, **facts: Any) -> "wandb.Artifact":
    """An artifact of the store as one of W&B's: the same name and content are the same version there."""
    import wandb

    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    artifact = wandb.Artifact(f"{manifest['kind']}-{manifest['id']}", manifest["kind"], metadata=facts)
    for file in manifest["files"]:
        artifact.add_file(str((folder / file).resolve()), name=file)
    return artifact


def _use(run: "wandb.Run", artifact: "wandb.Artifact") -> None:
    """What run.use_artifact does with a new artifact, which refuses to do it offline (wandb 0.31)."""
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)  # pyright: ignore[reportPrivateUsage]


def _artifacts(run: "wandb.Run", folder: Path, manifest: dict[str, Any]) -> None:
    """Personas and adapter as input, the debates as output: that is their lineage."""
    import wandb

    personas: dict[str, str] = {}
    for event in records.read(folder / "events.jsonl"):
        if isinstance(event, records.Start):
            personas |= {it.persona: canonical({"persona": it.persona, "name": it.name, "story": it.story})
                         for it in event.agents}  # fmt: skip
    model = {f"model_{key}": value for key, value in manifest["model"].items()}
    spoken = wandb.Artifact(f"personas-{manifest['debates']}", "personas", metadata=model)
    with spoken.new_file("personas.jsonl", encoding="utf-8") as file:
        file.writelines(f"{personas[key]}\n" for key in sorted(personas))
    _use(run, spoken)
    if manifest["adapter"]:
        _use(run, _stored(folder / ADAPTER))
    debates = wandb.Artifact(f"debates-{manifest['debates']}", "debates", metadata=model)
    debates.add_file(str((folder / "events.jsonl").resolve()), name="events.jsonl")
    run.log_artifact(debates)


def report(folders: Sequence[Path], entity: str | None) -> "v2.Report":
    """A W&B Report that compares tracked runs: curves and statistics, losses by rank, Table 1.

    Args:
        folders: of runs of any entry point that were made with `tracker=wandb`.
        entity: user or team; None takes the runs' own.

    Returns:
        The report, not saved yet; building it needs no network.

    Raises:
        SettingsError: a run was not tracked, or the runs went to several projects.
        RecordError: a folder is no run.
    """
    from wandb_workspaces.reports.v2 import interface as v2

    settings = [_settings(folder) for folder in folders]
    trackers = [each["tracker"] for each in settings]
    for folder, tracker in zip(folders, trackers, strict=True):
        if tracker["kind"] != "wandb":
            raise SettingsError(f"{folder}: this run was not tracked; run its command again with tracker=wandb.")
    projects = sorted({tracker["project"] for tracker in trackers})
    if len(projects) > 1:
        raise SettingsError(f"tracker.project: these runs are in several projects ({', '.join(projects)}); give one's.")
    ids = ", ".join(f"'{id_of(each)}'" for each in settings)
    which = f"ID in [{ids}]"
    scores = [folder for folder, each in zip(folders, settings, strict=True) if "benchmark" in each]
    trained = [folder for folder, each in zip(folders, settings, strict=True) if "topics" not in each]
    runs = [data.run(folder, len(folders)) for folder in folders if folder not in (*scores, *trained)]
    blocks: list[Any] = [v2.H1("Attitude curves"), _grid(runs, which)] if runs else []
    for each in runs:
        blocks += [v2.H1(each.sentence), *_words(each)]
    if trained:
        rows = [data.training(folder).row for folder in trained]
        lines = {"name": "by rank", "columns": list(rows[0]), "rows": [[*row.values()] for row in rows]}
        blocks += [v2.H1("Fine-tuning"), _losses(which), *_markdown(lines)]
    for folder in scores:
        blocks += [v2.H1("Benchmarks"), *(block for each in data.tables(folder) for block in _markdown(each))]
    return v2.Report(
        project=projects[0],
        entity=entity or trackers[0]["entity"] or "",
        title=f"Hustings: {len(folders)} runs compared" if len(folders) > 1 else "Hustings",
        width="fluid",
        blocks=blocks,
    )


def _settings(folder: Path) -> dict[str, Any]:
    """The settings in a run's manifest.

    Raises:
        RecordError: the folder is no run.
    """
    try:
        return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{folder}: this is not a run's folder (manifest.json is missing or damaged); give the folder that a run "
            "printed as its last line."
        ) from error


def send(made: "v2.Report", spec: Path | None) -> str:
    """Save the report at W&B, or write its JSON into the file `spec`.

    Returns:
        Its address, or the file.

    Raises:
        SettingsError: W&B cannot be reached, or nobody is logged in.
    """
    if spec is not None:
        # The package offers no public way to its JSON without sending it.
        model: Any = made._to_model()  # pyright: ignore[reportPrivateUsage]
        write_atomically(spec, model.model_dump_json(by_alias=True, exclude_none=True) + "\n")
        return str(spec)
    try:
        return str(made.save().url)
    except Exception as error:
        raise SettingsError(
            f"wandb-report: W&B did not take the report ({first_line(error)}); `wandb login` once, sync the runs, or "
            "write the report's JSON with --spec FILE."
        ) from error


def _grid(runs: Sequence[data.Run], which: str) -> Any:
    """A panel a topic, with a line for each role of each run."""
    from wandb_workspaces.reports.v2 import interface as v2

    names = dict.fromkeys(
        (topic, role) for each in runs for topic, roles in each.script["curves"]["score"].items() for role in roles
    )
    topics = list(dict.fromkeys(topic for topic, _ in names))
    panels: list[Any] = [
        v2.LinePlot(
            title=topic.replace("_", " "),
            x="iteration",
            y=[f"attitude/{about}/{role}" for about, role in names if about == topic],
            range_y=(0, 10),
            title_x="iteration (replies made)",
            title_y="attitude",
            layout=v2.Layout(x=12 * (place % 2), y=8 * (place // 2), w=12, h=8),
        )
        for place, topic in enumerate(topics)
    ]
    return v2.PanelGrid(runsets=[v2.Runset(name="runs", filters=which)], panels=panels)


def _losses(which: str) -> Any:
    """Losses over the steps of every training."""
    from wandb_workspaces.reports.v2 import interface as v2

    panel: Any = v2.LinePlot(title="loss", x="step", y=["train/loss"], title_x="step", title_y="loss, nats")
    return v2.PanelGrid(runsets=[v2.Runset(name="trainings", filters=which)], panels=[panel])


def _words(run: data.Run) -> list[Any]:
    """Statistics as sentences, and the other tables of a run as Markdown."""
    from wandb_workspaces.reports.v2 import interface as v2

    blocks: list[Any] = []
    said = [row["sentence"] for row in run.statistics if row["statistic"] in ("convergence", "echo", "crossing")]
    if said:
        blocks.append(v2.UnorderedList(items=said))
    return [*blocks, *(block for table in run.tables for block in _markdown(table))]


def _markdown(table: dict[str, Any]) -> list[Any]:
    """A table with its name as a heading."""
    from wandb_workspaces.reports.v2 import interface as v2

    rows = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return [v2.H2(table["name"]), v2.MarkdownBlock(text=text)]
