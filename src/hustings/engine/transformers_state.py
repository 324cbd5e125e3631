"""What a batch of a transformers model has read so far: key-value caches, kept prompts, steering, the next token.

It does not know about requests.
"""

from collections import OrderedDict
from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hustings.engine.transformers_fixed import Fixed

Layers = list[tuple[Any, Any]]
"""Keys and values of each layer, (rows, heads, tokens, width) each."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A prompt that was read, and where its keys and values are within those of the batch in which it was read."""

    tokens: list[int]
    batch: Layers
    row: int
    spans: tuple[range, range]
    """Positions of its tokens in the batch: those that were already known, and those that were read then."""

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return sum(it.nbytes for pair in self.batch for it in pair)

    def places(self, count: int, width: int) -> list[int]:
        """Positions of the first `count` tokens, padded with zeros on the left to length `width`."""
        return [*[0] * (width - count), *[*self.spans[0], *self.spans[1]][:count]]

    def shared(self, prompt: Sequence[int]) -> int:
        """How many leading tokens of a prompt are kept here; its last token is always read anew."""
        most = min(len(self.tokens), len(prompt) - 1)
        return next((place for place in range(most) if self.tokens[place] != prompt[place]), most)


class Prefixes:
    """Prompts of the agents in current debates, kept because an agent's next prompt begins like its last one.

    Args:
        room: bytes that they may take up; the least recently used batches are dropped first, with all their prompts.
    """

    def __init__(self, room: float) -> None:
        self._room = room
        self._size = 0
        self._kept: dict[tuple[Hashable, str], Kept] = {}
        self._kinds: dict[Hashable, set[str]] = {}
        self._batches: OrderedDict[int, set[tuple[Hashable, str]]] = OrderedDict()
        """The prompts that are kept from each batch; its memory is freed when none is left."""

    def longest(self, lane: Hashable, prompt: Sequence[int]) -> tuple[int, Kept | None]:
        """The largest number of leading tokens that a kept prompt of the lane shares with this one, and that prompt."""
        best: tuple[int, Kept | None] = (0, None)
        for kind in self._kinds.get(lane, ()):
            kept = self._kept[lane, kind]
            best = max(best, (kept.shared(prompt), kept), key=lambda pair: pair[0])
            self._batches.move_to_end(id(kept.batch))
        return best

    def keep(self, lane: Hashable, kind: str, kept: Kept) -> None:
        """Keep a prompt, in place of an earlier one of the same lane and kind."""
        self._drop((lane, kind))
        if id(kept.batch) not in self._batches:
            size = kept.size
            if size > self._room:
                return
            self._batches[id(kept.batch)] = set()
            self._size += size
        self._kept[lane, kind] = kept
        self._batches[id(kept.batch)].add((lane, kind))
        self._kinds.setdefault(lane, set()).add(kind)
        while self._size > self._room:
            for key in list(next(iter(self._batches.values()))):
                self._drop(key)

    def _drop(self, key: tuple[Hashable, str]) -> None:
        old = self._kept.pop(key, None)
        if old is None:
            return
        self._kinds[key[0]].discard(key[1])
        if not self._kinds[key[0]]:
            del self._kinds[key[0]]
        self._batches[id(old.batch)].discard(key)
        if not self._batches[id(old.batch)]:
            del self._batches[id(old.batch)]
            self._size -= old.size


class State:
    """The state of a batch: the key-value cache, and the logits of the next token.

    Args:
        model: a causal language model of transformers.
        prompts: token ids of each row.
        device: where the model is.
        known: for each row, how many of its tokens were read before, and where their keys and values are.
        rewinds: whether `rewind` will be called.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        device: str,
        known: Sequence[tuple[int, Kept | None]] = (),
        *,
        rewinds: bool = False,
    ) -> None:
        import torch
        from transformers import DynamicCache

        self._torch: Any = torch
        self._model = model
        self._device = device
        self._cache: Any = DynamicCache(config=model.config)
        if rewinds:
            self._cache.activate_past_recording()
        read = [count for count, _ in known] or [0] * len(prompts)
        before = self._restore(known, max(read))
        rests = [prompt[count:] for prompt, count in zip(prompts, read, strict=True)]
        width = max(map(len, rests))
        ids = torch.tensor([[0] * (width - len(rest)) + list(rest) for rest in rests], device=device)
        lengths = torch.tensor([[len(rest)] for rest in rests], device=device)
        fresh = torch.arange(width, device=device).expand(len(rests), -1) >= width - lengths
        self._mask: Any = fresh if before is None else torch.cat([before.to(device), fresh], dim=-1)
        old, end = max(read), max(read) + width
        self._spans = [(range(old - count, old), range(end - len(rest), end))
                       for count, rest in zip(read, rests, strict=True)]  # fmt: skip
        self._fixed: Fixed | None = None
        self._rows: Any = None
        self.logits: Any = self._next(ids)
        """(rows, vocabulary), float32."""

    def _restore(self, known: Sequence[tuple[int, Kept | None]], width: int) -> Any:
        """Put what was read before into the cache, aligned right; returns the mask, or None if nothing was read."""
        torch = self._torch
        if width == 0:
            return None
        batches: dict[int, list[tuple[int, int, Kept]]] = {}
        for row, (count, kept) in enumerate(known):
            if kept is not None and count:
                batches.setdefault(id(kept.batch), []).append((row, count, kept))
        found = [
            (them[0][2].batch, *(torch.tensor(it, device=self._device) for it in (
                [row for row, _, _ in them], [[kept.row] for _, _, kept in them],
                [kept.places(count, width) for _, count, kept in them])))
            for them in batches.values()
        ]  # fmt: skip
        for layer, pair in enumerate(found[0][0]):
            both: list[Any] = []
            for which, like in enumerate(pair):
                whole = like.new_zeros((len(known), like.shape[1], width, like.shape[3]))
                for batch, to, rows, places in found:
                    whole[to] = batch[layer][which][rows, :, places].transpose(1, 2)
                both.append(whole)
            self._cache.update(*both, layer)
        counts = torch.tensor([[count] for count, _ in known])
        return torch.arange(width).expand(len(known), -1) >= width - counts

    def kept(self, prompts: Sequence[list[int]]) -> Iterator[Kept]:
        """Each row's prompt with its keys and values, to be called before anything else is fed."""
        batch = [(layer.keys, layer.values) for layer in self._cache.layers]
        for row, (prompt, spans) in enumerate(zip(prompts, self._spans, strict=True)):
            yield Kept(prompt, batch, row, spans)

    def _next(self, ids: Any, count: int = 1) -> Any:
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask.long(),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=count,
        )
        return output.logits[:, -1].float() if count == 1 else output.logits

    def fix(self, fixed: "Fixed", steps: int) -> None:
        """From now on, feed one token at a time through recorded passes, at most `steps` times."""
        fixed.take([(layer.keys, layer.values) for layer in self._cache.layers], self._mask, steps)
        self._fixed, self._cache = fixed, None
        self._rows = self._torch.arange(len(self._mask), device=self._mask.device)

    def feed(self, ids: Any) -> None:
        """Append tokens, (rows, count)."""
        if self._fixed is not None:
            self.logits = self._fixed.feed(self._rows, ids)
            return
        self._mask = self._torch.cat([self._mask, self._torch.ones_like(ids, dtype=self._torch.bool)], dim=-1)
        self.logits = self._next(ids)

    def rewind(self, count: int) -> None:
        """Remove the last `count` tokens of every row."""
        self._cache.crop(-count)
        self._mask = self._mask[:, :-count]

    def keep(self, places: list[int]) -> None:
        """Keep only these rows."""
        if self._fixed is not None:
            self._rows = self._rows[places]
        elif len(places) < len(self._mask):
            self._cache.batch_select_indices(self._torch.tensor(places, device=self._mask.device))
            self._mask = self._mask[places]

    def likelihoods(self, texts: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability of each row's text, as the tokens that follow its prompt."""
        torch, device = self._torch, self._mask.device
        width = max(map(len, texts))
        first = self.logits.log_softmax(-1)
        ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts], device=device)
        sums = first.gather(-1, ids[:, :1])[:, 0]
        if width > 1:
            lengths = torch.tensor([[len(text)] for text in texts], device=device)
            fresh = torch.arange(width - 1, device=device).expand(len(texts), -1) < lengths - 1
            self._mask = torch.cat([self._mask, fresh], dim=-1)
            logits = self._next(ids[:, :-1], width - 1)
            after = torch.stack([row.float().log_softmax(-1).gather(-1, it[:, None])[:, 0]
                                 for row, it in zip(logits, ids[:, 1:], strict=True)])  # fmt: skip
            sums = sums + after.masked_fill(~fresh, 0.0).sum(-1)
        return sums.tolist()


def reusable(model: Any) -> bool:
    """Whether the keys and values of a prompt's beginning can be reused, because every layer keeps all of them."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def blocks(model: Any) -> Any:
    """The list of a model's decoder layers.

    Raises:
        AttributeError: the model has no such list that can be found.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    count = inner.config.get_text_config().num_hidden_layers
    found = [module for module in inner.modules() if type(module).__name__ == "ModuleList" and len(module) == count]
    if not found:
        raise AttributeError("no list of decoder layers")
    return found[0]


@contextmanager
def recorded(model: Any) -> Generator[list[Any]]:
    """Collect the output of each layer in the next pass, (rows, tokens, width) each."""
    kept: list[Any] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(keep) for block in blocks(model)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


class Steered:
    """Adds each row's own vector to the hidden states that leave a layer; adds nothing while `rows` is empty.

    Args:
        model: a causal language model of transformers.
    """

    def __init__(self, model: Any) -> None:
        self._blocks = blocks(model)
        self.rows: Mapping[int, Any] = {}
        """By layer, from 0: (rows, width)."""

    @contextmanager
    def on(self, layers: Sequence[int]) -> Generator[None]:
        """Steer these layers within the context."""
        handles = [self._blocks[layer].register_forward_hook(self._hook(layer)) for layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, layer: int) -> Any:
        def add(_module: Any, _inputs: Any, output: Any) -> Any:
            if layer not in self.rows:
                return output
            states = output[0] if isinstance(output, tuple) else output
            moved = states + self.rows[layer][:, None].to(states.dtype)
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        return add


def nucleus(logits: Any, temperatures: Any, shares: Any) -> Any:
    """Logits without tokens that are never drawn: those outside the most probable ones that make up the share.

    Args:
        logits: (rows, vocabulary).
        temperatures: (rows,).
        shares: (rows,); 1 keeps every token.
    """
    scaled = logits / temperatures.masked_fill(temperatures == 0, 1.0)[:, None]
    ordered, places = scaled.softmax(-1).sort(dim=-1, descending=True)
    outside = (ordered.cumsum(-1) - ordered >= shares[:, None]) & (shares[:, None] < 1)
    return logits.masked_fill(outside.scatter(-1, places, outside), float("-inf"))


def contrasted(logits: Any, rival: Any, gammas: Any, floors: Any) -> Any:
    """Logits pushed away from a rival context: rival + γ (logits − rival), over the plausible tokens.

    Source: protocol.md, mitigations; classifier-free guidance for language models (2306.17806).

    Args:
        logits, rival: (rows, vocabulary), of the agent's context and of the rival's.
        gammas: (rows,); 1 leaves the logits as they are.
        floors: (rows,); tokens less probable than this fraction of the most probable one are never drawn.
    """
    implausible = logits < logits.amax(-1, keepdim=True) + floors.log()[:, None]
    return (logits + (gammas[:, None] - 1) * (logits - rival)).masked_fill(implausible, float("-inf"))


def draw(logits: Any, temperatures: Any, noise: Any) -> Any:
    """Draw the next token of each row as the winner of a race: the token with the smallest noise / probability.

    Rounding of the logits only changes the winner when two tokens finish at nearly the same time. (Inverting the
    cumulative distribution at a uniform number samples the same distribution, but there a shift of 10⁻⁶ changes the
    token whenever one of the many improbable tokens is drawn.)

    Args:
        logits: (rows, vocabulary).
        temperatures: (rows,); 0 takes the most probable token.
        noise: (rows, vocabulary), exponentially distributed.
    """
    greedy = temperatures == 0
    scaled = logits / temperatures.masked_fill(greedy, 1.0)[:, None]
    race = scaled.log_softmax(-1) - noise.log()
    return logits.argmax(-1).where(greedy, race.argmax(-1))
