"""Positions, values and scales as vectors, and rotations of attention's heads by positions.

In the comments B = batch, L = places, P = dimensions of positions, W = hidden size, H = heads, D = head dim.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def full_precision(device_type: str) -> AbstractContextManager:
    """Without autocast, for angles: bfloat16 has too few digits for them."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()  # entering autocast takes as long as several small products


class FourierFeatures(nn.Module):
    """Random Fourier features (Tancik et al. 2020), with trained frequencies as in the paper."""

    def __init__(self, input_dim: int, num_features: int, scale: float, include_input: bool = False):
        super().__init__()
        self.scale, self.include_input = scale, include_input
        self.frequencies = nn.Parameter(torch.empty(num_features // 2, input_dim))  # cycles per unit
        self.size = num_features // 2 * 2 + input_dim * include_input

    def forward(self, x: Tensor) -> Tensor:  # (B, L, input_dim)
        with full_precision(x.device.type):
            x = x.float()
            angles = 2 * math.pi * F.linear(x, self.frequencies.float())
        return torch.cat((angles.sin(), angles.cos(), *[x] * self.include_input), -1)  # (B, L, size)


class ScaleEmbedding(nn.Module):
    """A learned vector for each scale, linear between two of them; the finest scale adds nothing."""

    def __init__(self, num_scales: int, width: int):
        super().__init__()
        self.coarser = nn.Parameter(torch.empty(num_scales - 1, width))

    def forward(self, scales: Tensor) -> Tensor:  # (B, L) -> (B, L, W)
        knots = torch.arange(1, len(self.coarser) + 1, device=scales.device)
        weights = (1 - (scales[..., None].float() - knots).abs()).clamp(min=0)  # a hat around each whole scale
        return weights.to(self.coarser.dtype) @ self.coarser


class RotaryEmbedding(nn.Module):
    """Angles by which heads are rotated at a continuous position; each head has trained frequency vectors in P axes.

    Rotating queries by their angle and keys by theirs makes a score depend on the difference of positions
    (Su et al. 2021; frequencies along mixed axes: Heo et al., ECCV 2024).
    """

    def __init__(self, position_dim: int, num_heads: int, head_dim: int, max_frequency: float):
        super().__init__()
        self.max_frequency = max_frequency
        self.frequencies = nn.Parameter(torch.empty(num_heads, head_dim // 2, position_dim))  # radians per unit

    def reset_parameters(self) -> None:
        """Magnitudes log-spaced from 1 to `max_frequency` in each head, directions uniform on the sphere."""
        heads, count, axes = self.frequencies.shape
        magnitude = torch.logspace(0, math.log10(self.max_frequency), count)
        direction = F.normalize(torch.randn(heads, count, axes), dim=-1)
        with torch.no_grad():
            self.frequencies.copy_(magnitude[:, None] * direction)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:  # (B, L, P)
        with full_precision(positions.device.type):
            angles = torch.einsum("blp,hdp->bhld", positions.float(), self.frequencies.float())
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)  # each (B, H, L, D)
