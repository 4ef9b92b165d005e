"""Which cells of a shape to fill: those that probably overlap most with it.

Where a thin part may lie in several places, the mean distance is positive in all of them, and the surface of mean
distance 0 leaves the part out. Other cells can be expected to have a higher intersection over union (IoU) with the true
shape. Each cell's probability of being inside tells which.
"""

import torch
from torch import Tensor

from pixeltransformer.distribution import ValueDistribution

BISECTIONS = 12  # of a distance: far finer than the cells through which a surface is drawn


def most_overlap(probability: Tensor) -> tuple[float, float]:
    """The threshold on a cell's probability of being inside that has the highest expected IoU, and this IoU.

    Filling the k most probable of N cells overlaps with the true shape in the sum of their probabilities, on average,
    and their union with it has, on average, k plus the sum of all others' probabilities. The ratio is largest at the k
    that is found here; the threshold lies halfway between the last cell that is filled and the next. (The ratio of the
    means is close to the mean of the ratio where cells depend weakly on each other. It is not where a large part is
    there as a whole or not at all: then too much may be filled.)

    Args:
        probability (`Tensor` (N,)): Of each cell, in [0, 1].

    Raises:
        ValueError: for no cells, or for more than one axis.
    """
    if probability.dim() != 1 or not len(probability):
        raise ValueError(f"probability: expected a tensor (N,) of at least one cell, got {tuple(probability.shape)}")
    ordered = probability.double().sort(descending=True).values
    inside = ordered.cumsum(0)
    count = torch.arange(1, len(ordered) + 1, device=ordered.device)
    expected = inside / (count + (inside[-1] - inside)).clamp(min=1e-12)
    best = int(expected.argmax())
    following = ordered[best + 1] if best + 1 < len(ordered) else torch.zeros_like(ordered[best])
    return float(ordered[best] + following) / 2, float(expected[best])


def inside(distances: ValueDistribution) -> Tensor:
    """Probability (…) that a signed distance of one channel is negative, for distributions of batch shape (…)."""
    return distances.cdf(torch.zeros_like(distances.means[..., 0, :]))[..., 0]


def likely_distances(distances: ValueDistribution) -> Tensor:
    """Quantiles (N, 1) of signed distances that are negative in the cells which `most_overlap` fills.

    All cells use the same quantile level, so that the values vary smoothly and a surface can be drawn through their
    zeros.

    Args:
        distances (`ValueDistribution`): Of batch shape (N,), one channel.
    """
    threshold, _ = most_overlap(inside(distances))
    return distances.icdf(min(max(threshold, 1e-6), 1 - 1e-6), BISECTIONS)
