"""Observed sets of images, small ones of random colours."""

import math

import torch

from demo.grids import choose_cells, observe_cells
from demo.image_actions import EVERYTHING
from demo.observed import Observed
from signals.cells import cell_positions
from signals.image import Images


def some_pixels(count: int = 20, grid=(32, 32), channels: int = 3) -> Observed:
    values = torch.rand(grid[1], grid[0], channels, generator=torch.Generator().manual_seed(0))
    return observe_cells((values * 255).round() / 255, chosen(grid, count, "random pixels"))


def chosen(grid, count: int, pattern: str) -> torch.Tensor:
    positions = cell_positions(list(grid), torch.arange(math.prod(grid)))
    return choose_cells(Images.patterns, positions, count, pattern, 1, EVERYTHING)


def dabs_and_pixels() -> Observed:
    """Averages over 4×4 and 3×3 pixels, and 20 pixels, for the checkpoint "scaled"."""
    corners, sides = torch.tensor([[4.0, 10.0], [29.0, 0.0]]), torch.tensor([4.0, 3.0])
    centres = (corners + sides[:, None] / 2) / 16 - 1
    colours = torch.tensor([[1.0, 0.2, 0.4], [0.0, 0.6, 0.8]])
    return Observed(centres, colours, sides.log2()) + some_pixels()
