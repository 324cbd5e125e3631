"""One picture for each mitigation that was played: drift and responsiveness of each party without and with it.

`python results/draw_mitigations.py` reads results/*_mitigations/mitigations.csv and draws docs/images/mitigation_*.png.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
MODELS = {"qwen": "Qwen2.5-Coder-1.5B-Instruct", "smollm2": "SmolLM2-135M-Instruct (machinery only)"}
COLOURS = {"republican": "#c8102e", "democrat": "#1f5fa8"}
PANELS = {"unwarranted_drift": "Unwarranted drift U, points", "responsiveness": "Responsiveness S, points"}


def main() -> None:
    """Draw each mitigation once, on the first model that played it."""
    drawn: set[str] = set()
    for model, label in MODELS.items():
        for path in sorted((ROOT / "results").glob(f"{model}*_mitigations/mitigations.csv")):
            table = pd.read_csv(path)
            for mitigation in table["mitigation"].unique():
                if mitigation != "none" and mitigation not in drawn:
                    drawn.add(mitigation)
                    draw(table, mitigation, label)


def draw(table: pd.DataFrame, mitigation: str, model: str) -> None:
    """Two panels; in each, a line for each party, from without (hollow) to with the mitigation (filled)."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 1.9), layout="constrained", sharey=True)
    for panel, (statistic, title) in zip(panels, PANELS.items(), strict=True):
        for place, (role, colour) in enumerate(COLOURS.items()):
            for shift, which in ((0.14, "none"), (-0.14, mitigation)):
                cell: Any = table[
                    (table["statistic"] == statistic) & (table["role"] == role) & (table["mitigation"] == which)
                ].iloc[0]
                at = 1 - place + shift
                panel.plot([cell["ci_low"], cell["ci_high"]], [at, at], color=colour, linewidth=1.5)
                filled = colour if which != "none" else "white"
                panel.plot(cell["estimate"], at, "o", color=colour, markerfacecolor=filled, markersize=7)
        panel.axvline(0, color="#999999", linewidth=0.8, zorder=0)
        panel.set(xlabel=title, ylim=(-0.5, 1.5), yticks=[1, 0], yticklabels=[role.title() for role in COLOURS])
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params("y", length=0)
    n = int(table.loc[table["statistic"] == "unwarranted_drift", "n"].max())
    figure.suptitle(f"○ without · ● with {mitigation} ({model}, {n} repetitions)", fontsize=10)
    figure.savefig(ROOT / "docs" / "images" / f"mitigation_{mitigation}.png", dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
