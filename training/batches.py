"""What a training step sees: which signals, how many values of each, and at which positions.

Everything is a function of (seed, step, process), so that a resumed run continues exactly.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pixeltransformer.levels import Levels
from signals.base import Batch, Signal
from signals.patterns import PatternMixture

CANDIDATES = 8192  # cells of a signal that a pattern chooses from, where it has more
UNCONDITIONAL = 0.3  # share of chains and of long buffers without a single observed position


@dataclass
class EpisodeSizes:
    """Sizes of one training step. All signals of a step have the same ones, so that nothing is padded.

    Attributes:
        context, buffer, queries (`int`): K, M and Q of each signal.
        block (`int`): Size of the buffer's blocks.
        signals (`int`): Batch size that fills the token budget.
        continuous (`bool`): If true, positions are continuous; otherwise they are cell centres.
        kind (`str`): "pixels": single cells. "dabs": some values of context and queries are averages over areas of any
            size. "chain": buffer and queries are cells of scale `level`, given the context and all cells of scale
            `coarser`.
        level (`int`): Scale of buffer and queries.
        coarser (`int` or `None`): See `kind`; `None`: only the context is given.
        siblings (`int`): If `level` is above 0: number of cells of that scale in the context, in addition to the K
            positions and the cells of scale `coarser`.
        num_scales, levels: Number of scales, and levels of values, in the model's config.
        candidates (`int`): Number of positions that patterns choose from; 0: no patterns, positions are random.
        patterns (`PatternMixture` or `None`): Decides which candidates become context, buffer and queries.
    """

    context: int
    buffer: int
    queries: int
    block: int
    signals: int
    continuous: bool = False
    kind: Literal["pixels", "dabs", "chain"] = "pixels"
    level: int = 0
    coarser: int | None = None
    siblings: int = 0
    num_scales: int = 1
    levels: Levels | None = None
    candidates: int = 0
    patterns: PatternMixture | None = None


@dataclass
class EpisodeSampler:
    """Draws the sizes of a step.

    K is 0 with probability `zero_probability` (larger for chains and long buffers), otherwise log-uniform from 1 to
    `max_context`. The buffer has `buffer` values or, with probability `long_buffer_probability`, a log-uniform number
    from `buffer` to `max_context`, because sampling a whole signal fills long buffers. Its blocks have one value or,
    with probability `block_probability`, 2, 4, 8, 16 or 32, because `num_steps` samples in blocks.

    Attributes:
        num_cells (`int`): Number of cells of a signal, of which distinct ones are chosen. 0: positions are continuous.
        continuous_probability (`float`): Share of steps at continuous positions.
        token_budget (`int`): Most tokens and queries of a step on one device: K + 2 M + Q for each signal.
        query_share (`float`): Queries are at least this share of K: encoding a large context should teach much.
        patterns (`PatternMixture` or `None`): See `EpisodeSizes`.
        grid (`tuple[int, ...]`): The model's native grid.
        num_scales, levels: As in the model's config. With one scale there are no chains and no dabs.
        chain_probability, dab_probability (`float`): Shares of steps of these kinds. Finer scales come more often in
            chains, and each may be given any coarser one.
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
    long_buffer_probability: float = 0.05
    continuous_probability: float = 0.0
    grid: tuple[int, ...] = ()
    num_scales: int = 1
    levels: Levels | None = None
    chain_probability: float = 0.0
    dab_probability: float = 0.0
    query_share: float = 0.0
    patterns: PatternMixture | None = None

    def sizes(self, step: int) -> EpisodeSizes:
        """The sizes of step `step`, the same on every process."""
        generator = torch.Generator().manual_seed(_mix(self.seed, 1, step))
        numbers = torch.rand(11, generator=generator).tolist()
        zero, share, blocked, power, long, length, between, chosen, depth, part, skipped = numbers
        kind, level, coarser = self._kind(chosen), 0, None
        largest = min(self.max_context, self.num_cells - 2) if self.num_cells else self.max_context
        zero_probability, lengthened = self.zero_probability, self.buffer and long < self.long_buffer_probability
        if kind == "chain":
            level, coarser = self._levels(depth, skipped)
        if kind == "chain" or lengthened:  # whole signals are drawn from little or nothing, and fill the buffer
            zero_probability = max(zero_probability, UNCONDITIONAL)
        context = 0 if zero < zero_probability else round(largest**share)
        buffer, queries, siblings = self.buffer, max(self.queries, round(self.query_share * context)), 0
        if level:  # while a scale is drawn, its first cells become context
            drawn = (part - UNCONDITIONAL) / (1 - UNCONDITIONAL)
            siblings = round(max(self.cells_of(level) - 2, 0) ** drawn) if drawn > 0 else 0
        told = 0 if coarser is None else self.cells_of(coarser)
        room = self.token_budget - told - 2 * self.buffer - self.queries  # of context and siblings
        siblings = min(siblings, room)
        context, told = min(context, room - siblings), told + siblings
        if lengthened:
            longest = min(largest, (self.token_budget - told - context - queries) // 2)
            buffer = round(buffer * max(longest / buffer, 1) ** length)
        cells = self.num_cells if level == 0 else self.cells_of(level)
        if cells:  # few cells: queries and buffer shrink before the context, and the buffer gets most cells
            left = cells - (context if level == 0 else siblings)
            queries = min(queries, max(1, left // (4 if kind == "chain" else 2)))
            buffer = min(buffer, left - queries)
        block = 2 ** (1 + int(power * 5)) if blocked < self.block_probability else 1
        signals = self.token_budget // (told + context + 2 * buffer + queries)
        signals = max(1, min(signals, self.max_signals))
        continuous = between < self.continuous_probability and kind != "chain"
        candidates = 0
        if self.patterns is not None and context:
            needed = context if level else context + buffer + queries
            candidates = 4 * needed
            if self.num_cells and not continuous:
                candidates = min(self.num_cells, max(candidates, CANDIDATES))
        scales = (kind, level, coarser, siblings, self.num_scales, self.levels)
        return EpisodeSizes(context, buffer, queries, block, signals, continuous, *scales, candidates, self.patterns)

    def cells_of(self, level: int) -> int:
        """Cells of the grid of a scale."""
        return math.prod(side // 2**level for side in self.grid)

    def fits(self, level: int) -> bool:
        """Whether the token budget has room for all cells of a scale, a buffer and queries."""
        return self.cells_of(level) + 2 * self.buffer + self.queries < self.token_budget

    def _levels(self, depth: float, skipped: float) -> tuple[int, int | None]:
        """The scale of a chain and the coarser scale that it is given (or `None`), from uniform numbers in [0, 1).

        Scales 0 and 1 are equally likely (other kinds of steps train scale 0 as well); each further scale is half as
        likely as the one before. The coarser scale is uniform over all coarser ones and `None`. Scale 0 is different:
        it is given scale 1 in half of its steps, and never `None`. Scales with more cells than the budget has room for
        are not given.
        """
        weights = [2.0 ** -max(level - 1, 0) for level in range(self.num_scales)]
        shares = itertools.accumulate(weight / sum(weights) for weight in weights)
        level = next((level for level, share in enumerate(shares) if depth < share), self.num_scales - 1)
        further = range(2, self.num_scales)
        given = [*[1] * max(len(further), 1), *further] if level == 0 else [*range(level + 1, self.num_scales), None]
        given = [coarser for coarser in given if coarser is None or self.fits(coarser)] or [None]
        return level, given[int(skipped * len(given))]

    def _kind(self, chosen: float) -> str:
        if self.num_scales == 1 or chosen >= self.chain_probability + self.dab_probability:
            return "pixels"
        return "chain" if chosen < self.chain_probability else "dabs"


class EpisodeBatches:
    """Endless batches of dataset indices, from batch number `start` on dealt out to the processes in turn.

    A batch sampler for `DataLoader`; accelerate's own sharding wants batches of one size, and these follow K. What a
    batch holds depends on its number alone, so that two processes see in a step what one sees that accumulates two.

    Args:
        num_rows (`int` or `None`): Rows of the dataset, of which seeded epochs follow one another; `None`: a stream,
            whose rows each process numbers from 0 and reads in order.
        start (`int`): Number of the first batch, which goes to process 0; of a stream a multiple of `world_size`.
        row (`int` or `None`): Number of its first row; `None`: the rows of all batches before, of these sizes.
    """

    def __init__(
        self,
        num_rows: int | None,
        sampler: EpisodeSampler,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        row: int | None = None,
    ):
        self.num_rows, self.sampler = num_rows, sampler
        self.rank, self.world_size, self.start, self.row = rank, world_size, start, row
        self._permutation = (-1, torch.empty(0))  # the latest epoch's

    def rows(self, first: int, count: int) -> list[int]:
        """Rows number first, first + 1, … of the endless concatenation of shuffled epochs."""
        if self.num_rows is None:
            return list(range(first, first + count))
        out: list[int] = []
        while len(out) < count:
            epoch, offset = divmod(first + len(out), self.num_rows)
            if self._permutation[0] != epoch:
                generator = torch.Generator().manual_seed(_mix(self.sampler.seed, 2, epoch))
                self._permutation = epoch, torch.randperm(self.num_rows, generator=generator)
            out += self._permutation[1][offset : offset + count - len(out)].tolist()
        return out

    def __iter__(self) -> Iterator[list[int]]:
        first = self.row
        if first is None:
            first = sum(self.sampler.sizes(number).signals for number in range(self.start) if self._counts(number))
        for number in itertools.count(self.start):
            if not self._counts(number):
                continue
            count = self.sampler.sizes(number).signals
            if (number - self.start) % self.world_size == self.rank:
                yield self.rows(first, count)
            first += count

    def _counts(self, number: int) -> bool:
        """Whether a batch's rows come out of what this process draws from: of a stream it has a part for itself."""
        return self.num_rows is not None or number % self.world_size == self.rank


def make_episode(
    signal: Signal, batch: Batch, sizes: EpisodeSizes, seed: int, step: int, rank: int = 0
) -> dict[str, Tensor]:
    """The model's arguments for one training step on a batch of signals as stored: context, buffer, queries."""
    device = batch[0].device
    generator = torch.Generator(device).manual_seed(_mix(seed, 3 + rank, step))
    count = sizes.context + sizes.buffer + sizes.queries
    batch = signal.augment(batch, generator)
    level = sizes.level
    positions, values = _pairs(signal, batch, count if level == 0 else sizes.context, sizes, generator)
    scales = None
    if sizes.kind != "pixels":
        pyramid = signal.pyramid(batch, sizes.num_scales, sizes.levels)
        scales = torch.zeros(positions.shape[:2], device=device)
    if sizes.kind == "dabs":
        positions, scales = positions.clone(), scales.clone()
        for part in (slice(0, sizes.context), slice(sizes.context + sizes.buffer, None)):
            positions[:, part], scales[:, part] = random_dabs(positions[:, part], pyramid, generator)
            values[:, part] = signal.values_at_scales(pyramid, positions[:, part], scales[:, part])
    if sizes.kind == "chain" and level:  # siblings, buffer and queries are cells of that scale
        more = signal.random_pairs(pyramid[level], sizes.siblings + sizes.buffer + sizes.queries, generator)
        positions, values = torch.cat((positions, more[0]), 1), torch.cat((values, more[1]), 1)
        scales = torch.cat((scales, torch.full(more[0].shape[:2], float(level), device=device)), 1)
    first = sizes.context + sizes.siblings
    second = first + sizes.buffer
    parts = {"context": slice(0, first), "query": slice(second, None)}
    if sizes.buffer:
        parts["buffer"] = slice(first, second)
    episode = {}
    for name, part in parts.items():
        episode[f"{name}_positions"], episode[f"{name}_values"] = positions[:, part], values[:, part]
        if scales is not None:
            episode[f"{name}_scales"] = scales[:, part]
    if sizes.buffer:
        episode["buffer_blocks"] = torch.arange(sizes.buffer, device=device) // sizes.block + 1
    if sizes.coarser is not None:
        _prepend_level(episode, signal, pyramid[sizes.coarser], sizes.coarser)
    return episode


def _pairs(
    signal: Signal, batch: Batch, count: int, sizes: EpisodeSizes, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Positions (B, count, P) and values (B, count, V): the context first, then the buffer, then the queries."""
    positions, values = signal.pairs(batch, max(count, sizes.candidates), generator, sizes.continuous)
    if sizes.candidates:
        buffer = sizes.buffer if sizes.level == 0 else 0
        order = sizes.patterns.order(positions, sizes.context, buffer, count, generator)[..., None]
        positions, values = (x.gather(1, order.expand(-1, -1, x.shape[-1])) for x in (positions, values))
    return signal.revise(batch, positions, values, sizes.context, generator)


def _prepend_level(episode: dict[str, Tensor], signal: Signal, arrays: Tensor, level: int) -> None:
    """Put all cells of a scale in front of the context."""
    batch = len(arrays)
    positions = signal.positions(signal.grid_of(arrays[0])).to(arrays.device).expand(batch, -1, -1)
    scales = torch.full(positions.shape[:2], float(level), device=arrays.device)
    for name, part in (("positions", positions), ("values", arrays.flatten(1, -2)), ("scales", scales)):
        episode[f"context_{name}"] = torch.cat((part, episode[f"context_{name}"]), 1)


def random_dabs(positions: Tensor, pyramid: list[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions (B, K, P) of cells moved by up to half a cell, and scales (B, K), for the share that become dabs.

    That share differs from signal to signal; the others stay as they are, at scale 0.
    """
    batch, count = positions.shape[:2]
    random = torch.rand(batch, count, 2 + positions.shape[-1], generator=generator, device=positions.device)
    share = torch.rand(batch, 1, generator=generator, device=positions.device)
    dab = random[..., 0] < share
    scales = torch.where(dab, random[..., 1] * (len(pyramid) - 1), 0.0)
    width = 2 / max(pyramid[0].shape[1:-1])
    moved = (positions + (random[..., 2:] - 0.5) * width).clamp(-1, 1)
    return torch.where(dab[..., None], moved, positions), scales


def _mix(*numbers: int) -> int:
    """One 63-bit seed from several integers (a multiplicative hash; neighbours must not share a stream)."""
    seed = 0x9E3779B97F4A7C15
    for number in numbers:
        seed = ((seed ^ (number + 0x632BE59BD9B4E019)) * 0xFF51AFD7ED558CCD) % 2**64
        seed ^= seed >> 33
    return seed >> 1
