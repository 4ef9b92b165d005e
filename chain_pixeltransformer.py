"""The chain rule block by block: draw values, or score given ones, each block given the evidence and earlier blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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

    def extend(self, positions: Tensor, values: Tensor, scale: float) -> "Evidence":
        """Together with further values (N, L, V) at positions (N, L, P), all of one scale."""
        scales = self.scales if self.scales is not None else torch.zeros_like(self.positions[..., 0])
        mask = self.mask
        if mask is not None:
            mask = F.pad(mask.bool(), (0, positions.shape[1]), value=True)
        more = torch.full_like(positions[..., 0], scale)
        return Evidence(
            torch.cat((self.positions, positions), 1),
            torch.cat((self.values, values.to(self.values.dtype)), 1),
            mask,
            torch.cat((scales, more), 1),
        )

    def encode(self, model):
        """The memory that holds it."""
        return model.encode(self.positions, self.values, self.mask, self.scales)


def take(x: Tensor | None, order: Tensor) -> Tensor | None:
    """Rows of x (N, Q, C) or entries of x (N, Q) in the order (N, L)."""
    if x is None or x.dim() == 2:
        return None if x is None else x.gather(1, order)
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))


def _rotation_of(rotation: tuple[Tensor, Tensor] | None, start: int, stop: int):
    return None if rotation is None else (rotation[0][:, :, start:stop], rotation[1][:, :, start:stop])


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

    Yields after each block where it starts and stops, and its values (N, size, V). Every token is encoded once and its
    keys and values are kept; items of the evidence may be fewer than N, and are then shared by N / B samples each.

    Args:
        use_cache (`bool`): False encodes everything anew for each block, under the masks that the cache implies.
        finish (`Callable`): Called at the end with the memory of the evidence and all that was drawn.
    """
    total = sum(sizes)
    drawn_positions, drawn_scales = positions[:, :total], _part(scales, 0, total)
    # All that depends on positions alone is computed once, outside the loop.
    queries, rotation = model.embed_queries(drawn_positions, drawn_scales), model.rotation(drawn_positions)
    encoded = evidence.encode(model)
    times = positions.shape[0] // evidence.positions.shape[0]
    memory = encoded.repeat(times, encoded.length + total)
    values = torch.zeros(positions.shape[0], total, model.config.value_dim, device=positions.device)

    def encode_again(known: int, num_blocks: int):
        memory = evidence.repeat(times).encode(model)
        if known:
            blocks = torch.repeat_interleave(torch.arange(num_blocks), torch.tensor(sizes[:num_blocks]))
            tokens = model.embed_tokens(drawn_positions[:, :known], values[:, :known], _part(drawn_scales, 0, known))
            model.append(memory, tokens, _rotation_of(rotation, 0, known), blocks.to(positions.device))
        return memory

    start = 0
    for index, size in enumerate(sizes):
        stop = start + size
        if not use_cache and index:
            memory = encode_again(start, index)
        here = _rotation_of(rotation, start, stop)
        distribution = model.decode(memory, queries[:, start:stop], here)
        values[:, start:stop] = distribution.sample((), temperature, generator)
        yield start, stop, values[:, start:stop]
        if use_cache and (stop < total or finish is not None):
            scales_here = _part(drawn_scales, start, stop)
            tokens = model.embed_tokens(drawn_positions[:, start:stop], values[:, start:stop], scales_here)
            model.append(memory, tokens, here)
        start = stop
    if finish is not None:
        finish(memory if use_cache else encode_again(total, len(sizes)))


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

    Args:
        blocks (`Tensor` (Q,)): The block of each value, from 1 on and never falling.
        chunk_size (`int`): Values encoded at a time, about: memory grows linearly with Q.
    """
    count = positions.shape[1]
    encoded = evidence.encode(model)
    memory = encoded.repeat(1, encoded.length + count)
    scores = torch.empty(positions.shape[:2], device=positions.device)
    start = 0
    while start < count:
        stop = min(start + chunk_size, count)
        while stop < count and blocks[stop] == blocks[stop - 1]:  # a block is never cut in two
            stop += 1
        chunk, part, scales_here = positions[:, start:stop], blocks[start:stop], _part(scales, start, stop)
        rotation, known = model.rotation(chunk), memory.length
        model.append(memory, model.embed_tokens(chunk, values[:, start:stop], scales_here), rotation, part)
        past = F.pad(part[None, :] < part[:, None], (known, 0), value=True)
        distribution = model.decode(memory, model.embed_queries(chunk, scales_here), rotation, past)
        scores[:, start:stop] = distribution.log_prob(values[:, start:stop])
        start = stop
    return scores
