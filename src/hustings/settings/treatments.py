"""Settings of interventions: what changes a prompt, a request or the model, for whom and in which scope."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, SerializeAsAny

from hustings.settings.base import Many, Name, Variant
from hustings.settings.model import Capability


class TreatmentSettings(Variant):
    """An intervention. Every kind has a class of its own, in the file of its name in `debate/treatments/`."""

    roles: Many[Name] | None
    """Whose agents are treated; None treats everybody."""
    scope: Literal["replies", "survey", "both"]
    """What is treated. Treating the survey fakes success: it changes what is measured, not what is said."""

    kind_package: ClassVar[str] = "debate.treatments"
    kind_key: ClassVar[str] = "treatments.….kind"
    kinds: ClassVar[dict[str, Any]] = {}

    @property
    def needs(self) -> frozenset[Capability]:
        """What an engine must support to carry it out."""
        return frozenset()


AnyTreatment = Annotated[SerializeAsAny[TreatmentSettings], BeforeValidator(TreatmentSettings.of_kind)]
"""A treatment's settings, validated by the class of its kind."""
