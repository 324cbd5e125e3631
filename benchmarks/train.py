"""Examples per second of next-word prediction: plain TRL and our nwp(), on the same examples.

Run it with `python benchmarks/train.py`. Both train the embedded SmolLM2 with the same adapter, learning rate, batch
and order; the last line says how many times faster ours is, and by how much the final losses differ.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from hustings import models
from hustings.engine.base import Order
from hustings.engine.lazy import LazyEngine
from hustings.huggingface import dtype_of
from hustings.settings import TrainSettings, load
from hustings.training import data
from hustings.training.data import Interview, Row
from hustings.training.loss import columns
from hustings.training.trainer import Task, dataset_of, nwp, ordered

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Create the examples if they are missing, and train on them in both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("overrides", nargs="*", help="as for train.py: lora.r=64 model=gguf model.path=…")
    arguments = parser.parse_args()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        words = [f"artifacts={ROOT / '.bench' / 'train'}", "questions=20", "answers_per_question=16", "device=cpu"]
        settings = load(TrainSettings, compose("train", [*words, *arguments.overrides]))
    weights = models.resolve(settings.model)
    rows = examples(settings, weights)[: arguments.examples]
    base = models.as_folder(weights)
    print(f"{weights.name}, {len(rows)} examples, rank {settings.lora.r}, batch {settings.method.batch}")
    losses: dict[str, float] = {}
    speeds: dict[str, float] = {}
    for name, way in (("plain TRL", plain), ("ours", ours)):
        with tempfile.TemporaryDirectory() as folder:
            busy = time.process_time()
            history, seconds = way(settings, base, rows, Path(folder))
            busy = time.process_time() - busy
            losses[name], speeds[name] = final(history), len(rows) / seconds
            print(
                f"{name}: {seconds:.0f} s to train, {speeds[name]:.2f} examples/s, final loss {losses[name]:.4f} "
                f"({busy:.0f} s of processor time with loading)",
                flush=True,
            )
    one, other = losses.values()
    times = speeds["ours"] / speeds["plain TRL"]
    print(f"ours is {times:.2f} times as fast; the final losses differ by {100 * abs(one - other) / one:.2f} %")


def examples(settings: TrainSettings, weights: models.Weights) -> list[Row]:
    """The model's Republican answers, kept in .bench."""
    with LazyEngine(settings.engine, Order(settings.model, weights), weights.name) as engine:
        interview = Interview(settings, weights, engine)
        asked = list(enumerate(data.questions(interview)[: settings.questions]))
        return data.answers(interview, settings.party.name, asked)


def final(history: list[dict[str, float]]) -> float:
    """Mean loss of the last quarter of the steps."""
    losses = [row["loss"] for row in history if "loss" in row]
    last = losses[-max(1, len(losses) // 4) :]
    return sum(last) / len(last)


def plain(settings: TrainSettings, base: Path, rows: list[Row], out: Path) -> tuple[list[Any], float]:
    """TRL with its defaults (bf16 autocast, activation checkpointing, batches of 8 padded together), in the same order.

    On a CPU that only emulates bfloat16, it computes in float32, which is faster there.
    """
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(base)
    method = settings.method
    in_order = ordered([columns(row, tokenizer) for row in rows], method.batch, settings.seed)
    arguments = SFTConfig(
        str(out),
        per_device_train_batch_size=8,
        gradient_accumulation_steps=method.batch // 8,
        num_train_epochs=method.epochs,
        learning_rate=method.learning_rate,
        warmup_steps=int(method.warmup * -(-len(rows) // method.batch)),
        train_sampling_strategy="sequential",
        logging_steps=1,
        seed=settings.seed,
        bf16=dtype_of("fast", "cpu").itemsize == 2,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=settings.lora.r,
        lora_alpha=settings.lora.substance()["alpha"],
        lora_dropout=settings.lora.dropout,
        target_modules=list(settings.lora.targets),
        task_type="CAUSAL_LM",
    )
    trainer = SFTTrainer(
        model=str(base),
        args=arguments,
        train_dataset=dataset_of(in_order),
        processing_class=tokenizer,
        peft_config=lora,
    )
    began = time.monotonic()
    trainer.train()
    return trainer.state.log_history, time.monotonic() - began


def ours(settings: TrainSettings, base: Path, rows: list[Row], out: Path) -> tuple[list[Any], float]:
    """The function that train.py calls."""
    trained = nwp(Task(base, "smollm2", out, settings, {}), rows)
    return trained.history, trained.seconds


if __name__ == "__main__":
    main()
