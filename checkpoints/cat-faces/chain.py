"""The chain rule block by block: draw values, or score given ones, each block given the evidence and earlier blocks."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .orders import values_in_context


@dataclass
class Evidence:
    """What is known before the chain starts: the model's context, see `PixelTransformerModel.forward`."""

    positions: Tensor  # (N, K, P)
    values: Tensor  # (N, K, V)
    mask: Tensor | None = None  # (N, K)
    scales: Tensor | None = None  # (N, K)

    def repeat(self, times: int) -> "Evidence":
        """Each item `times` times, `times` slowest."""
        parts = (self.positions, self.values, self.mask, self.scales)
        return Evidence(*(None if part is None else part.repeat(times, *[1] * (part.dim() - 1)) for part in parts))

    def extend(self, positions: Tensor, values: Tensor, scales: Tensor | None = None) -> "Evidence":
        """Together with further values (N, L, V) at positions (N, L, P), of scales (N, L) or all of the finest."""
        mask, known = self.mask, self.scales
        if mask is not None:
            mask = F.pad(mask.bool(), (0, positions.shape[1]), value=True)
        if known is not None or scales is not None:
            known = torch.zeros_like(self.positions[..., 0]) if known is None else known
            scales = torch.zeros_like(positions[..., 0]) if scales is None else scales
            known = torch.cat((known, scales), 1)
        return Evidence(
            torch.cat((self.positions, positions), 1),
            torch.cat((self.values, values.to(self.values.dtype)), 1),
            mask,
            known,
        )

    def count(self) -> int:
        """How many values are known, of the item with fewest."""
        return self.positions.shape[1] if self.mask is None else int(self.mask.sum(1).min())

    def encode(self, model, room: int = 0):
        """The memory that holds it, with room for `room` further values."""
        return model.encode(self.positions, self.values, self.mask, self.scales, room)


def take(x: Tensor | None, order: Tensor) -> Tensor | None:
    """Rows of x (N, Q, C) or entries of x (N, Q) in the order (N, L)."""
    if x is None or x.dim() == 2:
        return None if x is None else x.gather(1, order)
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))


def _part(x: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if x is None else x[:, start:stop]


@torch.no_grad()
def draw_blocks(
    model,
    evidence: Evidence,
    positions: Tensor,
    scales: Tensor | None,
    sizes: list[int],
    temperature: float,
    generator: torch.Generator | None,
    use_cache: bool = True,
    finish: Callable | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """Draw the values at positions (N, Q, P) from the first on, in blocks of `sizes`.

    Yields after each block where it starts and stops, and its values (N, size, V). Drawn values are the buffer, each
    encoded once, its keys and values kept; when the buffer has grown beyond `config.max_buffer_share` of all, they
    become context and all is encoded anew, so rarely that a value is encoded 1 + 1 / share times on average. Items
    of the evidence may be fewer than N, and are then shared by N / B samples each.

    Args:
        use_cache (`bool`): False encodes everything anew for each block, under the masks that the cache implies.
        finish (`Callable`): Called at the end with the memory of the evidence and all that was drawn.
    """
    total = sum(sizes)
    drawn_positions, drawn_scales = positions[:, :total], _part(scales, 0, total)
    # All that depends on positions alone is computed once, outside the loop.
    places = model.embed_places(drawn_positions, drawn_scales)
    times = positions.shape[0] // evidence.positions.shape[0]
    values = torch.zeros(positions.shape[0], total, model.config.value_dim, device=positions.device)
    in_context = values_in_context(evidence.count(), sizes, model.config.max_buffer_share)

    def encode(index: int, start: int):
        """What is known when block `index` is to be drawn, in a memory with room for the values up to the next time."""
        held = in_context[index]
        room = sum(size for size, other in zip(sizes, in_context, strict=False) if other == held)
        if not held and not start:  # the evidence alone is encoded once for all samples
            memory = evidence.encode(model)
            return memory.repeat(times, memory.length + room)
        known = evidence.repeat(times)
        if held:
            known = known.extend(drawn_positions[:, :held], values[:, :held], _part(drawn_scales, 0, held))
        memory = known.encode(model, room)
        if start > held:
            blocks = torch.repeat_interleave(torch.arange(index), torch.tensor(sizes[:index]))[held:]
            model.append(memory, places.part(held, start), values[:, held:start], blocks.to(positions.device))
        return memory

    memory, start = encode(0, 0), 0
    for index, size in enumerate(sizes):
        stop = start + size
        here = places.part(start, stop)
        distribution = model.decode(memory, here)
        values[:, start:stop] = distribution.sample((), temperature, generator)
        yield start, stop, values[:, start:stop]
        if stop == total and finish is None:
            return
        if not use_cache or in_context[index + 1] > in_context[index]:
            memory = encode(index + 1, stop)
        else:
            model.append(memory, here, values[:, start:stop])
        start = stop
    if finish is not None:
        finish(memory)


@torch.no_grad()
def score_blocks(
    model,
    evidence: Evidence,
    positions: Tensor,
    values: Tensor,
    scales: Tensor | None,
    blocks: Tensor,
    chunk_size: int = 1024,
) -> Tensor:
    """Log-likelihood (N, Q) of each value (N, Q, V) given the evidence and the values of earlier blocks, in nats.

    The values that `draw_blocks` would have in the context then are in the context.

    Args:
        blocks (`Tensor` (Q,)): The block of each value, from 1 on and never falling.
        chunk_size (`int`): Buffer values encoded at a time, about: memory grows linearly with Q.
    """
    scores = torch.empty(positions.shape[:2], device=positions.device)
    sizes = torch.unique_consecutive(blocks, return_counts=True)[1].tolist()
    in_context = values_in_context(evidence.count(), sizes, model.config.max_buffer_share)[:-1]
    ends: dict[int, int] = {}  # where the values end that are scored given so many in the context
    for held, stop in zip(in_context, itertools.accumulate(sizes), strict=True):
        ends[held] = stop
    for held, end in ends.items():
        known = evidence if not held else evidence.extend(positions[:, :held], values[:, :held], _part(scales, 0, held))
        memory, start = known.encode(model, end - held), held
        while start < end:
            stop = min(start + chunk_size, end)
            while stop < end and blocks[stop] == blocks[stop - 1]:  # a block is never cut in two
                stop += 1
            places = model.embed_places(positions[:, start:stop], _part(scales, start, stop))
            part, length = blocks[start:stop], memory.length
            model.append(memory, places, values[:, start:stop], part)
            past = F.pad(part[None, :] < part[:, None], (length, 0), value=True)
            distribution = model.decode(memory, places, past)
            scores[:, start:stop] = distribution.log_prob(values[:, start:stop])
            start = stop
    return scores
