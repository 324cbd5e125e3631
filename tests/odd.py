"""A planted run in which every name and label could be taken for something else: markup, a number, nothing, code."""

from pathlib import Path
from typing import Any

from helpers import config, report
from omegaconf import OmegaConf

from hustings.settings import SimulateSettings, load
from hustings.simulation import job

TOPICS = {
    "007": "from $12 to $15, or big $$ | `a` <b>&amp;</b> </script> \"q\" 'r' [bold]x[/] \\frac",
    "null": "100 % of a_b^c [/red] ${x} {{ y }} :smile: 中文",
}
"""Labels by topic."""
PARTIES = {"nan": "_Left [red]& co[/red] <script>alert(1)</script>", "true": "NA | *right* _e_\n`b`"}
NAMES = {"nan": ["NA", "None", "[bold]", "<b>Al</b>"], "true": ["007", "1e5", "[/]", "O'\"Neil & $on"]}
DEFAULT = "[/]"


def settings(folder: Path, **changes: Any) -> SimulateSettings:
    """The settings of a run of three debates on each topic, with its store in `folder`."""
    small = ("engine=planted", "repetitions=3", "topic=racism", "rounds=2", f"artifacts={folder / 'artifacts'}")
    plain: Any = OmegaConf.to_container(config(*small), resolve=True)
    racism, society = plain["topics"]["racism"], plain["society"]
    plain["topics"] = {
        key: {**racism, "label": label, "low": "no $x", "high": "[/] $$"} for key, label in TOPICS.items()
    }
    parties = zip(PARTIES.items(), society["parties"].values(), strict=True)
    society["parties"] = {
        key: {
            **party,
            "name": key,
            "label": label,
            "names": NAMES[key],
            "stances": dict.fromkeys(TOPICS, party["stances"]["racism"]),
        }
        for (key, label), party in parties
    }
    society["default"]["label"] = DEFAULT
    society["humans"] = {"source": "a $1 [poll] \x00\t|", "share": dict.fromkeys(PARTIES, dict.fromkeys(TOPICS, 20.0))}
    plain["composition"]["roles"] = [*PARTIES, "default"]
    return load(SimulateSettings, {**plain, **changes})


def run(folder: Path, **changes: Any) -> Path:
    """The folder of the run, with its report."""
    job.run(settings(folder, **changes), folder / "run", ["simulate.py", "x='</script>'"])
    report(folder)
    return folder / "run"
