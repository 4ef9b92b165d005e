"""Calibration: how often the true value lies inside a predicted central interval.

A distribution is calibrated if the probability integral transform u = F(v) of the true values is uniform. A quantised
value has no single u: its cell reaches from F just below to F just above it. Spreading the value evenly over that
stretch, instead of drawing one point of it as the randomised transform does, gives the same expectation without the
noise (the non-randomised PIT of Czado, Gneiting & Held, "Predictive model assessment for count data", Biometrics 2009).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

CENTRAL = (0.5, 0.8, 0.95)


def pit_bounds(distribution, values: Tensor) -> tuple[Tensor, Tensor]:
    """F just below and just above each value, (*batch, V): equal where values are continuous.

    The outermost cells of quantised values take the tails, as they do in the likelihood.
    """
    levels = distribution.quantiser
    if levels is None:
        both = distribution.cdf(values).double()
        return both, both
    index = levels.index(values.float())
    below = torch.where(index > 0, distribution.cdf(levels.at(index - 1)), 0.0)
    return below.double(), distribution.cdf(values).double()


def coverage(distribution, values: Tensor, central: Sequence[float] = CENTRAL) -> Tensor:
    """Share of each value that lies in the central intervals, (len(central), *batch, V), in [0, 1].

    Averaged over calibrated predictions it is `central`. Without quantisation it is 0 or 1.
    """
    below, above = pit_bounds(distribution, values)
    width, middle = above - below, (above + below) / 2
    shares = []
    for level in central:
        low, high = (1 - level) / 2, (1 + level) / 2
        overlap = (above.clamp(max=high) - below.clamp(min=low)).clamp(min=0)
        inside = ((middle >= low) & (middle <= high)).double()
        shares.append(torch.where(width > 1e-9, overlap / width.clamp(min=1e-9), inside))
    return torch.stack(shares)
