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
from hustings.errors import SettingsError, first_line
from hustings.identity import canonical, identity
from hustings.page import data
from hustings.progress import say
from hustings.report import flatten
from hustings.settings import SimulateSettings, WandbSettings

if TYPE_CHECKING:
    import wandb
    from wandb_workspaces.reports.v2 import interface as v2

_OURS = {"tracker", "artifacts", "analysis", "trainer"}
_SPOKEN = ["debate", "topic", "iteration", "agent", "role", "persona", "name", "text", "tokens", "finish"]


@contextmanager
def tracked(settings: SimulateSettings, job: str, group: str | None) -> Generator[Callable[[Path], None]]:
    """Track what happens in the block; it is marked failed when the block raises.

    Args:
        job: what runs: `simulate`.
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
    run = _begin(tracker, plain, job, group)
    try:
        yield lambda folder: _log(run, folder)
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


def _begin(tracker: WandbSettings, plain: dict[str, Any], job: str, group: str | None) -> "wandb.Run":
    import wandb

    model, composition = plain["model"]["name"] or plain["model"]["source"], plain["composition"]["name"]
    if plain["engine"]["kind"] == "planted":
        model = "planted"
    try:
        run = wandb.init(
            project=tracker.project,
            entity=tracker.entity,
            mode=tracker.mode,
            dir=Path(tracker.folder).resolve(),
            id=id_of(plain),
            resume="allow",
            name=f"{model}-{composition}-{plain['seed']}",
            group=tracker.group or group,
            job_type=job,
            tags=[model, composition, *plain["topics"], *tracker.tags],
            config=flatten({key: value for key, value in plain.items() if key not in _OURS}),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )
    except wandb.Error as error:
        raise SettingsError(
            f"tracker.mode={tracker.mode}: W&B could not begin a run ({first_line(error)}); `wandb login` once, or "
            "choose tracker.mode=offline."
        ) from error
    run.define_metric("iteration")
    run.define_metric("attitude/*", step_metric="iteration")
    return run


def _log(run: "wandb.Run", folder: Path) -> None:
    """Log what is in a run's folder: curves, tables, pictures, personas and debates."""
    import pandas as pd
    import wandb

    if run.resumed and run.summary.get("debates") is not None:
        return
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
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


def _artifacts(run: "wandb.Run", folder: Path, manifest: dict[str, Any]) -> None:
    """The personas as input, the debates as output: that is their lineage."""
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
    # What run.use_artifact does with a new artifact, which refuses to do it offline (wandb 0.31).
    run._log_artifact(spoken, is_user_created=True, use_after_commit=True)  # pyright: ignore[reportPrivateUsage]
    debates = wandb.Artifact(f"debates-{manifest['debates']}", "debates", metadata=model)
    debates.add_file(str((folder / "events.jsonl").resolve()), name="events.jsonl")
    run.log_artifact(debates)


def report(folders: Sequence[Path], entity: str | None) -> "v2.Report":
    """A W&B Report that compares tracked runs: curves, statistics, and the tables in their folders.

    Args:
        folders: of runs that were made with `tracker=wandb`.
        entity: user or team; None takes the runs' own.

    Returns:
        The report, not saved yet; building it needs no network.

    Raises:
        SettingsError: a run was not tracked, or the runs went to several projects.
        RecordError: a folder is no run.
    """
    from wandb_workspaces.reports.v2 import interface as v2

    runs = [data.run(folder, len(folders)) for folder in folders]
    trackers = [each.source.manifest["settings"]["tracker"] for each in runs]
    for folder, tracker in zip(folders, trackers, strict=True):
        if tracker["kind"] != "wandb":
            raise SettingsError(f"{folder}: this run was not tracked; run its command again with tracker=wandb.")
    projects = sorted({tracker["project"] for tracker in trackers})
    if len(projects) > 1:
        raise SettingsError(f"tracker.project: these runs are in several projects ({', '.join(projects)}); give one's.")
    ids = ", ".join(f"'{id_of(each.source.manifest['settings'])}'" for each in runs)
    blocks: list[Any] = [v2.H1("Attitude curves"), _grid(runs, f"ID in [{ids}]")]
    for each in runs:
        blocks += [v2.H1(each.sentence), *_words(each)]
    return v2.Report(
        project=projects[0],
        entity=entity or trackers[0]["entity"] or "",
        title=f"Hustings: {len(runs)} runs compared" if len(runs) > 1 else "Hustings",
        width="fluid",
        blocks=blocks,
    )


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


def _words(run: data.Run) -> list[Any]:
    """Statistics as sentences, and the other tables of a run as Markdown."""
    from wandb_workspaces.reports.v2 import interface as v2

    blocks: list[Any] = []
    said = [row["sentence"] for row in run.statistics if row["statistic"] in ("convergence", "echo", "crossing")]
    if said:
        blocks.append(v2.UnorderedList(items=said))
    for table in run.tables:
        rows = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        blocks += [v2.H2(table["name"]), v2.MarkdownBlock(text=text)]
    return blocks
