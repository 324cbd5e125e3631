"""Does the comparison of mitigations find real effects, and only these? Checked on many planted studies.

`python benchmarks/mitigations.py --studies 300` prints the table of docs/mitigations.md. Each study plays a debate and
three controls, without a mitigation and with each of three that change planted debaters by known amounts: one does
nothing, one anchors them to their persona, and one makes them deaf.
"""

import argparse
import functools
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir

from hustings import records
from hustings.analysis.mitigations import Mitigated, mitigations
from hustings.debate.play import Listener, Rules, play
from hustings.debate.roles import Persona, Seating, seating
from hustings.engine.planted import PlantedEngine, PlantedSettings
from hustings.records import Event, Start
from hustings.runfolder import DebateKey, ModelName, RunManifest
from hustings.settings import SimulateSettings, load
from hustings.study import Study

CONF = Path(__file__).resolve().parents[1] / "conf"
CONTROLS = ("none", "advocates_low", "advocates_high", "advocates_both")
EFFECTS = {
    "nothing": {"alpha": 0.0, "beta": 0.0, "kappa": 0.0},
    "anchor": {"alpha": 0.0, "beta": 0.0, "kappa": 0.5},
    "deaf": {"alpha": -0.1, "beta": 0.0, "kappa": 0.0},
}
"""What each planted mitigation adds to the pulls."""
PLANTED = ("engine=planted", "engine.alpha=0.15", "engine.beta=0.15", "engine.kappa=0.05", "engine.bias=6.0",
           "engine.start_low=3.0", "engine.start_high=7.5", "engine.start_spread=0.5")  # fmt: skip
NAMES = ("drift_stopped", "response_lost")


@functools.cache
def settings(mitigation: str, control: str, debates: int) -> SimulateSettings:
    """The settings of one run."""
    effects = ",".join(
        f"{name}: {{{', '.join(f'{pull}: {by}' for pull, by in each.items())}}}" for name, each in EFFECTS.items()
    )
    text = "{kind: prompt, roles: null, scope: replies, place: instruction, dose: null, text: Planted.}"
    treated = [] if mitigation == "none" else [f"+treatments.{mitigation}={text}"]
    words = (f"control={control}", "composition=rep_dem", "topic=racism", "rounds=3", f"repetitions={debates}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made = compose("simulate", [*PLANTED, *words, f"++engine.effects={{{effects}}}", *treated])
        return load(SimulateSettings, made)


def played(of: SimulateSettings, noise: float | None) -> Study:
    """A run that is kept in memory."""
    assert isinstance(of.engine, PlantedSettings)
    engine = of.engine if noise is None else of.engine.model_copy(update={"noise": noise, "start_spread": 0.0})
    events: list[Event] = []
    starts = starts_of(of)
    play(PlantedEngine(engine, of), starts, {}, Rules.of(of), len(starts), Listener(on_event=events.append))
    manifest = RunManifest(
        command=[], versions={}, settings=of.model_dump(mode="json"), debates={}, promise=None, preamble=None,
        model=ModelName(name="planted", sha256="planted"), adapter=None, played={}, spent={}, commit=None,
    )  # fmt: skip
    return Study(Path("planted"), manifest, *records.tables(events, "planted", "", of.seed))


def starts_of(of: SimulateSettings) -> list[Start]:
    """The start events of all debates, with personas that need no model."""
    people = {
        party: {index: Persona(party, index, name, f"You are {name}.") for index, name in enumerate(it.names)}
        for party, it in of.society.parties.items()
    }
    sizes = {party: len(these) for party, these in people.items()}
    table = Seating(of, dict.fromkeys(of.roles, ""))
    keys = [DebateKey("racism", of.composition.name, repetition) for repetition in range(of.repetitions)]
    seats = [seating(of.composition, key.repetition, of.seed, sizes) for key in keys]
    return [
        Start(debate=str(key), agents=table.agents("racism", seat, people), first=key.repetition % 2)
        for key, seat in zip(keys, seats, strict=True)
    ]


def study(seed: int, debates: int, noise: float | None = None) -> pd.DataFrame:
    """The comparison table of one study."""
    compared = [
        Mitigated(name, np.nan, {
            control: played(settings(name, control, debates).model_copy(update={"seed": seed}), noise)
            for control in CONTROLS
        })
        for name in ("none", *EFFECTS)
    ]  # fmt: skip
    table = mitigations(compared, ())
    return table[table["statistic"].isin(NAMES)].assign(seed=seed)


def truth(debates: int = 2) -> "pd.Series[float]":
    """The estimates without noise, by mitigation, statistic and role; they are exact, as the dynamics are linear."""
    return study(1, debates, noise=0.0).set_index(["mitigation", "statistic", "role"])["estimate"]


def summary(studies: Sequence[pd.DataFrame], true: "pd.Series[float]") -> pd.DataFrame:
    """Bias, coverage of the 95 % intervals, and how often p and Holm's p are at most 0.05, by mitigation and role."""
    key = ["mitigation", "statistic", "role"]
    table: Any = pd.concat(studies)
    real = true.reindex(pd.MultiIndex.from_frame(table[key])).to_numpy(float)
    table["true"] = real
    table["off"] = table["estimate"] - real
    table["covered"] = (table["ci_low"] <= real + 1e-9) & (real - 1e-9 <= table["ci_high"])
    table["rejected"], table["after_holm"] = table["p"] <= 0.05, table["p_holm"] <= 0.05
    return table.groupby(key, sort=False)[["true", "off", "covered", "rejected", "after_holm"]].mean().reset_index()


def main() -> None:
    """Print the table in Markdown, and the share of studies in which a false difference survives Holm's correction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--debates", type=int, default=12)
    asked = parser.parse_args()
    with multiprocessing.Pool() as pool:
        studies = pool.map(functools.partial(study, debates=asked.debates), range(1, asked.studies + 1))
    found = summary(studies, truth())
    print("| mitigation | statistic | agents | true | mean error | covered | p ≤ 0.05 | after Holm |")
    print("|---|---|---|---|---|---|---|---|")
    for row in found.to_dict("records"):
        shares = " | ".join(f"{100 * row[name]:.1f} %" for name in ("covered", "rejected", "after_holm"))
        print(f"| {row['mitigation']} | {row['statistic']} | {row['role']} | {row['true']:.2f} | {row['off']:+.3f} "
              f"| {shares} |")  # fmt: skip
    null = [(it[it["mitigation"] == "nothing"]["p_holm"] <= 0.05).any() for it in studies]
    print(f"\nOf {asked.studies} studies of {asked.debates} debates, {100 * float(np.mean(null)):.1f} % found a "
          "difference under the mitigation that does nothing, after Holm.")  # fmt: skip


if __name__ == "__main__":
    main()
