"""One run at Weights & Biases: its id, name, tags and config, and how it is started."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hustings.errors import SettingsError, first_line
from hustings.identity import identity
from hustings.report.naming import flatten
from hustings.settings import WandbSettings

if TYPE_CHECKING:
    import wandb

_ASIDE = {"tracker", "artifacts", "analysis", "alarm", "trainer"}
"""Settings that do not affect which tracked run it is."""
_TAG, _NAME = 64, 128
"""W&B's length limits, in characters, for a tag, and for the name of a run or group."""


def id_of(plain: dict[str, Any]) -> str:
    """The id under which a run is tracked; it is the same whenever the command is the same.

    Args:
        plain: settings, as in a manifest.
    """
    return identity(_own(plain))


def _own(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key not in _ASIDE}


@dataclass(frozen=True, slots=True)
class Session:
    """Everything that identifies a run at W&B."""

    tracker: WandbSettings
    job: str
    """`simulate`, `train`, `evaluate`, `answers`."""
    group: str | None
    id: str
    name: str
    tags: Sequence[str]
    config: dict[str, Any]
    """Settings as plain values."""

    @classmethod
    def of(cls, plain: dict[str, Any], tracker: WandbSettings, job: str, group: str | None) -> Self:
        """The session of a job.

        Args:
            plain: its settings, as in a manifest.
            group: the experiment's name, used if the settings give no group.
        """
        name, tags = _called(plain)
        return cls(tracker, job, tracker.group or group, id_of(plain), name, (*tags, *tracker.tags), _own(plain))

    @property
    def labels(self) -> tuple[str, ...]:
        """The tags in the form that W&B accepts: without duplicates, blanks, or tags that are too long."""
        return tuple(dict.fromkeys(_cut(tag, _TAG) for tag in self.tags if tag.strip()))

    def begin(self) -> "wandb.Run":
        """Start the run, or resume the one with the same id.

        Raises:
            SettingsError: with `tracker.mode=online`, W&B cannot be reached or nobody is logged in.
        """
        import wandb

        try:
            run = wandb.init(
                project=self.tracker.project,
                entity=self.tracker.entity,
                mode=self.tracker.mode,
                dir=Path(self.tracker.folder).resolve(),
                id=self.id,
                resume="allow",
                reinit="create_new",
                name=_cut(self.name, _NAME),
                group=self.group and _cut(self.group, _NAME),
                job_type=self.job,
                tags=self.labels,
                config=flatten(self.config),
                settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
            )
        except (wandb.Error, ValueError) as error:
            raise SettingsError(
                f"tracker.mode={self.tracker.mode}: W&B could not begin a run ({first_line(error)}); run `wandb login` "
                "once, or choose tracker.mode=offline."
            ) from error
        for step, curves in (("iteration", "attitude/*"), ("step", "train/*")):
            run.define_metric(step)
            run.define_metric(curves, step_metric=step)
        return run


def _cut(text: str, most: int) -> str:
    """The text, cut to the given length."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _called(plain: dict[str, Any]) -> tuple[str, list[str]]:
    """Name and tags of a job's run."""
    model = plain["model"]["name"] or plain["model"]["source"]
    if "benchmark" in plain:
        of = [plain["row"] or Path(plain["adapter"] or "base").name, *plain["benchmark"]["tasks"]]
        return f"{model}-{of[0]}-scores", [model, *of]
    if "lora" in plain:
        of = [plain["party"]["name"], plain["method"]["kind"], f"r{plain['lora']['r']}"]
        return f"{model}-{'_'.join(of)}-{plain['seed']}", [model, *of]
    model, composition = "planted" if plain["engine"]["kind"] == "planted" else model, plain["composition"]["name"]
    return f"{model}-{composition}-{plain['seed']}", [model, composition, *plain["topics"]]
