"""What a training step sees: how much context, which signals, and where they are looked at.

Everything is a function of (seed, step, process), so that a resumed run continues exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from signals.base import Batch, Signal


@dataclass
class EpisodeSizes:
    """Numbers of places of one step's signals; all signals of a step share them, so that nothing is padded.

    Attributes:
        context, buffer, queries (`int`): K, M and Q of each signal.
        block (`int`): Size of the buffer's blocks.
        signals (`int`): Batch size that fills the token budget.
        continuous (`bool`): Whether places lie anywhere, not at cell centres.
    """

    context: int
    buffer: int
    queries: int
    block: int
    signals: int
    continuous: bool = False


@dataclass
class EpisodeSampler:
    """Draws the sizes of a step.

    K is 0 with probability `zero_probability`, else log-uniform from 1 to `max_context`. The buffer holds `buffer`
    values or, with probability `long_buffer_probability`, log-uniformly many from `buffer` to `max_context`: sampling a
    whole signal makes long buffers. It comes in blocks of one or, with probability `block_probability`, of 2 … 32 (a
    power of two), as `num_steps` samples in blocks.

    Attributes:
        num_cells (`int`): Cells that a signal has; places are distinct ones. 0: all places are continuous.
        continuous_probability (`float`): Share of steps at continuous positions.
        token_budget (`int`): Most tokens and queries of a step on one device: K + 2 M + Q for each signal.
    """

    seed: int
    max_context: int
    buffer: int
    queries: int
    token_budget: int
    num_cells: int = 0
    max_signals: int = 256
    zero_probability: float = 0.05
    block_probability: float = 0.25
    long_buffer_probability: float = 0.3
    continuous_probability: float = 0.0

    def sizes(self, step: int) -> EpisodeSizes:
        """The sizes of step `step`, the same on every process."""
        generator = torch.Generator().manual_seed(_mix(self.seed, 1, step))
        zero, level, blocked, power, long, length, between = torch.rand(7, generator=generator).tolist()
        largest = min(self.max_context, self.num_cells - 2) if self.num_cells else self.max_context
        context = 0 if zero < self.zero_probability else round(largest**level)
        buffer, queries = self.buffer, self.queries
        if buffer and long < self.long_buffer_probability:
            longest = min(largest, (self.token_budget - context - queries) // 2)
            buffer = round(buffer * max(longest / buffer, 1) ** length)
        if self.num_cells:  # the context gives way last
            left = self.num_cells - context
            buffer = min(buffer, max(left // 2, left - queries))
            queries = min(queries, self.num_cells - context - buffer)
        block = 2 ** (1 + int(power * 5)) if blocked < self.block_probability else 1
        signals = self.token_budget // (context + 2 * buffer + queries)
        signals = max(1, min(signals, self.max_signals))
        return EpisodeSizes(context, buffer, queries, block, signals, between < self.continuous_probability)


class EpisodeBatches:
    """Endless batches of dataset indices from step `start` on: seeded epochs, dealt out to processes in turn.

    A batch sampler for `DataLoader`; accelerate's own sharding wants batches of one size, and these follow K.
    """

    def __init__(self, num_rows: int, sampler: EpisodeSampler, rank: int = 0, world_size: int = 1, start: int = 0):
        self.num_rows, self.sampler = num_rows, sampler
        self.rank, self.world_size, self.start = rank, world_size, start
        self._permutation = (-1, torch.empty(0))  # the latest epoch's

    def rows(self, first: int, count: int) -> list[int]:
        """Rows number first, first + 1, … of the endless concatenation of shuffled epochs."""
        out: list[int] = []
        while len(out) < count:
            epoch, offset = divmod(first + len(out), self.num_rows)
            if self._permutation[0] != epoch:
                generator = torch.Generator().manual_seed(_mix(self.sampler.seed, 2, epoch))
                self._permutation = epoch, torch.randperm(self.num_rows, generator=generator)
            out += self._permutation[1][offset : offset + count - len(out)].tolist()
        return out

    def __iter__(self) -> Iterator[list[int]]:
        seen = sum(self.sampler.sizes(step).signals for step in range(self.start)) * self.world_size
        step = self.start
        while True:
            count = self.sampler.sizes(step).signals
            yield self.rows(seen + self.rank * count, count)
            seen += count * self.world_size
            step += 1


def make_episode(
    signal: Signal, batch: Batch, sizes: EpisodeSizes, seed: int, step: int, rank: int = 0
) -> dict[str, Tensor]:
    """The model's arguments for one training step on a batch of signals as stored: context, buffer, queries."""
    device = batch[0].device
    generator = torch.Generator(device).manual_seed(_mix(seed, 3 + rank, step))
    count = sizes.context + sizes.buffer + sizes.queries
    positions, values = signal.places(signal.augment(batch, generator), count, generator, sizes.continuous)
    first, second = sizes.context, sizes.context + sizes.buffer
    episode = {
        "context_positions": positions[:, :first],
        "context_values": values[:, :first],
        "query_positions": positions[:, second:],
        "query_values": values[:, second:],
    }
    if sizes.buffer:
        episode["buffer_positions"] = positions[:, first:second]
        episode["buffer_values"] = values[:, first:second]
        episode["buffer_blocks"] = torch.arange(sizes.buffer, device=device) // sizes.block + 1
    return episode


def _mix(*numbers: int) -> int:
    """One 63-bit seed from several integers (a multiplicative hash; neighbours must not share a stream)."""
    seed = 0x9E3779B97F4A7C15
    for number in numbers:
        seed = ((seed ^ (number + 0x632BE59BD9B4E019)) * 0xFF51AFD7ED558CCD) % 2**64
        seed ^= seed >> 33
    return seed >> 1
