"""Settings of interventions: what changes a prompt, a request or the model, for which agents and in which scope."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, SerializeAsAny

from hustings.settings.base import Many, Name, Variant
from hustings.settings.model import Capability


class TreatmentSettings(Variant):
    """An intervention. Each kind has its own class, in the module of that name in `debate/treatments/`."""

    roles: Many[Name] | None
    """Roles whose agents are treated; None treats everybody."""
    scope: Literal["replies", "survey", "both"]
    """What is treated. Treating the survey fakes success: it changes what is measured, not what is said."""

    kind_package: ClassVar[str] = "debate.treatments"
    kind_key: ClassVar[str] = "treatments.….kind"
    kinds: ClassVar[dict[str, Any]] = {}

    @property
    def needs(self) -> frozenset[Capability]:
        """The capabilities that an engine needs to carry it out."""
        return frozenset()


AnyTreatment = Annotated[SerializeAsAny[TreatmentSettings], BeforeValidator(TreatmentSettings.of_kind)]
"""A treatment's settings, validated by the class of its kind."""
