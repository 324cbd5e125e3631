"""Debates shared by GPUs and machines through Lightning's Trainer.predict; the only module that knows Lightning.

Each rank plays its share on its own engine and appends events to its own logs next to the run's. The first rank merges
them when all ranks have finished; what a killed run left there is merged when the next run begins.
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
from hustings.debate.alarm import Alarm
from hustings.debate.play import Listener, Rules, play
from hustings.engine.base import Answer, Engine, Request
from hustings.errors import EngineError
from hustings.files import JsonLines
from hustings.records import End, Event, Reply, Start
from hustings.runfolder import EVENTS, DebateKey
from hustings.settings import AlarmSettings, EngineSettings, TrainerSettings

_PATIENCE = timedelta(days=7)
"""How long ranks wait for the one with the most work."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the first rank sends to the others."""

    folders: Mapping[str, str]
    """Folders of the artifacts that hold the debates, by topic, on a disk that all machines share."""
    starts: Sequence[Start] = ()
    logged: Mapping[str, Sequence[Event]] = field(default_factory=dict[str, Sequence[Event]])


class _Whole(list[list[int]]):
    """One batch, even if it is empty: ranks without debates must still meet the others. Lightning sets attributes."""


def first() -> bool:
    """Whether this process is the first (or only) rank."""
    whole = os.environ.get("RANK", os.environ.get("SLURM_PROCID"))
    parts = [whole] if whole is not None else [os.environ.get(name, "0") for name in ("NODE_RANK", "LOCAL_RANK")]
    return all(int(part) == 0 for part in parts)


def awaited(settings: TrainerSettings) -> bool:
    """Whether the other ranks were started externally (srun, torchrun), and therefore wait for this one in any case."""
    if settings.ranks == 1:
        return False
    alone = settings.num_nodes == 1 and os.environ.get("SLURM_NTASKS", "1") == "1"
    return not alone or any(name in os.environ for name in ("RANK", "LOCAL_RANK"))


def gather(folder: Path, log: str) -> None:
    """Merge the logs of all ranks into the run's log."""
    records.merge(folder / log, sorted(folder.glob("events.rank*.jsonl")))


Taken = dict[str, tuple[int, int, int, int]]
"""Number of replies, generated tokens, prompt tokens and finished debates, by topic."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How the ranks of a run share its debates."""

    trainer: TrainerSettings
    engine: EngineSettings
    alarm: AlarmSettings
    """Limits for each rank, which counts only its own answers."""
    rules: Rules

    def play(self, work: Work | None, engine: Callable[[], Engine], listener: Listener) -> Taken:
        """Play this rank's share of the work and wait for the others; the first rank then merges the logs.

        Args:
            work: only given to the first rank; the others pass None and receive it.
            engine: returns this rank's engine; not called if there is nothing to play.
            listener: receives every event of this rank after it was logged, and every answer of its engine.

        Returns:
            What all ranks produced in total.

        Raises:
            EngineError: another process of the run has died.
        """
        from pytorch_lightning import Trainer
        from pytorch_lightning.strategies import DDPStrategy

        for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # The ranks exchange little data and no tensors; gloo works for that on every device.
        ddp = DDPStrategy(process_group_backend="gloo", timeout=_PATIENCE)
        share = _Share(self, engine, listener)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on data-loading workers, and other advice for training
            trainer = Trainer(
                accelerator="gpu" if self._on_gpu() else "cpu",
                devices=self.trainer.devices,
                num_nodes=self.trainer.num_nodes,
                strategy=ddp if self.trainer.strategy in ("auto", "ddp") else self.trainer.strategy,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            try:
                trainer.predict(_player(share, work), return_predictions=False)
            except RuntimeError as error:
                if "peer" not in str(error):
                    raise
                raise EngineError(
                    "Another process of this run has ended; what it said is above. Run the same command again: nothing "
                    "is lost."
                ) from error
        for folder in work.folders.values() if work else ():
            gather(Path(folder), EVENTS)
        return share.taken

    def _on_gpu(self) -> bool:
        import torch

        return self.engine.hardware != "cpu" and torch.cuda.is_available()


class _Share:
    """What one rank plays; its events go into its own logs, one for each topic, next to those of the run."""

    def __init__(self, sharing: Sharing, engine: Callable[[], Engine], listener: Listener) -> None:
        self._sharing, self._engine, self._listener = sharing, engine, listener
        self._parent = os.getppid()
        self._logs: dict[str, JsonLines] = {}
        self.taken: Taken = {}

    def play(self, work: Work, starts: list[Start], rank: int) -> None:
        """Play the given debates."""

        def log(topic: str) -> JsonLines:
            if topic not in self._logs:
                self._logs[topic] = JsonLines(Path(work.folders[topic]) / f"events.rank{rank}.jsonl")
            return self._logs[topic]

        alarm = Alarm(self._sharing.alarm)
        for start in starts:
            alarm.read(work.logged.get(start.debate, ()))

        def on_event(event: Event) -> None:
            if os.getppid() != self._parent:
                raise EngineError("The process that began this run has ended; run its command again: nothing is lost.")
            topic = DebateKey.parse(event.debate).topic
            log(topic).append(event.model_dump_json())
            self._take(topic, isinstance(event, Reply), 0, 0, isinstance(event, End))
            self._listener.on_event(event)
            alarm.on_event(event)

        def on_answer(request: Request, answer: Answer) -> None:
            alarm.on_answer(request, answer)
            self._take(DebateKey.parse(request.turn.debate).topic, 0, answer.tokens, answer.prompt_tokens, 0)
            self._listener.on_answer(request, answer)

        concurrency = self._sharing.engine.concurrency
        listener = Listener(on_event, on_answer)
        try:
            play(self._engine(), starts, work.logged, self._sharing.rules, concurrency, listener)
        finally:
            for each in self._logs.values():
                each.close()

    def _take(self, topic: str, *counts: int) -> None:
        before = self.taken.get(topic, (0, 0, 0, 0))
        replies, tokens, prompt_tokens, played = (one + more for one, more in zip(before, counts, strict=True))
        self.taken[topic] = (replies, tokens, prompt_tokens, played)

    def gather(self, everybody: Sequence[Taken]) -> None:
        """Add up what all ranks produced."""
        self.taken = {}
        for taken in everybody:
            for topic, counts in taken.items():
                self._take(topic, *counts)


def _player(share: _Share, work: Work | None) -> Any:
    """The Lightning module: each dataset item is a debate, and a rank's batch is all of its debates."""
    from pytorch_lightning import LightningModule
    from torch.distributed import all_gather_object
    from torch.utils.data import DataLoader

    class Player(LightningModule):
        work: Work

        def setup(self, stage: str) -> None:
            ours = self.trainer.strategy.broadcast(work)
            assert ours is not None
            self.work = ours

        def predict_dataloader(self) -> Any:
            debates = list(self.work.starts)
            mine = list(range(self.global_rank, len(debates), self.trainer.world_size))
            return DataLoader(debates, batch_sampler=_Whole([mine]), collate_fn=list)  # pyright: ignore[reportArgumentType]

        def predict_step(self, batch: list[Start]) -> int:
            if batch:
                share.play(self.work, batch, self.global_rank)
            return len(batch)

        def on_predict_epoch_end(self) -> None:
            everybody: list[Taken] = [{}] * self.trainer.world_size
            all_gather_object(everybody, share.taken)
            share.gather(everybody)

    return Player()
