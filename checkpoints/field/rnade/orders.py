"""Orders in which the cells of a grid are drawn: raster, S-curve, Hilbert curve, their reflections, and random ones.

An order is a tensor (D,) with the numbers of the cells, which count x first: cell y · width + x. A picture shows it as
a colour that runs from dark (drawn first) to light.
"""

import math

import torch
from torch import Tensor


def raster(grid) -> Tensor:
    """Row by row, from the top left."""
    return torch.arange(math.prod(grid))


def s_curve(grid) -> Tensor:
    """Row by row, every other one from right to left, so that neighbours in the order are neighbours in the grid."""
    width, height = _sides(grid)
    rows = torch.arange(width * height).view(height, width).clone()
    rows[1::2] = rows[1::2].flip(-1)
    return rows.flatten()


def hilbert(grid) -> Tensor:
    """Along a Hilbert curve through the smallest square with a power of two as side; cells outside are left out."""
    width, height = _sides(grid)
    side = 1 << (max(width, height) - 1).bit_length()
    cells = (_hilbert_cell(step, side) for step in range(side * side))
    return torch.tensor([y * width + x for x, y in cells if x < width and y < height])


def random(grid, seed: int) -> Tensor:
    """A random permutation."""
    return torch.randperm(math.prod(grid), generator=torch.Generator().manual_seed(seed))


def subsampled_first(grid, factor: int) -> Tensor:
    """Every `factor`-th cell of every `factor`-th row first, then the others, both row by row."""
    width, height = _sides(grid)
    cells = torch.arange(width * height)
    chosen = (cells % width % factor == 0) & (cells // width % factor == 0)
    return torch.cat((cells[chosen], cells[~chosen]))


ORDERS = {"raster": raster, "s-curve": s_curve, "hilbert": hilbert}


def reflections(order: Tensor, grid) -> list[Tensor]:
    """The eight images of an order under flips of x, flips of y and, on a square grid, exchange of x and y."""
    width, height = _sides(grid)
    found = []
    for swap in (False, True)[: 1 + (width == height)]:
        x, y = order % width, order // width
        if swap:
            x, y = y, x
        for flip_x in (False, True):
            for flip_y in (False, True):
                found.append((height - 1 - y if flip_y else y) * width + (width - 1 - x if flip_x else x))
    return found


def put_first(order: Tensor, known: Tensor, asked: Tensor) -> Tensor:
    """The same order, but the cells of `known` (D,) come first, then those of `asked` (D,), then the rest."""
    rank = torch.where(known, 0, torch.where(asked, 1, 2))[order]
    return order[rank.argsort(stable=True)]


def ranks(order: Tensor) -> Tensor:
    """For each cell, when it is drawn: the inverse permutation."""
    return order.argsort()


def last_place(order: Tensor, asked: Tensor) -> int:
    """Place in the order behind the last cell that is asked for."""
    return int(asked[order].nonzero().max()) + 1 if bool(asked.any()) else 0


def follows(order: Tensor, known: Tensor, asked: Tensor) -> bool:
    """Whether the asked cells follow the known ones in the order without a gap."""
    start, count = int(known.sum()), int(asked.sum())
    return bool(known[order[:start]].all()) and bool(asked[order[start : start + count]].all())


def picture(order: Tensor, grid, zoom: int = 8):
    """The order as a Pillow image: dark cells are drawn first."""
    from matplotlib import colormaps  # only pictures need these two
    from PIL import Image

    width, height = _sides(grid)
    shade = ranks(order).view(height, width).float() / max(len(order) - 1, 1)
    pixels = (colormaps["viridis"](shade.numpy())[..., :3] * 255).round().astype("uint8")
    return Image.fromarray(pixels).resize((width * zoom, height * zoom), Image.Resampling.NEAREST)


def _sides(grid) -> tuple[int, int]:
    """Width and height; a curve has height 1."""
    return (grid[0], 1) if len(grid) == 1 else (grid[0], grid[1])


def _hilbert_cell(step: int, side: int) -> tuple[int, int]:
    """Column and row of a step along the curve."""
    x = y = 0
    size = 1
    while size < side:
        right = 1 & (step // 2)
        down = 1 & (step ^ right)
        if not down:
            if right:
                x, y = size - 1 - x, size - 1 - y
            x, y = y, x
        x, y = x + size * right, y + size * down
        step //= 4
        size *= 2
    return x, y
