"""A Weights & Biases Report that compares tracked runs: curves, controls, statistics, losses by rank, scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.analysis.figures import SHADOW_COLOUR
from hustings.errors import SettingsError, first_line
from hustings.files import write_atomically
from hustings.page import tables
from hustings.page.sentence import sentence
from hustings.page.training import training
from hustings.plain import markdown
from hustings.report import alerts, controls
from hustings.report.controls import MEANINGS, SYMBOLS
from hustings.report.naming import OUTCOMES, shadow_label, tell_apart
from hustings.report.numbers import bracketed
from hustings.runfolder import STATISTICS, EvaluationManifest, RunManifest, TrainingManifest, kind_of, read_manifest
from hustings.settings.debate import SHADOW
from hustings.study import Outcome, Study, load
from hustings.tracking.log import metric
from hustings.tracking.session import id_of

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import interface as v2

_TELLING = ("closing", "party_gap", "drift", "default_drift", "echo", "crossing")
"""Statistics whose sentences are quoted in the Report."""
_MANIFESTS = {"training": TrainingManifest, "evaluation": EvaluationManifest}


def report(folders: Sequence[Path], entity: str | None) -> "v2.Report":
    """Build the Report without saving it; this needs no network.

    Args:
        folders: run folders of any entry point, from runs made with `tracker=wandb`.
        entity: user or team; None uses that of the runs.

    Raises:
        SettingsError: a run was not tracked, or the runs are in several projects.
        RecordError: a folder is not a run folder.
    """
    from wandb_workspaces.reports.v2 import interface as v2

    settings = [_settings(folder) for folder in folders]
    trackers = [each["tracker"] for each in settings]
    for folder, tracker in zip(folders, trackers, strict=True):
        if tracker["kind"] != "wandb":
            raise SettingsError(f"{folder}: this run was not tracked; run its command again with tracker=wandb.")
    projects = sorted({tracker["project"] for tracker in trackers})
    if len(projects) > 1:
        raise SettingsError(
            f"tracker.project: these runs are in several projects ({', '.join(projects)}); name runs of one project."
        )
    ids = ", ".join(f"'{id_of(each)}'" for each in settings)
    return v2.Report(
        project=projects[0],
        entity=entity or trackers[0]["entity"] or "",
        title=f"Hustings: {len(folders)} runs compared" if len(folders) > 1 else "Hustings",
        width="fluid",
        blocks=_blocks(folders, f"ID in [{ids}]"),
    )


def _settings(folder: Path) -> dict[str, Any]:
    """The settings in a run's manifest.

    Raises:
        RecordError: the folder is not a run folder.
    """
    return read_manifest(folder, _MANIFESTS.get(kind_of(folder), RunManifest)).settings


def _blocks(folders: Sequence[Path], which: str) -> list[Any]:
    """The blocks of the Report, depending on the kinds of its runs.

    Args:
        which: W&B's filter that selects these runs.
    """
    from wandb_workspaces.reports.v2 import interface as v2

    kinds = {folder: kind_of(folder) for folder in folders}
    studies = [load(folder) for folder, kind in kinds.items() if kind == "run"]
    blocks: list[Any] = [v2.H1("Attitude curves"), _grid(studies, which)] if studies else []
    blocks += _controls(studies) if len(studies) > 1 else []
    blocks += _warnings(studies)
    for study in studies:
        blocks += [v2.H1(sentence(study)), *_words(study)]
    rows = [training(folder).row for folder, kind in kinds.items() if kind == "training"]
    if rows:
        lines = {"name": "by rank", "columns": list(rows[0]), "rows": [[*row.values()] for row in rows]}
        blocks += [v2.H1("Fine-tuning"), _losses(which), *_markdown(lines)]
    for folder in (folder for folder, kind in kinds.items() if kind == "evaluation"):
        blocks += [v2.H1("Benchmarks"), *(block for each in tables.tables(folder) for block in _markdown(each))]
    return blocks


def send(made: "v2.Report", spec: Path | None) -> str:
    """Save the Report at W&B, or write its JSON into the file `spec`.

    Returns:
        Its address, or the file's path.

    Raises:
        SettingsError: W&B cannot be reached, or nobody is logged in.
    """
    if spec is not None:
        # The package has no public way to get the JSON without sending it.
        model: Any = made._to_model()  # pyright: ignore[reportPrivateUsage]
        write_atomically(spec, model.model_dump_json(by_alias=True, exclude_none=True) + "\n")
        return str(spec)
    try:
        return str(made.save().url)
    except Exception as error:
        raise SettingsError(
            f"wandb-report: W&B rejected the report ({first_line(error)}); run `wandb login` once, sync the runs, or "
            "write the report's JSON with --spec FILE."
        ) from error


def _grid(studies: Sequence[Study], which: str) -> Any:
    """A panel for each topic and outcome: a line for each role of each run, on an axis that covers the runs' scales."""
    from wandb_workspaces.reports.v2 import interface as v2

    panels: list[Any] = []
    wanted = sorted(OUTCOMES, key=lambda outcome: outcome != studies[0].outcome)
    for topic in dict.fromkeys(topic for study in studies for topic in study.design["topics"]):
        for outcome in wanted:
            mine = [study for study in studies if topic in study.design["topics"] and outcome in study.outcomes]
            if not mine:
                continue
            place, scales = len(panels), [study.scale for study in mine]
            asked = dict.fromkeys(role for study in mine for role in study.attitudes["role"].unique())
            panels.append(
                v2.LinePlot(
                    title=f"{topic.replace('_', ' ')}: {OUTCOMES[outcome]}",
                    x="iteration",
                    y=[metric(outcome, topic, role) for role in asked],
                    range_y=(min(low for low, _ in scales), max(high for _, high in scales)),
                    title_x="iteration (replies made)",
                    title_y="attitude",
                    layout=v2.Layout(x=12 * (place % 2), y=8 * (place // 2), w=12, h=8),
                    **_shadow(mine, outcome, topic),
                )
            )
    return v2.PanelGrid(runsets=[v2.Runset(name="runs", filters=which)], panels=panels)


def _shadow(studies: Sequence[Study], outcome: Outcome, topic: str) -> dict[str, Any]:
    """The line style of the shadow Default in each run: dashed, grey and named."""
    lines = {
        f"{id_of(dict(study.design))}:{metric(outcome, topic, SHADOW)}": shadow_label(study)
        for study in studies
        if SHADOW in set(study.attitudes["role"])
    }
    return {
        "line_titles": lines,
        "line_marks": dict.fromkeys(lines, "dashed"),
        "line_colors": dict.fromkeys(lines, SHADOW_COLOUR),
    }


def _controls(studies: Sequence[Study]) -> list[Any]:
    """Unwarranted drift and responsiveness by topic and role, if the runs differ in their control."""
    from wandb_workspaces.reports.v2 import interface as v2

    named = dict(zip(tell_apart(studies), studies, strict=True))
    blocks: list[Any] = []
    for found in controls.of(named):
        rows = [
            [
                agent.topic,
                agent.role,
                bracketed(agent.tests["unwarranted_drift"]),
                bracketed(agent.tests["responsiveness"]),
            ]
            for agent in found.agents
        ]
        name = f"Controls: {found.name}" if found.name else "Controls"
        blocks += _markdown({"name": name, "columns": ["topic", "role", *SYMBOLS.values()], "rows": rows})
    return [*blocks, v2.UnorderedList(items=[*MEANINGS.values()])] if blocks else []


def _losses(which: str) -> Any:
    """Losses of every training, by step."""
    from wandb_workspaces.reports.v2 import interface as v2

    panel: Any = v2.LinePlot(title="loss", x="step", y=["train/loss"], title_x="step", title_y="loss, nats")
    return v2.PanelGrid(runsets=[v2.Runset(name="trainings", filters=which)], panels=[panel])


def _warnings(studies: Sequence[Study]) -> list[Any]:
    """Warnings for the reader, each listed once."""
    from wandb_workspaces.reports.v2 import interface as v2

    named = dict(zip(tell_apart(studies), studies, strict=True)) if len(studies) > 1 else dict(enumerate(studies))
    said = alerts.together({str(name): alerts.alerts(study, study.statistics) for name, study in named.items()})
    return [v2.UnorderedList(items=[f"Warning: {one}" for one in said])] if said else []


def _words(study: Study) -> list[Any]:
    """Statistics as sentences, and the run's other tables as Markdown."""
    from wandb_workspaces.reports.v2 import interface as v2

    rows = tables.statistics(study.folder / STATISTICS)
    mine = [row for row in rows if row.get("outcome", study.outcome) == study.outcome]
    sentences: list[Any] = [row["sentence"] for row in mine if row["statistic"] in _TELLING]
    blocks: list[Any] = [v2.UnorderedList(items=sentences)] if sentences else []
    return [*blocks, *(block for table in tables.tables(study.folder) for block in _markdown(table))]


def _markdown(table: dict[str, Any]) -> list[Any]:
    """A table below its name."""
    from wandb_workspaces.reports.v2 import interface as v2

    return [v2.H2(table["name"]), v2.MarkdownBlock(text=markdown(table["columns"], table["rows"]))]
