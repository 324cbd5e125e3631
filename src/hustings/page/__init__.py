"""The report: one self-contained HTML file, made from run folders without network access and without a model.

Model output is treated as hostile text. It enters the page in one JSON block that is escaped here, and the script
inserts it into the document only as text; a strict Content-Security-Policy allows only the page's own script and style.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from hustings.errors import HustingsError
from hustings.files import write_atomically
from hustings.identity import identity
from hustings.page import data, tables, training
from hustings.page.data import Run
from hustings.page.statistics import groups
from hustings.report import alerts, controls, mitigations, multiverse, sets
from hustings.report.controls import MEANINGS, SEPARATES
from hustings.report.naming import tell_apart
from hustings.report.numbers import adjusted, bracketed, steadfast
from hustings.runfolder import COMPARISON, FIGURES
from hustings.study import Study, load

TRAININGS = "trainings.csv"
_ALONE: dict[str, Any] = {
    "comparison": [],
    "baseline": "",
    "figures": [],
    "controls": [],
    "plane": None,
    "mitigations": [],
    "sets": [],
    "multiverse": {},
}
"""Values for the parts of the template that only a page of several runs fills."""
_RENEWED = '<meta http-equiv="refresh" content="60">'
"""Makes the browser reload a page that is still being updated."""
_UNSAFE = re.compile("[<>&\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def write(folders: Sequence[Path], target: Path) -> Path:
    """Write the page of one run, or one page that compares several.

    Args:
        folders: run folders, as printed by the runs.
        target: the HTML file; for several runs, it goes into the folder with their comparison.

    Returns:
        The target.

    Raises:
        RecordError: a folder is not a run folder.
    """
    return _write([load(folder) for folder in folders], target)


@contextmanager
def growing(target: Path) -> Generator[Callable[[Study, int, int], None]]:
    """Within the block, the page of a run that is still playing can be written and updated.

    If the block fails, the page is left with a note that the run was stopped.

    Returns:
        A function that writes the page from the part of the study that exists so far, the number of finished debates,
        and the total number of debates.
    """
    shown = said = ""

    def write(study: Study, ended: int, debates: int) -> None:
        nonlocal shown, said
        shown = f"{ended:,} of {debates:,} debates"
        said = (
            f"So far: {shown}; this page is written again every minute or so while the run "
            f"plays (last on {datetime.now():%Y-%m-%d at %H:%M:%S})."
        )
        _write([study], target, said)

    try:
        yield write
    except BaseException:
        if said:
            with suppress(OSError, HustingsError):
                _stop(target, said, shown)
        raise


def _stop(target: Path, said: str, shown: str) -> None:
    """Mark a growing page as stopped; the page is not rendered again, so that stopping a run takes no time."""
    html = target.read_text(encoding="utf-8")
    if said in html:
        now = f"Stopped: this page shows {shown}. To finish the run, start the same command again; nothing is lost."
        write_atomically(target, html.replace(_RENEWED, "", 1).replace(said, now, 1))


def _write(studies: Sequence[Study], target: Path, so_far: str = "") -> Path:
    """Write the page for these runs.

    Args:
        so_far: how far the run has progressed, if it is still playing.
    """
    runs = [data.run(study, len(studies)) for study in studies]
    for each, name in zip(runs, _names(runs), strict=True):
        each.name = name
        if each.training is not None:
            each.training.several = len(runs) > 1
    values = {
        "runs": runs,
        "warnings": _warnings(runs),
        "differing": _differing(runs),
        "so_far": so_far,
        "renewed": _RENEWED if so_far else "",
        "embedded": _embedded([{**each.script, "label": each.name} for each in runs]),
        **(_together(runs, target.parent) if len(runs) > 1 else _ALONE),
    }
    return _rendered(target, "page.html", ("theme.js", "vendor/d3-7.9.0.min.js", "page.js"), values)


def _together(runs: Sequence[Run], folder: Path) -> dict[str, Any]:
    """What the shared folder of several runs contains: their differences, what the controls show, and pictures."""
    figures = {it["name"]: it for it in tables.figures(folder / FIGURES)}
    compared = tables.statistics(folder / COMPARISON)
    return {
        "comparison": groups(compared, runs[0].study.outcome),
        "baseline": compared[0]["baseline"] if compared else "",
        "plane": figures.pop("plane", None),
        "doses": figures.pop("doses", None),
        "figures": list(figures.values()),
        "controls": controls.read(folder),
        "sets": sets.read(folder),
        "multiverse": multiverse.read(folder),
        "mitigations": mitigations.read(folder),
        "columns": mitigations.COLUMNS,
        "separates": SEPARATES,
        "meanings": MEANINGS,
        "labels": {key: label for each in runs for key, label in each.labels.items()},
    }


def write_trainings(folders: Sequence[Path], target: Path) -> Path:
    """Write the page of one training, or one page of several with their table next to it.

    Args:
        folders: run folders of train.py.
        target: the HTML file.

    Returns:
        The target.

    Raises:
        RecordError: a folder has no finished training.
    """
    import pandas as pd

    trainings = [training.training(folder) for folder in folders]
    for each in trainings:
        each.several = len(trainings) > 1
    table = pd.DataFrame([each.row for each in trainings])
    if len(trainings) > 1:
        write_atomically(target.with_name(TRAININGS), table.to_csv(index=False))
    together = {"columns": list(table.columns), "rows": table.fillna("").to_numpy().tolist()}
    values = {"trainings": trainings, "together": together, "embedded": ""}
    return _rendered(target, "trainings.html", ("theme.js",), values)


def write_evaluation(folders: Sequence[Path], table: Mapping[str, Any], target: Path) -> Path:
    """Write the page of benchmark scores for one evaluation, or for several together.

    Args:
        folders: run folders of evaluate.py.
        table: `columns`, `rows`, `note` and `sentences`, as text.
        target: the HTML file; pictures are read from its folder.

    Returns:
        The target.

    Raises:
        RecordError: a folder is not an evaluation's run folder.
    """
    figures = [it for it in tables.figures(target.parent) if it["name"] == "table1"]
    values = {"table": table, "figures": figures, "runs": [training.evaluation(it) for it in folders], "embedded": ""}
    return _rendered(target, "evaluation.html", ("theme.js",), values)


def write_form(items: Sequence[Mapping[str, str]], target: Path) -> Path:
    """Write a form for rating replies; it works as a local file, saves in the browser and exports a CSV.

    Args:
        items: `id`, `topic`, `question`, `low`, `high` and `text` of each reply, in display order.
        target: the HTML file.

    Returns:
        The target.
    """
    embedded = _embedded({"id": identity([it["id"] for it in items]), "items": list(items)})
    return _rendered(target, "form.html", ("theme.js", "form.js"), {"items": items, "embedded": embedded})


def _rendered(target: Path, template: str, scripts: Sequence[str], values: Mapping[str, Any]) -> Path:
    """Render a template with its scripts and style inlined, and put their hashes into the policy."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    own = files(__name__)
    texts = [own.joinpath(path).read_text("utf-8") for path in scripts]
    style = own.joinpath("page.css").read_text("utf-8")
    environment = Environment(
        loader=PackageLoader(__name__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bracketed": bracketed, "adjusted": adjusted, "steadfast": steadfast}
    html = environment.get_template(template).render(
        **values,
        scripts=[{"text": text, "hash": _hash(text)} for text in texts],
        style={"text": style, "hash": _hash(style)},
    )
    write_atomically(target, html)
    return target


def _names(runs: Sequence[Run]) -> list[str]:
    if len(runs) > 1:
        return tell_apart([each.study for each in runs])
    (study,) = (each.study for each in runs)
    control = "" if study.control == "none" else f", control {study.control}"
    return [f"{study.design['composition']['name']} on {study.manifest.model.name}{control}"]


def _warnings(runs: Sequence[Run]) -> list[str]:
    """Warnings about the runs, and why any of them are not compared with the first."""
    why = alerts.incomparable({each.name: each.study for each in runs})
    return alerts.together({each.name: [*each.alerts, *why[each.name]] for each in runs})


def _differing(runs: Sequence[Run]) -> list[str]:
    """The dotted keys of the settings that differ between the runs; for a control, only its name."""
    keys = dict.fromkeys(key for each in runs for key in each.settings if key not in ("artifacts", "tracker.folder"))
    different = [key for key in keys if len({each.settings.get(key) for each in runs}) > 1]
    return [key for key in different if key == "control.name" or not key.startswith("control.")]


def _embedded(value: Any) -> str:
    """JSON that is safe inside a script element, whatever its strings contain."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _clean(value: Any) -> Any:
    """Text without characters that HTML does not allow; markup is left as it is."""
    return _CONTROL.sub("�", value) if type(value) is str else value


def _hash(text: str) -> str:
    """The source expression for an inline block in a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
