"""The commands about what agents said: `hustings judge` and `hustings annotate`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hustings.configuration import compose

if TYPE_CHECKING:
    import pandas as pd

Arguments = argparse.Namespace
_OF_TEXTS = ("stance", "stance_change", "stance_none", "judge_bias")


def judge_parser(parser: argparse.ArgumentParser) -> None:
    """What `hustings judge` takes."""
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
    """What the statistics of texts say."""
    return statistics.loc[statistics["statistic"].isin(_OF_TEXTS), "sentence"].tolist()
