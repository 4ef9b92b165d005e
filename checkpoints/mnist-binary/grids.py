"""Cells of a grid: their centres as positions, the cells that positions lie in, and grids of larger cells.

Along an axis of n cells, cell i is the interval from i (2 / n) - 1 to (i + 1) (2 / n) - 1. Numbers of cells and
sizes of axes may be Python's numbers, NumPy arrays or tensors.
"""

from torch import Tensor


def centres(numbers, sizes):
    """Positions of the centres of cells, given their numbers along axes of `sizes` cells."""
    return (numbers + 0.5) * (2 / sizes) - 1


def coordinates(positions, sizes):
    """The inverse of `centres`: positions counted in cells along axes of `sizes` cells, whole numbers at centres."""
    return (positions + 1) / 2 * sizes - 0.5


def containing(positions: Tensor, sizes: Tensor) -> Tensor:
    """Numbers (…, P) along each axis of the cells that positions (…, P) lie in, for axes of `sizes` (P,) cells.

    Positions outside of [-1, 1] count to the outermost cells.
    """
    return ((positions + 1) / 2 * sizes).floor().long().clamp(min=0).minimum(sizes - 1)


def coarser(grid: list[int], scale: int) -> list[int]:
    """The grid whose cells are 2^scale cells of `grid` wide along each axis."""
    return [side // 2**scale for side in grid]
