"""Observed pixels read off a sketch or a picture, as a set of positions and values."""

import numpy as np
import torch
from PIL import Image

from signals.image import CHANNEL_MODES, image_to_array, to_values
from signals.places import cell_positions

MAX_PIXELS = 4096 * 4096
INK = 0.4  # share of a cell that a stroke must cover to count as a dab


class Observed:
    """A set of observed cells of an image grid.

    Attributes:
        grid (`list[int]`): Width and height in cells.
        cells (`Tensor` (K,)): Cell numbers, x running fastest.
        values (`Tensor` (K, V)): Their values in [0, 1].
    """

    def __init__(self, grid: list[int], cells: torch.Tensor, values: torch.Tensor):
        self.grid, self.cells, self.values = grid, cells, values

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def hidden(self) -> torch.Tensor:
        """Numbers (Q,) of the cells that are not observed: what is asked for."""
        mask = torch.ones(self.grid[0] * self.grid[1], dtype=torch.bool)
        mask[self.cells] = False
        return mask.nonzero()[:, 0]

    @property
    def queries(self) -> torch.Tensor:
        """Positions (1, Q, P) of the hidden cells."""
        return cell_positions(self.grid, self.hidden)[None]

    def complete(self, hidden: torch.Tensor, observed: torch.Tensor | float | None = None) -> torch.Tensor:
        """A picture (y, x, V) from values (Q, V) at the hidden cells and `observed` ones (default: the true values)."""
        sheet = torch.empty(self.grid[0] * self.grid[1], hidden.shape[-1])
        sheet[self.hidden] = hidden
        sheet[self.cells] = self.values if observed is None else observed
        return sheet.view(self.grid[1], self.grid[0], -1)

    @property
    def context(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's arguments: positions (1, K, P) and values (1, K, V)."""
        return cell_positions(self.grid, self.cells)[None], self.values[None]


def from_sketch(editor: dict | None, grid: list[int], channels: int) -> Observed:
    """The cells that strokes cover, each with the strokes' mean colour there (transparent parts left out).

    Args:
        editor: Value of a `gradio.ImageEditor` (its layers are RGBA arrays), or `None` for an empty canvas.
    """
    nothing = Observed(grid, torch.zeros(0, dtype=torch.long), torch.zeros(0, channels))
    if not editor or not editor.get("layers"):
        return nothing
    size = Image.fromarray(editor["layers"][0]).size
    sheet = Image.new("RGBA", size)
    for layer in editor["layers"]:
        sheet = Image.alpha_composite(sheet, Image.fromarray(layer).convert("RGBA").resize(size))
    # Averaging with premultiplied alpha: what is transparent has no colour.
    painted = np.asarray(sheet, dtype=np.float32) / 255
    painted[..., :3] *= painted[..., 3:]
    width, height = grid
    reduced = np.stack(
        [
            np.asarray(Image.fromarray(painted[..., channel], "F").resize((width, height), Image.Resampling.BOX))
            for channel in range(4)
        ],
        -1,
    )
    cells = np.flatnonzero(reduced[..., 3].ravel() >= INK)
    if not len(cells):
        return nothing
    flat = reduced.reshape(-1, 4)[cells]
    colour = np.clip(flat[:, :3] / flat[:, 3:], 0, 1)
    levels = (colour[None] * 255).round().astype(np.uint8)
    if channels == 1:
        levels = np.asarray(Image.fromarray(levels).convert(CHANNEL_MODES[1]))[..., None]
    return Observed(grid, torch.from_numpy(cells), to_values(torch.from_numpy(levels[0].copy())))


def read_picture(picture: Image.Image | None, grid: list[int], channels: int) -> torch.Tensor:
    """A picture as values (y, x, V) on the grid.

    Raises:
        ValueError: where there is none, or it is too large.
    """
    if picture is None:
        raise ValueError("picture: expected an image, got none; upload one or click an example")
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"picture: expected at most {MAX_PIXELS:,} pixels, got {picture.width} × {picture.height}")
    return to_values(torch.from_numpy(image_to_array(picture, tuple(grid), channels)))


def reveal(values: torch.Tensor, count: int, seed: int) -> Observed:
    """`count` random cells of a picture (y, x, V); at least one cell stays hidden."""
    height, width, _ = values.shape
    count = max(0, min(count, height * width - 1))
    cells = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed))[:count]
    return Observed([width, height], cells, values.flatten(0, 1)[cells])
