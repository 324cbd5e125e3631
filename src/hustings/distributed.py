"""Debates shared out over GPUs and machines by Lightning's Trainer.predict; the only file that knows Lightning.

A dataset item is a debate. Every rank plays its share in lock-step through an engine of its own, and appends the events
to a log of its own beside the run's, in which the first rank gathers them when all have finished. What a killed run has
left there is gathered when the next one begins.
"""

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from hustings import records
from hustings.debate.play import Rules, play
from hustings.engine.base import Answer, Engine
from hustings.errors import EngineError
from hustings.records import End, Reply, Start, Survey
from hustings.settings import TrainerSettings

Event = Start | Survey | Reply | End
_PATIENCE = timedelta(days=7)
"""For the rank that has most to do, after which the others give up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the first rank tells the others."""

    folder: str
    """Of the artifact, on a disk that all machines share."""
    starts: Sequence[Start] = ()
    logged: Mapping[str, Sequence[Event]] = field(default_factory=dict[str, Sequence[Event]])


class _Whole(list[list[int]]):
    """One batch, also of nothing: ranks without a debate meet the others all the same (Lightning sets attributes)."""


def first() -> bool:
    """Whether this process is the first of those that play, or the only one."""
    whole = os.environ.get("RANK", os.environ.get("SLURM_PROCID"))
    parts = [whole] if whole is not None else [os.environ.get(name, "0") for name in ("NODE_RANK", "LOCAL_RANK")]
    return all(int(part) == 0 for part in parts)


def awaited(settings: TrainerSettings) -> bool:
    """Whether the other ranks were started by somebody else (srun, torchrun), and wait for this one in any case."""
    if settings.ranks == 1:
        return False
    alone = settings.num_nodes == 1 and os.environ.get("SLURM_NTASKS", "1") == "1"
    return not alone or any(name in os.environ for name in ("RANK", "LOCAL_RANK"))


def gather(folder: Path, log: str) -> None:
    """Put what the ranks have logged into the one log."""
    records.merge(folder / log, sorted(folder.glob("events.rank*.jsonl")))


def share_out(
    settings: TrainerSettings,
    plan: Plan | None,
    engine: Callable[[], Engine],
    device: str,
    rules: Rules,
    concurrency: int,
    seen: Callable[[Event], None],
    told: Callable[[Answer], None],
) -> list[int]:
    """Play this rank's share of the plan, and wait for the others; the first rank then gathers the logs.

    Args:
        plan: of the first rank; the others have None and are told.
        engine: gives this rank's engine; not asked when there is nothing to play.
        device: `auto`, `cpu` or `cuda`.
        concurrency: debates of a rank played at the same time.
        seen: gets every event of this rank, after it was logged.
        told: gets every answer of this rank's engine.

    Returns:
        Replies, generated tokens and prompt tokens of all ranks together.

    Raises:
        EngineError: another process of the run has died.
    """
    import torch
    from pytorch_lightning import LightningModule, Trainer
    from pytorch_lightning.callbacks import BasePredictionWriter
    from pytorch_lightning.strategies import DDPStrategy
    from torch.distributed import all_gather_object
    from torch.utils.data import DataLoader

    counts = [0, 0, 0]
    parent = os.getppid()

    class Writer(BasePredictionWriter):
        """Appends events as they come to the log of this rank."""

        events: records.Log | None = None

        def open(self, folder: str, rank: int) -> None:
            self.events = records.Log(Path(folder) / f"events.rank{rank}.jsonl")

        def append(self, event: Event) -> None:
            if os.getppid() != parent:
                raise EngineError("The process that began this run has ended; run its command again: nothing is lost.")
            assert self.events is not None
            self.events.append(event)
            counts[0] += isinstance(event, Reply)
            seen(event)

        def write_on_batch_end(self, *args: Any, **kwargs: Any) -> None:
            if self.events is not None:
                self.events.close()

    class Player(LightningModule):
        """Plays a batch, which is all the debates of a rank."""

        plan: Plan

        def __init__(self, writer: Writer) -> None:
            super().__init__()
            self.writer = writer

        def setup(self, stage: str) -> None:
            ours = self.trainer.strategy.broadcast(plan)
            assert ours is not None
            self.plan = ours

        def predict_dataloader(self) -> Any:
            debates = list(self.plan.starts)
            mine = list(range(self.global_rank, len(debates), self.trainer.world_size))
            return DataLoader(debates, batch_sampler=_Whole([mine]), collate_fn=list)  # pyright: ignore[reportArgumentType]

        def predict_step(self, batch: list[Start]) -> int:
            if batch:
                self.writer.open(self.plan.folder, self.global_rank)
                play(engine(), batch, self.plan.logged, rules, concurrency, self.writer.append, self.answered)
            return len(batch)

        def answered(self, answer: Answer) -> None:
            counts[1] += answer.tokens
            counts[2] += answer.prompt_tokens
            told(answer)

        def on_predict_epoch_end(self) -> None:
            everybody: list[list[int]] = [[]] * self.trainer.world_size
            all_gather_object(everybody, counts)
            counts[:] = map(sum, zip(*everybody, strict=True))

    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # What the ranks tell each other is small and no tensor: gloo serves on every device.
    ddp = DDPStrategy(process_group_backend="gloo", timeout=_PATIENCE)
    writer = Writer("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of workers that load data, and other advice for training
        trainer = Trainer(
            accelerator="gpu" if device != "cpu" and torch.cuda.is_available() else "cpu",
            devices=settings.devices,
            num_nodes=settings.num_nodes,
            strategy=ddp if settings.strategy in ("auto", "ddp") else settings.strategy,
            callbacks=[writer],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        try:
            trainer.predict(Player(writer), return_predictions=False)
        except RuntimeError as error:
            if "peer" not in str(error):
                raise
            raise EngineError(
                "Another process of this run has ended; what it said is above. Run the same command again: nothing is "
                "lost."
            ) from error
    if plan is not None:
        gather(Path(plan.folder), "events.jsonl")
    return counts
