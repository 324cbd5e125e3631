"""The loss on answers is TRL's own, computed for less."""

from pathlib import Path
from typing import Any

import pytest
from helpers import config

from hustings.settings import TrainSettings, load
from hustings.training import loss
from hustings.training.trainer import dataset_of

ANSWERS = ["The climate is changing.", "I don't think so, and we've said it ten times.", "10"]


def test_only_answers_count_in_the_loss_and_their_loss_is_trls_own(tiny: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    rows = [
        {
            "prompt": [{"role": "user", "content": "How big a problem is racism? " * (1 + place)}],
            "completion": [{"role": "assistant", "content": text}],
        }
        for place, text in enumerate(ANSWERS)
    ]
    arguments = SFTConfig(
        str(tmp_path), max_length=None, use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none"
    )
    losses: list[float] = []
    for kind in (SFTTrainer, loss.answers_only()):
        of: Any = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
        trainer = kind(model=of, args=arguments, train_dataset=dataset_of(rows), processing_class=tokenizer)
        losses.append(trainer.evaluate(dataset_of(rows))["eval_loss"])
    plain = load(TrainSettings, config("precision=exact", name="train"))
    of = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    losses.append(loss.answer_loss(of, tokenizer, rows, plain))
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)


def test_cheaper_dropout_drops_as_many_and_keeps_the_mean() -> None:
    import torch

    torch.manual_seed(1)
    layer = loss.cheaper_dropout(0.05)
    ones = torch.ones(400, 1001)
    dropped = layer(ones)
    assert float((dropped == 0).double().mean()) == pytest.approx(0.05, abs=0.002)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.002)
    assert torch.equal(layer.eval()(ones), ones)
