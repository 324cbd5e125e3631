"""The model that gpu.py measures, and how much is asked of it: as large as Mistral-7B, or tiny."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scale:
    """The model's shape, and how much is asked of it."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    tokens: int
    """Of a reply."""
    sizes: tuple[int, ...]
    """Numbers of debates side by side that are tried."""
    rank: int
    batch: int
    steps: int
    """Of a training, with so many examples each; the first one is not counted."""
    seconds: float
    """To measure a way in."""
    documents: int
    """Of HellaSwag, at most."""
    vocabulary: int = 49152  # the tokenizer's

    @property
    def linear(self) -> int:
        """Weights of all layers, without the head."""
        return self.layers * sum(rows * columns for rows, columns in self.projections)

    @property
    def head(self) -> int:
        """Weights of the layer that gives the next token; they are never quantized."""
        return self.hidden * self.vocabulary

    @property
    def adapter(self) -> int:
        """Weights of an adapter."""
        return self.layers * self.rank * sum(rows + columns for rows, columns in self.projections)

    @property
    def projections(self) -> list[tuple[int, int]]:
        """Shapes of a layer's matrices."""
        keys = self.hidden * self.key_heads // self.heads
        attention = [(self.hidden, self.hidden)] * 2 + [(self.hidden, keys)] * 2
        return attention + [(self.hidden, self.inner)] * 3


MISTRAL = Scale(
    4096, 14336, 32, 32, 8, tokens=64, sizes=(16, 48, 128), rank=256, batch=32, steps=4, seconds=60, documents=20_000
)
TINY = Scale(64, 128, 2, 4, 2, tokens=8, sizes=(2, 4), rank=8, batch=2, steps=2, seconds=1, documents=60)


@dataclass(frozen=True)
class Task:
    """What a process is given."""

    scale: Scale
    folder: Path
    """For the model, and for results."""
    seconds: float
    """Time to measure in, without loading."""

    @property
    def model(self) -> Path:
        """Where the model is, or will be."""
        return self.folder / "model"

    @property
    def overrides(self) -> list[str]:
        """The model, for `hustings.compose`."""
        return ["model=hf", "model.source=local", f"model.path={self.model}", "model.name=random"]
