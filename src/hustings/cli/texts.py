"""The commands that rate what agents said: `hustings judge` and `hustings annotate`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hustings.configuration import compose

if TYPE_CHECKING:
    import pandas as pd

Arguments = argparse.Namespace
_OF_TEXTS = ("stance", "stance_change", "stance_none", "judge_bias", "judge_consistency")


def judge_parser(parser: argparse.ArgumentParser) -> None:
    """The arguments of `hustings judge`."""
    parser.description = (
        "A model reads each reply of a run without name, party, round or neighbours, and rates its stance from -3 to "
        "+3, or none. Ratings are kept in the artifact store: no reply is rated twice by one judge, and the same "
        "command resumes. The run's statistics and page are made again with them."
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="a folder that simulate.py printed as its last line")
    parser.add_argument("--model", help="the judge, an option of the group model (qwen, unless it debated itself)")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="other settings, as in engine.budget_usd=1 engine.concurrency=8; conf/judge.yaml has them",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what it would take: calls, tokens, money")


def judge(arguments: Arguments) -> None:
    """Rate the replies of a run."""
    from hustings import pipeline

    words = [*([f"model={arguments.model}"] if arguments.model else []), *arguments.set]
    named = any(word.startswith("model") for word in words)
    settings = compose(*words, *(["dry_run=true"] if arguments.dry_run else []), job="judge")
    made = pipeline.judge(settings, arguments.folder, named=named)
    if isinstance(made, str):
        print(made)
        return
    for said in sentences(made):
        print(said)
    print(f"run: {os.path.relpath(arguments.folder)}")


def sentences(statistics: "pd.DataFrame") -> list[str]:
    """The sentences of the statistics on texts."""
    return statistics.loc[statistics["statistic"].isin(_OF_TEXTS), "sentence"].tolist()


def annotate_parser(parser: argparse.ArgumentParser) -> None:
    """The arguments of `hustings annotate`."""
    parser.description = "People rate what agents said, without knowing who said it; how far they agree is computed."
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    out = steps.add_parser("export", help="a form and a sheet with replies of a run, for people to rate")
    out.add_argument("folder", type=Path, metavar="RUN", help="a folder that simulate.py printed as its last line")
    out.add_argument("--replies", type=_positive, default=180, help="how many, of every role, topic and round (180)")
    out.add_argument("--seed", type=int, default=1, help="of the draw and the order (1)")
    out.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where to put them (annotation, in the run's folder)"
    )
    out.set_defaults(run=_export)
    back = steps.add_parser("import", help="agreement of raters with each other and with the judge")
    back.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a ratings.csv of each rater, or filled sheets"
    )
    back.add_argument("--run", dest="of", type=Path, metavar="RUN", help="the run, to compare with its judges")
    back.add_argument("--output", type=Path, metavar="FOLDER", help="where to put the tables (that of the first file)")
    back.set_defaults(run=_import)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _export(arguments: Arguments) -> None:
    from hustings import study
    from hustings.annotation import sample

    folder: Path = arguments.output or arguments.folder / "annotation"
    count = sample.export(study.load(arguments.folder), folder, arguments.replies, arguments.seed)
    form = (folder / sample.FORM).resolve().as_uri()
    print(
        f"{count} replies. Send {os.path.relpath(folder / sample.FORM)} to each rater and collect what it saves: {form}"
    )


def _import(arguments: Arguments) -> None:
    from hustings import study
    from hustings.annotation import agreement

    folder: Path = arguments.output or arguments.files[0].parent
    of = None if arguments.of is None else study.load(arguments.of)
    found, apart = agreement.write(agreement.read(arguments.files), of, folder)
    print(*found["sentence"], sep="\n")
    print(f"{len(apart)} replies to read in {os.path.relpath(folder / agreement.DISAGREEMENTS)}: ratings differ there.")
