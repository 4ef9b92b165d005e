"""Which cells of a shape to fill: those that probably overlap most with it.

Where a thin part may lie in several places, the mean distance is positive in all of them, and the surface of mean
distance 0 leaves the part out. Other cells can be expected to have a higher intersection over union (IoU) with the true
shape. Each cell's probability of being inside tells which.
"""

import torch
from torch import Tensor

from pixeltransformer.distribution import ValueDistribution


def most_overlap(probability: Tensor) -> tuple[float, float]:
    """From which probability of being inside cells should be filled, and the IoU to expect of that.

    Filling the k most probable of N cells overlaps with the true shape in the sum of their probabilities, on average,
    and their union with it has, on average, k plus the sum of all others' probabilities. The ratio is largest at the k
    that is found here. (The mean of the ratio is close to the ratio of the means where cells are many.)

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
    return float(ordered[best]), float(expected[best])


def inside(distances: ValueDistribution) -> Tensor:
    """Probability (…) that a signed distance of one channel is negative, for distributions of batch shape (…)."""
    return distances.cdf(torch.zeros_like(distances.means[..., 0, :]))[..., 0]


def likely_distances(distances: ValueDistribution) -> Tensor:
    """Quantiles (N, 1) of signed distances that are negative in the cells which `most_overlap` fills.

    They are of one probability for all cells and vary smoothly, so that a surface can be drawn through their zeros.

    Args:
        distances (`ValueDistribution`): Of batch shape (N,), one channel.
    """
    threshold, _ = most_overlap(inside(distances))
    return distances.icdf(min(max(threshold, 1e-6), 1 - 1e-6))
