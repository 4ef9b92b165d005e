"""Positions, values and scales as vectors, and rotations of attention's heads by positions.

In the comments B = batch, L = positions, P = dimensions of positions, W = hidden size, H = heads, D = head dim.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

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

    def __init__(self, input_dim: int, num_features: int, bandwidth: float, include_input: bool = False):
        super().__init__()
        self.bandwidth, self.include_input = bandwidth, include_input
        self.frequencies = nn.Parameter(torch.empty(num_features // 2, input_dim))  # cycles per unit
        self.size = num_features // 2 * 2 + input_dim * include_input

    def forward(self, x: Tensor) -> Tensor:  # (B, L, input_dim)
        with full_precision(x.device.type):
            x = x.float()
            angles = 2 * math.pi * F.linear(x, self.frequencies.float())
        return torch.cat((angles.sin(), angles.cos(), *[x] * self.include_input), -1)  # (B, L, size)


class NothingObserved(nn.Module):
    """Puts a learned token before the context's tokens, so that there is one even where nothing is observed."""

    def __init__(self, width: int):
        super().__init__()
        self.token = nn.Parameter(torch.empty(width))

    def forward(self, tokens: Tensor) -> Tensor:  # (B, K, W) -> (B, 1 + K, W)
        return torch.cat((self.token.to(tokens.dtype).expand(len(tokens), 1, -1), tokens), 1)


class ScaleEmbedding(nn.Module):
    """A learned vector for each scale, interpolated linearly between whole scales; scale 0 has the vector 0."""

    def __init__(self, num_scales: int, width: int):
        super().__init__()
        self.coarser = nn.Parameter(torch.empty(num_scales - 1, width))

    def forward(self, scales: Tensor) -> Tensor:  # (B, L) -> (B, L, W)
        knots = torch.arange(1, len(self.coarser) + 1, device=scales.device)
        weights = (1 - (scales[..., None].float() - knots).abs()).clamp(min=0)  # a hat around each whole scale
        return weights.to(self.coarser.dtype) @ self.coarser


class PositionEmbedding(nn.Module):
    """A linear layer of a position's features, plus the embedding of the value's scale."""

    def __init__(self, num_features: int, num_scales: int, width: int):
        super().__init__()
        self.linear = nn.Linear(num_features, width)
        self.scale = ScaleEmbedding(num_scales, width) if num_scales > 1 else None

    def forward(self, features: Tensor, scales: Tensor | None) -> Tensor:  # (B, L, features), (B, L) -> (B, L, W)
        embedded = self.linear(features)
        return embedded if scales is None or self.scale is None else embedded + self.scale(scales)


class RotaryEmbedding(nn.Module):
    """Rotates the queries and keys of each head by angles that are linear in a continuous position.

    Each pair of features has a trained frequency vector (P,). As queries and keys are both rotated, an attention score
    depends on the difference of their positions (Su et al. 2021; with frequency vectors: Heo et al., ECCV 2024).
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


@dataclass
class EmbeddedPositions:
    """Whatever depends only on positions and scales, see `PixelTransformerModel.embed_positions`.

    A sampler computes it once, before its loop, for all positions.

    Attributes:
        tokens (`Tensor` (B, L, W) or `None`): Tokens without the encoding of their values.
        queries (`Tensor` (B, L, W) or `None`): Queries.
        rotation (`tuple` of two `Tensor`s (B, H, L, D), or `None`): Rotary cosines and sines.
        projected (`Tensor` (B, H, L, D) or `None`): The queries' projection in the first decoder layer.
    """

    tokens: Tensor | None
    queries: Tensor | None
    rotation: tuple[Tensor, Tensor] | None
    projected: Tensor | None

    def part(self, start: int, stop: int) -> "EmbeddedPositions":
        """The positions from index `start` to `stop`."""
        rotation = None
        if self.rotation is not None:
            cos, sin = self.rotation
            rotation = cos[:, :, start:stop], sin[:, :, start:stop]
        tokens, queries = self.tokens[:, start:stop], self.queries[:, start:stop]
        return EmbeddedPositions(tokens, queries, rotation, self.projected[:, :, start:stop])

    def at(self, rows: Tensor, index: Tensor, queries: bool) -> "EmbeddedPositions":
        """The positions with indices `index` of `rows`, both broadcastable to (N, L).

        With `queries`, only what queries need is taken along, and otherwise what tokens need; the rest is `None`.
        """

        def of_heads(x: Tensor) -> Tensor:
            return x.transpose(1, 2)[rows, index].transpose(1, 2)

        rotation = None if self.rotation is None else tuple(of_heads(x) for x in self.rotation)
        if not queries:
            return EmbeddedPositions(self.tokens[rows, index], None, rotation, None)
        return EmbeddedPositions(None, self.queries[rows, index], rotation, of_heads(self.projected))
