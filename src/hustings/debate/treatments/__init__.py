"""Interventions: an ordered list on prompt and request, each for some roles and in one scope.

One file for each kind, with its settings and its `build`. An adapter is an intervention on the model: the engine that
a role runs on carries it out.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from hustings.debate.treatments.base import Context, Moment, Slot, Treatment
from hustings.settings import TreatmentSettings


def build(name: str, settings: TreatmentSettings) -> Treatment:
    """The treatment of these settings.

    Its `build` stands in the module that defines the settings' class.

    Raises:
        SettingsError: a template of it does not compile.
    """
    module: Any = sys.modules[type(settings).__module__]
    return module.build(name, settings)


def build_all(settings: Mapping[str, TreatmentSettings]) -> tuple[Treatment, ...]:
    """The treatments of a run, in their order."""
    return tuple(build(name, each) for name, each in settings.items())


def in_force(treatments: Iterable[Treatment], moment: Moment) -> tuple[Treatment, ...]:
    """Those that treat this agent for this purpose."""
    return tuple(treatment for treatment in treatments if treatment.treats(moment))


__all__ = ["Context", "Moment", "Slot", "Treatment", "build", "build_all", "in_force"]
