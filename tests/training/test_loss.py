"""The loss on answers is TRL's own, computed for less."""

from pathlib import Path
from typing import Any

import pytest
from helpers import config

from hustings.errors import TrainingError
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


OPENED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""A template that opens an answer with what a finished conversation does not have."""


def row(answer: str) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": "How big?"}],
        "completion": [{"role": "assistant", "content": answer}],
    }


def tokenizer_of(folder: Path, **changes: Any) -> Any:
    """The tokenizer of the tiny model, changed."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def test_an_answer_keeps_its_first_words_where_a_template_opens_answers_otherwise(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = tokenizer_of(tiny, chat_template=OPENED)
    prompt, answer = loss.encoded(row(ANSWERS[0]), tokenizer)
    assert tokenizer.decode(answer) == f"{ANSWERS[0]}<|im_end|>\n"
    assert tokenizer.decode(prompt).endswith("<|im_start|>assistant\n")
    loss.check(tokenizer, "tiny")
    assert "opens every answer with '<think>\\n'" in capsys.readouterr().err
    loss.check(tokenizer_of(tiny), "tiny")
    assert capsys.readouterr().err == ""


def test_a_model_whose_answers_cannot_be_trained_on_is_refused(tiny: Path) -> None:
    for template, words in (
        ("{% for m in messages %}{{ m['content'] if m['role'] == 'user' }}{% endfor %}", "loses the answer"),
        ("{{ raise_exception('Only one turn!') if messages | length > 1 }}x", r"rejects .* \(Only one turn!\)"),
    ):
        with pytest.raises(TrainingError, match=words):
            loss.check(tokenizer_of(tiny, chat_template=template), "tiny")
    with pytest.raises(TrainingError, match="neither a chat template nor a token that ends a text"):
        loss.check(tokenizer_of(tiny, chat_template=None, eos_token=None, pad_token=None), "tiny")


def test_any_token_that_the_model_knows_fills_up_a_batch(tiny: Path) -> None:
    assert loss.padding_of(tokenizer_of(tiny), 384) == "<|im_end|>"
    bare = tokenizer_of(tiny, pad_token=None, eos_token=None)
    assert loss.padding_of(bare, 384) == "<|endoftext|>"
    added = tokenizer_of(tiny)
    added.add_special_tokens({"pad_token": "[PAD]"})
    assert added.pad_token_id >= 384
    assert loss.padding_of(added, 384) == "<|im_end|>"


def test_cheaper_dropout_drops_as_many_and_keeps_the_mean() -> None:
    import torch

    torch.manual_seed(1)
    layer = loss.cheaper_dropout(0.05)
    ones = torch.ones(400, 1001)
    dropped = layer(ones)
    assert float((dropped == 0).double().mean()) == pytest.approx(0.05, abs=0.002)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.002)
    assert torch.equal(layer.eval()(ones), ones)
