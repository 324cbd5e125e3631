"""What the entry points and the `hustings` command do; every error that a user can act on ends here."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.errors import HustingsError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_TRACEBACK = "HYDRA_FULL_ERROR"


def entry(main: Callable[[], Any]) -> None:
    """Run a Hydra entry point; known errors become one paragraph and an exit code."""
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


def _fail(text: str, code: int) -> None:
    print(text, file=sys.stderr, flush=True)
    sys.exit(code)


def explain(message: str) -> str:
    """One paragraph from Hydra's words about a config that cannot be composed, with the nearest right spelling."""
    option = re.search(r"Could not find '(?P<group>.+)/(?P<option>[^/']*)'(?P<rest>.*)", message, re.DOTALL)
    if option:
        known = re.findall(r"^\t(\S+)$", option["rest"], re.MULTILINE)
        group = option["group"]
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
        from hustings import simulation, tracking

        command = [Path(sys.argv[0]).name, *hydra.overrides.task]
        with tracking.tracked(settings, "simulate", hydra.runtime.choices.get("experiment")) as track:
            outcome = simulation.run(settings, folder, command)
            track(folder)
    except HustingsError as error:
        _leave_nothing(folder)
        if hydra.mode == RunMode.MULTIRUN:
            raise
        _fail(str(error), error.exit_code)
        return
    from hustings.progress import duration

    if outcome.played:
        speed = outcome.tokens / max(outcome.seconds, 1e-9)
        print(
            f"{outcome.played} debates played in {duration(outcome.seconds)}: {outcome.replies} replies, "
            f"{speed:.0f} tokens/s; {outcome.invalid} invalid survey answers"
        )
    else:
        print(f"all {outcome.debates} debates were there; {outcome.invalid} invalid survey answers")
    print(f"run: {os.path.relpath(outcome.folder)}")


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

    report_help = "Draws the figures of each run again, tests what is in them, and writes statistics.csv beside them."
    parser = argparse.ArgumentParser(prog="hustings", description="What needs no experiment config.")
    commands = parser.add_subparsers(dest="command", required=True)
    reporting = commands.add_parser(
        "report", help="figures and statistics of runs, from disk and without a model", description=report_help
    )
    reporting.add_argument("--outcome", choices=["score", "expected"], default="score", help="what is analysed")
    reporting.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder that a run printed as its last line"
    )
    comparing = commands.add_parser("wandb-report", help="a Weights & Biases Report that compares tracked runs")
    comparing.add_argument("--entity", help="user or team; the runs' own unless told otherwise")
    comparing.add_argument("--spec", type=Path, metavar="FILE", help="write the Report's JSON there and send nothing")
    comparing.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder made with tracker=wandb")
    fetch = commands.add_parser("fetch", help="download what a machine without it needs")
    fetch.add_argument("what", choices=["smollm2"], help="smollm2: the embedded model")
    arguments = parser.parse_args()
    try:
        if arguments.command == "report":
            from hustings import page, report

            for run in arguments.runs:
                figures = report.draw(run)
                table = report.test(run, arguments.outcome)
                shown = table[table["statistic"].isin(("convergence", "echo", "crossing", "beta", "alpha", "kappa"))]
                print(
                    *shown["sentence"], *figures, run / "statistics.csv", page.write([run], run / page.NAME), sep="\n"
                )
            if len(arguments.runs) > 1:
                together = Path(os.path.commonpath([run.resolve() for run in arguments.runs]))
                print(os.path.relpath(page.write(arguments.runs, together / page.NAME)))
        elif arguments.command == "wandb-report":
            from hustings import tracking

            print(tracking.send(tracking.report(arguments.runs, arguments.entity), arguments.spec))
        else:
            from hustings.models import fetch_embedded

            print(fetch_embedded())
    except HustingsError as error:
        _fail(str(error), error.exit_code)
