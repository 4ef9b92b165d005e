"""Held-out signals under a pattern, the same for every checkpoint."""

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluation.job import Job
from pixeltransformer.grids import coordinates
from signals.base import Observation
from signals.patterns import Pattern

MAX_QUERIES = 4096  # hidden positions of a signal that marginals are asked for, at random where there are more


def seeded(job: Job, start: int, name: str) -> torch.Generator:
    """The randomness of the batch that begins at a row, for a pattern or an order."""
    seed = job.seed + 1000 * start + sum(name.encode())
    return torch.Generator(job.model.device).manual_seed(seed)


def observe(
    job: Job, rows: Sequence[Tensor], start: int, name: str, pattern: Pattern, most: int | None = None
) -> Observation:
    """A batch of signals under a pattern, asked for at most `most` hidden positions (default: all), in their order."""
    generator = seeded(job, start, name)
    seen = job.signal.observe(job.stored(rows), pattern, job.config.native_grid, generator)
    hidden = seen.query_positions.shape[1]
    if most is None or hidden <= most:
        return seen
    kept = torch.randperm(hidden, generator=generator, device=job.model.device)[:most].sort().values
    return seen._replace(query_positions=seen.query_positions[:, kept], query_values=seen.query_values[:, kept])


def cell_indices(job: Job, positions: Tensor) -> Tensor:
    """Indices (B, Q) of the cells of the native grid whose centres positions (B, Q, P) are."""
    centers = job.signal.positions(job.config.native_grid).to(positions.device)
    sides = torch.tensor(job.config.native_grid, device=positions.device)
    strides = torch.tensor([10_000**axis for axis in range(len(sides))], device=positions.device)
    known, asked = ((coordinates(x, sides).round().long() * strides).sum(-1) for x in (centers, positions))
    order = known.argsort()
    return order[torch.searchsorted(known[order], asked)]


def look_up(job: Job, values: Tensor, positions: Tensor) -> Tensor:
    """Values (cells, V) of the native grid at cell centres (B, Q, P), as (B, Q, V)."""
    return values.to(positions.device)[cell_indices(job, positions)]


def to_grid(job: Job, seen: Observation, filling: Tensor) -> Tensor:
    """Whole signals (B, cells, V): a filling (B, Q, V) at the queries, and what is observed in all other cells."""
    asked = cell_indices(job, seen.query_positions)
    cells = torch.Size(job.config.native_grid).numel()
    whole = filling.new_zeros(len(filling), cells, filling.shape[-1])
    if asked.shape[1] < cells:  # else what is observed lies between the cells
        known = cell_indices(job, seen.context_positions)
        whole.scatter_(1, known[..., None].expand_as(seen.context_values), seen.context_values.to(filling))
    return whole.scatter(1, asked[..., None].expand_as(filling), filling)
