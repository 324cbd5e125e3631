"""Find and list adapters in the artifact store.

It does not know how they are trained or run, and it reads an adapter's manifest before it trusts the folder.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings.artifacts import MANIFEST, changed, whole
from hustings.errors import AdapterError
from hustings.merging import ADAPTER_FILE, SCALE_FILE
from hustings.models import Weights, cached, once
from hustings.pretrained import refuse_pointer
from hustings.settings import TrainSettings

KIND = "adapters"
CONFIG_FILE = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A finished adapter in the store."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        """Its identity."""
        return self.manifest["id"]

    @property
    def name(self) -> str:
        """`republican_nwp_r16_s1`: party, method, rank and seed."""
        return self.manifest["name"]

    @property
    def base(self) -> str:
        """Fingerprint of the model that it was trained on."""
        return self.manifest["of"]["model"]

    @property
    def sha256(self) -> str:
        """Hash of its weights when they were sealed."""
        return self.manifest["files"][ADAPTER_FILE]

    @property
    def changed(self) -> Path | None:
        """The first file that affects what the model says and is missing or differs from the sealed version."""
        read = {file: of for file, of in self.manifest["files"].items() if file.endswith((".safetensors", ".json"))}
        missing = [file for file in (ADAPTER_FILE, CONFIG_FILE) if file in read and not (self.folder / file).exists()]
        damaged = sorted((*missing, *changed(self.folder, read)), key=lambda file: file != ADAPTER_FILE)
        return self.folder / damaged[0] if damaged else None

    def __str__(self) -> str:
        return f"{self.name}-{self.id}"


def name_of(settings: TrainSettings) -> str:
    """Name of an adapter: party, method, rank and seed."""
    return f"{settings.party.name}_{settings.method.kind}_r{settings.lora.r}_s{settings.seed}"


def listed(store: Path) -> list[Adapter]:
    """All finished adapters in the store, by base model and name."""
    read = (_read(path.parent) for path in sorted((store / KIND).glob(f"*/{MANIFEST}")))
    return sorted(filter(None, read), key=lambda adapter: (adapter.manifest["base"], adapter.name, adapter.id))


def _read(folder: Path) -> Adapter | None:
    """The adapter in a folder, or None if there is no finished one."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        finished = manifest["kind"] == KIND and manifest["state"] == "sealed" and ADAPTER_FILE in manifest["files"]
        texts = (manifest["id"], manifest["name"], manifest["base"], manifest["of"]["model"])
        numbers = (manifest["rows"], manifest["last_loss"])
        typed = all(isinstance(it, str) for it in texts) and all(isinstance(it, int | float) for it in numbers)
        return Adapter(folder, manifest) if finished and typed and whole(manifest) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(store: Path, weights: Weights, wanted: str) -> Adapter:
    """The adapter with this name for this model, or the one in this folder.

    Args:
        store: the artifact store.
        weights: the base model.
        wanted: `republican_nwp_r16`, followed by `_s2` if there are several seeds, or by `-` and the first characters
            of the identity if adapters differ in other settings; or a folder: one in the store, or `adapter` in a run's
            folder.

    Raises:
        AdapterError: there is none or more than one, it belongs to another model, or its weights were modified.
    """
    folder = Path(wanted).expanduser()
    adapter = _in_folder(store, folder) if (folder / MANIFEST).is_file() else _named(store, weights, wanted)
    if adapter.base != weights.fingerprint:
        raise AdapterError(
            f"adapter={wanted}: it was trained on another model, {adapter.manifest['base']} ({adapter.base[:12]}…), "
            f"not on {weights.name} ({weights.fingerprint[:12]}…); choose that model, or train an adapter for this one."
        )
    changed = adapter.changed
    if changed is not None:
        if changed.is_file():
            refuse_pointer(changed, AdapterError)
        raise AdapterError(
            f"{changed}: this file is missing or was changed after it was sealed; delete its "
            "folder and rerun its train.py command."
        )
    return adapter


def _in_folder(store: Path, folder: Path) -> Adapter:
    """The adapter in a folder; a run's folder only describes the adapter, whose weights are in the store."""
    adapter = _read(folder)
    if adapter is None:
        raise AdapterError(
            f"adapter={folder}: there is no finished adapter in this folder; rerun its train.py command."
        )
    if (folder / ADAPTER_FILE).exists():
        return adapter
    return next((kept for kept in listed(store) if kept.id == adapter.id), adapter)


def _named(store: Path, weights: Weights, wanted: str) -> Adapter:
    [(name, beginning)] = re.findall(r"\A(.*?)(?:-([0-9a-f]+))?\Z", wanted, re.DOTALL)
    there = [adapter for adapter in listed(store) if adapter.base == weights.fingerprint]
    found = [
        adapter
        for adapter in there
        if (adapter.name == name or adapter.name.rpartition("_s")[0] == name) and adapter.id.startswith(beginning)
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(map(str, found or there))
    if found:
        raise AdapterError(f"adapter={wanted}: there are several; choose one of {names}.")
    known = f"it has {names}" if there else "it has none yet"
    raise AdapterError(
        f"adapter={wanted}: {weights.name} has no such adapter in {store / KIND} ({known}); `hustings adapters` lists "
        "them, and `python train.py party=republican method=nwp lora.r=16` trains republican_nwp_r16."
    )


def scaled(adapter: Adapter, scale: float) -> Path:
    """A folder with the adapter at a different strength: PEFT's alpha, which scales what it adds, times `scale`.

    Args:
        scale: 1 gives the adapter as trained, 0 adds nothing.
    """
    if scale == 1:
        return adapter.folder

    def build(part: Path) -> None:
        part.mkdir()
        config = json.loads((adapter.folder / CONFIG_FILE).read_text(encoding="utf-8"))
        (part / CONFIG_FILE).write_text(json.dumps({**config, "lora_alpha": config["lora_alpha"] * scale}))
        (part / SCALE_FILE).write_text(f"{scale:g}")
        shutil.copyfile(adapter.folder / ADAPTER_FILE, part / ADAPTER_FILE)

    return once(cached(f"{adapter.sha256[:16]}", f"-{scale:g}.adapter"), build)


def table(found: Sequence[Adapter]) -> str:
    """A line of text for each adapter: base model, name with identity, answers, last loss, folder."""
    rows = [("base model", "adapter", "answers", "last loss", "folder")]
    rows += [
        (
            adapter.manifest["base"],
            str(adapter),
            str(adapter.manifest["rows"]),
            f"{adapter.manifest['last_loss']:.3f}",
            str(adapter.folder),
        )
        for adapter in found
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
