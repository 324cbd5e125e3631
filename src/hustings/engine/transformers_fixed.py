"""Computes one token for each row of a batch, in buffers of a fixed shape, so that a GPU can replay a recorded pass.

A pass of a small batch is short, and launching its thousand kernels one by one takes longer than running them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hustings.progress import say

_ROWS = 16
_TOKENS = 256
"""Shapes are rounded up to multiples of these, so that only a few have to be recorded."""
_SHAPES = 8
"""Number of shapes whose recordings are kept."""


@dataclass(slots=True)
class _Pass:
    """The inputs and the output of a pass of one shape, and its recording."""

    cache: Any
    ids: Any
    positions: Any
    mask: Any
    """(rows, 1, 1, tokens): 0 for tokens that are attended to, −∞ for the others."""
    logits: Any
    graph: Any


class Fixed:
    """Buffers for the keys and values of a batch, and the passes that were recorded over them.

    Args:
        model: a causal language model of transformers whose layers keep every token (`reusable`).
        device: where the model is; on anything but `cuda`, each pass is computed anew, with the same result.
    """

    def __init__(self, model: Any, device: str) -> None:
        import torch

        self._torch: Any = torch
        self._model = model
        self._device = device
        self._replays = device == "cuda"
        self._place: Any = torch.zeros(1, dtype=torch.long, device=device)
        self._room: list[tuple[Any, Any]] = []
        """For each layer, memory for keys and for values, shared by passes of all shapes, which run one at a time."""
        self._passes: dict[tuple[int, int], _Pass] = {}
        self._now: _Pass | None = None
        self._count = 0

    def take(self, layers: Sequence[tuple[Any, Any]], mask: Any, steps: int) -> None:
        """Copy the state of a batch.

        Args:
            layers: keys and values, (rows, heads, tokens, width).
            mask: (rows, tokens); True for tokens that are attended to.
            steps: maximum number of tokens that will be fed to each row.
        """
        count, tokens = mask.shape
        shape = (_up(count, _ROWS), _up(tokens + steps, _TOKENS))
        self._count = count
        self._place.fill_(tokens)
        now = self._now = self._recorded(shape, layers)
        for layer, pair in zip(now.cache.layers, layers, strict=True):
            for room, it in zip((layer.keys, layer.values), pair, strict=True):
                room[:count, :, :tokens] = it
        now.mask.fill_(float("-inf"))
        now.mask[:count, 0, 0, :tokens].masked_fill_(mask, 0.0)
        now.positions.zero_()
        now.positions[:count, 0] = mask.sum(-1)

    def feed(self, rows: Any, ids: Any) -> Any:
        """Append a token to some rows; the others get arbitrary tokens and must not be used again.

        Args:
            rows: (count,); positions in the batch given to `take`.
            ids: (count, 1).

        Returns:
            (count, vocabulary), float32.
        """
        now = self._now
        if now is None:
            raise RuntimeError("nothing was taken")
        now.ids[rows] = ids
        now.mask.index_fill_(-1, self._place, 0.0)
        if now.graph is None:
            now.logits = self._run(now)
        else:
            now.graph.replay()
        now.positions.add_(1)
        self._place.add_(1)
        return now.logits[rows].float()

    def _recorded(self, shape: tuple[int, int], like: Sequence[tuple[Any, Any]]) -> _Pass:
        """The pass for a shape, recorded the first time it is needed."""
        torch = self._torch
        sizes = [[math.prod(_whole(it, shape)) for it in pair] for pair in like]
        if not self._room or any(room.numel() < size for pair, them in zip(self._room, sizes, strict=True)
                                 for room, size in zip(pair, them, strict=True)):  # fmt: skip
            self._passes.clear()
            self._now, self._room = None, []
            self._room = [tuple(it.new_zeros(size) for it, size in zip(pair, them, strict=True))
                          for pair, them in zip(like, sizes, strict=True)]  # fmt: skip
        known = self._passes.pop(shape, None)
        if known is None:
            mask = like[0][0].new_full((shape[0], 1, 1, shape[1]), float("-inf"))
            ids, positions = (torch.zeros((shape[0], 1), dtype=torch.long, device=self._device) for _ in range(2))
            known = _Pass(_cache(self._room, like, shape, self._place), ids, positions, mask, None, None)
            if self._replays:
                self._record(known)
            while len(self._passes) >= _SHAPES:
                del self._passes[next(iter(self._passes))]
        self._passes[shape] = known
        return known

    def _record(self, it: _Pass) -> None:
        """Record a pass; if the model does not allow it, each pass is computed anew, with the same result."""
        try:
            self._capture(it)
        except self._torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = (str(error).strip() or "no reason given").splitlines()[0]
            say(f"Warning: this model's passes cannot be recorded on the GPU, so replies take longer ({reason}).")
            self._replays, it.graph = False, None

    def _capture(self, it: _Pass) -> None:
        """Run a pass on a separate stream, so that libraries initialize themselves, and record the next one."""
        cuda = self._torch.cuda
        stream = cuda.Stream()
        stream.wait_stream(cuda.current_stream())
        with cuda.stream(stream):
            self._run(it)
        cuda.current_stream().wait_stream(stream)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            it.logits = self._run(it)
        it.graph = graph

    def _run(self, it: _Pass) -> Any:
        output = self._model(
            input_ids=it.ids,
            attention_mask=it.mask,
            position_ids=it.positions,
            past_key_values=it.cache,
            use_cache=True,
        )
        return output.logits[:, -1]


def _cache(room: Sequence[tuple[Any, Any]], like: Sequence[tuple[Any, Any]], shape: tuple[int, int], place: Any) -> Any:
    """A transformers cache over these buffers, whose layers all write at the same position."""
    from transformers import Cache
    from transformers.cache_utils import StaticLayer

    class Layer(StaticLayer):
        """A layer whose keys and values were allocated beforehand."""

        keys: Any
        values: Any

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            self.keys.index_copy_(2, place, key_states)
            self.values.index_copy_(2, place, value_states)
            return self.keys, self.values

    layers: list[Any] = []
    for pair, them in zip(room, like, strict=True):
        layer: Any = Layer(max_cache_len=shape[1])
        layer.keys, layer.values = (
            room_of[: math.prod(whole)].view(whole)
            for room_of, whole in zip(pair, (_whole(it, shape) for it in them), strict=True)
        )
        layer.dtype, layer.device, layer.is_initialized = layer.keys.dtype, layer.keys.device, True
        layers.append(layer)
    return Cache(layers=layers)


def _whole(like: Any, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """(rows, heads, tokens, width) of a buffer for keys or values like these."""
    return shape[0], like.shape[1], shape[1], like.shape[3]


def _up(count: int, step: int) -> int:
    """A count, rounded up to a multiple of `step`."""
    return -(-count // step) * step
