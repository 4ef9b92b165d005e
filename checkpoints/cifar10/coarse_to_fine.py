"""From coarse to fine: averages over large cells first, then over ever smaller ones, then the values themselves.

Each level is drawn, in blocks, given the context and all cells of the level before (what is coarser still is contained
in them). Given these, the values of one level hardly depend on one another, so that few blocks do.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .chain import Chain, Evidence, score_blocks, take
from .checks import SamplingOptions
from .orders import block_sizes, random_order, split_steps, spread_order
from .speculative import draw, spare
from .streams import Streams

CENTRED = 1e-3  # of a cell: how far from its centre an observation of the cell may lie


def grid_at(config, scale: int) -> list[int]:
    """The grid of the cells of a scale."""
    return [side // 2**scale for side in config.native_grid]


def cell_numbers(config, positions: Tensor, grid: list[int]) -> Tensor:
    """Numbers (…) of the cells of `grid` in which positions (…, P) lie, in the order of `native_positions`."""
    number = torch.zeros(positions.shape[:-1], dtype=torch.long, device=positions.device)
    for axis in config.axes_slowest_first:
        index = ((positions[..., axis] + 1) / 2 * grid[axis]).floor().long().clamp(0, grid[axis] - 1)
        number = number * grid[axis] + index
    return number


def keep_averages(
    config,
    values: Tensor,
    parents: Tensor,
    averages: Tensor,
    observed: tuple[Tensor, Tensor],
    children: int,
    fixed: Tensor,
) -> Tensor:
    """Values (N, L, V), moved so that the values of each larger cell have its average, within half a level.

    All values drawn in a cell move by the same amount: of all corrections it is the smallest (in squares), and what the
    model drew of their differences stays as it is. A value at the end of the range stays there; the others of its cell
    move the more. Nothing is asked of a cell whose values are not all there.

    Args:
        parents (`Tensor` (N, L)): Which larger cell each value lies in.
        averages (`Tensor` (N, C, V)): Of the larger cells.
        observed (`tuple[Tensor, Tensor]`): Sum (N, C, V) and number (N, C) of the values known in each larger cell.
        children (`int`): Values that a larger cell has.
        fixed (`Tensor` (N, L)): True where a value is an observed one, which does not move.
    """
    low, high = config.value_range
    into = parents[..., None].expand_as(values)
    complete = (
        observed[1] + torch.zeros_like(observed[1]).scatter_add_(1, parents, torch.ones_like(parents))
    ) == children
    movable = (~fixed[..., None]).to(values.dtype).expand_as(values)
    for _ in range(children):  # each round, a further value may reach the end of the range
        sums = observed[0].scatter_add(1, into, values)
        room = torch.zeros_like(sums).scatter_add_(1, into, movable)
        shift = (children * averages - sums) / room.clamp(min=1) * complete[..., None]
        moved = values + shift.gather(1, into) * movable
        movable = movable * ((moved > low) & (moved < high))
        values = moved.clamp(low, high)
        if torch.equal(values, moved):
            break
    step = config.quantization_step
    return values if step is None else (low + ((values - low) / step).round() * step).clamp(low, high)


def sibling_order(parents: Tensor, positions: Tensor, streams: Streams) -> Tensor:
    """Orders (N, Q) in which first one value of each larger cell comes, then a second one of each, …

    Four values a … d in cell 0 and four values e … h in cell 1, with the cells taken in the order 1, 0 and their values
    shuffled to c a d b and f h g e: the order is f c, h a, g d, e b. If e is not asked for, cell 1 misses the first
    round, not the last: c, f a, h d, g b.

    Args:
        parents (`Tensor` (N, Q)): Number of each value's larger cell.
        positions (`Tensor` (N, C, P)): Of the larger cells, which are taken in a spread order in every round.
    """
    shuffled = random_order(parents[..., None], streams)
    by_cell = shuffled.gather(1, parents.gather(1, shuffled).argsort(dim=-1, stable=True))  # c a d b f h g e
    cells = parents.gather(1, by_cell)  # 0 0 0 0 1 1 1 1
    stop = torch.searchsorted(cells, cells, right=True)  # 4 4 4 4 8 8 8 8
    count = parents.shape[1]
    turn = torch.arange(count, device=parents.device) - stop + count  # 4 5 6 7 4 5 6 7: the last ones are equal
    turn = torch.empty_like(parents).scatter_(1, by_cell, turn)
    rank = spread_order(positions, streams.fork(1)).argsort(-1).gather(1, parents)
    return (turn * positions.shape[1] + rank).argsort(-1)


def observed_sums(config, evidence: Evidence, scale: int, within: int | None = None) -> tuple[Tensor, Tensor]:
    """Sum (N, C, V) and number (N, C) of the observed cells of a scale inside each cell of the scale `within` (default:
    the same one).

    An observation is that of a cell if it lies at the cell's centre and is of the cell's scale.
    """
    grid, positions = grid_at(config, scale if within is None else within), evidence.positions
    batch, cells = positions.shape[0], torch.Size(grid).numel()
    sums = torch.zeros(batch, cells, config.value_dim, device=positions.device)
    counts = torch.zeros(batch, cells, dtype=torch.long, device=positions.device)
    mine = at_centres(positions, grid_at(config, scale))
    if evidence.scales is not None:
        mine &= (evidence.scales - scale).abs() < CENTRED
    elif scale:
        mine &= False
    if evidence.mask is not None:
        mine &= evidence.mask.bool()
    numbers = cell_numbers(config, positions, grid)
    sums.scatter_add_(1, numbers[..., None].expand_as(evidence.values), evidence.values.float() * mine[..., None])
    counts.scatter_add_(1, numbers, mine.long())
    return sums, counts


def at_centres(positions: Tensor, grid: list[int]) -> Tensor:
    """Whether positions (…, P) are centres of cells of a grid, (…)."""
    at = (positions + 1) / 2 * torch.tensor(grid, device=positions.device) - 0.5
    return ((at - at.round()).abs() < CENTRED).all(-1)


def known_at(evidence: Evidence, positions: Tensor, values: Tensor, scale: float) -> Evidence:
    """`evidence` together with values (N, L, V) at positions (N, L, P), all of one scale."""
    return evidence.extend(positions, values, torch.full_like(positions[..., 0], scale))


@dataclass
class Level:
    """One scale of the chain: where its values lie, which of them are observed, and in which blocks the others come."""

    scale: int
    positions: Tensor  # (N, L, P)
    parent_scale: int | None  # the scale before; None at the coarsest
    parents: Tensor | None  # (N, L), numbers of its cells
    parent_positions: Tensor | None  # (N, C, P)
    observed: Tensor  # (N, L, V), averages that are known; NaN elsewhere
    order: Tensor  # (N, L): what is drawn, siblings far apart, then what is observed
    streams: Streams  # of the N rows
    sizes: list[list[int]] | None = None  # of the blocks of each row; None: drawn speculatively

    @property
    def fixed(self) -> Tensor:
        """True (N, L) where a value is observed."""
        return ~self.observed.isnan().any(-1)

    @property
    def totals(self) -> list[int]:
        """How many values of each row are drawn."""
        return (~self.fixed).sum(1).tolist()

    def evidence(self, context: Evidence, coarser: Tensor | None) -> Evidence:
        """What the level is given: the context and the values (N, C, V) of the scale before."""
        return context if coarser is None else known_at(context, self.parent_positions, coarser, self.parent_scale)


def plan_levels(
    model,
    evidence: Evidence,
    query_positions: Tensor,
    num_steps: int | None,
    streams: Streams,
    with_queries: bool = True,
) -> list[Level]:
    """The scales of `config.chain` from the coarsest cells on and, `with_queries`, the queries (N, Q, P), in blocks.

    The passes of each row are split among them by the measured losses (`config.step_losses`); `None`: blocks of one.
    """
    config, rows = model.config, query_positions.shape[0]
    scales = config.chain[: None if with_queries else -1]
    levels: list[Level] = []
    for number, scale in enumerate(scales):
        own, parent = streams.fork(2 * number), levels[-1] if levels else None
        queries = scale == config.chain[-1]
        where = query_positions if queries else model.native_positions(grid_at(config, scale)).expand(rows, -1, -1)
        observed = torch.full((*where.shape[:2], config.value_dim), torch.nan, device=where.device)
        if not queries:
            sums, counts = observed_sums(config, evidence, scale)
            observed = torch.where(counts[..., None] > 0, sums / counts[..., None], observed)
        if parent is None:
            parents, order, before = None, spread_order(where, own), (None, None, None)
        else:
            parents = cell_numbers(config, where, grid_at(config, parent.scale))
            order, before = sibling_order(parents, parent.positions, own), (parent.scale, parents, parent.positions)
        fixed = ~observed.isnan().any(-1)
        order = order.gather(1, fixed.gather(1, order).byte().argsort(dim=1, stable=True))
        levels.append(Level(scale, where, *before, observed, order, own))
    curves = [(config.step_losses or {}).get(f"scale-{scale}") for scale in scales]
    plans = [_plan(counts, num_steps, curves) for counts in zip(*(level.totals for level in levels), strict=True)]
    for level, plan in zip(levels, zip(*plans, strict=True), strict=True):
        most = max(map(len, plan))
        level.sizes = [sizes + [0] * (most - len(sizes)) for sizes in plan]
    return levels


def _plan(counts: tuple[int, ...], num_steps: int | None, curves: list[dict | None]) -> list[list[int]]:
    """Sizes of the blocks of each level of one row, of which `counts` values are drawn."""
    drawn = [(count, curve) for count, curve in zip(counts, curves, strict=True) if count]
    passes = [count for count, _ in drawn]
    if num_steps is not None:
        passes = split_steps(passes, num_steps, [curve for _, curve in drawn])
    plans = iter([block_sizes(count, steps, curve) for (count, curve), steps in zip(drawn, passes, strict=True)])
    return [next(plans) if count else [] for count in counts]


class LevelDrawing:
    """A level while it is drawn."""

    def __init__(self, model, level: Level, context: Evidence, coarser: Tensor | None):
        self.level, self.context, self.coarser, self.config = level, context, coarser, model.config
        self.chain = Chain(
            model,
            level.evidence(context, coarser),
            take(level.positions, level.order),
            torch.full_like(level.positions[..., 0], level.scale),
            level.totals,
            spare(level.sizes, max(level.totals)),
        )
        self.settled: Tensor | None = None

    def so_far(self) -> tuple[Tensor, Tensor]:
        """Values (N, L, V) of all cells, NaN where none is known yet, and which are known (N, L)."""
        values, level = self.settled, self.level
        if values is None:
            values = take(self.chain.so_far(level.order.shape[1])[0], level.order.argsort(-1))
            values = torch.where(level.fixed[..., None], level.observed, values.float())
            if self.chain.done:
                values = self.settled = self._settle(values)
        return values, ~values.isnan().any(-1)

    def _settle(self, values: Tensor) -> Tensor:
        """What values (N, L, V) become once all are drawn: inside the range, with the averages of the scale before."""
        config, level, coarser = self.config, self.level, self.coarser
        if config.value_range is None:
            return values
        values = values.clamp(*config.value_range)  # as averages of values inside the range are
        if coarser is None or not (level.scale or at_centres(level.positions, config.native_grid).all()):
            return values  # of values of another resolution nothing is known
        if level.scale:
            known = torch.zeros_like(coarser), torch.zeros(coarser.shape[:2], dtype=torch.long, device=coarser.device)
        else:
            known = observed_sums(config, self.context, 0, level.parent_scale)
        children = 2 ** ((level.parent_scale - level.scale) * config.position_dim)
        return keep_averages(config, values, level.parents, coarser, known, children, level.fixed)


@torch.no_grad()
def draw_levels(
    model, evidence: Evidence, query_positions: Tensor, streams: Streams, options: SamplingOptions
) -> Iterator[tuple[int | None, float, int, Callable[[], tuple[Tensor, Tensor]]]]:
    """Draw from the coarsest scale to the queries (B, Q, P).

    Yields after each pass the number of passes in all (`None` if it is not known before), the share that is done, the
    scale (0: the queries), and a function that returns its values so far (N, L, V; NaN where none is yet) and which
    these are (N, L); N = samples × B, samples slowest.
    """
    evidence = evidence.repeat(options.num_samples)
    queries = query_positions.repeat(options.num_samples, 1, 1)
    by_mean = options.finish == "mean"
    budget = None if options.num_steps is None else max(options.num_steps - by_mean, 1)
    levels = plan_levels(model, evidence, queries, budget, streams, with_queries=not by_mean)
    passes = sum(len(level.sizes[0]) for level in levels) + by_mean
    values = sum(sum(level.totals) for level in levels) + by_mean
    speculative = options.num_steps is None and options.method == "speculative"
    step, drawn, coarser = 0, 0, None
    for level in levels:
        level.sizes = None if speculative else level.sizes
        drawing = LevelDrawing(model, level, evidence, coarser)
        for _ in draw(drawing.chain, level.sizes, level.streams, options):
            step += 1
            share = (drawn + sum(drawing.chain.drawn)) / values if speculative else step / passes
            yield None if speculative else passes, share, level.scale, drawing.so_far
        drawn += sum(level.totals)
        coarser = drawing.so_far()[0]
    if by_mean:
        last = levels[-1]
        memory = known_at(evidence, last.positions, coarser, last.scale).encode(model)
        scales = torch.zeros_like(queries[..., 0])
        mean = model.predict_from(memory, queries, query_scales=scales, reduce=lambda d: d.mean)
        yield None if speculative else passes, 1.0, 0, lambda: (mean, torch.ones_like(mean[..., 0], dtype=torch.bool))


@torch.no_grad()
def score_levels(
    model,
    evidence: Evidence,
    query_positions: Tensor,
    query_values: Tensor,
    streams: Streams,
    num_steps: int | None = None,
    chunk_size: int = 1024,
) -> dict[int, Tensor]:
    """Log-likelihood (B,) of each scale in the chain from coarse to fine, in nats; their sum is the chain's.

    It scores the coarse values too, which are functions of the fine ones (but not those that are observed): the chain
    never costs less than the values.

    Raises:
        ValueError: unless context and queries together are all native cells.
    """
    config = model.config
    cells = torch.Size(config.native_grid).numel()
    sums, counts = observed_sums(config, evidence, 0)
    numbers = cell_numbers(config, query_positions, config.native_grid)
    whole = sums.scatter(1, numbers[..., None].expand_as(query_values), query_values.float())
    counts = counts.scatter_add(1, numbers, torch.ones_like(numbers))
    if not (counts == 1).all() or not at_centres(query_positions, config.native_grid).all():
        raise ValueError(
            f'order: "coarse-to-fine" expected context and queries to be the {cells} native cells once each, '
            f"got {int((counts == 1).sum(1).min())} of them"
        )
    pyramid = [whole.unflatten(1, [config.native_grid[axis] for axis in config.axes_slowest_first])]
    for _ in range(config.num_scales - 1):
        pyramid.append(_halve(pyramid[-1], config))
    scores, coarser = {}, None
    for level in plan_levels(model, evidence, query_positions, num_steps, streams):
        values = pyramid[level.scale].flatten(1, -2) if level.scale else query_values
        scores[level.scale] = score_blocks(
            model,
            level.evidence(evidence, coarser),
            take(level.positions, level.order),
            take(values, level.order),
            torch.full_like(level.positions[..., 0], level.scale),
            level.sizes,
            chunk_size,
        ).sum(1)
        coarser = values
    return scores


def _halve(arrays: Tensor, config) -> Tensor:
    """Means of 2^P cells each of arrays (B, …, V), rounded to levels where values are quantised."""
    for axis in range(1, arrays.dim() - 1):
        arrays = arrays.unflatten(axis, (-1, 2)).mean(axis + 1)
    if config.quantization_step is None:
        return arrays
    low, step = config.value_range[0], config.quantization_step
    return low + ((arrays - low) / step).round() * step
