"""From what a network gives for a query to the numbers of a `ValueDistribution`: bins, bounds, channels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .configuration_pixeltransformer import PixelTransformerConfig
from .distribution import LOG_SCALES

CHANNEL_COEFFICIENT = 0.6  # of each channel by the one before it, at first: in natural images they err together


@dataclass
class Bounds:
    """Within what the head's numbers are held: log-scales by a sigmoid, means (where they are bounded) by tanh.

    Attributes:
        log_scale_low, log_scale_extent (`float`): Lowest log-scale, and how far above it the highest lies.
        scale_offset (`float`): What is added to the head's log-scales, which start near 0.
        centers (`Tensor` (bins, V)): Of the bins.
        half, start (`Tensor` (bins, V) or `None`): Half the width of the interval of each component's mean, whose
            middle `centers` then is, and where tanh is at the bin's centre. It saturates at the ends of the interval,
            so that no mean is ever stuck behind a clamp without gradient.
    """

    log_scale_low: float
    log_scale_extent: float
    scale_offset: float
    centers: Tensor
    half: Tensor | None = None
    start: Tensor | None = None

    @classmethod
    def of(cls, config: PixelTransformerConfig, centers: Tensor) -> "Bounds":
        """The bounds that a config sets to components whose bins lie at `centers` (bins, V)."""
        lowest, highest = (min(max(math.log(bound), LOG_SCALES[0]), LOG_SCALES[1]) for bound in config.scale_bounds)
        extent = config.value_range[1] - config.value_range[0] if config.value_range else 1.0
        start = math.log(extent / len(centers)) - 0.5
        start = min(max((start - lowest) / (highest - lowest), 0.05), 0.95)
        scales = (lowest, highest - lowest, math.log(start / (1 - start)))
        if config.offset_radius is None and config.value_range is None:
            return cls(*scales, centers)
        low, high = config.value_range or (-math.inf, math.inf)
        radius = math.inf if config.offset_radius is None else config.offset_radius
        radius = radius * (high - low) if config.value_range else radius
        left, right = (centers - radius).clamp(min=low), (centers + radius).clamp(max=high)
        middle, half = (left + right) / 2, ((right - left) / 2).clamp(min=1e-6)
        return cls(*scales, middle, half, torch.atanh(((centers - middle) / half).clamp(-0.95, 0.95)))

    def components(self, x: Tensor, of_channels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Log-weights (B, Q, bins), means (B, Q, bins, V), log-scales (B, Q, bins) and no coefficients from what the
        head gives; log-scales (B, Q, bins, V) and coefficients, if there is, too, what `channel_head` gives."""
        bins, channels = self.centers.shape
        logits, offsets, log_scales = x.float().split((bins, bins * channels, bins), -1)
        offsets = offsets.unflatten(-1, (bins, channels))
        if self.half is None:
            means = self.centers + offsets
        else:  # near the bin's centre at 0, never out of reach or range
            means = torch.addcmul(self.centers, self.half, torch.tanh(offsets + self.start))
        coefficients = None
        if of_channels is not None:
            of_channels = of_channels.float().unflatten(-1, (bins, -1))
            log_scales = log_scales.unsqueeze(-1) + of_channels[..., :channels]
            coefficients = of_channels[..., channels:]
        log_scales = self.log_scale_low + self.log_scale_extent * torch.sigmoid(log_scales + self.scale_offset)
        return logits.log_softmax(-1), means, log_scales, coefficients


def channel_outputs(value_dim: int) -> int:
    """Numbers of a bin whose channels depend on each other: a log-scale of each, a coefficient of each pair."""
    return value_dim + value_dim * (value_dim - 1) // 2


class ChannelHead(nn.Linear):
    """For each bin a log-scale of each channel, beside the common one, and the coefficients of `ValueDistribution`."""

    def __init__(self, width: int, num_bins: int, value_dim: int):
        self.num_bins, self.value_dim = num_bins, value_dim
        super().__init__(width, num_bins * channel_outputs(value_dim))

    def first_bias(self) -> Tensor:
        """Channels alike, each moving with the one before it."""
        parts = [torch.zeros(self.value_dim)]
        parts += [CHANNEL_COEFFICIENT * torch.eye(count)[-1] for count in range(1, self.value_dim)]
        return torch.cat(parts).repeat(self.num_bins)


def uniform_bins(config: PixelTransformerConfig) -> Tensor:
    """Bin centres (num_bins, V) spread evenly over the value range, or [-1, 1] without one; a lattice where V > 1."""
    low, high = config.value_range or (-1.0, 1.0)
    bins, channels = config.num_bins, config.value_dim
    side = 1
    while side**channels < bins:
        side += 1
    axis = torch.linspace(low, high, side) if side > 1 else torch.tensor([(low + high) / 2])
    lattice = torch.cartesian_prod(*[axis] * channels).view(-1, channels)
    return lattice[torch.linspace(0, len(lattice) - 1, bins).round().long()]
