"""Names of runs, roles and outcomes wherever they are displayed: page, terminal, W&B and figures.

It does not know what else is displayed about them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hustings.analysis.figures import SHADOW_COLOUR
from hustings.identity import canonical
from hustings.settings.debate import DEFAULT, SHADOW
from hustings.study import Outcome, Study

if TYPE_CHECKING:
    from hustings.analysis.figures import Look

OUTCOMES: Mapping[Outcome, str] = {
    "expected": "expected value (mean over the options' probabilities)",
    "score": "chosen option (the paper's score)",
}
"""Each outcome in words."""
ADVOCATE = "advocate_"
"""Prefix of the roles of advocates, followed by the end of the scale that they argue for."""
_ADVOCATES = {"low": "#a6761d", "high": "#7570b3"}
_TELLING = (
    "model.name",
    "adapter",
    "cast",
    "engine.kind",
    "control.name",
    "composition.name",
    "topology.name",
    "society.name",
    "instrument.name",
    "prompt.name",
    "topic",
    "treatments",
    "seed",
)
"""Settings that distinguish runs, most informative first; other settings are used only if these are equal."""
_ASIDE = ("artifacts", "tracker", "analysis", "topics")
_PLANNED = "composition.rounds"
"""Rounds that a composition suggests; `rounds` says how many were played."""


@dataclass(frozen=True, slots=True)
class Role:
    """A participant in a debate."""

    label: str
    colour: str
    kind: Literal["agent", "advocate", "shadow"]


def roles(study: Study) -> dict[str, Role]:
    """All roles in a run: parties and the Default in seating order, then advocates, then the shadow."""
    society, composition = study.design["society"], study.design["composition"]
    known = {**society["parties"], DEFAULT: society["default"]}
    seated = dict.fromkeys((*composition["roles"], *composition["observers"]))
    found = {role: Role(known[role]["label"], known[role]["colour"], "agent") for role in seated}
    others = {str(role) for role in study.agents["role"].unique()}
    for end, colour in _ADVOCATES.items():
        if f"{ADVOCATE}{end}" in others:
            found[f"{ADVOCATE}{end}"] = Role(f"advocate for the {end} end", colour, "advocate")
    if SHADOW in others:
        found[SHADOW] = Role(shadow_label(study), SHADOW_COLOUR, "shadow")
    return found


def shadow_label(study: Study) -> str:
    """'shadow Default (listens, never speaks)'."""
    return f"{study.labels[SHADOW]} (listens, never speaks)"


def look(study: Study) -> "Look":
    """How a run's figures show roles, topics and the scale."""
    from hustings.analysis.figures import Look

    plain = Look.of(study)
    return replace(plain, labels={**plain.labels, SHADOW: shadow_label(study)})


def other_outcome(studies: Sequence[Study]) -> Outcome | None:
    """The outcome that all studies have besides the one that the first is analysed with; None if there is none."""
    other: Outcome = "score" if studies[0].outcome == "expected" else "expected"
    return other if all(other in study.outcomes for study in studies) else None


def tell_apart(studies: Sequence[Study], alike: Collection[str] = ()) -> list[str]:
    """Unique names for runs, built from the few settings in which they differ: 'composition echo_rep, alpha 0.1'.

    If these settings are not enough, the names end with the runs' folders; if even the folders are alike, with numbers.

    Args:
        alike: settings and groups of settings to ignore, in addition to artifacts, tracker and analysis.
    """
    described = [_described(study) for study in studies]
    on_own = [it for it, study in zip(described, studies, strict=True) if OWN_ADAPTER in (interventions(study) or ())]
    if len({it["cast"] for it in on_own}) == 1:  # the mitigation's name is enough
        for settings in on_own:
            for key in [key for key in settings if key.partition(".")[0] == "cast"]:
                del settings[key]
            settings["cast"] = ""
    telling = _telling(described, alike)
    shown = [", ".join(_shown(key, settings.get(key)) for key in telling[:3]) for settings in described]
    if len({*shown}) == len(shown) and all(shown):
        return shown
    return _with_folders(shown, [study.folder for study in studies])


def _telling(described: Sequence[Mapping[str, Any]], alike: Collection[str]) -> list[str]:
    """The settings that distinguish runs, most informative first."""
    keys = {key for settings in described for key in settings} - {_PLANNED}
    different = {key for key in keys if len({canonical(settings.get(key)) for settings in described}) > 1}
    if "composition.name" in different and all(it.get("rounds") == it.get(_PLANNED) for it in described):
        different.discard("rounds")  # the composition's name implies them
    different = {key for key in different if not {key, key.partition(".")[0]} & {*alike}}
    telling = [key for key in _TELLING if key in different]
    covered = {key.partition(".")[0] for key in telling}
    return telling + sorted(key for key in different if key.partition(".")[0] not in {*covered, *_ASIDE})


def _with_folders(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The names with as much of their folders as makes them unique: '(0)', '(sweep/0)', or '(sweep/0, 1)'."""
    paths = [folder.resolve() for folder in folders]
    ends = [f"{path.parent.name}/{path.name}" for path in paths]
    for added in ([path.name for path in paths], ends):
        made = [f"{name} ({end})".strip() for name, end in zip(names, added, strict=True)]
        if len({*made}) == len(made):
            return made
    return [f"{name} ({end}, {place})".strip() for place, (name, end) in enumerate(zip(names, ends, strict=True), 1)]


def _described(study: Study) -> dict[str, Any]:
    """Settings by dotted key; groups of settings are also given in words."""
    design = study.design
    done = interventions(study)
    own = {role: name for role, name in runs_on(study).items() if role in design["cast"]}
    return {
        **flatten(design),
        "model.name": study.manifest.model.name,
        "cast": ", ".join(f"{role}: {name}" for role, name in own.items()),
        "topic": ", ".join(topic["label"] for topic in design["topics"].values()),
        "treatments": " and ".join(_dosed(name, dose) for name, dose in (done or _treatments(design)).items()),
    }


OWN_ADAPTER = "own_adapter"


def interventions(study: Study) -> dict[str, float | None] | None:
    """Doses, by name, of the interventions that were meant to keep agents in character.

    Returns:
        None if roles run on different models, which does not count as an intervention.
    """
    design = study.design
    cast = design["cast"].values()
    if any(it["model"] != design["model"] or it["engine"] != design["engine"] for it in cast):
        return None
    return {**_treatments(design), **({OWN_ADAPTER: design.get("adapter_scale", 1.0)} if cast else {})}


def _treatments(design: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: it.get("dose") for name, it in design["treatments"].items()}


def _dosed(name: str, dose: float | None) -> str:
    """'contrast 1.5'; only the name if there is no dose."""
    return name if dose is None else f"{name} {dose:g}"


def runs_on(study: Study) -> dict[str, str]:
    """Model, adapter and engine of each role, in words."""
    names = study.agents.groupby("role", sort=True)["runs_on"].unique()
    return {str(role): ", ".join(sorted(each)) for role, each in names.items()}


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _shown(key: str, value: Any) -> str:
    """'composition echo_rep', 'alpha 0.1', 'base model'."""
    match key:
        case "adapter":
            return str(value or "base model")
        case "control.name":
            return "debate" if value == "none" else f"control {value}"
        case "cast":
            return str(value or "everybody on one model")
        case "personas.set":
            return f"life stories {value}"
        case "treatments":
            return str(value or "no treatment")
        case "shadow":
            return "shadow Default" if value else "no shadow Default"
        case _:
            *_, group, name = ("", *key.split("."))
            return f"{group if name in ('name', 'kind') else name} {value}"
