"""The observed set, whose items may know different numbers of values."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import Memory


@dataclass
class Context:
    """The context: what is known before the chain starts, see `PixelTransformerModel.forward`."""

    positions: Tensor  # (N, K, P)
    values: Tensor  # (N, K, V)
    mask: Tensor | None = None  # (N, K)
    scales: Tensor | None = None  # (N, K)

    def _map(self, change) -> "Context":
        parts = (self.positions, self.values, self.mask, self.scales)
        return Context(*(None if part is None else change(part) for part in parts))

    def repeat(self, times: int) -> "Context":
        """Repeat all items `times` times: items 0, 1, …, then items 0, 1, … again."""
        return self._map(lambda part: part.repeat(times, *[1] * (part.dim() - 1)))

    def rows(self, index: Tensor | slice) -> "Context":
        """The items with the given indices."""
        return self._map(lambda part: part[index])

    def extend(self, positions: Tensor, values: Tensor, scales: Tensor | None = None) -> "Context":
        """Add values (N, L, V) at positions (N, L, P) with scales (N, L); `None`: scale 0."""
        mask, known = self.mask, self.scales
        if mask is not None:
            mask = F.pad(mask.bool(), (0, positions.shape[1]), value=True)
        if known is not None or scales is not None:
            known = torch.zeros_like(self.positions[..., 0]) if known is None else known
            scales = torch.zeros_like(positions[..., 0]) if scales is None else scales
            known = torch.cat((known, scales), 1)
        return Context(
            torch.cat((self.positions, positions), 1),
            torch.cat((self.values, values.to(self.values.dtype)), 1),
            mask,
            known,
        )

    def counts(self) -> list[int]:
        """Number of known values of each item."""
        if self.mask is None:
            return [self.positions.shape[1]] * len(self.positions)
        return self.mask.sum(1).tolist()

    def packed(self) -> "Context":
        """The same values with masked ones moved to the end, and cut off where they are masked in all items."""
        if self.mask is None:
            return self
        mask = self.mask.bool()
        first = (~mask).byte().argsort(dim=1, stable=True)[:, : max(self.counts())]
        packed = self._map(lambda part: take(part, first))
        packed.mask = None if packed.mask.all() else packed.mask.bool()
        return packed

    def encode(self, model, room: int = 0) -> Memory:
        """Encode it into a memory with room for `room` more values."""
        return model.encode(self.positions, self.values, self.mask, self.scales, room)


def take(x: Tensor | None, order: Tensor) -> Tensor | None:
    """Rows of x (N, Q, C), or entries of x (N, Q), at the indices `order` (N, L)."""
    if x is None or x.dim() == 2:
        return None if x is None else x.gather(1, order)
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))
