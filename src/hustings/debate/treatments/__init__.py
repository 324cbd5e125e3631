"""Interventions: an ordered list of changes to the prompt and the request, each for some roles and in one scope.

There is one file for each kind, with its settings and its `build`. An adapter is an intervention on the model, which is
carried out by the engine that a role runs on.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from hustings.debate.treatments.base import Context, Moment, Slot, Treatment
from hustings.settings import TreatmentSettings


def build(name: str, settings: TreatmentSettings) -> Treatment:
    """Build the treatment for these settings.

    The work is done by `build` in the module that defines the settings' class.

    Raises:
        SettingsError: one of its templates does not compile.
    """
    module: Any = sys.modules[type(settings).__module__]
    return module.build(name, settings)


def build_all(settings: Mapping[str, TreatmentSettings]) -> tuple[Treatment, ...]:
    """The treatments of a run, in order."""
    return tuple(build(name, each) for name, each in settings.items())


def in_force(treatments: Iterable[Treatment], moment: Moment) -> tuple[Treatment, ...]:
    """The treatments that apply to this agent for this purpose."""
    return tuple(treatment for treatment in treatments if treatment.treats(moment))


__all__ = ["Context", "Moment", "Slot", "Treatment", "build", "build_all", "in_force"]
