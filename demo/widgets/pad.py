"""The sketchpad: a grid of cells to paint, to uncover from a picture, and to erase, by pointer or keyboard."""

from typing import Any

import torch
from torch import Tensor

from demo.grids import split
from demo.limits import MAX_CONTEXT
from demo.observed import Observed
from demo.widgets import Widget, asset
from pixeltransformer.checks import check_rows, read_rows
from pixeltransformer.levels import Levels
from signals.cells import cell_positions


class Pad(Widget):
    """A sketchpad whose value is `{"grid": [w, h], "cells": [numbers], "colours": "rrggbb…"}`, with `"dabs"`, each one
    value that is the average over a square `[left, top, side]` of cells, and `"dab_colours"`. `"ink"` are the cells
    painted on a grey pad, and `"paper"` those around it, which are observed to be background. `"checkpoint"` and
    `"source"` say for which model, and over which picture, it was made.

    Events: `input` after every change by the visitor, `recall` instead where undo or redo came to another checkpoint or
    source.
    Properties besides the value: `channels`, `largest` (side of the largest dab; 1: a large brush paints many pixels),
    `picture` (colours of all cells as one hex string: what the reveal tool uncovers), `mark` (a cell to point at, or
    -1), `ghost` (the outline of a cat's face lies under the first strokes, and colours say what of it they are for).
    """

    def __init__(
        self,
        value: dict | None = None,
        channels: int = 3,
        largest: int = 1,
        picture: str = "",
        mark: int = -1,
        ghost: bool = False,
        **named: Any,
    ):
        super().__init__(
            value,
            "ghost.js pad.js",
            asset("pad.html"),
            channels=channels,
            largest=largest,
            picture=picture,
            mark=mark,
            ghost=ghost,
            **named,
        )


def pad_value(observed: Observed, grid: list[int]) -> dict:
    """A pad's value from the observed positions that are centres of the grid's cells, and from averages anywhere."""
    known, dabs = split(observed, grid), observed[~observed.points]
    sides = 2 ** dabs.sizes[:, None]
    corners = (dabs.positions + 1) / 2 * torch.tensor(grid) - sides / 2
    return {
        "grid": list(grid),
        "cells": known.known.tolist(),
        "colours": to_hex(known.values),
        "dabs": [[round(number, 4) for number in row] for row in torch.cat((corners, sides), 1).tolist()],
        "dab_colours": to_hex(dabs.values),
    }


def read_pad(value: Any, channels: int) -> Observed:
    """The observed set of a pad's value: dabs first, then pixels.

    Raises:
        ValueError: for a value that no pad sends.
    """
    try:
        grid, cells, dabs = [int(side) for side in value["grid"]], value["cells"], value.get("dabs", [])
        paper = value.get("paper", [])
        levels, dab_levels = (bytes.fromhex(text) for text in (value["colours"], value.get("dab_colours", "")))
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"sketch: expected grid, cells and colours, got {str(value)[:80]!r}") from error
    if len(grid) != 2 or min(grid) < 1 or max(grid) > 256:
        raise ValueError(f"sketch: expected a grid of 1 to 256 cells each way, got {grid}")
    if not isinstance(cells, list) or len(levels) != 3 * len(cells):
        raise ValueError(f"sketch: expected a colour for each of the cells, got {len(levels) / 3:g} of them")
    squares = read_rows(dabs, 3, "sketch.dabs", "(left, top, side)")
    if len(dab_levels) != 3 * len(squares):
        raise ValueError(f"sketch: expected a colour for each of the dabs, got {len(dab_levels) / 3:g} of them")
    if not isinstance(paper, list):
        raise ValueError(f"sketch: expected a list of paper cells, got {str(paper)[:40]!r}")
    cells, levels = cells + paper, levels + bytes(3 * len(paper))
    count = len(cells) + len(squares)
    if count > MAX_CONTEXT:
        raise ValueError(f"sketch: expected at most {MAX_CONTEXT:,} positions (the limit of this app), got {count:,}")
    if not all(isinstance(cell, int) for cell in cells):
        raise ValueError("sketch: expected cell numbers, got something else")
    numbers = torch.tensor(cells, dtype=torch.long)
    check_rows("sketch", numbers[:, None], 0, grid[0] * grid[1] - 1)
    check_rows("sketch.dabs", squares[:, 2:], 1, max(grid))
    centres = (squares[:, :2] + squares[:, 2:] / 2) / torch.tensor(grid) * 2 - 1
    check_rows("sketch.dabs", centres, -1.0, 1.0)
    values = torch.tensor(list(dab_levels + levels), dtype=torch.float32).view(-1, 3) / 255
    if channels == 1:
        values = Levels(0.0, 1.0, 1 / 255).nearest(values @ torch.tensor([0.299, 0.587, 0.114]))[:, None]
    positions = torch.cat((centres.clamp(-1.0, 1.0), cell_positions(grid, numbers).view(-1, 2)))
    scales = torch.cat((squares[:, 2].clamp(min=1).log2(), torch.zeros(len(numbers))))
    return Observed(positions, values, scales if len(squares) else None)


def to_hex(values: Tensor) -> str:
    """Values (N, V) in [0, 1] as one string of six hexadecimal digits each."""
    return (values.expand(-1, 3).clamp(0, 1) * 255).round().to(torch.uint8).numpy().tobytes().hex()
