"""Models that read an image in raster order and whose networks can be given it row by row.

Drawing a row costs its own pixels' passes over that row alone: activations of the rows above are remembered in every
layer, since later pixels do not change them.
"""

import torch
from torch import Tensor, nn

from .base import AutoregressiveModel
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head
from .layers import row_by_row


class RasterImageModel(AutoregressiveModel):
    """A network from an image to the numbers of each pixel's distribution given the pixels before it.

    A subclass sets `network`, which maps images (B, V, y, x) in [-1, 1] and the number of their first row to
    (B, head.size, y, x).
    """

    head_kind = "levels"
    remembers_rows = True  # whether all parts of the network that look at rows above are `Rowwise`

    def __init__(self, config: FieldConfig):
        super().__init__(config)
        if len(config.native_grid) != 2:
            raise ValueError(f"native_grid: expected two sides for {self._name()}, got {config.native_grid}")
        self.head = Head(config, self.head_kind)
        self.network: nn.Module

    def to_images(self, values: Tensor) -> Tensor:
        """Values (B, D, V) in [0, 1] as images (B, V, y, x) in [-1, 1]."""
        width, height = self.config.native_grid
        return 2 * values.movedim(1, 2).unflatten(2, (height, width)) - 1

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        return self.head.read(self.network(self.to_images(values), 0).flatten(2).movedim(1, 2))

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        if not self.remembers_rows:
            return super().draw(values, order, start, stop, generator, temperature)
        width = self.config.native_grid[0]
        images = self.to_images(values).clone()
        with row_by_row(self.network) as modules:
            for y in range(-(-stop // width)):
                row = images[:, :, y : y + 1]
                for x in range(max(0, start - y * width), min(width, stop - y * width)):
                    distribution = self.head.read(self.network(row, y)[:, :, 0, x])
                    row[..., 0, x] = 2 * distribution.sample((), generator, temperature) - 1
                self.network(row, y)
                for module in modules:
                    module.finish_row()
        return (images.flatten(2).movedim(1, 2) + 1) / 2
