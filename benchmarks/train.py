"""Examples a second of next-word prediction: TRL as it comes, beside training.nwp, on the same examples.

Run it with `python benchmarks/train.py`. Both train the embedded SmolLM2 with the same adapter, learning rate, batch
and order; the last line says how many times as fast ours is, and by how much the final losses differ.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from hustings import dataset, engine, models, training
from hustings.engine.transformers import dtype_of
from hustings.settings import TrainSettings, load

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Make the examples if need be, and train on them both ways."""
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
    for name, way in (("plain TRL", plain), ("training.nwp", ours)):
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
    times = speeds["training.nwp"] / speeds["plain TRL"]
    print(f"{times:.2f} times as fast; the final losses differ by {100 * abs(one - other) / one:.2f} %")


def examples(settings: TrainSettings, weights: models.Weights) -> list[dataset.Row]:
    """Republican answers of the model, kept in .bench."""
    live: list[Any] = []

    def get() -> Any:
        live[:] = live or [engine.build(settings, weights)]
        return live[0]

    questions = dataset.questions(settings, weights.name, weights.fingerprint, get)
    asked = list(enumerate(questions[: settings.questions]))
    rows = dataset.answers(settings, weights.name, weights.fingerprint, settings.party.name, asked, get)
    for one in live:
        one.close()
    return rows


def final(history: list[dict[str, float]]) -> float:
    """Mean loss of the last quarter of the steps."""
    losses = [row["loss"] for row in history if "loss" in row]
    last = losses[-max(1, len(losses) // 4) :]
    return sum(last) / len(last)


def plain(settings: TrainSettings, base: Path, rows: list[dataset.Row], out: Path) -> tuple[list[Any], float]:
    """TRL's own defaults (bf16 autocast, activation checkpointing, batches of 8 padded together), in the same order.

    A CPU that would emulate bfloat16 computes in float32, which is the faster way there.
    """
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(base)
    method = settings.method
    ordered = training.ordered([training.written(row, tokenizer) for row in rows], method.batch, settings.seed)
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
        train_dataset=training.dataset_of(ordered),
        processing_class=tokenizer,
        peft_config=lora,
    )
    began = time.monotonic()
    trainer.train()
    return trainer.state.log_history, time.monotonic() - began


def ours(settings: TrainSettings, base: Path, rows: list[dataset.Row], out: Path) -> tuple[list[Any], float]:
    """The function that train.py calls."""
    task = training.Task(base, "smollm2", out, settings, {})
    trained = training.nwp(task, rows)
    return trained.history, trained.seconds


if __name__ == "__main__":
    main()
