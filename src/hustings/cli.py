"""What the entry points and the `hustings` command do; every error that a user can act on ends here."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from hustings.errors import HustingsError, SettingsError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_TRACEBACK = "HYDRA_FULL_ERROR"


def entry(main: Callable[[], Any]) -> None:
    """Run a Hydra entry point; known errors become one paragraph and an exit code."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(_help(Path(sys.argv[0]).resolve()))
        return
    traceback_wanted = os.environ.get(_TRACEBACK, "0") != "0"
    os.environ[_TRACEBACK] = "1"
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    try:
        main()
    except HustingsError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("Stopped. Nothing is lost: run the same command again and it goes on where it was.", 130)
    except OverrideParseException as error:
        reason = str(error).splitlines()[0]
        _fail(
            f"{error.override}: this setting cannot be read ({reason}); set it as name=value, in quotes if need be.", 2
        )
    except (HydraException, OmegaConfBaseException) as error:
        if traceback_wanted:
            raise
        _fail(explain(str(error)), 2)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}; choose a folder that can be written.", 2)


def _help(script: Path) -> str:
    """What Hydra would print, from the same templates; it composes the config anew for each group, which takes long."""
    from string import Template

    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import get_args_parser
    from omegaconf import OmegaConf

    conf = script.parent / "conf"
    templates = (
        OmegaConf.select(OmegaConf.load(conf / f"{name}.yaml"), "hydra.help.template") for name in (script.stem, "base")
    )
    groups = {
        folder.name: sorted(option.stem for option in folder.glob("*.yaml"))
        for folder in sorted(conf.iterdir())
        if folder.is_dir()
    }
    return Template(next(filter(None, templates))).substitute(
        APP_CONFIG_GROUPS="".join(f"{group}: {', '.join(options)}\n" for group, options in groups.items()),
        FLAGS_HELP=Hydra.format_args_help(get_args_parser()),
    )


def _fail(text: str, code: int) -> NoReturn:
    print(text, file=sys.stderr, flush=True)
    sys.exit(code)


def explain(message: str) -> str:
    """One paragraph from Hydra's words about a config that cannot be composed, with the nearest right spelling."""
    option = re.search(r"Could not find '(?P<group>[^']+)/(?P<option>[^/']*)'(?P<rest>.*)", message, re.DOTALL)
    if option:
        known = re.findall(r"^\t(\S+)$", option["rest"], re.MULTILINE)
        group = option["group"]
        if group == "hydra/launcher":
            cluster = option["option"].removeprefix("submitit_")
            return (
                f"cluster={cluster}: the plugin of Hydra that starts jobs there is not installed; install it with "
                f"pip install 'hustings[{cluster}]' (in a checkout: pip install -e '.[{cluster}]'), or run here with "
                "cluster=local."
            )
        return f"{group}={option['option']}: there is no such option; {_nearest(option['option'], known)}"
    key = re.search(r"Could not override '(?P<key>[^']+)'", message)
    if key:
        return f"{key['key']}: there is no such setting; {_nearest(key['key'], list(_known()))}"
    return " ".join(line.strip() for line in message.splitlines() if line.strip())


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.8) or [
        other for other in known if other.rpartition(".")[2] == word.rpartition(".")[2]
    ]
    group = word.rpartition(".")[0]
    siblings = [other for other in known if group and other.rpartition(".")[0] == group]
    if siblings and not near:
        return f"there is {', '.join(siblings)}."
    if near:
        return f"did you mean {near[0]}?" + (f" There is {', '.join(known)}." if len(known) <= 30 else "")
    return f"there is {', '.join(known)}." if len(known) <= 30 else "see --help for the settings."


def _known() -> Iterator[str]:
    """Every config group, and every dotted key that the config has with the options of the command line."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import DictConfig

    GlobalHydra.instance().clear()
    folder = Path(sys.argv[0]).resolve().parent / "conf"
    groups = sorted(group.name for group in folder.iterdir() if group.is_dir())
    yield from groups
    options = [word for word in sys.argv[1:] if re.fullmatch(rf"(?:{'|'.join(groups)})=[\w.-]+", word)]

    def keys(config: Any, prefix: str) -> Iterator[str]:
        for name in config:
            yield f"{prefix}{name}"
            if isinstance(config._get_node(name), DictConfig):
                yield from keys(config[name], f"{prefix}{name}.")

    with initialize_config_dir(str(folder), version_base="1.3"):
        yield from keys(compose(Path(sys.argv[0]).stem, options), "")


def simulate(config: "DictConfig") -> None:
    """The job of simulate.py: validate, run, report."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from hustings.settings import SimulateSettings, load

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        settings = load(SimulateSettings, config)
        if hydra.mode == RunMode.MULTIRUN and settings.trainer.ranks > 1:
            raise SettingsError(
                f"trainer.devices={settings.trainer.devices}, trainer.num_nodes={settings.trainer.num_nodes}: a job of "
                "a sweep uses one device; set both to 1 and let cluster=joblib, slurm or ray run jobs side by side, or "
                "run this without -m."
            )
        from hustings import page, report, simulation, tracking

        if settings.dry_run:
            print(simulation.estimate(settings))
            _leave_nothing(folder)
            return
        if simulation.assists(settings):
            _leave_nothing(folder)
            return
        command = [f"{hydra.job.name}.py", *hydra.overrides.task]
        with tracking.tracked(settings, "simulate", hydra.runtime.choices.get("experiment")) as track:
            outcome = simulation.run(settings, folder, command)
            tests = report.finish(folder, Path(settings.artifacts))
            page.write([folder], folder / page.NAME)
            track(folder)
    except HustingsError as error:
        _refused(error, folder, sweep=hydra.mode == RunMode.MULTIRUN)
    from hustings.progress import duration

    if outcome.played:
        speed = outcome.tokens / max(outcome.seconds, 1e-9)
        print(
            f"{outcome.played} debates played in {duration(outcome.seconds)}: {outcome.replies} replies, "
            f"{speed:.0f} tokens/s; {outcome.invalid} invalid survey answers"
        )
    else:
        print(f"all {outcome.debates} debates were there; {outcome.invalid} invalid survey answers")
    _show(report.sketch(report.read(outcome.folder)))
    _show(report.screen(tests))
    print(f"run: {os.path.relpath(outcome.folder)}")


def train(config: "DictConfig") -> None:
    """The job of train.py: validate, bend, report."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from hustings.settings import TrainSettings, load

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        settings = load(TrainSettings, config)
        from hustings import bending, page, tracking
        from hustings.training import main_process

        with tracking.tracked(settings, "train", None) as track:
            outcome = bending.run(settings, folder, [f"{hydra.job.name}.py", *hydra.overrides.task])
            if main_process():
                page.write_trainings([folder], folder / page.NAME)
            track(folder)
    except HustingsError as error:
        _refused(error, folder, sweep=hydra.mode == RunMode.MULTIRUN)
    from hustings.progress import duration

    if not main_process():
        _leave_nothing(folder)
        return
    how = f"trained in {duration(outcome.seconds)}" if outcome.trained else "was there"
    print(f"adapter={outcome.adapter} {how}: loss {outcome.first_loss:.3f} at first, {outcome.last_loss:.3f} at last")
    print(f"run: {os.path.relpath(outcome.folder)}")


def evaluate(config: "DictConfig") -> None:
    """The job of evaluate.py: validate, measure, report."""
    from hydra import compose
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from hustings.settings import EvaluateSettings, load

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        if config.comparison is not None:
            named = compose(hydra.job.config_name, [f"model={config.comparison}"])
            config.comparison = named.model
        settings = load(EvaluateSettings, config)
        from hustings import page, tracking
        from hustings.evaluation import job, table

        with tracking.tracked(settings, "evaluate", hydra.runtime.choices.get("experiment")) as track:
            rows = job.run(settings, folder, [f"{hydra.job.name}.py", *hydra.overrides.task])
            if hydra.mode != RunMode.MULTIRUN:
                made, tests = table.write([folder], folder)
                page.write_evaluation([folder], table.shown(made, tests), folder / page.NAME)
                print(table.markdown(made, tests))
            track(folder)
    except HustingsError as error:
        _refused(error, folder, sweep=hydra.mode == RunMode.MULTIRUN)
    print(f"{len(rows)} scores in {table.SCORES}")
    print(f"run: {os.path.relpath(folder)}")


def _refused(error: HustingsError, folder: Path, *, sweep: bool) -> NoReturn:
    """End a job that could not be done, with nothing left of its folder; a sweep is told and goes on."""
    _leave_nothing(folder)
    if sweep:
        raise error
    _fail(str(error), error.exit_code)


def _show(table: Any) -> None:
    """A rich table on stdout, not cut where that is no terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _leave_nothing(folder: Path) -> None:
    """Take away the folders that Hydra made for a run that never began."""
    here = Path.cwd()
    for empty in (folder, *folder.parents):
        if here not in empty.parents:
            return
        try:
            empty.rmdir()
        except OSError:
            return


def hustings() -> None:
    """The `hustings` command."""
    import argparse

    parser = argparse.ArgumentParser(prog="hustings", description="What needs no experiment config.")
    commands = parser.add_subparsers(dest="command", required=True)
    reporting = commands.add_parser("report", help="figures and statistics of runs, from disk and without a model")
    reporting.description = (
        "Of one run: draws its figures and tests what is in it, again. Of several, or of a sweep's folder: puts them "
        "together, and tests how each differs from the first."
    )
    reporting.add_argument("--outcome", choices=["score", "expected"], help="what is analysed; else what the run says")
    reporting.add_argument("--spaghetti", action="store_true", help="every debate as a faint line behind the mean")
    reporting.add_argument(
        "--output", type=Path, default=Path("comparison"), help="folder for several runs together (comparison)"
    )
    reporting.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder that a run or sweep printed as its last line"
    )
    power = commands.add_parser("power", help="how many repetitions show a movement of so many points")
    power.description = "Plants studies with a known movement to the Default and counts how many would be found."
    for option, value, what in (
        ("points", 1.0, "convergence to be seen, points"),
        ("noise", 1.0, "standard deviation of each round's noise, points"),
        ("spread", 0.8, "standard deviation of first attitudes over personas, points"),
        ("distance", 4.5, "of the party's first attitude from the Default's, points"),
        ("power", 0.8, "wanted probability of finding it"),
        ("level", 0.05, "of the one-sided test; divide it by the number of tests for Holm's worst case"),
    ):
        power.add_argument(f"--{option}", type=float, default=value, help=f"{what} ({value})")
    power.add_argument("--rounds", type=int, default=3, help="rounds of a debate (3)")
    power.add_argument("--seed", type=int, default=1)
    comparing = commands.add_parser("wandb-report", help="a Weights & Biases Report that compares tracked runs")
    comparing.add_argument("--entity", help="user or team; the runs' own unless told otherwise")
    comparing.add_argument("--spec", type=Path, metavar="FILE", help="write the Report's JSON there and send nothing")
    comparing.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder made with tracker=wandb")
    fetch = commands.add_parser("fetch", help="download what a machine without it needs")
    fetch.add_argument(
        "what", choices=["smollm2", "benchmarks"], help="smollm2: the embedded model; benchmarks: HellaSwag and MMLU"
    )
    fetch.add_argument("--to", type=Path, default=Path("data"), help="folder for benchmark.data_dir (data)")
    fetch.add_argument(
        "--from",
        type=Path,
        dest="source",
        metavar="FOLDER",
        help="take the benchmarks from hellaswag_val.jsonl.gz and mmlu.tar.gz there, not from the hub",
    )
    listing = commands.add_parser("adapters", help="what train.py has made")
    listing.add_argument("store", nargs="?", type=Path, default=Path("artifacts"), help="the artifact store")
    commands.add_parser("doctor", help="what this machine can run, and the command to begin with")
    arguments = parser.parse_args()
    try:
        if arguments.command == "report":
            _report(arguments.runs, arguments.outcome, arguments.spaghetti, arguments.output)
        elif arguments.command == "power":
            _power(arguments)
        elif arguments.command == "wandb-report":
            from hustings import tracking

            print(tracking.send(tracking.report(arguments.runs, arguments.entity), arguments.spec))
        elif arguments.command == "doctor":
            from hustings import doctor

            here = Path("conf") if Path("conf/model").is_dir() else Path(__file__).resolve().parents[2] / "conf"
            for part in doctor.shown(doctor.machine(), doctor.models(here)):
                _show(part)
        elif arguments.command == "adapters":
            from hustings import adapters

            print(adapters.table(adapters.listed(arguments.store)))
        elif arguments.what == "benchmarks":
            from hustings.evaluation import data

            print(
                data.fetch(arguments.to)
                if arguments.source is None
                else data.import_from(arguments.source, arguments.to)
            )
        else:
            from hustings.models import fetch_embedded

            print(fetch_embedded())
    except HustingsError as error:
        _fail(str(error), error.exit_code)


def _report(folders: list[Path], outcome: Literal["score", "expected"] | None, spaghetti: bool, output: Path) -> None:
    from hustings import page, report

    runs = [run for folder in folders for run in (report.trainings(folder) or report.jobs(folder) or [folder])]
    target = folders[0] if len(folders) == 1 else output
    if all(map(report.trainings, runs)):
        print(*(page.data.training(run).sentence for run in runs), sep="\n")
        page.write_trainings(runs, target / page.NAME)
        print(f"run: {os.path.relpath(target)}")
        return
    if len(runs) > 1:
        table = report.compare(runs, target, outcome)
        page.write(runs, target / page.NAME)
        print(*table["sentence"], sep="\n")
        print(f"run: {os.path.relpath(target)}")
        return
    run = report.read(runs[0], outcome)
    run.settings["analysis"]["spaghetti"] |= spaghetti
    tests = report.again(run)
    page.write([run.folder], run.folder / page.NAME)
    print(*tests.loc[tests["statistic"].isin(("convergence", "alpha", "beta", "kappa")), "sentence"], sep="\n")
    _show(report.sketch(run))
    _show(report.screen(tests))
    print(f"run: {os.path.relpath(run.folder)}")


def _power(arguments: Any) -> None:
    from hustings.analysis.power import power

    options = {key: getattr(arguments, key) for key in ("points", "noise", "spread", "distance", "level")}
    table = power(**options, rounds=arguments.rounds, seed=arguments.seed)
    for row in table.to_dict("records"):
        print(f"{row['repetitions']:5d} repetitions: {100 * row['power']:5.1f} % of studies find it")
    enough = table[table["power"] >= arguments.power]
    print(
        f"{int(enough['repetitions'].iloc[0])} repetitions are enough."
        if len(enough)
        else f"More than {int(table['repetitions'].max())} repetitions are needed."
    )
