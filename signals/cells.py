"""Positions of cells, random positions, and values of arrays at positions; all on the device of the arrays."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pixeltransformer.grids import centres


def cell_positions(grid: list[int], cells: Tensor) -> Tensor:
    """Positions (*cells.shape, P) in [-1, 1] of cells given by their index in a flattened array (…, y, x).

    Args:
        grid (`list[int]`): Number of cells along x, y, …
        cells (`Tensor` of integers): Cell indices, 0 … prod(grid) - 1.
    """
    coordinates = []
    for size in grid:
        coordinates.append(centres(cells % size, size))
        cells = cells // size
    return torch.stack(coordinates, -1)


def random_cells(batch: int, count: int, grid: list[int], generator: torch.Generator | None, device) -> Tensor:
    """`count` different cells for each of `batch` signals, (batch, count), in random order.

    Raises:
        ValueError: where the grid has fewer than `count` cells.
    """
    total = torch.Size(grid).numel()
    if count > total:
        raise ValueError(f"count: expected at most the {total} cells of grid {grid}, got {count}")
    return torch.rand(batch, total, generator=generator, device=device).topk(count, -1).indices


def weighted_cells(weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` different cells for each signal (B, count), drawn one after another with probability ∝ `weights`.

    Takes the largest keys u^(1/w), u uniform (Efraimidis & Spirakis 2006), then shuffles, as heavy cells come first.

    Args:
        weights (`Tensor` (B, cells)): Positive weights.
    """
    uniform = torch.rand(weights.shape, generator=generator, device=weights.device)
    cells = (uniform.log() / weights).topk(count, -1).indices
    order = torch.rand(cells.shape, generator=generator, device=cells.device).argsort(-1)
    return cells.gather(1, order)


def values_at_cells(arrays: Tensor, cells: Tensor) -> Tensor:
    """Values (B, N, V) of arrays (B, …, y, x, V) at cells (B, N)."""
    flat = arrays.flatten(1, -2)
    return flat.gather(1, cells[..., None].expand(-1, -1, flat.shape[-1]))


def values_at_positions(arrays: Tensor, positions: Tensor) -> Tensor:
    """Values (B, N, V) of arrays (B, x, V), (B, y, x, V) or (B, z, y, x, V) at continuous positions (B, N, P).

    Linear, bilinear or trilinear between cell centres, constant beyond the outermost ones, as in the paper.
    """
    channels_first = arrays.movedim(-1, 1)
    if channels_first.dim() == 3:  # a line is looked up as an image of one row
        channels_first, positions = channels_first[:, :, None], F.pad(positions, (0, 1))
    spatial = channels_first.dim() - 2
    grid = positions.view(positions.shape[0], *[1] * (spatial - 1), -1, spatial)
    values = F.grid_sample(channels_first, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return values.flatten(2).transpose(1, 2)


def average_cells(arrays: Tensor) -> Tensor:
    """Arrays (B, …, y, x, V) halved along each axis: each cell is the mean of 2, 2×2 or 2×2×2 cells."""
    spatial = arrays.dim() - 2
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[spatial - 1]
    return pool(arrays.movedim(-1, 1), 2).movedim(1, -1)


def values_at_scales(pyramid: list[Tensor], positions: Tensor, scales: Tensor) -> Tensor:
    """Values (B, N, V) of a pyramid at continuous positions (B, N, P) and scales (B, N).

    Linear between cell centres and between two neighbouring scales, as in mipmapping (Williams 1983).

    Args:
        pyramid (`list[Tensor]`): Arrays (B, …, y, x, V), each the `average_cells` of the one before.
        scales (`Tensor`): From 0 (the first array) to `len(pyramid) - 1`.
    """
    values = torch.stack([values_at_positions(arrays, positions) for arrays in pyramid])  # (scales, B, N, V)
    knots = torch.arange(len(pyramid), device=scales.device).view(-1, 1, 1)
    weights = (1 - (scales - knots).abs()).clamp(min=0)  # a hat function around each scale
    return (weights[..., None] * values).sum(0)


def random_pairs(
    arrays: Tensor, count: int, continuous: bool = False, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Positions (B, count, P) and values (B, count, V) at random positions of arrays (B, …, y, x, V).

    If `continuous`, positions are uniform in [-1, 1]^P; otherwise they are distinct cells of the grid in random order.
    """
    batch, grid = arrays.shape[0], list(arrays.shape[-2:0:-1])
    if continuous:
        positions = torch.rand(batch, count, len(grid), generator=generator, device=arrays.device) * 2 - 1
        return positions, values_at_positions(arrays, positions)
    cells = random_cells(batch, count, grid, generator, arrays.device)
    return cell_positions(grid, cells), values_at_cells(arrays, cells)
