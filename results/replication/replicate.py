"""The paper at its own size: what has been played, what is missing, and how long that would take on this machine.

    make replication                                              # says so, and draws every picture again from the logs
    python results/replication/replicate.py figure4 --topic racism     # plays one, and packs its log here
    python results/replication/replicate.py figure4 --set model=mistral --into mine

Playing resumes: an interrupted step goes on where it was. Drawing needs no model.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hustings
from hustings import runfolder
from hustings.runfolder import RunManifest, read_manifest
from hustings.simulation.estimate import seconds

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOPICS = ("racism", "gun_violence", "illegal_immigration", "climate_change")


@dataclass(frozen=True)
class Step:
    """A figure of the paper, or what tells why it looks as it does."""

    words: tuple[str, ...]
    topics: tuple[str, ...] = TOPICS
    controls: tuple[str, ...] = ()
    """Of a sweep; none: one run."""


STEPS = {
    **{name: Step((f"experiment={name}",)) for name in ("figure3", "figure4", "figure5", "figure8", "figure9")},
    "controls": Step(
        ("composition=rep_dem_default", "repetitions=40"),
        ("racism", "gun_violence"),
        ("none", "retest", "off_topic", "advocates_low", "advocates_high", "advocates_both"),
    ),
}
"""Figures 6, 7, 11, 12 and Table 1 need adapters or a second model; docs/replication.md has their commands."""


def main() -> None:
    """Say what is there, or play what was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="?", choices=STEPS, help="play this one")
    parser.add_argument("--topic", nargs="+", choices=TOPICS, help="these topics only (all of the step's)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="other settings, for the model say")
    parser.add_argument("--into", type=Path, default=HERE, metavar="FOLDER", help="where packed runs are (%(default)s)")
    options = parser.parse_args()
    if options.step:
        play(options.step, options.topic or STEPS[options.step].topics, options.set, options.into)
        return
    for name, step in STEPS.items():
        there = played(options.into / name)
        if there:
            draw(options.into / name)
        print(f"{name}: {', '.join(there) or 'nothing'} played", flush=True)
        for topic in step.topics:
            if topic not in there:
                print(f"    missing: {topic}, {duration(step, topic, options.set)}", flush=True)


def play(name: str, topics: Sequence[str], own: Sequence[str], into: Path) -> None:
    """Play a step on these topics and those that were packed before, and pack it."""
    step, folder = STEPS[name], Path("multirun") / "replication" / name
    together = [topic for topic in step.topics if topic in (*topics, *played(into / name))]
    words = [*step.words, f"topic=[{','.join(together)}]", "watch=false", *own]
    where = [f"hydra.run.dir={folder}"]
    if step.controls:
        where = ["--multirun", f"control={','.join(step.controls)}", f"hydra.sweep.dir={folder}"]
    subprocess.run([sys.executable, ROOT / "simulate.py", *words, *where], check=True)
    runfolder.pack(folder, into / name)
    draw(into / name)


def played(folder: Path) -> tuple[str, ...]:
    """Topics of the runs that are packed in a folder."""
    alone = runfolder.kind_of(folder) == "run"
    runs = [folder] if alone else runfolder.jobs(folder, "run")
    found = [read_manifest(run, RunManifest).debates for run in runs]
    return tuple(topic for topic in TOPICS if found and all(topic in debates for debates in found))


def duration(step: Step, topic: str, own: Sequence[str]) -> str:
    """How long a topic takes at the speed of earlier runs here."""
    takes = seconds(hustings.compose(*step.words, f"topic={topic}", *own))
    if takes is None:
        return "for an unknown time, as no model has played here yet"
    return f"about {takes * max(1, len(step.controls)) / 3600:.1f} h on this machine"


def draw(folder: Path) -> None:
    """Make tables, figures and the page of packed runs again."""
    command = [sys.executable, "-m", "hustings", "report", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
