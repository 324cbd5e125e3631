"""The model that gpu.py measures, and the amount of work: as large as Mistral-7B, or tiny."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scale:
    """The model's shape, and the amount of work."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    tokens: int
    """Length of a reply."""
    sizes: tuple[int, ...]
    """Numbers of parallel debates to try."""
    rank: int
    batch: int
    steps: int
    """Steps of a training, each with `batch` examples; the first step is not counted."""
    seconds: float
    """Time for measuring one way."""
    documents: int
    """The most HellaSwag documents."""
    vocabulary: int = 49152  # that of the tokenizer

    @property
    def linear(self) -> int:
        """Number of weights in all layers, without the head."""
        return self.layers * sum(rows * columns for rows, columns in self.projections)

    @property
    def head(self) -> int:
        """Number of weights in the output layer, which are never quantized."""
        return self.hidden * self.vocabulary

    @property
    def adapter(self) -> int:
        """Number of weights in an adapter."""
        return self.layers * self.rank * sum(rows + columns for rows, columns in self.projections)

    @property
    def projections(self) -> list[tuple[int, int]]:
        """Shapes of the matrices in a layer."""
        keys = self.hidden * self.key_heads // self.heads
        attention = [(self.hidden, self.hidden)] * 2 + [(self.hidden, keys)] * 2
        return attention + [(self.hidden, self.inner)] * 3


MISTRAL = Scale(
    4096, 14336, 32, 32, 8, tokens=64, sizes=(16, 48, 128), rank=256, batch=32, steps=4, seconds=60, documents=20_000
)
TINY = Scale(64, 128, 2, 4, 2, tokens=8, sizes=(2, 4), rank=8, batch=2, steps=2, seconds=1, documents=60)


@dataclass(frozen=True)
class Task:
    """What a process has to do."""

    scale: Scale
    folder: Path
    """Folder for the model and the results."""
    seconds: float
    """Time for measurements, without loading."""
    tokenizer: Path | None = None
    """Folder with the tokenizer; None uses that of the embedded model."""

    @property
    def model(self) -> Path:
        """Folder where the model is, or will be."""
        return self.folder / "model"

    @property
    def overrides(self) -> list[str]:
        """Overrides for `hustings.compose` that select the model."""
        return ["model=hf", "model.source=local", f"model.path={self.model}", "model.name=random"]
