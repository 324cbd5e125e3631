"""The `hustings` command: the three jobs, and the commands that need no experiment config."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from hustings import __version__, downloads, runfolder
from hustings.cli import entry, texts
from hustings.cli.terminal import one_paragraph, show_run
from hustings.configuration import INSTALLED, Job, conf_folder
from hustings.errors import RecordError, SettingsError
from hustings.progress import show

Arguments = argparse.Namespace
_JOBS = {
    "simulate": "play debates between agents and draw how their attitudes drift",
    "train": "fine-tune a model towards a party with the answers of its own agents",
    "evaluate": "measure what fine-tuning costs: benchmark scores and the Default's attitude",
}

_TELLING = ("closing", "party_gap", "drift", "default_drift", "model_pull", "attractor", "social_pull")
"""Statistics whose sentences `hustings report` prints."""


def main() -> None:
    """Run the command line of this process."""
    for job in get_args(Job):
        if sys.argv[1:2] == [job]:
            return entry.main(job, sys.argv[2:], f"{INSTALLED}{job}")
    with one_paragraph():
        arguments = _parser().parse_args()
        arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hustings",
        description="Debates between LLM agents, and how their attitudes drift to the bias of the model they run on.",
    )
    parser.add_argument("--version", action="version", version=f"hustings {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for job, summary in _JOBS.items():
        commands.add_parser(job, help=f"{summary} (hustings {job} --help explains)")
    _report_parser(_add(commands, "report", _report, "figures and statistics of runs, from disk and without a model"))
    packing = _add(commands, "pack", _pack, "copy runs without what can be made from their logs, to keep or to publish")
    packing.add_argument(
        "source", type=Path, metavar="RUN", help="a folder that a run or sweep printed as its last line"
    )
    packing.add_argument("target", type=Path, metavar="FOLDER", help="`hustings report FOLDER` makes the rest again")
    _power_parser(_add(commands, "power", _power, "how many repetitions it takes to detect a movement"))
    texts.judge_parser(_add(commands, "judge", texts.judge, "a model rates the stance of what agents said"))
    texts.annotate_parser(commands.add_parser("annotate", help="people rate it, and how far they agree"))
    _wandb_parser(_add(commands, "wandb-report", _wandb, "a Weights & Biases Report that compares tracked runs"))
    _fetch_parser(_add(commands, "fetch", _fetch, "download what a machine without internet access needs"))
    surprise = _add(commands, "perplexity", _perplexity, "how surprising a run's replies are to its model as it is")
    surprise.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder that a run or sweep printed")
    listing = _add(commands, "adapters", _adapters, "the adapters that train.py has made")
    listing.add_argument(
        "store", nargs="?", type=Path, default=Path("artifacts"), help="the artifact store (artifacts)"
    )
    _add(commands, "doctor", _doctor, "what this machine can run, and the command to start with")
    return parser


def _add(commands: Any, name: str, run: Callable[[Arguments], None], summary: str) -> argparse.ArgumentParser:
    """Add a command and the function that runs it."""
    parser = commands.add_parser(name, help=summary)
    parser.set_defaults(run=run)
    return parser


def _report_parser(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "One run: tests it and draws its figures again. Several runs, or the folder of a sweep or of an earlier "
        "comparison: puts them together and tests how each differs from the first. Trainings and evaluations: makes "
        "their page and table again."
    )
    parser.add_argument("--outcome", choices=["score", "expected"], help="what to analyse (each run's own)")
    parser.add_argument("--spaghetti", action="store_true", help="draw every debate as a faint line behind the mean")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to put what is made (one run or a sweep: its own folder; several: comparison)",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder that a run or sweep printed as its last line"
    )


def _power_parser(parser: argparse.ArgumentParser) -> None:
    parser.description = "Plants studies with a known movement to the Default and counts how many detect it."
    for option, value, what in (
        ("points", 1.0, "convergence to detect, points"),
        ("noise", 1.0, "standard deviation of the noise in each round, points"),
        ("spread", 0.8, "standard deviation of first attitudes over personas, points"),
        ("distance", 4.5, "distance of the party's first attitude from the Default's, points"),
        ("power", 0.8, "probability of detecting it that is wanted"),
        ("level", 0.05, "level of the one-sided test; divide it by the number of tests for Holm's worst case"),
    ):
        parser.add_argument(f"--{option}", type=float, default=value, help=f"{what} ({value})")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of a debate (3)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the planted studies (1)")


def _wandb_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entity", help="user or team (the runs' own)")
    parser.add_argument("--spec", type=Path, metavar="FILE", help="write the Report's JSON there and send nothing")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder made with tracker=wandb")


def _fetch_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=[*downloads.MODELS, "benchmarks"],
        help="qwen: the default model (1.1 GB); smollm2: a tiny one (0.1 GB); benchmarks: HellaSwag and MMLU",
    )
    parser.add_argument("--to", type=Path, default=Path("data"), help="folder for benchmark.data_dir (data)")
    parser.add_argument(
        "--from",
        type=Path,
        dest="source",
        metavar="FOLDER",
        help="take the benchmarks from hellaswag_val.jsonl.gz and mmlu.tar.gz in this folder, not from the hub",
    )


def _report(arguments: Arguments) -> None:
    runs = [run for folder in arguments.runs for run in _runs(folder)]
    alone: Path = arguments.runs[0] if len(arguments.runs) == 1 else Path("comparison")
    target: Path = arguments.output or alone
    kinds = {runfolder.kind_of(run) for run in runs}
    if kinds == {"training"}:
        _report_trainings(runs, target)
    elif kinds == {"evaluation"}:
        from hustings import pipeline

        print(pipeline.tabulate(runs, target))
    elif len(runs) > 1:
        _report_several(runs, target, arguments)
    else:
        target = arguments.output or runs[0]
        _report_one(runs[0], target, arguments)
    print(f"run: {os.path.relpath(target)}")


def _runs(folder: Path) -> Sequence[Path]:
    """The runs in a folder: the folder itself, the jobs of a sweep, or the runs that a comparison put together."""
    kinds = ("run", "training", "evaluation")
    made_by = runfolder.kind_of(folder)
    if made_by in kinds:
        return [folder]
    jobs = next(filter(None, (runfolder.jobs(folder, kind) for kind in kinds)), [])
    return jobs or (_compared(folder) if made_by == "comparison" else [folder])


def _compared(folder: Path) -> Sequence[Path]:
    """The runs that a comparison put together.

    Raises:
        RecordError: some of them are no longer where they were.
    """
    members = runfolder.read_manifest(folder, runfolder.ComparisonManifest).runs
    runs = [Path(os.path.relpath(folder.resolve() / it["folder"])) for it in members]
    gone = [str(run) for run in runs if runfolder.kind_of(run) != "run"]
    if gone:
        raise RecordError(
            f"{folder}: this is a comparison of several runs, and some are no longer where they were: "
            f"{', '.join(gone)}. Give the folders where the runs are now instead, with --output {folder}."
        )
    return runs


def _report_trainings(runs: Sequence[Path], target: Path) -> None:
    from hustings import page
    from hustings.page.training import training

    print(*(training(run).sentence for run in runs), sep="\n")
    page.write_trainings(runs, target / runfolder.REPORT)


def _report_several(runs: Sequence[Path], target: Path, arguments: Arguments) -> None:
    from hustings import page
    from hustings.report import alerts, screen, together

    table = together.compare(runs, target, arguments.outcome)
    page.write(runs, target / runfolder.REPORT)
    for found in (*screen.together(target), *table["sentence"]):
        print(found) if isinstance(found, str) else show(found)
    for said in alerts.narrow(table):
        print(f"Warning: {said}")


def _report_one(folder: Path, target: Path, arguments: Arguments) -> None:
    """Remake the report of a run in its own folder, or in a copy of it."""
    from hustings import page, study
    from hustings.report import run

    made = study.load(runfolder.copy_run(folder, target), arguments.outcome)
    if arguments.spaghetti:
        made.design["analysis"]["spaghetti"] = True
    statistics = run.again(made)
    page.write([target], target / runfolder.REPORT)
    telling = statistics["statistic"].isin(_TELLING) & (statistics["outcome"] == made.outcome)
    print(*statistics.loc[telling, "sentence"], sep="\n")
    show_run(made, statistics)


def _pack(arguments: Arguments) -> None:
    packed = runfolder.pack(arguments.source, arguments.target)
    logs = [folder / runfolder.PACKED for folder in packed]
    size = sum(log.stat().st_size for log in logs if log.exists())
    print(f"{len(packed)} run{'s' if len(packed) != 1 else ''}, {size / 1e6:.1f} MB of logs")
    print(f"run: {os.path.relpath(arguments.target)}")


def _power(arguments: Arguments) -> None:
    from hustings.analysis.power import Design, power

    if not 0 < arguments.power < 1:
        raise SettingsError(f"--power {arguments.power:g}: this is a probability; give a number between 0 and 1.")
    if arguments.seed < 0:
        raise SettingsError(f"--seed {arguments.seed}: a seed is a whole number from 0 on.")
    design = Design(
        points=arguments.points,
        noise=arguments.noise,
        spread=arguments.spread,
        distance=arguments.distance,
        level=arguments.level,
        rounds=arguments.rounds,
    )
    table = power(design, arguments.seed)
    for row in table.to_dict("records"):
        print(f"{row['repetitions']:5d} repetitions: {100 * row['power']:5.1f} % of studies detect it")
    enough = table[table["power"] >= arguments.power]
    print(
        f"{int(enough['repetitions'].iloc[0])} repetitions are enough."
        if len(enough)
        else f"More than {int(table['repetitions'].max())} repetitions are needed."
    )


def _wandb(arguments: Arguments) -> None:
    from hustings.tracking import wandb_report

    print(wandb_report.send(wandb_report.report(arguments.runs, arguments.entity), arguments.spec))


def _fetch(arguments: Arguments) -> None:
    if arguments.what in downloads.MODELS:
        from hustings.models import embedded

        print(embedded(arguments.what).gguf)
        return
    from hustings.evaluation import data

    if arguments.source is None:
        print(data.fetch(arguments.to))
    else:
        print(data.import_from(arguments.source, arguments.to))


def _perplexity(arguments: Arguments) -> None:
    from hustings import perplexity
    from hustings.api import compose
    from hustings.settings import SimulateSettings

    made = compose("engine=transformers", "model=smollm2")
    assert isinstance(made, SimulateSettings)
    folders = [job for run in arguments.runs for job in runfolder.jobs(run, "run") or [run]]
    for folder in folders:
        print(perplexity.score(folder, made.engine))


def _adapters(arguments: Arguments) -> None:
    from hustings import adapters

    print(adapters.table(adapters.listed(arguments.store)))


def _doctor(arguments: Arguments) -> None:
    from hustings import doctor

    for part in doctor.shown(doctor.machine(), doctor.models(conf_folder())):
        show(part)
