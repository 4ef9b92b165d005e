"""Turns the outputs of the network's head into the parameters of a `ValueDistribution`: bins, bounds, channels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .configuration_pixeltransformer import PixelTransformerConfig
from .distribution import LOG_STDS

CHANNEL_COEFFICIENT = 0.6  # initial value, for each channel by the one before: in photographs channels err together


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds on the parameters of the components, and the maps from the head's outputs to parameters inside them.

    Outputs are near 0 when training starts, so the offsets decide the initial parameters.

    log_std = min_log_std + log_std_range × sigmoid(output + log_std_offset);
    mean = mean_center + mean_radius × tanh(output + mean_offset), or mean_center + output where means are unbounded.

    Attributes:
        min_log_std, log_std_range (`float`): Smallest log-std, and largest minus smallest.
        log_std_offset (`float`): Makes initial stds about 0.6 of the value range over the number of bins.
        mean_center (`Tensor` (bins, V)): Centre of the interval that each component's mean lies in; the bin's centre if
            means are unbounded.
        mean_radius (`Tensor` (bins, V) or `None`): Half the width of that interval; `None`: means are unbounded.
        mean_offset (`Tensor` (bins, V) or `None`): Puts initial means at the bins' centres.
    """

    min_log_std: float
    log_std_range: float
    log_std_offset: float
    mean_center: Tensor
    mean_radius: Tensor | None = None
    mean_offset: Tensor | None = None

    @classmethod
    def of(cls, config: PixelTransformerConfig, centers: Tensor) -> "Bounds":
        """The bounds that a config sets for components with bins at `centers` (bins, V)."""
        lowest, highest = (min(max(math.log(bound), LOG_STDS[0]), LOG_STDS[1]) for bound in config.std_bounds)
        extent = config.value_range[1] - config.value_range[0] if config.value_range else 1.0
        start = math.log(extent / len(centers)) - 0.5
        start = min(max((start - lowest) / (highest - lowest), 0.05), 0.95)
        log_stds = {
            "min_log_std": lowest,
            "log_std_range": highest - lowest,
            "log_std_offset": math.log(start / (1 - start)),
        }
        if config.offset_radius is None and config.value_range is None:
            return cls(**log_stds, mean_center=centers)
        low, high = config.value_range or (-math.inf, math.inf)
        radius = math.inf if config.offset_radius is None else config.offset_radius
        radius = radius * (high - low) if config.value_range else radius
        left, right = (centers - radius).clamp(min=low), (centers + radius).clamp(max=high)
        middle, half = (left + right) / 2, ((right - left) / 2).clamp(min=1e-6)
        offset = torch.atanh(((centers - middle) / half).clamp(-0.95, 0.95))
        return cls(**log_stds, mean_center=middle, mean_radius=half, mean_offset=offset)

    def components(self, x: Tensor, of_channels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Turn the head's outputs into the parameters of a `ValueDistribution`.

        Args:
            x (`Tensor` (B, Q, bins × (V + 2))): Logits of all bins, then V mean offsets of each bin, then one log-std
                of each bin.
            of_channels (`Tensor` (B, Q, bins × channel_outputs(V)) or `None`): Output of `ChannelHead`.

        Returns:
            Log-weights (B, Q, bins), means (B, Q, bins, V), log-stds (B, Q, bins) and `None`. If `of_channels` is
            given: log-stds per channel (B, Q, bins, V), and coefficients (B, Q, bins, V (V - 1) / 2) instead of `None`.
        """
        bins, channels = self.mean_center.shape
        logits, offsets, log_stds = x.float().split((bins, bins * channels, bins), -1)
        offsets = offsets.unflatten(-1, (bins, channels))
        if self.mean_radius is None:
            means = self.mean_center + offsets
        else:
            means = torch.addcmul(self.mean_center, self.mean_radius, torch.tanh(offsets + self.mean_offset))
        coefficients = None
        if of_channels is not None:
            of_channels = of_channels.float().unflatten(-1, (bins, -1))
            log_stds = log_stds.unsqueeze(-1) + of_channels[..., :channels]
            coefficients = of_channels[..., channels:]
        log_stds = self.min_log_std + self.log_std_range * torch.sigmoid(log_stds + self.log_std_offset)
        return logits.log_softmax(-1), means, log_stds, coefficients


def channel_outputs(value_dim: int) -> int:
    """Outputs per bin of `ChannelHead`: a log-std for each channel and a coefficient for each pair of channels."""
    return value_dim + value_dim * (value_dim - 1) // 2


class ChannelHead(nn.Linear):
    """Predicts, for each bin, log-stds of the channels (added to the common one) and coefficients between channels."""

    def __init__(self, width: int, num_bins: int, value_dim: int):
        self.num_bins, self.value_dim = num_bins, value_dim
        super().__init__(width, num_bins * channel_outputs(value_dim))

    def first_bias(self) -> Tensor:
        """Initial bias: equal stds for all channels, and each channel moves with the one before it."""
        parts = [torch.zeros(self.value_dim)]
        parts += [CHANNEL_COEFFICIENT * torch.eye(count)[-1] for count in range(1, self.value_dim)]
        return torch.cat(parts).repeat(self.num_bins)


def uniform_bins(config: PixelTransformerConfig) -> Tensor:
    """Bin centres (num_bins, V), spread evenly over the value range ([-1, 1] without one); for V > 1, on a lattice."""
    low, high = config.value_range or (-1.0, 1.0)
    bins, channels = config.num_bins, config.value_dim
    side = 1
    while side**channels < bins:
        side += 1
    axis = torch.linspace(low, high, side) if side > 1 else torch.tensor([(low + high) / 2])
    lattice = torch.cartesian_prod(*[axis] * channels).view(-1, channels)
    return lattice[torch.linspace(0, len(lattice) - 1, bins).round().long()]
