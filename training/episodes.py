"""What a training step sees: how many values of how many signals, of which scales, and at which positions.

A step is an episode of one of three kinds: `Pixels`, `Averages` or `OneScale`. It has a context (observed), a buffer
(values revealed after it in order, as when a signal is drawn) and queries; see `PixelTransformerModel.forward`.
An episode depends on the seed and the number of its batch alone, so that a resumed run continues exactly.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from pixeltransformer.grids import coarser as coarser_grid
from pixeltransformer.levels import Levels
from signals.base import Batch, Signal
from signals.patterns import PatternMixture

CANDIDATES = 8192  # cells of a signal that a pattern chooses from, where it has more
UNCONDITIONAL = 0.3  # share of episodes of one scale, and of those with a long buffer, with nothing observed

Drawn = tuple[Tensor, Tensor, Tensor | None]  # positions (B, N, P), values (B, N, V) and scales (B, N)


@dataclass(frozen=True)
class Pixels:
    """Single values, at cell centres or at continuous positions."""

    whole = False  # whether such an episode belongs to the drawing of a whole signal
    scale = 0  # of buffer and queries
    added = 0  # values in the context besides the K observed ones

    def draw(self, signal: Signal, batch: Batch, sizes: "EpisodeSizes", generator: torch.Generator) -> Drawn:
        """The episode's positions, values and scales: the context first, then the buffer, then the queries."""
        count = sizes.context + sizes.buffer + sizes.queries
        return *observed_pairs(signal, batch, count, sizes.buffer, sizes, generator), None


@dataclass(frozen=True)
class Averages:
    """Some values of the context and of the queries are averages over areas of any size and position.

    Attributes:
        num_scales, levels: Number of scales, and levels of values, in the model's config.
    """

    num_scales: int
    levels: Levels | None = None
    whole = False
    scale = 0
    added = 0

    def draw(self, signal: Signal, batch: Batch, sizes: "EpisodeSizes", generator: torch.Generator) -> Drawn:
        """As `Pixels.draw`."""
        positions, values, _ = Pixels().draw(signal, batch, sizes, generator)
        pyramid = signal.pyramid(batch, self.num_scales, self.levels)
        positions, scales = positions.clone(), torch.zeros_like(positions[..., 0])
        for part in (slice(0, sizes.context), slice(sizes.context + sizes.buffer, None)):
            positions[:, part], scales[:, part] = random_averages(positions[:, part], pyramid, generator)
            values[:, part] = signal.values_at_scales(pyramid, positions[:, part], scales[:, part])
        return positions, values, scales


@dataclass(frozen=True)
class OneScale:
    """Buffer and queries are cells of one scale, as in a chain from coarse to fine.

    The context holds all cells of a coarser scale, K observed values, and cells of the scale itself ("siblings").

    Attributes:
        num_scales, levels: As in `Averages`.
        scale (`int`): The scale of buffer, queries and siblings.
        coarser (`int` or `None`): The coarser scale; `None`: its cells are not given.
        siblings (`int`): Number of siblings; 0 if `scale` is 0, as observed values are cells of that scale already.
        num_coarser (`int`): Number of cells of the coarser scale.
    """

    num_scales: int
    levels: Levels | None = None
    scale: int = 0
    coarser: int | None = None
    siblings: int = 0
    num_coarser: int = 0
    whole = True

    @property
    def added(self) -> int:
        """Values in the context besides the K observed ones."""
        return self.siblings + self.num_coarser

    def draw(self, signal: Signal, batch: Batch, sizes: "EpisodeSizes", generator: torch.Generator) -> Drawn:
        """As `Pixels.draw`."""
        others = sizes.buffer + sizes.queries
        if self.scale == 0:
            positions, values, _ = Pixels().draw(signal, batch, sizes, generator)
        else:
            positions, values = observed_pairs(signal, batch, sizes.context, 0, sizes, generator)
        scales = torch.zeros_like(positions[..., 0])
        pyramid = signal.pyramid(batch, self.num_scales, self.levels)
        if self.scale:
            more = signal.random_pairs(pyramid[self.scale], self.siblings + others, generator)
            positions, values = torch.cat((positions, more[0]), 1), torch.cat((values, more[1]), 1)
            scales = torch.cat((scales, torch.full_like(more[0][..., 0], self.scale)), 1)
        if self.coarser is None:
            return positions, values, scales
        cells = pyramid[self.coarser]
        where = signal.positions(signal.grid_of(cells[0])).to(cells.device).expand(len(cells), -1, -1)
        return (
            torch.cat((where, positions), 1),
            torch.cat((cells.flatten(1, -2), values), 1),
            torch.cat((torch.full_like(where[..., 0], self.coarser), scales), 1),
        )


@dataclass
class EpisodeSizes:
    """Sizes of one training step. All signals of a step have the same ones, so that nothing is padded.

    Attributes:
        context, buffer, queries (`int`): K, M and Q of each signal. The kind may add context, see `added`.
        block (`int`): Size of the buffer's blocks.
        signals (`int`): Batch size, the largest that the token budget and `max_signals` allow.
        continuous (`bool`): If true, positions are continuous; otherwise they are cell centres.
        candidates (`int`): Number of positions that patterns choose from; 0: no patterns, positions are random. In a
            batch of several shapes each shape has its own number, see `observed_pairs`.
        patterns (`PatternMixture` or `None`): Decides which candidates become context, buffer and queries.
    """

    context: int
    buffer: int
    queries: int
    block: int
    signals: int
    kind: Pixels | Averages | OneScale = Pixels()
    continuous: bool = False
    candidates: int = 0
    patterns: PatternMixture | None = None


class Chances(NamedTuple):
    """One uniform random number in [0, 1) for each decision about a step."""

    nothing_observed: float
    context: float
    in_blocks: float
    block: float
    long_buffer: float
    length: float
    continuous: float
    kind: float
    scale: float
    siblings: float
    coarser: float


@dataclass
class EpisodeSampler:
    """Draws the sizes of a step.

    K is 0 with probability `zero_probability` (larger for `OneScale` and long buffers), otherwise log-uniform from 1 to
    `max_context`. The buffer has `buffer` values or, with probability `long_buffer_probability`, a log-uniform number
    from `buffer` to `max_context`, because sampling a whole signal fills long buffers. Its blocks have one value or,
    with probability `block_probability`, 2, 4, 8, 16 or 32, because `num_steps` samples in blocks.

    Attributes:
        num_cells (`int`): Number of cells of a signal, of which distinct ones are chosen. 0: positions are continuous.
        continuous_probability (`float`): Share of steps at continuous positions.
        token_budget (`int`): Most tokens and queries of a step on one device: K + 2 M + Q for each signal.
        query_share (`float`): Q is at least this share of K, so that encoding a large context pays.
        patterns (`PatternMixture` or `None`): See `EpisodeSizes`.
        grid (`tuple[int, ...]`): The model's native grid.
        num_scales, levels: As in the model's config. With one scale all episodes are `Pixels`.
        chain_probability, average_probability (`float`): Shares of steps of the kinds `OneScale` and `Averages`.
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
    average_probability: float = 0.0
    query_share: float = 0.0
    patterns: PatternMixture | None = None

    def sizes(self, step: int) -> EpisodeSizes:
        """The sizes of step `step`, the same on every process."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, 1, step))
        chances = Chances(*torch.rand(len(Chances._fields), generator=generator).tolist())
        kind, largest = self._kind(chances), self._largest_context()
        lengthened = bool(self.buffer) and chances.long_buffer < self.long_buffer_probability
        nothing = self.zero_probability
        if kind.whole or lengthened:  # whole signals are drawn from little or nothing, and fill the buffer
            nothing = max(nothing, UNCONDITIONAL)
        context = 0 if chances.nothing_observed < nothing else round(largest**chances.context)
        buffer, queries = self.buffer, max(self.queries, round(self.query_share * context))
        context = min(context, self._room(kind))
        if lengthened:
            longest = min(largest, (self.token_budget - kind.added - context - queries) // 2)
            buffer = round(buffer * max(longest / buffer, 1) ** chances.length)
        buffer, queries = self._within_cells(kind, context, buffer, queries)
        continuous = chances.continuous < self.continuous_probability and not kind.whole
        signals = self.token_budget // (kind.added + context + 2 * buffer + queries)
        return EpisodeSizes(
            context,
            buffer,
            queries,
            block=2 ** (1 + int(chances.block * 5)) if chances.in_blocks < self.block_probability else 1,
            signals=max(1, min(signals, self.max_signals)),
            kind=kind,
            continuous=continuous,
            candidates=self._candidates(kind, context, buffer + queries, continuous),
            patterns=self.patterns,
        )

    def cells_of(self, scale: int) -> int:
        """Cells of the grid of a scale."""
        return math.prod(coarser_grid(self.grid, scale))

    def fits(self, scale: int) -> bool:
        """Whether the token budget has room for all cells of a scale, a buffer and queries."""
        return self.cells_of(scale) + 2 * self.buffer + self.queries < self.token_budget

    def _largest_context(self) -> int:
        return min(self.max_context, self.num_cells - 2) if self.num_cells else self.max_context

    def _room(self, kind: Pixels | Averages | OneScale) -> int:
        """Tokens of the budget that are left for observed values."""
        return self.token_budget - kind.added - 2 * self.buffer - self.queries

    def _within_cells(
        self, kind: Pixels | Averages | OneScale, context: int, buffer: int, queries: int
    ) -> tuple[int, int]:
        """Sizes of buffer and queries that the signal has cells for; both shrink before the context does."""
        cells = self.num_cells if kind.scale == 0 else self.cells_of(kind.scale)
        if not cells:
            return buffer, queries
        left = cells - (context if kind.scale == 0 else kind.siblings)
        queries = min(queries, max(1, left // (4 if kind.whole else 2)))  # of whole signals, the buffer gets most
        return min(buffer, left - queries), queries

    def _candidates(self, kind: Pixels | Averages | OneScale, context: int, others: int, continuous: bool) -> int:
        if self.patterns is None or not context:
            return 0
        needed = context if kind.scale else context + others
        return num_candidates(needed, 0 if continuous else self.num_cells)

    def _kind(self, chances: Chances) -> Pixels | Averages | OneScale:
        if self.num_scales == 1 or chances.kind >= self.chain_probability + self.average_probability:
            return Pixels()
        if chances.kind >= self.chain_probability:
            return Averages(self.num_scales, self.levels)
        scale, coarser = self._scales(chances)
        kind = OneScale(self.num_scales, self.levels, scale, coarser)
        if coarser is not None:
            kind = replace(kind, num_coarser=self.cells_of(coarser))
        drawn = (chances.siblings - UNCONDITIONAL) / (1 - UNCONDITIONAL)
        if scale == 0 or drawn <= 0:
            return kind
        siblings = round(max(self.cells_of(scale) - 2, 0) ** drawn)  # as while a scale is drawn
        return replace(kind, siblings=min(siblings, self._room(kind)))

    def _scales(self, chances: Chances) -> tuple[int, int | None]:
        """The scale of an episode of one scale, and the coarser scale that it is given (or `None`).

        Scales 0 and 1 are equally likely (other kinds of steps train scale 0 as well); each further scale is half as
        likely as the one before. The coarser scale is uniform over all coarser ones and `None`. Scale 0 is different:
        it is given scale 1 in half of its steps, and never `None`. Scales with more cells than the budget has room for
        are not given.
        """
        weights = [2.0 ** -max(scale - 1, 0) for scale in range(self.num_scales)]
        shares = itertools.accumulate(weight / sum(weights) for weight in weights)
        scale = next((scale for scale, share in enumerate(shares) if chances.scale < share), self.num_scales - 1)
        further = range(2, self.num_scales)
        given = [*[1] * max(len(further), 1), *further] if scale == 0 else [*range(scale + 1, self.num_scales), None]
        given = [coarser for coarser in given if coarser is None or self.fits(coarser)] or [None]
        return scale, given[int(chances.coarser * len(given))]


def make_episode(signal: Signal, batch: Batch, sizes: EpisodeSizes, seed: int, step: int) -> dict[str, Tensor]:
    """The model's arguments for one training step on a batch of signals as stored: context, buffer, queries.

    Args:
        step (`int`): Number of the batch.
    """
    device = batch[0].device
    generator = torch.Generator(device).manual_seed(mix_seed(seed, 3, step))
    positions, values, scales = sizes.kind.draw(signal, signal.augment(batch, generator), sizes, generator)
    second = positions.shape[1] - sizes.queries
    first = second - sizes.buffer
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
    return episode


def observed_pairs(
    signal: Signal, batch: Batch, count: int, buffer: int, sizes: EpisodeSizes, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Positions (B, count, P) and values (B, count, V): the context first, then the buffer, then the queries.

    Signals of several shapes are taken shape by shape, so that patterns choose among all cells of each.
    """
    if isinstance(batch, Tensor):
        positions, values = _ordered_pairs(signal, batch, count, buffer, sizes, generator)
    else:
        rows_of: dict[torch.Size, list[int]] = {}
        for row, array in enumerate(batch):
            rows_of.setdefault(array.shape, []).append(row)
        parts = []
        for shape, rows in rows_of.items():
            cells = shape[:-1].numel()
            if sizes.continuous or count > cells:  # too few cells: positions are continuous
                cells = 0
            own = replace(sizes, candidates=num_candidates(count, cells) if sizes.candidates else 0)
            alike = torch.stack([batch[row] for row in rows])
            parts.append(_ordered_pairs(signal, alike, count, buffer, own, generator))
        places = torch.tensor(sum(rows_of.values(), [])).argsort()
        positions, values = (torch.cat(part)[places.to(part[0].device)] for part in zip(*parts, strict=True))
    return signal.revise(batch, positions, values, sizes.context, generator)


def _ordered_pairs(
    signal: Signal, batch: Batch, count: int, buffer: int, sizes: EpisodeSizes, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """As `observed_pairs`, for signals of one shape, before they are revised."""
    positions, values = signal.pairs(batch, max(count, sizes.candidates), generator, sizes.continuous)
    if not sizes.candidates:
        return positions, values
    order = sizes.patterns.order(positions, sizes.context, buffer, count, generator)[..., None]
    return tuple(x.gather(1, order.expand(-1, -1, x.shape[-1])) for x in (positions, values))


def num_candidates(needed: int, cells: int) -> int:
    """Number of positions that patterns choose `needed` ones from.

    Args:
        cells (`int`): Number of cells of a signal; 0: positions are continuous.
    """
    return min(cells, max(4 * needed, CANDIDATES)) if cells else 4 * needed


def random_averages(positions: Tensor, pyramid: list[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn some cells into areas: positions (B, K, P), moved by up to half a cell, and scales (B, K).

    The share of areas differs from signal to signal. The other cells stay as they are, at scale 0.
    """
    batch, count = positions.shape[:2]
    random = torch.rand(batch, count, 2 + positions.shape[-1], generator=generator, device=positions.device)
    share = torch.rand(batch, 1, generator=generator, device=positions.device)
    area = random[..., 0] < share
    scales = torch.where(area, random[..., 1] * (len(pyramid) - 1), 0.0)
    width = 2 / max(pyramid[0].shape[1:-1])
    moved = (positions + (random[..., 2:] - 0.5) * width).clamp(-1, 1)
    return torch.where(area[..., None], moved, positions), scales


def mix_seed(*numbers: int) -> int:
    """One 63-bit seed from several integers (a multiplicative hash; neighbours must not share a stream)."""
    seed = 0x9E3779B97F4A7C15
    for number in numbers:
        seed = ((seed ^ (number + 0x632BE59BD9B4E019)) * 0xFF51AFD7ED558CCD) % 2**64
        seed ^= seed >> 33
    return seed >> 1
