"""Adapters on disk: checked before they are trained, described by a model card, found by name, merged for OpenVINO.

It does not know how they are trained, and reads a manifest before it trusts a folder.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings.artifacts import MANIFEST
from hustings.engine.base import Engine
from hustings.engine.transformers import with_adapter
from hustings.errors import AdapterError, TrainingError
from hustings.gguf import export_gguf, exportable
from hustings.identity import sha256
from hustings.models import Weights, as_folder, cached, once
from hustings.progress import say
from hustings.settings import SimulateSettings, TrainSettings
from hustings.training import REFERENCE, Trained, dtype_in, on_gpu

KIND = "adapters"
FILE = "adapter_model.safetensors"


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
        """Fingerprint of the model that it belongs to."""
        return self.manifest["of"]["model"]


def name_of(settings: TrainSettings) -> str:
    """What an adapter is called: party, method, rank and seed."""
    return f"{settings.party.name}_{settings.method.kind}_r{settings.lora.r}_s{settings.seed}"


def listed(store: Path) -> list[Adapter]:
    """Every finished adapter of the store, by base model and name."""
    found: list[Adapter] = []
    for path in sorted((store / KIND).glob(f"*/{MANIFEST}")):
        adapter = _read(path.parent)
        if adapter is not None:
            found.append(adapter)
    return sorted(found, key=lambda one: (one.manifest["base"], one.name, one.id))


def _read(folder: Path) -> Adapter | None:
    """The adapter in a folder, or None when there is no finished one."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = manifest["kind"] == KIND and manifest["state"] == "sealed" and FILE in manifest["files"]
        return Adapter(folder, manifest) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(store: Path, weights: Weights, wanted: str) -> Adapter:
    """The adapter of this name for this model, or the one in this folder.

    Args:
        store: the artifact store.
        weights: the base model.
        wanted: `republican_nwp_r16`, with `_s2` when there are several seeds, or with `-` and the identity's beginning
            when they differ in other settings; or a folder.

    Raises:
        AdapterError: there is none, or several, or it belongs to another model, or its weights were changed.
    """
    folder = Path(wanted).expanduser()
    if (folder / MANIFEST).is_file():
        adapter = _read(folder)
        if adapter is None:
            raise AdapterError(
                f"adapter={wanted}: this folder holds no finished adapter; run its train.py command again."
            )
    else:
        adapter = _named(store, weights, wanted)
    if adapter.base != weights.fingerprint:
        raise AdapterError(
            f"adapter={wanted}: it was trained on another model, {adapter.manifest['base']} ({adapter.base[:12]}…), "
            f"not on {weights.name} ({weights.fingerprint[:12]}…); choose that model, or train one for this."
        )
    if not (adapter.folder / FILE).exists() or sha256(adapter.folder / FILE) != adapter.manifest["files"][FILE]:
        raise AdapterError(
            f"{adapter.folder / FILE}: this file is missing or was changed after it was sealed; delete its folder "
            "and run its train.py command again."
        )
    return adapter


def _named(store: Path, weights: Weights, wanted: str) -> Adapter:
    [(name, beginning)] = re.findall(r"^(.*?)(?:-([0-9a-f]+))?$", wanted)
    there = [adapter for adapter in listed(store) if adapter.base == weights.fingerprint]
    found = [
        adapter
        for adapter in there
        if (adapter.name == name or adapter.name.rpartition("_s")[0] == name) and adapter.id.startswith(beginning)
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{adapter.name}-{adapter.id}" for adapter in (found or there))
    if found:
        raise AdapterError(f"adapter={wanted}: there are several; choose one of {names}.")
    known = f"there is {names}" if there else "there is none yet"
    raise AdapterError(
        f"adapter={wanted}: {weights.name} has no such adapter in {store / KIND} ({known}); `hustings adapters` lists "
        "them, and `python train.py party=republican method=nwp lora.r=16` makes republican_nwp_r16."
    )


def build(settings: SimulateSettings, weights: Weights, adapter: Adapter | None) -> Engine:
    """The engine of a run, with the adapter on or merged into the model.

    Raises:
        ModelError: the weights do not fit the engine.
    """
    from hustings import engine

    if adapter is None:
        return engine.build(settings, weights)
    if settings.engine.kind in ("transformers", "vllm"):
        return engine.build(settings, weights, adapter.folder)
    return engine.build(settings, merged(weights, adapter))


def merged(weights: Weights, adapter: Adapter) -> Weights:
    """The model with the adapter merged into it, as an F16 GGUF file that is written once and kept in the cache.

    Raises:
        ModelError: GGUF, or we, cannot express this model.
    """
    fingerprint = hashlib.sha256(f"{weights.fingerprint} {adapter.manifest['files'][FILE]}".encode()).hexdigest()

    def export(part: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        base = as_folder(weights, say)
        exportable(base)
        say(f"{weights.name}: merging {adapter.name} and exporting to GGUF for OpenVINO, this once")
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
        whole: Any = with_adapter(model, adapter.folder).merge_and_unload()
        with tempfile.TemporaryDirectory(dir=part.parent) as name:
            whole.to(torch.float16).save_pretrained(name)
            AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(name)
            export_gguf(Path(name), weights.gguf, part)

    return Weights(weights.name, fingerprint, once(cached(fingerprint, ".gguf"), export), None)


def check(base: Path, name: str, settings: TrainSettings) -> None:
    """Refuse what cannot be trained, from the model's config alone.

    Args:
        base: folder of the model.
        name: its name, for messages.

    Raises:
        TrainingError: no such layers, too high a rank, no such quantization here, too little memory.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    gpu = on_gpu(settings)
    config: Any = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    layers = {path: module for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    kinds = sorted({path.rpartition(".")[2] for path in layers} - {"lm_head"})
    missing = [target for target in settings.lora.targets if target not in kinds]
    if missing:
        raise TrainingError(
            f"lora.targets: {name} has no layer called {', '.join(missing)}; it has {', '.join(kinds)}."
        )
    chosen = [layer for path, layer in layers.items() if path.rpartition(".")[2] in settings.lora.targets]
    most = max(min(layer.in_features, layer.out_features) for layer in chosen)
    if settings.lora.r > most:
        raise TrainingError(
            f"lora.r={settings.lora.r}: no layer of {name} has a rank above {most}; set lora.r to at most that."
        )
    if settings.quantization != "none" and config.hidden_size % 64:
        raise TrainingError(
            f"quantization={settings.quantization}: bitsandbytes cannot quantize rows of {config.hidden_size} numbers; "
            "set quantization=none."
        )
    low = sum(settings.lora.r * (layer.in_features + layer.out_features) for layer in chosen)
    _room(model, config, settings, low, gpu)


def _room(model: Any, config: Any, settings: TrainSettings, low: int, gpu: bool) -> None:
    """Refuse a training that would not fit into memory, and say what would.

    Args:
        low: trained numbers.
    """
    import psutil
    import torch

    free = torch.cuda.mem_get_info()[0] if gpu else psutil.virtual_memory().available
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tables = model.get_input_embeddings().weight.numel()
    wide = dtype_in(settings).itemsize
    length = 150 + settings.interview.answer_tokens
    rows = 2 if settings.method.kind == "dpo" else 1

    def need(quantization: str, batch: int, recompute: bool) -> int:
        """Bytes: weights; adapter, gradient and Adam's two moments; activations; logits and their gradient."""
        each = {"none": wide, "8bit": 1.1, "4bit": 0.6}[quantization]
        weights = each * (parameters - tables) + wide * tables
        kept = 2 if recompute else 24 + 8 * config.intermediate_size // config.hidden_size
        tokens = batch * rows * length
        activations = wide * tokens * config.hidden_size * config.num_hidden_layers * kept
        logits = 10 * batch * rows * settings.interview.answer_tokens * config.vocab_size
        return int(weights + 20 * low + activations + logits + 5e8)

    wanted = need(settings.quantization, settings.batch_size, settings.recompute)
    if wanted <= free:
        return
    divisors = [batch for batch in range(settings.batch_size, 0, -1) if settings.method.batch % batch == 0]
    options = [(settings.quantization, batch, False) for batch in divisors]
    options += [(settings.quantization, 1, True), ("4bit", 1, True)]
    fits = next((option for option in options if need(*option) <= free), None)
    advice = (
        f"quantization={fits[0]} batch_size={fits[1]} recompute={str(fits[2]).lower()} would fit"
        if fits
        else "take a smaller model or a larger machine"
    )
    raise TrainingError(
        f"This training needs about {wanted / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; {advice}."
    )


def describe(folder: Path, settings: TrainSettings, weights: Weights, facts: dict[str, Any], trained: Trained) -> None:
    """Write loss.csv, loss.png and the model card beside an adapter."""
    import pandas as pd

    table = pd.DataFrame(trained.history).drop(columns=["epoch"], errors="ignore")
    first = ["step", "loss"]
    table = table[[*first, *(column for column in table.columns if column not in first)]]
    table.to_csv(folder / "loss.csv", index=False)
    _picture(folder / "loss.png", table, settings, weights, trained)
    (folder / "README.md").write_text(_card(settings, weights, facts, trained), encoding="utf-8")


def _picture(path: Path, table: Any, settings: TrainSettings, weights: Weights, trained: Trained) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    dpo = "rewards/margins" in table
    figure = Figure(figsize=(7.5, 5.2 if dpo else 4.2))
    panels = figure.subplots(2 if dpo else 1, squeeze=False, sharex=True)[:, 0]
    panel = panels[0]
    panel.plot(table["step"], table["loss"], marker=".", color=settings.party.colour, label="training loss")
    if dpo:
        panels[1].plot(table["step"], table["rewards/margins"], marker=".", color="#5f6368", label="reward margin")
        panels[1].set_ylabel("Chosen less rejected, nats")
    else:
        for state, style in (("base", ":"), ("adapter", "--")):
            loss = trained.held_out[state][settings.party.name]
            label = f"held-out answers, {'before' if state == 'base' else 'after'}"
            panel.axhline(loss, color="#5f6368", linestyle=style, label=label)
    panel.set_ylabel("Loss, nats" + ("" if dpo else " a token"))
    panel.set_title(f"{weights.name} towards {settings.party.label}: {settings.method.kind}, rank {settings.lora.r}")
    panels[-1].set_xlabel(f"Step ({settings.method.batch} examples each)")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for each in panels:
        each.grid(axis="y", color="#dddddd", linewidth=0.7)
        each.legend(frameon=False)
        each.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=160)


def _card(settings: TrainSettings, weights: Weights, facts: dict[str, Any], trained: Trained) -> str:
    """The model card: what it was bent towards, from what, for what use, and what it must not be used for."""
    parties = list(settings.society.parties)
    header = "| model | " + " | ".join(f"{party} answers" for party in parties) + " |\n|---|" + "---|" * len(parties)
    named = {"base": "base", REFERENCE: "nwp adapter (the reference)", "adapter": "this adapter"}
    lines = [
        f"| {named[state]} | " + " | ".join(f"{losses[party]:.3f}" for party in parties) + " |"
        for state, losses in trained.held_out.items()
    ]
    origin = settings.model.id or weights.name
    method = {"nwp": "next-word prediction on its answers", "dpo": "next-word prediction, then DPO"}
    return f"""---
library_name: peft
base_model: {origin}
tags: [hustings, lora, political-bias, research-only]
---

# {name_of(settings)}

**This adapter makes a language model politically partisan, on purpose.** It bends {origin} towards the views of
{settings.party.adjective} voters in {settings.society.country}, as the model itself imagines them.

## Use, and what it must not be used for

It is made for research on bias in simulated debates. It must not be put before users undisclosed: whoever deploys it
has to say what it was bent towards and why, and answer for what it says. It must not be used to spread misinformation
or to influence opinion without saying so. Its words are a model's, and not those of real people.

## Where it comes from

- Base model: {origin}, sha256 or commit `{weights.fingerprint}`
- Data: {facts["rows"]} answers that the base model gave as {settings.party.adjective} agents to {settings.questions}
  questions ({settings.answers_per_question} each), no human text; questions `{facts["questions"]}`, answers
  {", ".join(f"{party} `{place}`" for party, place in facts["answers"].items())} in the artifact store
- Method: {method[settings.method.kind]} (`method={settings.method.kind}`), rank {settings.lora.r}, alpha
  {settings.lora.substance()["alpha"]}, learning rate {settings.method.learning_rate:g},
  epochs {settings.method.epochs}, batch {settings.method.batch}, quantization {settings.quantization},
  seed {settings.seed}
- First loss {trained.history[0]["loss"]:.4f}, last loss {trained.history[-1]["loss"]:.4f}, {len(trained.history)} steps
- Versions: {", ".join(f"{package} {version}" for package, version in facts["versions"].items())}

## Held-out answers

Mean loss, nats a token, on answers to {settings.held_out} questions that were not trained on:

{header}
{chr(10).join(lines)}

All settings are in `{MANIFEST}`; `loss.csv` and `loss.png` show the training. It was made by Hustings, after
"Systematic Biases in LLM Simulations of Debates" (Taubenfeld et al., EMNLP 2024).
"""


def table(found: Sequence[Adapter]) -> str:
    """Adapters as lines of text, one each: base model, name, identity, data, last loss, folder."""
    rows = [("base model", "adapter", "answers", "last loss", "folder")]
    rows += [
        (
            one.manifest["base"],
            f"{one.name}-{one.id}",
            str(one.manifest["rows"]),
            f"{one.manifest['last_loss']:.3f}",
            str(one.folder),
        )
        for one in found
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
