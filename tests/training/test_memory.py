"""What cannot be trained is refused from the model's config alone."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import tiny_model

from hustings.errors import TrainingError
from hustings.settings import TrainSettings
from hustings.training import memory

Settings = Callable[..., TrainSettings]


def test_a_training_too_large_for_the_memory_names_the_largest_batch_that_fits(
    tiny: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    def check(*words: str) -> None:
        memory.check(tiny, "tiny", settings(tmp_path, "method.batch=96", *words))

    check("batch_size=96")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=7.0e8))
    with pytest.raises(
        TrainingError, match=r"0\.7 GB are free; quantization=none batch_size=\d+ recompute=false"
    ) as refused:
        check("batch_size=96")
    batch = int(str(refused.value).partition("batch_size=")[2].split()[0])
    assert 1 < batch < 96
    check(f"batch_size={batch}")
    with pytest.raises(TrainingError):
        check(f"batch_size={next(size for size in range(batch + 1, 97) if 96 % size == 0)}")


def test_a_model_that_cannot_be_quantized_is_refused(settings: Settings, tmp_path: Path) -> None:
    odd = tiny_model(tmp_path / "odd", hidden=96)
    with pytest.raises(TrainingError, match=r"quantization=4bit: .* rows of 96 numbers; set quantization=none"):
        memory.check(odd, "odd", settings(tmp_path, "quantization=4bit"))
