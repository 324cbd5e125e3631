"""What a run will write to the disk: events, tables, figures and page, and weights that are converted first."""

from collections.abc import Mapping
from pathlib import Path

from hustings import models
from hustings.artifacts import peek
from hustings.debate import protocol
from hustings.debate.estimate import CHARACTERS
from hustings.debate.personas import FILE
from hustings.engine.openvino import OpenvinoSettings
from hustings.runfolder import EVENTS
from hustings.settings import SimulateSettings
from hustings.simulation.plan import Plan

_EVENT = 160
"""Bytes of an event around what was said."""
_OPTION = 12
"""Bytes of each option's log-probability."""
_DERIVED = 2.7
"""Bytes of the run's own log, tables and page, per byte of the log; 2.4 in a planted run of 160 debates."""
_FIGURES = 0.5e6
"""Bytes of figures per topic; PNG, SVG and CSV take 0.2 MB in a run with two curves."""
_PAGE = 1e6
"""Bytes of a page that do not grow with the run."""


def answers(settings: SimulateSettings) -> tuple[int, int]:
    """Number of replies and of survey answers in a whole debate."""
    speakers, items = len(settings.composition.roles), len(settings.instrument.items)
    talk = settings.control.speak and not settings.control.read
    replies = protocol.iterations(settings.rounds, speakers + settings.partners) if talk else 0
    surveys = (settings.rounds + 1) * (speakers + settings.shadow) + len(settings.composition.observers)
    return replies, surveys * items


def needed(plan: Plan, folder: Path, *, resolved: bool = True) -> list[tuple[Path, float]]:
    """Folders, each with the most bytes that the run will write to it.

    Args:
        folder: the run's folder.
        resolved: whether the weights were found, so that the store can be checked.
    """
    settings = plan.settings
    log = _debate(settings) * len(plan.seats)
    figures = _FIGURES * len(settings.topics)
    there = sum(_size(peek(plan.debates(topic)).folder / EVENTS) for topic in settings.topics) if resolved else 0
    stories = sum(
        _size(plan.personas(party).folder / FILE) == 0 and len(settings.society.parties[party].names) * _story(settings)
        for party in (plan.parties if resolved else ())
    )
    kept = max(0.0, log - there) + stories + figures
    wanted = [(plan.store, kept), (folder, _DERIVED * max(log, there) + figures + _PAGE)]
    return [*wanted, *(_weights(plan).items() if resolved else ())]


def _debate(settings: SimulateSettings) -> float:
    """Bytes of a debate's events."""
    replies, surveys = answers(settings)
    options = max(len(item.options) for item in settings.instrument.items.values())
    agents = len(settings.composition.everybody) + settings.partners + settings.shadow
    said = _EVENT + CHARACTERS * settings.sampling.max_tokens
    return agents * _story(settings) + replies * said + surveys * (2 * _EVENT + _OPTION * options)


def _story(settings: SimulateSettings) -> float:
    """Bytes of an agent with its story."""
    return _EVENT + CHARACTERS * settings.personas.max_tokens


def _weights(plan: Plan) -> Mapping[Path, float]:
    """Bytes of the weights that are converted before they are loaded."""
    sizes: dict[str, tuple[Path, float]] = {}
    for seat in {id(it): it for it in map(plan.casting.of, plan.settings.roles)}.values():
        if seat.weights.gguf or seat.weights.folder:
            of = seat.engine
            gguf = isinstance(of, OpenvinoSettings)
            faithful = isinstance(of, OpenvinoSettings) and of.faithful
            eight_bits = isinstance(of, OpenvinoSettings) and of.eight_bits
            sizes[f"{seat.weights.fingerprint} {gguf} {eight_bits}"] = models.unconverted(
                seat.weights, gguf=gguf, faithful=faithful, eight_bits=eight_bits
            )
    total: dict[Path, float] = {}
    for folder, size in sizes.values():
        total[folder] = total.get(folder, 0.0) + size
    return total


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
