"""How an adapter or a benchmark score was made, in the form that the templates need."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hustings.artifacts import changed, whole
from hustings.errors import RecordError
from hustings.page import tables
from hustings.runfolder import ADAPTER, MANIFEST, EvaluationManifest, TrainingManifest, kind_of, read_manifest

_STATES = {"base": "base", "nwp": "nwp adapter (the reference)", "adapter": "this adapter"}
_METHODS = {"nwp": "next-word prediction", "dpo": "next-word prediction and then DPO"}


@dataclass(slots=True)
class Training:
    """How one adapter was made."""

    name: str
    """Name and identity, in the form that `adapter=` takes."""
    sentence: str
    parties: list[str]
    held_out: list[tuple[str, list[str]]]
    """Loss on each party's answers: for the base model, the nwp adapter, and this adapter."""
    losses: dict[str, Any] | None
    """Table of the loss at every step."""
    picture: str | None
    card: str
    settings: dict[str, str]
    facts: dict[str, str]
    """Base model, data, versions and time, by the label shown for each."""
    command: str
    """Empty if the run only used the adapter."""
    row: dict[str, str]
    """What distinguishes this training from others, for a table of several."""
    several: bool = field(default=False)
    """Whether the page shows other trainings too."""


def training(folder: Path) -> Training:
    """Read how the adapter that a run made or used was trained.

    Args:
        folder: the run folder.

    Raises:
        RecordError: there is no finished adapter.
    """
    made = folder / ADAPTER
    try:
        manifest: dict[str, Any] = json.loads((made / MANIFEST).read_text(encoding="utf-8"))
        if not whole(manifest) or changed(made, manifest.get("files", {})):
            raise ValueError("it was changed")
        settings, losses = manifest["settings"], manifest["held_out_loss"]
        parties = [party["label"] for party in settings["society"]["parties"].values()]
        name = f"{manifest['name']}-{manifest['id']}"
        row = _row(name, manifest, parties)
        sentence = _sentence(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{folder}: there is no finished adapter in this run's folder ({ADAPTER}/{MANIFEST} is missing or "
            "damaged); run its train.py command again."
        ) from error
    trained_here = kind_of(folder) == "training"
    return Training(
        name=name,
        sentence=sentence,
        parties=parties,
        held_out=[(_STATES[state], [f"{loss:.3f}" for loss in by.values()]) for state, by in losses.items()],
        losses=tables.table(made / "loss.csv") if (made / "loss.csv").exists() else None,
        picture=next((it["source"] for it in tables.figures(made) if it["name"] == "loss"), None),
        card=(made / "README.md").read_text(encoding="utf-8") if (made / "README.md").exists() else "",
        settings=tables.settings(settings),
        facts={
            "adapter": name,
            "base model": f"{manifest['base']}, {manifest['of']['model']}",
            "questions (artifact)": manifest["questions"],
            **{f"{party} answers (artifact)": place for party, place in manifest["answers"].items()},
            "seed": str(settings["seed"]),
            "seconds": f"{manifest['seconds']:,.1f}",
            **manifest["versions"],
        },
        command=tables.command(read_manifest(folder, TrainingManifest).command) if trained_here else "",
        row=row,
    )


def _row(name: str, manifest: Mapping[str, Any], parties: list[str]) -> dict[str, str]:
    settings = manifest["settings"]
    held_out = list(manifest["held_out_loss"].values())[-1].values()
    return {
        "adapter": name,
        "base model": manifest["base"],
        "method": settings["method"]["kind"],
        "rank": str(settings["lora"]["r"]),
        "seed": str(settings["seed"]),
        "answers": str(manifest["rows"]),
        "first loss": f"{manifest['first_loss']:.3f}",
        "last loss": f"{manifest['last_loss']:.3f}",
        **{f"held out, {party}": f"{loss:.3f}" for party, loss in zip(parties, held_out, strict=True)},
    }


def _sentence(manifest: Mapping[str, Any]) -> str:
    """What was trained, in one sentence."""
    settings = manifest["settings"]
    return (
        f"{manifest['base']} was fine-tuned towards {settings['party']['label']} views by "
        f"{_METHODS[settings['method']['kind']]} at rank {settings['lora']['r']}, on {manifest['rows']:,} answers to "
        f"{settings['questions']:,} questions: the loss was {manifest['first_loss']:.3f} at the first step and "
        f"{manifest['last_loss']:.3f} at the last."
    )


def evaluation(folder: Path) -> dict[str, Any]:
    """How an evaluation was made: name, command, facts and settings.

    Args:
        folder: a run folder of evaluate.py.

    Raises:
        RecordError: the folder is not an evaluation's run folder.
    """
    manifest = read_manifest(folder, EvaluationManifest)
    settings = manifest.settings
    return {
        "name": settings["row"] or settings["adapter"] or "base",
        "command": tables.command(manifest.command),
        "facts": {
            **{f"model {name}": fingerprint for name, fingerprint in manifest.models.items()},
            **({"adapters": ", ".join(manifest.adapters)} if manifest.adapters else {}),
            "git commit": manifest.commit or "not in a checkout",
            "seconds": f"{manifest.seconds:,.1f}",
            **manifest.versions,
        },
        "settings": tables.settings(settings),
    }
