"""Images of any size as tiles of a checkpoint's native grid, and the order in which a tile's pixels are coded."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pixeltransformer.orders import DEFAULT_ORDER, ORDERS, block_sizes
from pixeltransformer.streams import Streams

SEED = 0  # of the orders: fixed, so that a file need not say it


@dataclass(frozen=True)
class Tile:
    """A part of an image, at most as large as the native grid. Its cells are those of the grid, row by row.

    Attributes:
        image (`int`): Which image.
        x, y (`int`): Pixel of the image that is the tile's first cell.
        known (`Tensor` (K,)): Cells that the receiver holds already.
        coded (`Tensor` (L,)): Cells to code, in the order of coding.
        first (`int`): How many of them belong to the region that is coded first.
    """

    image: int
    x: int
    y: int
    known: Tensor
    coded: Tensor
    first: int

    def rows_columns(self, cells: Tensor, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices into the image's array of cells of a grid that is `width` wide."""
        cells = cells.numpy()
        return self.y + cells // width, self.x + cells % width


def cut(
    shapes: Sequence[tuple[int, int]],
    grid: Sequence[int],
    known: Sequence[np.ndarray | None],
    first: tuple[int, int, int, int] | None = None,
) -> list[Tile]:
    """All tiles of images with something to code: those with most pixels to code first.

    Args:
        shapes (list of (height, width)): Of the images.
        grid (width, height): The native grid. Tiles at the right and lower edge may be smaller.
        known (list of `np.ndarray` (height, width), bool, or `None`): Pixels that need no code, for each image.
        first ((x, y, width, height) or `None`): Region of each image that is coded first.
    """
    width, height = grid
    tiles = []
    for number, (shape, mask) in enumerate(zip(shapes, known, strict=True)):
        wanted = np.zeros(shape, bool)
        if first is not None:
            wanted[first[1] : first[1] + first[3], first[0] : first[0] + first[2]] = True
        for y in range(0, shape[0], height):
            for x in range(0, shape[1], width):
                part = slice(y, y + height), slice(x, x + width)
                held = np.zeros_like(wanted[part]) if mask is None else mask[part]
                places = _cells(held, grid), _cells(~held & wanted[part], grid), _cells(~held & ~wanted[part], grid)
                order = torch.cat([_in_order(tuple(cells.tolist()), tuple(grid)) for cells in places[1:]])
                if len(order):
                    tiles.append(Tile(number, x, y, places[0], order, len(places[1])))
    # Tiles of a batch take as many passes as the longest of them.
    return sorted(tiles, key=lambda tile: (-len(tile.coded), len(tile.known), tile.first))


def _cells(mask: np.ndarray, grid: Sequence[int]) -> Tensor:
    """Cells of the grid at which a mask, which starts at its first cell, is true."""
    rows, columns = mask.nonzero()
    return torch.from_numpy(rows * grid[0] + columns)


@lru_cache(maxsize=4096)
def _in_order(cells: tuple[int, ...], grid: tuple[int, int]) -> Tensor:
    """The cells in the order in which they are coded: every stretch is spread evenly."""
    found = torch.tensor(cells, dtype=torch.int64)
    if not cells:
        return found
    order = ORDERS[DEFAULT_ORDER](positions_of(found, grid)[None], Streams(torch.tensor([SEED])))[0]
    return found[order]


def positions_of(cells: Tensor, grid: Sequence[int]) -> Tensor:
    """Positions (…, 2) in [-1, 1] of cells (…), x before y."""
    width, height = grid
    return torch.stack(((cells % width + 0.5) * (2 / width) - 1, (cells // width + 0.5) * (2 / height) - 1), -1)


def plan_blocks(tile: Tile, num_steps: int, curve: dict | None) -> tuple[list[int], list[int]]:
    """How many pixels of a tile each pass codes: sizes for the region that is coded first, and for the others.

    The sizes are those of `model.sample(num_steps=…)`; the pass that crosses the region's end is cut in two.
    """
    before, after = [], []
    left = tile.first
    for size in block_sizes(len(tile.coded), num_steps, curve, len(tile.known)):
        if part := min(size, left):
            before.append(part)
            left -= part
        if size - part:
            after.append(size - part)
    return before, after


def aligned(plans: Sequence[tuple[list[int], list[int]]]) -> tuple[list[list[int]], int]:
    """The block sizes of all rows of a batch, with empty blocks where a row has fewer than others.

    Returns:
        Sizes of each row, and the number of blocks up to the end of the regions that are coded first.
    """
    longest = [max(len(plan[part]) for plan in plans) for part in (0, 1)]
    sizes = [
        [size for part in (0, 1) for size in plan[part] + [0] * (longest[part] - len(plan[part]))] for plan in plans
    ]
    return sizes, longest[0]
