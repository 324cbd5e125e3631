"""What is derived from a run's records: figures, and their CSV. Made again from disk at any time, without a model."""

import json
from pathlib import Path

from hustings.errors import RecordError


def draw(folder: Path) -> list[Path]:
    """Draw the figures of the run in `folder`.

    Returns:
        The PNG files.

    Raises:
        RecordError: the folder is no run.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        import pandas as pd

        attitudes = pd.read_csv(folder / "attitudes.csv", dtype={"adapter": str})
        settings = manifest["settings"]
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(
            f"{folder}: this is not a run's folder (manifest.json or attitudes.csv is missing or damaged); give the "
            "folder that a run printed as its last line."
        ) from error
    from hustings.analysis import curves, figures

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
