"""From coarse to fine: first averages over large cells are drawn, then over smaller ones, last the values themselves.

Each scale is drawn given the context and all cells of the scale before it, which determine all larger averages. Given
those, the values of a scale hardly depend on each other, so that few passes suffice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .chain import Chain, score_blocks
from .checks import SamplingOptions
from .context import Context, take
from .grids import coarser, containing, coordinates
from .levels import round_to_levels
from .orders import block_sizes, random_order, split_steps, spread_order
from .speculative import draw, spare
from .streams import Streams

CENTRED = 1e-3  # share of a cell: largest distance of an observed position from the centre of its cell


def grid_at(config, scale: int) -> list[int]:
    """The grid of the cells of a scale."""
    return coarser(config.native_grid, scale)


def cell_numbers(config, positions: Tensor, grid: list[int]) -> Tensor:
    """Index (…) of the cell of `grid` that each position (…, P) lies in, in the order of `native_positions`."""
    along = containing(positions, torch.tensor(grid, device=positions.device))
    number = torch.zeros_like(along[..., 0])
    for axis in config.axes_slowest_first:
        number = number * grid[axis] + along[..., axis]
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
    """Shift values (N, L, V) so that those in each larger cell average to the cell's, up to rounding to levels.

    All drawn values of a cell are shifted by the same amount: the smallest correction in the sense of least squares,
    which keeps the differences between the values. A value that reaches an end of the range stays there, and the
    others of its cell are shifted further. Cells with a value that is neither drawn nor observed stay as they are.

    Args:
        parents (`Tensor` (N, L)): Index of the larger cell that each value lies in.
        averages (`Tensor` (N, C, V)): Averages of the larger cells.
        observed (`tuple[Tensor, Tensor]`): Sum (N, C, V) and number (N, C) of observed values in each larger cell
            that are not among `values`.
        children (`int`): Number of values in a larger cell.
        fixed (`Tensor` (N, L)): True for those of `values` that are observed; they are not shifted.
    """
    low, high = config.value_range
    into = parents[..., None].expand_as(values)
    complete = (
        observed[1] + torch.zeros_like(observed[1]).scatter_add_(1, parents, torch.ones_like(parents))
    ) == children
    movable = (~fixed[..., None]).to(values.dtype).expand_as(values)
    for _ in range(children):  # in each round another value may reach the end of the range
        sums = observed[0].scatter_add(1, into, values)
        room = torch.zeros_like(sums).scatter_add_(1, into, movable)
        shift = (children * averages - sums) / room.clamp(min=1) * complete[..., None]
        moved = values + shift.gather(1, into) * movable
        movable = movable * ((moved > low) & (moved < high))
        values = moved.clamp(low, high)
        if torch.equal(values, moved):
            break
    return round_to_levels(values, config.value_range, config.quantization_step)


def sibling_order(parents: Tensor, positions: Tensor, streams: Streams) -> Tensor:
    """Permutations (N, Q) in rounds: first one value of each larger cell, then a second one of each, and so on.

    The values of a cell are shuffled. Every round visits the cells in the same spread order. A cell with fewer values
    than others misses the first rounds, so that all cells end in the last round.

    Example: cell 0 has the values a b c d, shuffled to c a d b. Cell 1 has e f g h, shuffled to f h g e, and comes
    before cell 0. The rounds are (f c) (h a) (g d) (e b), and the order is f c h a g d e b. Without the query e, cell 1
    has three values, and the rounds are (c) (f a) (h d) (g b).

    Args:
        parents (`Tensor` (N, Q)): Index of the larger cell that each value lies in.
        positions (`Tensor` (N, C, P)): Centres of the larger cells.
    """
    shuffled = random_order(parents[..., None], streams)
    by_cell = shuffled.gather(1, parents.gather(1, shuffled).argsort(dim=-1, stable=True))  # c a d b f h g e
    cells = parents.gather(1, by_cell)  # 0 0 0 0 1 1 1 1
    stop = torch.searchsorted(cells, cells, right=True)  # 4 4 4 4 8 8 8 8
    count = parents.shape[1]
    turn = torch.arange(count, device=parents.device) - stop + count  # 4 5 6 7 4 5 6 7: all cells end alike
    turn = torch.empty_like(parents).scatter_(1, by_cell, turn)
    rank = spread_order(positions, streams.fork(1)).argsort(-1).gather(1, parents)
    return (turn * positions.shape[1] + rank).argsort(-1)


def observed_sums(config, context: Context, scale: int, within: int | None = None) -> tuple[Tensor, Tensor]:
    """Sum (N, C, V) and number (N, C) of the observed cells of a scale inside each cell of the scale `within`.

    An observed value is that of a cell if its position is the cell's centre and its scale is the cell's.

    Args:
        within (`int` or `None`): Scale of the C cells; `None`: `scale` itself.
    """
    grid, positions = grid_at(config, scale if within is None else within), context.positions
    batch, cells = positions.shape[0], torch.Size(grid).numel()
    sums = torch.zeros(batch, cells, config.value_dim, device=positions.device)
    counts = torch.zeros(batch, cells, dtype=torch.long, device=positions.device)
    mine = at_centres(positions, grid_at(config, scale))
    if context.scales is not None:
        mine &= (context.scales - scale).abs() < CENTRED
    elif scale:
        mine &= False
    if context.mask is not None:
        mine &= context.mask.bool()
    numbers = cell_numbers(config, positions, grid)
    sums.scatter_add_(1, numbers[..., None].expand_as(context.values), context.values.float() * mine[..., None])
    counts.scatter_add_(1, numbers, mine.long())
    return sums, counts


def at_centres(positions: Tensor, grid: list[int]) -> Tensor:
    """Mask (…), True where a position (…, P) is the centre of a cell of the grid."""
    at = coordinates(positions, torch.tensor(grid, device=positions.device))
    return ((at - at.round()).abs() < CENTRED).all(-1)


def known_at(context: Context, positions: Tensor, values: Tensor, scale: float) -> Context:
    """The context and, added to it, values (N, L, V) at positions (N, L, P) of one scale."""
    return context.extend(positions, values, torch.full_like(positions[..., 0], scale))


@dataclass
class ScalePlan:
    """How one scale is drawn: the positions of its values, which values are observed, and the order of the others."""

    scale: int
    positions: Tensor  # (N, L, P)
    parent_scale: int | None  # the scale before; None at the coarsest
    parents: Tensor | None  # (N, L), index of the cell of that scale
    parent_positions: Tensor | None  # (N, C, P)
    observed: Tensor  # (N, L, V), averages that are known; NaN elsewhere
    order: Tensor  # (N, L): first what is drawn, siblings far apart, then what is observed
    streams: Streams  # random numbers of the N rows
    sizes: list[list[int]] | None = None  # block sizes of each row; None: drawn speculatively

    @property
    def fixed(self) -> Tensor:
        """True (N, L) where a value is observed."""
        return ~self.observed.isnan().any(-1)

    @property
    def totals(self) -> list[int]:
        """Number of values to draw in each row."""
        return (~self.fixed).sum(1).tolist()

    def given(self, context: Context, coarser: Tensor | None) -> Context:
        """What this scale is drawn given: the context and the values (N, C, V) of the scale before."""
        return context if coarser is None else known_at(context, self.parent_positions, coarser, self.parent_scale)


def plan_scales(
    model,
    context: Context,
    query_positions: Tensor,
    num_steps: int | None,
    streams: Streams,
    with_queries: bool = True,
) -> list[ScalePlan]:
    """Plan the scales of `config.chain`, the largest cells first: what is drawn, in which order and in which blocks.

    Args:
        query_positions (`Tensor` (N, Q, P)): What is asked for: scale 0, which is drawn last.
        num_steps (`int` or `None`): Passes in all, divided among the scales by measured losses (`config.step_losses`);
            `None`: blocks of one value.
        with_queries (`bool`): Whether scale 0 is drawn, too.
    """
    config, rows = model.config, query_positions.shape[0]
    scales = config.chain[: None if with_queries else -1]
    plans: list[ScalePlan] = []
    for number, scale in enumerate(scales):
        own, parent = streams.fork(2 * number), plans[-1] if plans else None
        queries = scale == config.chain[-1]
        where = query_positions if queries else model.native_positions(grid_at(config, scale)).expand(rows, -1, -1)
        observed = torch.full((*where.shape[:2], config.value_dim), torch.nan, device=where.device)
        if not queries:
            sums, counts = observed_sums(config, context, scale)
            observed = torch.where(counts[..., None] > 0, sums / counts[..., None], observed)
        if parent is None:
            parents, order, before = None, spread_order(where, own), (None, None, None)
        else:
            parents = cell_numbers(config, where, grid_at(config, parent.scale))
            order, before = sibling_order(parents, parent.positions, own), (parent.scale, parents, parent.positions)
        fixed = ~observed.isnan().any(-1)
        order = order.gather(1, fixed.gather(1, order).byte().argsort(dim=1, stable=True))
        plans.append(ScalePlan(scale, where, *before, observed, order, own))
    curves = [(config.step_losses or {}).get(f"scale-{scale}") for scale in scales]
    rows_of_sizes = [_sizes(counts, num_steps, curves) for counts in zip(*(plan.totals for plan in plans), strict=True)]
    for plan, of_rows in zip(plans, zip(*rows_of_sizes, strict=True), strict=True):
        most = max(map(len, of_rows))
        plan.sizes = [sizes + [0] * (most - len(sizes)) for sizes in of_rows]
    return plans


def _sizes(counts: tuple[int, ...], num_steps: int | None, curves: list[dict | None]) -> list[list[int]]:
    """Block sizes for each scale of one row, which draws `counts` values of them."""
    drawn = [(count, curve) for count, curve in zip(counts, curves, strict=True) if count]
    passes = [count for count, _ in drawn]
    if num_steps is not None:
        passes = split_steps(passes, num_steps, [curve for _, curve in drawn])
    sizes = iter([block_sizes(count, steps, curve) for (count, curve), steps in zip(drawn, passes, strict=True)])
    return [next(sizes) if count else [] for count in counts]


class ScaleDrawing:
    """A scale that is being drawn: its chain, and its values so far."""

    def __init__(self, model, plan: ScalePlan, context: Context, coarser: Tensor | None):
        self.plan, self.context, self.coarser, self.config = plan, context, coarser, model.config
        self.chain = Chain(
            model,
            plan.given(context, coarser),
            take(plan.positions, plan.order),
            torch.full_like(plan.positions[..., 0], plan.scale),
            plan.totals,
            spare(plan.sizes, max(plan.totals)),
        )
        self.settled: Tensor | None = None

    def after(self, drawn: list[int]) -> tuple[Tensor, Tensor]:
        """Values (N, L, V) of all cells after `drawn` ones of each row, and a mask (N, L) of the known ones.

        The others are NaN.
        """
        plan, done = self.plan, drawn == self.chain.totals
        if done and self.settled is not None:
            values = self.settled
        else:
            values = take(self.chain.after(drawn, plan.order.shape[1])[0], plan.order.argsort(-1))
            values = torch.where(plan.fixed[..., None], plan.observed, values.float())
            if done:
                values = self.settled = self._settle(values)
        return values, ~values.isnan().any(-1)

    def _settle(self, values: Tensor) -> Tensor:
        """Clamp the drawn values (N, L, V) to the range and give them the averages of the scale before."""
        config, plan, coarser = self.config, self.plan, self.coarser
        if config.value_range is None:
            return values
        values = values.clamp(*config.value_range)  # averages of values inside the range are inside it
        if coarser is None or not (plan.scale or at_centres(plan.positions, config.native_grid).all()):
            return values  # queries of another grid do not fill the cells
        if plan.scale:
            known = torch.zeros_like(coarser), torch.zeros(coarser.shape[:2], dtype=torch.long, device=coarser.device)
        else:
            known = observed_sums(config, self.context, 0, plan.parent_scale)
        children = 2 ** ((plan.parent_scale - plan.scale) * config.position_dim)
        return keep_averages(config, values, plan.parents, coarser, known, children, plan.fixed)


@torch.inference_mode()
def draw_scales(
    model, context: Context, query_positions: Tensor, streams: Streams, options: SamplingOptions
) -> Iterator[tuple[int | None, float, int, Callable[[], tuple[Tensor, Tensor]]]]:
    """Draw all scales, from the largest cells to the queries (B, Q, P).

    Yields after each pass the total number of passes (`None` if not known in advance), the share that is done, the
    scale (0 for the queries), and a function that returns the scale's values after this pass (N, L, V; NaN where none
    is drawn) and a mask of these (N, L). The N rows are all items of sample 0, then of sample 1, …
    """
    context = context.repeat(options.num_samples)
    queries = query_positions.repeat(options.num_samples, 1, 1)
    by_mean = options.finish == "mean"
    budget = None if options.num_steps is None else max(options.num_steps - by_mean, 1)
    plans = plan_scales(model, context, queries, budget, streams, with_queries=not by_mean)
    passes = sum(len(plan.sizes[0]) for plan in plans) + by_mean
    values = sum(sum(plan.totals) for plan in plans) + by_mean
    speculative = options.num_steps is None and options.method == "speculative"
    step, drawn, coarser = 0, 0, None
    for plan in plans:
        plan.sizes = None if speculative else plan.sizes
        drawing = ScaleDrawing(model, plan, context, coarser)
        for _ in draw(drawing.chain, plan.sizes, plan.streams, options):
            step += 1
            share = (drawn + sum(drawing.chain.drawn)) / values if speculative else step / passes
            so_far = partial(drawing.after, drawing.chain.drawn)
            yield None if speculative else passes, share, plan.scale, so_far
        drawn += sum(plan.totals)
        coarser = drawing.after(drawing.chain.totals)[0]
    if by_mean:
        last = plans[-1]
        memory = known_at(context, last.positions, coarser, last.scale).encode(model)
        scales = torch.zeros_like(queries[..., 0])
        mean = model.predict_from(memory, queries, query_scales=scales, reduce=lambda d: d.mean)
        yield None if speculative else passes, 1.0, 0, lambda: (mean, torch.ones_like(mean[..., 0], dtype=torch.bool))


@torch.no_grad()
def score_scales(
    model,
    context: Context,
    query_positions: Tensor,
    query_values: Tensor,
    streams: Streams,
    num_steps: int | None = None,
    chunk_size: int = 1024,
) -> dict[int, Tensor]:
    """Log-likelihood (B,), in nats, of the values of each scale given the scale before; their sum is the joint one.

    Averages are scored too, except observed ones, although the query values determine them. The sum is therefore at
    most the log-likelihood of the query values.

    Raises:
        ValueError: unless context and queries together are all native cells, each once.
    """
    config = model.config
    cells = torch.Size(config.native_grid).numel()
    sums, counts = observed_sums(config, context, 0)
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
    for plan in plan_scales(model, context, query_positions, num_steps, streams):
        values = pyramid[plan.scale].flatten(1, -2) if plan.scale else query_values
        scores[plan.scale] = score_blocks(
            model,
            plan.given(context, coarser),
            take(plan.positions, plan.order),
            take(values, plan.order),
            torch.full_like(plan.positions[..., 0], plan.scale),
            plan.sizes,
            chunk_size,
        ).sum(1)
        coarser = values
    return scores


def _halve(arrays: Tensor, config) -> Tensor:
    """Averages over 2^P neighbouring cells of arrays (B, …, V), rounded to levels if values are quantised."""
    for axis in range(1, arrays.dim() - 1):
        arrays = arrays.unflatten(axis, (-1, 2)).mean(axis + 1)
    return round_to_levels(arrays, config.value_range, config.quantization_step)
