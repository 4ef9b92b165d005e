"""Counting: histograms of pixels, the joint histogram of a tiny image, and a fitted parametric distribution (textbook).

The likelihood of a histogram is the best that its assumption allows on the images that were counted. A table for each
pixel cannot know that pixels go together; a table for whole images can, but of 2^D images a data set shows a vanishing
share, and what was never counted is only as probable as the smoothing makes it.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .base import AutoregressiveModel
from .configuration import FieldConfig
from .distributions import DiscretisedLogistics, Distribution, LevelDistribution, gumbel
from .noise import uniform
from .orders import put_first, raster

LARGEST_TABLE = 2**16  # images that a joint histogram lists


@strict
class CountingConfig(FieldConfig):
    """Args:
    smoothing: Counts added to every level, so that none is impossible.
    """

    model_type = "field-counting"

    smoothing: float | int = 0.5


class CountedModel(AutoregressiveModel):
    """A model that is fitted by counting, not by gradients: `count` adds images, `fit` ends it."""

    config_class = CountingConfig

    def orders_of(self, known: Tensor, asked: Tensor) -> list[Tensor]:
        """Pixels in any order: all conditionals are known."""
        order = raster(self.config.native_grid).to(known.device)
        return [put_first(order, known, asked)]

    notes: Tensor | float = 0.0  # what was counted so far

    def count(self, values: Tensor) -> None:
        """Take note of images (B, D, V)."""
        raise NotImplementedError

    def fit(self) -> None:
        """Turn the notes into parameters."""
        raise NotImplementedError


class PixelHistogram(CountedModel):
    """A histogram for each pixel, independent of all others: p(v) = Π_i h_i(v_i). Samples invert the summed table."""

    def __init__(self, config: CountingConfig):
        super().__init__(config)
        levels = config.num_levels
        self.log_probs = nn.Parameter(torch.full((config.num_cells, levels), 1 / levels).log(), requires_grad=False)
        self.post_init()

    def count(self, values: Tensor) -> None:
        index = (values[..., 0] * (self.config.num_levels - 1)).round().long()  # (B, D)
        counts = torch.zeros_like(self.log_probs)
        self.notes = self.notes + counts.scatter_add_(1, index.T, torch.ones_like(index.T, dtype=counts.dtype))

    @torch.no_grad()
    def fit(self) -> None:
        smoothed = self.notes + self.config.smoothing
        self.log_probs.copy_((smoothed / smoothed.sum(1, keepdim=True)).log())

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        return LevelDistribution(self.log_probs.expand(len(values), -1, -1))

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        """Inverse of the cumulative table at a uniform number, for all pixels at once."""
        cells = order[start:stop]
        table = (self.log_probs[cells] / temperature).softmax(-1).cumsum(-1)
        numbers = uniform((len(values), len(cells)), values.device, generator)
        index = torch.searchsorted(table, numbers.T.contiguous()).T.clamp(max=table.shape[-1] - 1)
        values = values.clone()
        values[:, cells] = (index / (self.config.num_levels - 1))[..., None]
        return values

    def passes(self, count: int) -> int:
        return 1


class JointHistogram(CountedModel):
    """One table with an entry for every possible image: for tiny ones only, as it has L^D entries.

    It answers every question, by summing entries, and generalises to nothing: an image that was not counted keeps the
    probability that smoothing gives it.
    """

    def __init__(self, config: CountingConfig):
        super().__init__(config)
        size = config.num_levels**config.num_cells
        if size > LARGEST_TABLE:
            raise ValueError(
                f"native_grid: expected a grid with at most {LARGEST_TABLE:,} possible images, got "
                f"{config.num_levels}^{config.num_cells}"
            )
        self.log_probs = nn.Parameter(torch.full((size,), 1 / size).log(), requires_grad=False)
        self.post_init()

    def _indices(self, values: Tensor) -> Tensor:
        levels = self.config.num_levels
        powers = levels ** torch.arange(self.config.num_cells, device=values.device)
        return ((values[..., 0] * (levels - 1)).round().long() * powers).sum(1)

    def count(self, values: Tensor) -> None:
        self.notes = self.notes + self._indices(values).bincount(minlength=len(self.log_probs))

    @torch.no_grad()
    def fit(self) -> None:
        smoothed = self.notes + self.config.smoothing
        self.log_probs.copy_((smoothed / smoothed.sum()).log())

    def _digits(self, cell: int) -> Tensor:
        """The level of a cell in each entry."""
        entries = torch.arange(len(self.log_probs), device=self.log_probs.device)
        return entries // self.config.num_levels**cell % self.config.num_levels

    def _agree(self, values: Tensor, cells: Tensor) -> Tensor:
        """Probabilities (B, entries) of the entries, 0 where they differ from values (B, D, V) at the known cells."""
        alive = self.log_probs.log_softmax(0).exp().expand(len(values), -1)
        for cell in cells.tolist():
            alive = alive * self._agree_at(values, cell)
        return alive

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        found = torch.zeros(*values.shape[:2], self.config.num_levels, device=values.device)
        alive = self._agree(values, order[:0])
        for place, cell in enumerate(order.tolist()):
            found[:, cell] = torch.zeros_like(found[:, 0]).index_add_(1, self._digits(cell), alive)
            if place + 1 < len(order):
                alive = alive * self._agree_at(values, cell)
        return LevelDistribution(found.clamp(min=1e-38).log())

    def _agree_at(self, values: Tensor, cell: int) -> Tensor:
        level = (values[:, cell] * (self.config.num_levels - 1)).round().long()  # (B, 1)
        return self._digits(cell) == level

    def marginals(self, values, known, order, stop, num_samples, generator) -> Distribution:
        """Exact: sums over the entries that agree with the known cells."""
        alive = self._agree(values, known.nonzero()[:, 0])
        found = torch.zeros(*values.shape[:2], self.config.num_levels, device=values.device)
        for cell in range(values.shape[1]):
            found[:, cell] = torch.zeros_like(found[:, 0]).index_add_(1, self._digits(cell), alive)
        return LevelDistribution(found.clamp(min=1e-38).log())

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        """An entry among those that agree with the known cells."""
        alive = self._agree(values, order[:start])
        entry = gumbel(alive.log() / temperature, generator)
        values = values.clone()
        for cell in order[start:stop].tolist():
            values[:, cell, 0] = self._digits(cell)[entry] / (self.config.num_levels - 1)
        return values

    def passes(self, count: int) -> int:
        return 1


class ParametricPixels(CountedModel):
    """For each pixel one logistic, cut into levels, with the mean and the variance of the data: two numbers a pixel."""

    def __init__(self, config: CountingConfig):
        super().__init__(config)
        cells = config.num_cells
        self.means = nn.Parameter(torch.zeros(cells), requires_grad=False)
        self.log_scales = nn.Parameter(torch.zeros(cells), requires_grad=False)
        self.post_init()

    def count(self, values: Tensor) -> None:
        x = (2 * values[..., 0] - 1).double()
        self.notes = self.notes + torch.stack((torch.ones_like(x), x, x.square())).sum(1)

    @torch.no_grad()
    def fit(self) -> None:
        mean, square = self.notes[1:] / self.notes[0]
        variance = (square - mean.square()).clamp(min=1e-4)
        self.means.copy_(mean)
        self.log_scales.copy_((variance * 3).sqrt().div(torch.pi).log())  # a logistic's variance is π² s² / 3

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        shape = (len(values), self.config.num_cells, 1)
        parts = (x[None, :, None].expand(shape)[..., None] for x in (self.means, self.log_scales))
        logits = torch.zeros(shape, device=values.device)
        return DiscretisedLogistics(logits, *parts, None, self.config.num_levels)

    def passes(self, count: int) -> int:
        return 1

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        drawn = self.conditionals(values, order).sample((), generator, temperature)
        values = values.clone()
        values[:, order[start:stop]] = drawn[:, order[start:stop]]
        return values
