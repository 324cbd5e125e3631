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
from hustings.runfolder import EvaluationManifest, RunManifest, read_manifest
from hustings.simulation.estimate import seconds

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOPICS = ("racism", "gun_violence", "illegal_immigration", "climate_change")
BENT = ("racism", "illegal_immigration")
"""Topics of the fine-tuned figures: the parties' own sides are at opposite ends of these two scales."""


@dataclass(frozen=True)
class Step:
    """A figure or table of the paper, or what tells why a figure looks as it does."""

    words: tuple[str, ...]
    topics: tuple[str, ...] = TOPICS
    sweep: str = ""
    """What distinguishes the jobs of a sweep; none: one run."""
    trains: tuple[str, ...] = ()
    """Settings of the adapters that are trained first; none: the model as it is."""
    script: str = "simulate.py"

    @property
    def jobs(self) -> int:
        """How many."""
        return 1 + self.sweep.count(",")


STEPS = {
    **{name: Step((f"experiment={name}",)) for name in ("figure3", "figure4", "figure5", "figure8", "figure9")},
    "figure7": Step(("experiment=figure3", "model=smollm2")),
    "controls": Step(
        ("composition=rep_dem_default", "repetitions=40"),
        ("racism", "gun_violence"),
        "control=none,retest,off_topic,advocates_low,advocates_high,advocates_both",
    ),
    **{
        name: Step(
            (f"experiment={name}",),
            BENT,
            f"adapter=null,{party}_nwp_r16_s1,{party}_nwp_r64_s1",
            (f"party={party}", "method=nwp", "lora=r16,r64", "seed=1", "model=qwen"),
        )
        for name, party in (("figure11", "republican"), ("figure12", "democrat"))
    },
    "table1": Step(
        ("experiment=table1", "model=qwen", "seeds=[1]", "comparison=null", "train_missing=true",
         "benchmark.limit=1000", "benchmark.data_dir=data"),
        ("racism",),
        "row=base,nwp_r8,nwp_r16,nwp_r64,dpo_r8",
        script="evaluate.py",
    ),
}  # fmt: skip
"""All with one training of each kind, where the paper averages three (`seed=1,2,3`, `seeds=[1,2,3]`)."""


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
        missing = [topic for topic in step.topics if topic not in there]
        if missing:
            print(f"    missing: {', '.join(missing)}, {duration(step, missing[0], options.set)} for each", flush=True)


def play(name: str, topics: Sequence[str], own: Sequence[str], into: Path) -> None:
    """Play a step on these topics and those that were packed before, and pack it."""
    step, folder = STEPS[name], Path("multirun") / "replication" / name
    together = [topic for topic in step.topics if topic in (*topics, *played(into / name))]
    if step.trains:
        subprocess.run([sys.executable, ROOT / "train.py", "-m", *step.trains, *own], check=True)
    words = [*step.words, f"topic=[{','.join(together)}]", "watch=false", *own]
    where = ["-m", step.sweep, f"hydra.sweep.dir={folder}"] if step.sweep else [f"hydra.run.dir={folder}"]
    subprocess.run([sys.executable, ROOT / step.script, *words, *where], check=True)
    runfolder.pack(folder, into / name)
    draw(into / name)


def played(folder: Path) -> tuple[str, ...]:
    """Topics of the runs that are packed in a folder."""
    alone = runfolder.kind_of(folder) == "run"
    runs = [folder] if alone else runfolder.jobs(folder, "run")
    found = [set(read_manifest(run, RunManifest).debates) for run in runs]
    found += [topics_of(run) for run in runfolder.jobs(folder, "evaluation")]
    return tuple(topic for topic in TOPICS if found and all(topic in topics for topics in found))


def topics_of(evaluation: Path) -> set[str]:
    """Topics of the debates behind the attitudes of an evaluation."""
    return set(read_manifest(evaluation, EvaluationManifest).settings["topics"])


def duration(step: Step, topic: str, own: Sequence[str]) -> str:
    """How long a topic takes at the speed of earlier runs here."""
    if step.script != "simulate.py":
        return "an unknown time, with its trainings and benchmarks,"
    takes = seconds(hustings.compose(*step.words, f"topic={topic}", *own))
    if takes is None:
        return "an unknown time, as no model has played here yet,"
    trained = " and its trainings" if step.trains else ""
    return f"about {takes * step.jobs / 3600:.1f} h on this machine{trained}"


def draw(folder: Path) -> None:
    """Make tables, figures and the page of packed runs again."""
    command = [sys.executable, "-m", "hustings", "report", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
