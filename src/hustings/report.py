"""What is derived from a run's records: figures and statistics. Made again from disk at any time, without a model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hustings.errors import RecordError

if TYPE_CHECKING:
    import pandas as pd


def _run(folder: Path) -> tuple[dict[str, Any], "pd.DataFrame"]:
    """Manifest and attitudes of a run.

    Raises:
        RecordError: the folder is no run.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        import pandas as pd

        attitudes = pd.read_csv(folder / "attitudes.csv", dtype={"adapter": str})
        manifest["settings"]["society"]
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(
            f"{folder}: this is not a run's folder (manifest.json or attitudes.csv is missing or damaged); give the "
            "folder that a run printed as its last line."
        ) from error
    return manifest, attitudes


def draw(folder: Path) -> list[Path]:
    """Draw the figures of the run in `folder`.

    Returns:
        The PNG files.

    Raises:
        RecordError: the folder is no run.
    """
    from hustings.analysis import curves, figures

    manifest, attitudes = _run(folder)
    settings = manifest["settings"]
    society = settings["society"]
    labels = {role: party["label"] for role, party in society["parties"].items()}
    colours = {role: party["colour"] for role, party in society["parties"].items()}
    look = figures.Look(
        labels={**labels, "default": society["default"]["label"]},
        colours={**colours, "default": society["default"]["colour"]},
        topics={key: topic["label"] for key, topic in settings["topics"].items()},
        ends={key: (topic["low"], topic["high"]) for key, topic in settings["topics"].items()},
        caption=f"{manifest['model']['name']}, {settings['composition']['name']}"
        + (", silent control;" if settings["silent"] else ";"),
    )
    table = curves.curve(attitudes, "score")
    if table.empty:
        return []
    return [figures.curves(table, look, folder / "figures", "curves")]


def test(folder: Path, outcome: Literal["score", "expected"]) -> "pd.DataFrame":
    """Write `statistics.csv` into the run's folder: one row a test, with the sentence that a reader can quote.

    Args:
        outcome: the survey's `score`, or its `expected` value where the engine told probabilities.

    Returns:
        The table, columns of analysis.statistics.COLUMNS.

    Raises:
        RecordError: the folder is no run.
    """
    from hustings.analysis.statistics import statistics

    manifest, attitudes = _run(folder)
    settings = manifest["settings"]
    society, composition = settings["society"], settings["composition"]
    parties = {role: society["parties"][role] for role in composition["roles"] if role in society["parties"]}
    poles = {
        (role, topic): party["stances"][topic]["pole"]
        for role, party in parties.items()
        for topic in settings["topics"]
    }
    labels = {
        **{role: party["label"] for role, party in parties.items()},
        **{topic: shown["label"] for topic, shown in settings["topics"].items()},
        "default": society["default"]["label"],
    }
    table = statistics(attitudes, poles, labels, outcome, settings["seed"])
    table.to_csv(folder / "statistics.csv", index=False)
    return table
