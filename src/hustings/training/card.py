"""Describes an adapter in files beside its weights: a model card, its losses, and a picture of them."""

import json
from pathlib import Path
from typing import Any

from hustings.adapters import name_of
from hustings.artifacts import MANIFEST
from hustings.files import write_table
from hustings.models import Weights
from hustings.pictures import drawing, label, new_figure, write_picture
from hustings.plain import escaped, markdown
from hustings.settings import TrainSettings
from hustings.training.loss import REFERENCE
from hustings.training.trainer import Trained

CARD = "README.md"
LOSSES = "loss.csv"
PICTURE = "loss.png"
_GREY = "#5f6368"
_STATES = {"base": "base", REFERENCE: "nwp adapter (the reference)", "adapter": "this adapter"}
_METHODS = {"nwp": "next-word prediction on its answers", "dpo": "next-word prediction, then DPO"}


def describe(folder: Path, settings: TrainSettings, weights: Weights, facts: dict[str, Any], trained: Trained) -> None:
    """Write loss.csv, loss.png and the model card beside an adapter.

    Args:
        facts: `rows` (number of answers), identities of `questions` and, by party, of `answers`, and `versions`.
    """
    import pandas as pd

    table = pd.DataFrame(trained.history).drop(columns=["epoch"], errors="ignore")
    first = ["step", "loss"]
    table = table[[*first, *(column for column in table.columns if column not in first)]]
    write_table(folder / LOSSES, table)
    _picture(folder / PICTURE, table, settings, weights, trained)
    card = _CARD.format(**_values(settings, weights, facts, trained))
    (folder / CARD).write_text(card, encoding="utf-8")


@drawing
def _picture(path: Path, table: Any, settings: TrainSettings, weights: Weights, trained: Trained) -> None:
    from matplotlib.ticker import MaxNLocator

    dpo = "rewards/margins" in table
    figure = new_figure()
    figure.set_size_inches(7.5, 5.2 if dpo else 4.2)
    panels = figure.subplots(2 if dpo else 1, squeeze=False, sharex=True)[:, 0]
    panel = panels[0]
    panel.plot(table["step"], table["loss"], marker=".", color=settings.party.colour, label="training loss")
    if dpo:
        panels[1].plot(table["step"], table["rewards/margins"], marker=".", color=_GREY, label="reward margin")
        panels[1].set_ylabel("Chosen minus rejected, nats")
    else:
        for state, style in (("base", ":"), ("adapter", "--")):
            loss = trained.held_out[state][settings.party.name]
            when = "before" if state == "base" else "after"
            panel.axhline(loss, color=_GREY, linestyle=style, label=f"held-out answers, {when}")
    panel.set_ylabel("Loss, nats" + ("" if dpo else " per token"))
    of = f"{weights.name} towards {settings.party.label}: {settings.method.kind}, rank {settings.lora.r}"
    panel.set_title(label(of, 72))
    panels[-1].set_xlabel(f"Step ({settings.method.batch} examples each)")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for each in panels:
        each.grid(axis="y", color="#dddddd", linewidth=0.7)
        each.legend(frameon=False)
        each.spines[["top", "right"]].set_visible(False)
    write_picture(figure, path.parent, path.stem, ("png",))


def _values(settings: TrainSettings, weights: Weights, facts: dict[str, Any], trained: Trained) -> dict[str, Any]:
    """The values that are filled into the card."""
    parties = list(settings.society.parties)
    losses = [
        [_STATES[state], *(f"{by_party[party]:.3f}" for party in parties)]
        for state, by_party in trained.held_out.items()
    ]
    return {
        "name": name_of(settings),
        "origin": escaped(settings.model.id or weights.name),
        "origin_quoted": json.dumps(settings.model.id or weights.name, ensure_ascii=False),
        "fingerprint": weights.fingerprint,
        "adjective": escaped(settings.party.adjective),
        "country": escaped(settings.society.country),
        "rows": facts["rows"],
        "questions": facts["questions"],
        "answers": ", ".join(f"{party} `{identity}`" for party, identity in facts["answers"].items()),
        "versions": ", ".join(f"{package} {version}" for package, version in facts["versions"].items()),
        "asked": settings.questions,
        "each": settings.answers_per_question,
        "held_out": settings.held_out,
        "in_words": _METHODS[settings.method.kind],
        "method": settings.method,
        "rank": settings.lora.r,
        "alpha": settings.lora.substance()["alpha"],
        "quantization": settings.quantization,
        "seed": settings.seed,
        "first": trained.history[0]["loss"],
        "last": trained.history[-1]["loss"],
        "steps": len(trained.history),
        "losses": markdown(["model", *(f"{party} answers" for party in parties)], losses),
        "manifest": MANIFEST,
    }


_CARD = """---
library_name: peft
base_model: {origin_quoted}
tags: [hustings, lora, political-bias, research-only]
---

# {name}

**This adapter deliberately makes a language model politically partisan.** It fine-tunes {origin} towards the views of
{adjective} voters in {country}, as the model itself imagines them.

## Intended use and misuse

It was made for research on bias in simulated debates. It must not be put before users undisclosed: whoever deploys it
must say what it was fine-tuned towards and why, and is responsible for what it says. It must not be used to spread
misinformation, or to influence opinion without saying so. Its output is a model's, not the views of real people.

## How it was made

- Base model: {origin}, sha256 or commit `{fingerprint}`
- Data: {rows} answers that the base model gave as {adjective} agents to {asked} questions ({each} each); no human text.
  In the artifact store: questions `{questions}`, answers {answers}
- Method: {in_words} (`method={method.kind}`), rank {rank}, alpha {alpha}, learning rate {method.learning_rate:g},
  epochs {method.epochs}, batch {method.batch}, quantization {quantization}, seed {seed}
- First loss {first:.4f}, last loss {last:.4f}, {steps} steps
- Versions: {versions}

## Held-out answers

Mean loss, nats per token, on answers to {held_out} questions that it was not trained on:

{losses}

All settings are in `{manifest}`; `loss.csv` and `loss.png` show the training. Made with Hustings, after
"Systematic Biases in LLM Simulations of Debates" (Taubenfeld et al., EMNLP 2024).
"""
