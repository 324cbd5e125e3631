"""What was run: a title, one sentence, and the facts listed below it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hustings.report.naming import ADVOCATE, roles, runs_on
from hustings.study import Study

_NUMBERS = {2: "two", 3: "three", 4: "four"}


_TOPICS = 3
"""The most topics that a title names; beyond that it gives their number."""


def title(study: Study) -> str:
    """'Debates on racism and gun violence', 'Control retest on racism'."""
    topics = [topic["label"] for topic in study.design["topics"].values()]
    about = _and(topics) if len(topics) <= _TOPICS else f"{len(topics)} topics"
    return f"{'Debates' if study.control == 'none' else f'Control {study.control}'} on {about}"


def sentence(study: Study) -> str:
    """What was run, in one sentence."""
    design = study.design
    about = _and([topic["label"] for topic in design["topics"].values()])
    rounds = f"{design['rounds']} round{'s' if design['rounds'] != 1 else ''}"
    did = f"{_who(study)} {_did(study, about, rounds)}, on {_model(study)}: {_made(study)}."
    return did if study.control == "none" else f"Control {study.control}: {did}"


def _who(study: Study) -> str:
    """'A Republican, a Democrat and a Default agent'; lower case after a colon."""
    seats = Counter(roles(study)[role].label for role in study.design["composition"]["roles"])
    who = _and([_counted(label, n) for label, n in seats.items()])
    who += " agent" if seats[list(seats)[-1]] == 1 else " agents"
    return who if study.control != "none" else who[0].upper() + who[1:]


def _did(study: Study, about: str, rounds: str) -> str:
    """What the agents did."""
    control = study.design["control"]
    if control["read"]:
        return f"read the debate of another repetition on {about}, over {rounds}, in which they did not speak"
    if not control["speak"]:
        return f"were surveyed on {about} as often as in a debate of {rounds}, and nobody spoke"
    if control["topic"]:
        return f"debated {control['topic']['label']} over {rounds} and were surveyed on {about}"
    if control["advocates"]:
        return f"each debated {about} over {rounds} with {_advocates(study)}, and heard nobody else"
    return f"debated {about} over {rounds}"


def _advocates(study: Study) -> str:
    """'an advocate for the low end and an advocate for the high end', 'two advocates for the high end'."""
    first = study.agents.drop_duplicates(["topic", "repetition", "agent"])
    first = first[(first["topic"] == first["topic"].iloc[0]) & (first["repetition"] == first["repetition"].iloc[0])]
    sides = Counter(str(role) for role in first["role"] if str(role).startswith(ADVOCATE))
    named = roles(study)
    return _and([_counted(named[role].label, n, plural=("advocate", "advocates")) for role, n in sides.items()])


def _counted(label: str, n: int, plural: tuple[str, str] = ("", "")) -> str:
    """'a Republican', 'an advocate for the high end', 'two advocates for the high end'."""
    if n > 1:
        return f"{_NUMBERS.get(n, str(n))} {label.replace(*plural) if plural[0] else label}"
    return f"{'an' if label[0].lower() in 'aeiou' and plural[0] else 'a'} {label}"


def _model(study: Study) -> str:
    """'the model smollm2 with the treatment reminder'."""
    design, manifest = study.design, study.manifest
    adapter = f" with the adapter {manifest.adapter.name}" if manifest.adapter else ""
    model = f"the model {manifest.model.name}{adapter}"
    own = {role: name for role, name in runs_on(study).items() if role in design["cast"]}
    model += "".join(f" ({study.labels[role]}: {name})" for role, name in own.items())
    names = list(design["treatments"])
    return model + (f" with the treatment{'s' if len(names) > 1 else ''} {_and(names)}" if names else "")


def _made(study: Study) -> str:
    """'6 debates and 54 replies'."""
    debates = len(study.agents.drop_duplicates(["topic", "repetition"]))
    if len(study.replies) == 0:
        return f"{debates:,} repetition{'s' if debates != 1 else ''}, without replies"
    return f"{debates:,} debates and {len(study.replies):,} replies" if debates > 1 else "one debate"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def facts(study: Study) -> dict[str, str]:
    """Who heard whom, interventions, model, versions, time and what a rerun guarantees, by the label shown for each."""
    manifest = study.manifest
    last = {f"{key.replace('_', ' ')}, last process": value for key, value in manifest.played.items()}
    return {
        **({"a rerun promises": manifest.promise} if manifest.promise else {}),
        **_conduct(study),
        **_preamble(study),
        "folder": study.folder.resolve().name,
        "seed": str(study.seed),
        "model name": manifest.model.name,
        "model sha256": manifest.model.sha256,
        **({"adapter name": manifest.adapter.name, "adapter id": manifest.adapter.id} if manifest.adapter else {}),
        **{f"debates on {study.labels[topic]} (artifact)": place for topic, place in manifest.debates.items()},
        "git commit": manifest.commit or "not in a checkout",
        **{key: f"{it:,.1f}" if isinstance(it, float) else f"{it:,}" for key, it in last.items() if it is not None},
        **manifest.versions,
    }


def _preamble(study: Study) -> Mapping[str, str]:
    """The text of the system slot, which preceded every user turn."""
    said = study.manifest.preamble
    return {} if said is None else {"before every prompt, by the chat template": said or "nothing"}


def _conduct(study: Study) -> dict[str, Any]:
    """The conditions of the debates, according to their records: who heard whom, control, treatments, models."""
    agents = study.agents
    topologies, controls, treatments = (
        ", ".join(sorted({*agents[column]} - {"", "none"})) for column in ("topology", "control", "treatments")
    )
    models = runs_on(study)
    differ = len({*models.values()}) > 1
    return {
        "who hears whom": topologies,
        "control": controls or "none",
        "treatments": treatments or "none",
        "first speaker": study.design["first_speaker"],
        **({f"{study.labels.get(role, role)} runs on": name for role, name in models.items()} if differ else {}),
    }
