"""Hustings: debates between LLM agents, and how their attitudes drift towards the bias of the underlying model.

Example:
    >>> import hustings
    >>> settings = hustings.compose("engine=planted", "topic=racism", "repetitions=2")
    >>> settings.rounds
    3
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hustings.errors import (
    AdapterError,
    AlarmError,
    ArtifactError,
    BenchmarkError,
    BusyError,
    DataError,
    EngineError,
    HustingsError,
    ModelError,
    PersonaError,
    RecordError,
    SettingsError,
    SweepError,
    TrainingError,
)

if TYPE_CHECKING:
    from hustings.api import compare, compose, evaluate, load, simulate, train
    from hustings.study import Study

__version__ = "0.2.0"

__all__ = [
    "AdapterError",
    "AlarmError",
    "ArtifactError",
    "BenchmarkError",
    "BusyError",
    "DataError",
    "EngineError",
    "HustingsError",
    "ModelError",
    "PersonaError",
    "RecordError",
    "SettingsError",
    "Study",
    "SweepError",
    "TrainingError",
    "__version__",
    "compare",
    "compose",
    "evaluate",
    "load",
    "simulate",
    "train",
]

_LAZY = {
    "Study": "hustings.study",
    "compare": "hustings.api",
    "compose": "hustings.api",
    "evaluate": "hustings.api",
    "load": "hustings.api",
    "simulate": "hustings.api",
    "train": "hustings.api",
}
"""The modules of names that are imported on first use, to keep `import hustings` fast."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'hustings' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
