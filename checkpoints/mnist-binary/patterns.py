"""Patterns: which positions of a signal are observed, for any kind, and those of images by name.

A pattern gives each position a score, and the positions with the highest scores are observed. A score is a function of
positions (B, N, P) in [-1, 1]^P and of a generator for what is random in each of the B signals; it returns (B, N). It
knows neither grids nor kinds of signals: the same half-space serves images, clips and shapes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from .orders import spread_order
from .streams import Streams

Score = Callable[[Tensor, torch.Generator | None], Tensor]


def _uniform(positions: Tensor, *shape: int, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers (B, *shape) in [0, 1) on the device of positions (B, N, P)."""
    return torch.rand(len(positions), *shape, generator=generator, device=positions.device)


def _random_axes(positions: Tensor, generator: torch.Generator | None) -> Tensor:
    """Weights (B, 1, P) of 0 or 1, at least one of them 1: the axes along which distances are measured.

    A ball over x and y alone is a tube through time; stripes along t alone are whole frames.
    """
    axes = positions.shape[-1]
    chosen = _uniform(positions, axes, generator=generator) < 0.7
    fallback = (
        torch.arange(axes, device=positions.device) == (_uniform(positions, 1, generator=generator) * axes).long()
    )
    return torch.where(chosen.any(1, keepdim=True), chosen, fallback)[:, None].float()


def anywhere(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Uniformly random positions."""
    return _uniform(positions, positions.shape[1], generator=generator)


def half_space(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One side of a random hyperplane; half of them lie along an axis (halves of a picture, first frames)."""
    normals = torch.randn(len(positions), positions.shape[-1], generator=generator, device=positions.device)
    along_axis = torch.zeros_like(normals).scatter_(1, normals.abs().argmax(1, keepdim=True), 1.0) * normals.sign()
    aligned = _uniform(positions, 1, generator=generator) < 0.5
    normals = torch.where(aligned, along_axis, normals / normals.norm(dim=1, keepdim=True))
    return (positions * normals[:, None]).sum(-1)


def raster(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The beginning of a raster scan, over random axes in random directions: whole rows, then a part of one."""
    batch, _, axes = positions.shape
    rank = _uniform(positions, axes, generator=generator).argsort(-1).float()
    signs = (_uniform(positions, axes, generator=generator) < 0.5).float() * 2 - 1
    return (positions * (signs * 1e-3**rank)[:, None]).double().sum(-1)


def ball(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The inside of a random ball, or of a tube."""
    centers = _uniform(positions, 1, positions.shape[-1], generator=generator) * 2 - 1
    return -((positions - centers) * _random_axes(positions, generator)).norm(dim=-1)


def box(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The inside of a random box with sides of different lengths."""
    axes = positions.shape[-1]
    centers = _uniform(positions, 1, axes, generator=generator) * 2 - 1
    aspect = 3 ** (_uniform(positions, 1, axes, generator=generator) * 2 - 1)
    return -((positions - centers).abs() * aspect * _random_axes(positions, generator)).amax(-1)


def outside(score: Score) -> Score:
    """The complement: what another score would observe last."""

    def complement(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return -score(positions, generator)

    return complement


def slab(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A layer on both sides of a random hyperplane."""
    heights = half_space(positions, generator)
    return -(heights - (_uniform(positions, 1, generator=generator) * 1.6 - 0.8)).abs()


def clusters(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The neighbourhoods of two to five random points."""
    count = 5
    centers = _uniform(positions, count, positions.shape[-1], generator=generator) * 2 - 1
    kept = torch.arange(count, device=positions.device) < 2 + _uniform(positions, 1, generator=generator) * 4
    distances = torch.cdist(positions, centers).masked_fill(~kept[:, None], math.inf)
    return -distances.amin(-1)


def strokes(
    positions: Tensor,
    generator: torch.Generator | None = None,
    count: int | None = None,
    length: float | None = None,
) -> Tensor:
    """The neighbourhoods of random brush strokes: curves that keep their direction for a while.

    Args:
        count (`int` or `None`): Number of strokes; `None`: one to four.
        length (`float` or `None`): Of each stroke, in the units of positions; `None`: 0.3 to 1.5, long ones being thin.
    """
    batch, _, axes = positions.shape
    most, knots = count or 4, 12
    random = {"generator": generator, "device": positions.device}
    heading = torch.randn(batch, most, 1, axes, **random)
    directions = heading + 0.6 * torch.randn(batch, most, knots, axes, **random).cumsum(2)
    drawn = 0.3 + 1.2 * torch.rand(batch, 1, 1, 1, **random)
    step = (drawn if length is None else torch.full_like(drawn, length)) / knots
    starts = torch.rand(batch, most, 1, axes, **random) * 1.6 - 0.8
    points = starts + (step * directions / directions.norm(dim=-1, keepdim=True)).cumsum(2)
    distances = torch.cdist(positions, points.clamp(-1, 1).flatten(1, 2)).unflatten(-1, (most, knots)).amin(-1)
    kept = torch.arange(most, device=positions.device) < (
        most if count else 1 + _uniform(positions, 1, generator=generator) * most
    )
    return -distances.masked_fill(~kept.expand(batch, -1)[:, None], math.inf).amin(-1)


def blobs(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Smooth random regions: the highest values of a sum of waves of low frequency."""
    waves = 5
    shape = (len(positions), waves, positions.shape[-1])
    frequencies = torch.randn(*shape, generator=generator, device=positions.device) * math.pi
    phases = _uniform(positions, 1, waves, generator=generator) * 2 * math.pi
    return torch.cos(positions @ frequencies.transpose(1, 2) + phases).sum(-1)


def lattice(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The nodes of a random lattice, or stripes: every n-th row, column or frame."""
    axes = positions.shape[-1]
    nodes = (2 * 8 ** _uniform(positions, 1, axes, generator=generator)).round()  # 2 to 16 along an axis
    offsets = _uniform(positions, 1, axes, generator=generator) * 2
    waves = torch.cos(math.pi * nodes * (positions - offsets))
    return (waves * _random_axes(positions, generator)).sum(-1)


def spread(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The beginning of a low-discrepancy order, which covers the signal evenly."""
    order = spread_order(positions, Streams.of(generator, len(positions)))
    return -order.argsort(-1).to(positions.dtype)


def frames(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The first or the last frames: one side along the first axis, which is a video's time."""
    sign = (
        _uniform(positions, 1, generator=generator) < 0.75
    ).float() * 2 - 1  # first frames more often: to continue a clip is the usual task
    return -sign * positions[..., 0]


def every_nth_frame(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Frames at equal distances: every second, third or fourth."""
    times = torch.unique(positions[0, :, 0])
    index = torch.searchsorted(times, positions[..., 0].contiguous())
    step = 2 + (_uniform(positions, 1, generator=generator) ** 2 * 3).long()
    offset = (_uniform(positions, 1, generator=generator) * step).long()
    return -((index - offset) % step != 0).float()


def toward(*direction: float) -> Score:
    """The half-space that lies in a direction: `toward(0, -1)` observes a picture from its top row on."""

    def score(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return (positions * torch.tensor(direction, device=positions.device)).sum(-1)

    return score


def around_center(
    positions: Tensor, generator: torch.Generator | None = None, axes: Sequence[int] | None = None
) -> Tensor:
    """The box around the centre, along some axes alone or along all."""
    return -(positions if axes is None else positions[..., list(axes)]).abs().amax(-1)


def every(*sides: int | None) -> Score:
    """Every `sides[i]`-th cell along axis i of a grid, counted from the first cell; `None`: all cells.

    Cells are counted by their distinct coordinates, so positions must be the cells of a whole grid.
    """

    def score(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
        total = torch.zeros(positions.shape[:-1], device=positions.device)
        for axis, step in enumerate(sides):
            if step is not None:
                cells = torch.unique(positions[0, :, axis])
                index = torch.searchsorted(cells, positions[..., axis].contiguous())
                total = total - (index % step != 0).float()
        return total

    return score


@dataclass(frozen=True)
class Pattern:
    """A way of observing a signal that has a name in evaluation and in the app.

    Attributes:
        score (`Callable`): Score of each position; the highest ones form the region.
        share (`float`): Size of the region, as a share of all positions.
        also (`float`): Share of all positions that are observed at random outside the region.
        density (`float`): Share of the region's positions that are observed.
        surface (`bool`): For shapes: points on the surface within the region, without distances.
    """

    score: Score
    share: float
    also: float = 0.0
    density: float = 1.0
    surface: bool = False

    @property
    def sparse(self) -> bool:
        """Whether the number of observed positions can be chosen with `with_count`."""
        return self.density < 1 or self.share == 1

    def observe(self, positions: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Indices (B, K) of the observed positions, and (B, N - K) of the others, of positions (B, N, P).

        At least one position is observed, and at least one is not.
        """
        count = positions.shape[1]
        region = max(round(self.share * count), 1)
        inside = min(max(round(self.density * region), 1), count - 1)
        more = min(round(self.also * count), count - 1 - inside)
        order = ranked(self.score(positions, generator), generator)
        observed = _mixed(order[:, :region], generator)[:, :inside]
        observed = torch.cat((observed, _mixed(order[:, region:], generator)[:, :more]), 1)
        hidden = torch.ones(order.shape, dtype=torch.bool, device=order.device).scatter(1, observed, False)
        return observed, hidden.nonzero()[:, 1].view(len(order), -1)

    def with_count(self, count: int, total: int) -> "Pattern":
        """The same region with `count` of `total` positions observed, or all of the region if it has fewer."""
        return replace(self, density=min(count / (self.share * total), 1.0), also=0.0)


def _mixed(indices: Tensor, generator: torch.Generator | None) -> Tensor:
    """Indices (B, N) in random order."""
    order = torch.rand(indices.shape, generator=generator, device=indices.device).argsort(-1)
    return indices.gather(1, order)


def ranked(scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Indices (B, N) from the highest score to the lowest; equal scores are in random order."""
    shuffled = torch.rand(scores.shape, generator=generator, device=scores.device).argsort(-1)
    return shuffled.gather(1, scores.gather(1, shuffled).argsort(dim=-1, descending=True, stable=True))


# By the names that evaluation, the app and the image processor know.
IMAGE_PATTERNS: dict[str, Pattern] = {
    "random pixels": Pattern(anywhere, 1, density=1 / 15),
    "top half": Pattern(toward(0, -1), 1 / 2),
    "left half": Pattern(toward(-1, 0), 1 / 2),
    "top quarter": Pattern(toward(0, -1), 1 / 4),
    "three strokes": Pattern(partial(strokes, count=3, length=0.6), 1 / 15),
    "all but the centre": Pattern(outside(around_center), 3 / 4),
    "the centre": Pattern(around_center, 1 / 4),
    "smooth regions": Pattern(blobs, 1 / 3),
    "every second row": Pattern(every(None, 2), 1 / 2),
    "every second pixel": Pattern(every(2, 2), 1 / 4),
    "every fourth pixel": Pattern(every(4, 4), 1 / 16),
    "top half and a few": Pattern(toward(0, -1), 1 / 2, also=1 / 64),
}
