"""Runs a batch of tiles through the model's chain, block by block, and writes or reads each block's values.

Encoder and decoder call the network with the same shapes in the same order, so that both get the same numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from applications.codec.frequencies import Coder, code
from applications.codec.tiles import Tile, aligned, plan_blocks, positions_of
from pixeltransformer.chain import Chain, draw_blocks
from pixeltransformer.context import Context
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.levels import Levels


@dataclass
class Coded:
    """What a batch's tiles hold after some or all of their pixels were coded.

    Attributes:
        levels (list of `Tensor` (L, V), int64): For each tile, the levels of `tile.coded`; after the last coded pixel,
            those nearest to the mean.
        stds (list of `Tensor` (L,)): Standard deviation over the channels, in levels; 0 where a pixel is coded.
        drawn (`list[int]`): How many pixels of each tile are coded.
        bits (list of `float`): -log2 p of each tile's pixels, where they are written; otherwise 0.
    """

    levels: list[Tensor]
    stds: list[Tensor]
    drawn: list[int]
    bits: list[float]


@dataclass(frozen=True)
class BatchCoder:
    """Codes batches of a fixed number of tiles.

    Args:
        model (`PixelTransformerModel`): Of images with quantised values.
        num_steps (`int`): Passes for each batch.
        batch_size (`int`): Rows of a batch. Missing tiles are replaced by copies, which are computed and not coded.
        progress (`Callable`): Called with the number of pixels that each pass coded.
    """

    model: torch.nn.Module
    num_steps: int
    batch_size: int
    progress: Callable[[int], None] = lambda count: None

    def run(
        self,
        tiles: Sequence[Tile],
        known: Sequence[Tensor],
        coder: Coder,
        wanted: Sequence[Tensor] | None = None,
        stop: Callable[[int, int], bool] | None = None,
    ) -> Coded:
        """Write or read the pixels of a batch.

        Args:
            known (list of `Tensor` (K, V), int64): Levels of each tile's known pixels.
            wanted (list of `Tensor` (L, V), int64, or `None`): Levels of each tile's coded pixels, to write; `None`:
                read them.
            stop (`Callable` or `None`): Asked after each block, with the number of blocks so far and of those of the
                region that comes first, whether to leave the rest to the mean.
        """
        config = self.model.config
        levels = Levels.of(config.value_range, config.quantization_step)
        rows = list(tiles) + [tiles[-1]] * (self.batch_size - len(tiles))
        known = list(known) + [known[-1]] * (len(rows) - len(known))
        curve = (config.step_losses or {}).get("random")
        sizes, first = aligned([plan_blocks(tile, self.num_steps, curve) for tile in rows])
        totals = [len(tile.coded) for tile in rows]
        positions = _padded([positions_of(tile.coded, config.native_grid) for tile in rows])
        spare = max(max(row) for row in sizes)
        chain = Chain(self.model, self._context(rows, known, levels), positions, None, totals, spare)
        found = torch.zeros(len(rows), max(totals) + spare, config.value_dim, dtype=torch.int64)
        if wanted is not None:
            for row, values in zip(found, wanted, strict=False):
                row[: len(values)] = values
        nats = torch.zeros(len(rows), dtype=torch.float64)

        def values_of(distribution: ValueDistribution, starts: list[int], counts: list[int]) -> Tensor:
            counts = [*counts[: len(tiles)], *[0] * (len(rows) - len(tiles))]
            row, number = _entries(counts)
            at = row, number + torch.tensor(starts)[row]
            if len(row):
                index, score = code(distribution[row, number], coder, None if wanted is None else found[at])
                found[at] = index
                nats.index_add_(0, row, score.double())
            self.progress(len(row))
            values = torch.zeros(*distribution.batch_shape, config.value_dim)
            values[row, number] = levels.at(found[at])
            return values

        for number, _ in enumerate(draw_blocks(chain, sizes, None, values_of=values_of), 1):
            if stop is not None and not chain.done and stop(number, first):
                break
        stds = self._fill(chain, positions, found, levels) if not chain.done else torch.zeros(found.shape[:2])
        kept = range(len(tiles))
        return Coded(
            [found[row, : totals[row]] for row in kept],
            [stds[row, : totals[row]] for row in kept],
            chain.drawn[: len(tiles)],
            (-nats / torch.log(torch.tensor(2.0)))[: len(tiles)].tolist(),
        )

    def _context(self, rows: list[Tile], known: list[Tensor], levels: Levels) -> Context:
        """Known pixels as context, with a mask where tiles have different numbers of them."""
        counts = torch.tensor([len(tile.known) for tile in rows])
        positions = _padded([positions_of(tile.known, self.model.config.native_grid) for tile in rows])
        values = _padded([levels.at(values) for values in known])
        mask = torch.arange(positions.shape[1]) < counts[:, None]
        return Context(positions, values, None if mask.all() else mask)

    def _fill(self, chain: Chain, positions: Tensor, found: Tensor, levels: Levels) -> Tensor:
        """Put the levels nearest to the mean where nothing is coded yet; returns standard deviations, in levels."""
        mean, variance = self.model.predict_from(chain.memory_of_all(), positions, reduce=lambda d: d.moments)
        count = positions.shape[1]
        missing = torch.arange(count) >= torch.tensor(chain.drawn)[:, None]
        found[:, :count][missing] = levels.index(mean[missing]).long()
        stds = torch.zeros(found.shape[:2])
        stds[:, :count][missing] = variance[missing].mean(-1).sqrt() / levels.step
        return stds


def _padded(parts: list[Tensor]) -> Tensor:
    """Tensors (L, C) of different lengths as one (N, longest, C), with zeros behind the shorter ones."""
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True).float()


def _entries(counts: list[int]) -> tuple[Tensor, Tensor]:
    """Row and number in the row of `counts[row]` values of each row."""
    lengths = torch.tensor(counts)
    row = torch.repeat_interleave(torch.arange(len(counts)), lengths)
    return row, torch.arange(len(row)) - (lengths.cumsum(0) - lengths)[row]
