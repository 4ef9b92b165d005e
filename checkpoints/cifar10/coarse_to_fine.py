"""From coarse to fine: averages over large cells first, then over ever smaller ones, then the values themselves.

Each level is drawn, in blocks, given the context and all cells of the level before (what is coarser still is contained
in them). Given these, the values of one level hardly depend on one another, so that few blocks do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .chain import Evidence, draw_blocks, score_blocks, take
from .orders import block_sizes, random_orders, split_steps, spread_orders


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
    config, values: Tensor, parents: Tensor, averages: Tensor, observed: tuple[Tensor, Tensor], children: int
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
    """
    low, high = config.value_range
    into = parents[..., None].expand_as(values)
    complete = (
        observed[1] + torch.zeros_like(observed[1]).scatter_add_(1, parents, torch.ones_like(parents))
    ) == children
    movable = torch.ones_like(values)
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


def sibling_orders(parents: Tensor, places: Tensor, generator: torch.Generator | None) -> Tensor:
    """Orders (N, Q) in which first one value of each larger cell comes, then a second one of each, …

    Args:
        parents (`Tensor` (N, Q)): Number of each value's larger cell.
        places (`Tensor` (N, C, P)): Positions of the larger cells, which are taken in a spread order.
    """
    shuffled = random_orders(parents.shape[:1], parents.shape[1], parents.device, generator)
    grouped = shuffled.gather(1, parents.gather(1, shuffled).argsort(dim=-1, stable=True))
    family = parents.gather(1, grouped)  # rising
    last = torch.searchsorted(family, family, right=True)
    turn = torch.empty_like(parents)  # the last one of each cell comes in the last round, whether or not all are asked
    turn.scatter_(1, grouped, torch.arange(parents.shape[1], device=parents.device) - last + parents.shape[1])
    rank = spread_orders(places, generator).argsort(-1).gather(1, parents)
    return (turn * places.shape[1] + rank).argsort(-1)


def observed_sums(config, evidence: Evidence, scale: int) -> tuple[Tensor, Tensor]:
    """Sum (N, C, V) and number (N, C) of the observed native cells inside each cell of a scale.

    Only observations at cell centres and of scale 0 count.
    """
    grid, positions = grid_at(config, scale), evidence.positions
    batch, cells = positions.shape[0], torch.Size(grid).numel()
    sums = torch.zeros(batch, cells, config.value_dim, device=positions.device)
    counts = torch.zeros(batch, cells, dtype=torch.long, device=positions.device)
    inside = on_native_cell(config, positions)
    if evidence.scales is not None:
        inside &= evidence.scales == 0
    if evidence.mask is not None:
        inside &= evidence.mask.bool()
    numbers = cell_numbers(config, positions, grid)
    sums.scatter_add_(1, numbers[..., None].expand_as(evidence.values), evidence.values.float() * inside[..., None])
    counts.scatter_add_(1, numbers, inside.long())
    return sums, counts


def on_native_cell(config, positions: Tensor) -> Tensor:
    """Whether positions (…, P) are centres of native cells, (…)."""
    sides = torch.tensor(config.native_grid, device=positions.device)
    at = (positions + 1) / 2 * sides - 0.5
    return ((at - at.round()).abs() < 1e-3).all(-1)


def known_at(evidence: Evidence, positions: Tensor, values: Tensor, scale: float) -> Evidence:
    """`evidence` together with values (N, L, V) at positions (N, L, P), all of one scale."""
    return evidence.extend(positions, values, torch.full_like(positions[..., 0], scale))


@dataclass
class Level:
    """One scale of the chain: where its values lie, and in which blocks they come."""

    scale: int
    positions: Tensor  # (N, L, P)
    parent_scale: int | None  # the scale before; None at the coarsest
    parents: Tensor | None  # (N, L), numbers of its cells
    parent_positions: Tensor | None  # (N, C, P)
    order: Tensor  # (N, L), random; siblings stand far apart
    sizes: list[int]

    def evidence(self, context: Evidence, coarser: Tensor | None) -> Evidence:
        """What the level is given: the context and the values (N, C, V) of the scale before."""
        return context if coarser is None else known_at(context, self.parent_positions, coarser, self.parent_scale)


def plan_levels(
    model,
    query_positions: Tensor,
    num_steps: int | None,
    generator: torch.Generator | None = None,
    with_queries: bool = True,
) -> list[Level]:
    """The scales of `config.chain` from the coarsest cells on and, `with_queries`, the queries (N, Q, P).

    Steps are split among them by the measured losses (`config.step_losses`).
    """
    config, rows = model.config, query_positions.shape[0]
    scales = config.chain[: None if with_queries else -1]
    places = {0: query_positions}
    for scale in scales[: -1 if with_queries else None]:
        places[scale] = model.native_positions(grid_at(config, scale)).expand(rows, -1, -1)
    levels: list[Level] = []
    for parent, scale in zip((None, *scales), scales, strict=False):
        where = places[scale]
        if parent is None:
            levels.append(Level(scale, where, None, None, None, spread_orders(where, generator), []))
            continue
        parents = cell_numbers(config, where, grid_at(config, parent))
        order = sibling_orders(parents, places[parent], generator)
        levels.append(Level(scale, where, parent, parents, places[parent], order, []))
    counts = [level.positions.shape[1] for level in levels]
    curves = [(config.step_losses or {}).get(f"scale-{scale}") for scale in scales]
    steps = counts if num_steps is None else split_steps(counts, num_steps, curves)
    for level, count, step, curve in zip(levels, counts, steps, curves, strict=True):
        level.sizes = block_sizes(count, step, curve)
    return levels


@torch.no_grad()
def draw_levels(
    model,
    evidence: Evidence,
    query_positions: Tensor,
    num_samples: int,
    num_steps: int | None,
    temperature: float,
    generator: torch.Generator | None,
    use_cache: bool,
    finish: str,
) -> Iterator[tuple[int, int, int, Tensor, Tensor]]:
    """Draw from the coarsest scale to the queries (B, Q, P).

    Yields after each step its number, the number of steps, the scale (0: the queries), its values so far (N, L, V; NaN
    where none is yet) and which these are (N, L); N = `num_samples` × B, samples slowest.
    """
    config = model.config
    evidence, queries = evidence.repeat(num_samples), query_positions.repeat(num_samples, 1, 1)
    by_mean = finish == "mean"
    budget = None if num_steps is None else max(num_steps - by_mean, 1)
    levels = plan_levels(model, queries, budget, generator, with_queries=not by_mean)
    total, step, coarser = sum(len(level.sizes) for level in levels) + by_mean, 0, None
    for level in levels:
        order = level.order
        shape = (*level.positions.shape[:2], config.value_dim)
        values = torch.full(shape, float("nan"), device=order.device)
        drawn = torch.zeros(shape[:2], dtype=torch.bool, device=order.device)
        blocks = draw_blocks(
            model,
            level.evidence(evidence, coarser),
            take(level.positions, order),
            torch.full_like(level.positions[..., 0], level.scale),
            level.sizes,
            temperature,
            generator,
            use_cache,
        )
        for start, stop, block in blocks:
            cells = order[:, start:stop]
            values.scatter_(1, cells[..., None].expand_as(block), block)
            drawn.scatter_(1, cells, True)
            step += 1
            if stop == values.shape[1]:
                values = _settle(config, level, values, evidence, coarser)
            yield step, total, level.scale, values, drawn
        coarser = values
    if by_mean:
        last = levels[-1]
        memory = known_at(evidence, last.positions, coarser, last.scale).encode(model)
        scales = torch.zeros_like(queries[..., 0])
        mean = model.predict_from(memory, queries, query_scales=scales, reduce=lambda d: d.mean)
        yield total, total, 0, mean, torch.ones_like(mean[..., 0], dtype=torch.bool)


def _settle(config, level: Level, values: Tensor, evidence: Evidence, coarser: Tensor | None) -> Tensor:
    """What a level's values (N, L, V) become once all are drawn: inside the range, with the averages of `coarser`."""
    if config.value_range is None:
        return values
    values = values.clamp(*config.value_range)  # as averages of values inside the range are
    if coarser is None or not (level.scale or on_native_cell(config, level.positions).all()):
        return values  # of values of another resolution nothing is known
    if level.scale:
        known = torch.zeros_like(coarser), torch.zeros(coarser.shape[:2], dtype=torch.long, device=coarser.device)
    else:
        known = observed_sums(config, evidence, level.parent_scale)
    children = 2 ** ((level.parent_scale - level.scale) * config.position_dim)
    return keep_averages(config, values, level.parents, coarser, known, children)


@torch.no_grad()
def score_levels(
    model,
    evidence: Evidence,
    query_positions: Tensor,
    query_values: Tensor,
    num_steps: int | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int = 1024,
) -> dict[int, Tensor]:
    """Log-likelihood (B,) of each scale in the chain from coarse to fine, in nats; their sum is the chain's.

    It tells the coarse values too, which are functions of the fine ones: the chain never costs less than the values.

    Raises:
        ValueError: unless context and queries together are all native cells.
    """
    config = model.config
    cells = torch.Size(config.native_grid).numel()
    sums, counts = observed_sums(config, evidence, 0)
    numbers = cell_numbers(config, query_positions, config.native_grid)
    whole = sums.scatter(1, numbers[..., None].expand_as(query_values), query_values.float())
    counts = counts.scatter_add(1, numbers, torch.ones_like(numbers))
    if not (counts == 1).all() or not on_native_cell(config, query_positions).all():
        raise ValueError(
            f'order: "coarse-to-fine" expected context and queries to be the {cells} native cells once each, '
            f"got {int((counts == 1).sum(1).min())} of them"
        )
    pyramid = [whole.unflatten(1, [config.native_grid[axis] for axis in config.axes_slowest_first])]
    for _ in range(config.num_scales - 1):
        pyramid.append(_halve(pyramid[-1], config.quantization_step))
    scores, coarser = {}, None
    for level in plan_levels(model, query_positions, num_steps, generator):
        values = pyramid[level.scale].flatten(1, -2) if level.scale else query_values
        order, sizes = level.order, torch.tensor(level.sizes)
        scores[level.scale] = score_blocks(
            model,
            level.evidence(evidence, coarser),
            take(level.positions, order),
            take(values, order),
            torch.full_like(level.positions[..., 0], level.scale),
            torch.repeat_interleave(torch.arange(1, len(sizes) + 1), sizes).to(order.device),
            chunk_size,
        ).sum(1)
        coarser = values
    return scores


def _halve(arrays: Tensor, step: float | None) -> Tensor:
    """Means of 2^P cells each of arrays (B, …, V), rounded to levels where values are quantised."""
    for axis in range(1, arrays.dim() - 1):
        arrays = arrays.unflatten(axis, (-1, 2)).mean(axis + 1)
    return arrays if step is None else (arrays / step).round() * step
