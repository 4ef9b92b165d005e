"""Nearest-neighbour lookup: every position takes the value of the observed position closest to it."""

import torch
from torch import Tensor

from baselines.base import PointwiseBaseline


def nearest_values(context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> Tensor:
    """Values (B, Q, V) at queries (B, Q, P) from the nearest of K >= 1 context positions (B, K, P), (B, K, V)."""
    if context_positions.shape[1] == 0:
        raise ValueError("context_positions: expected at least one position, got none")
    index = torch.cdist(query_positions, context_positions).argmin(-1, keepdim=True)  # (B, Q, 1)
    return context_values.gather(1, index.expand(-1, -1, context_values.shape[-1]))


class NearestNeighbour(PointwiseBaseline):
    """The value of the nearest observed position."""

    def values(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> Tensor:
        return nearest_values(context_positions, context_values, query_positions)
