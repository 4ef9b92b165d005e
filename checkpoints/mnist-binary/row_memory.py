"""A memory whose rows hold different numbers of tokens, as rows of a chain advance independently."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import Memory


class RowMemory(Memory):
    """A memory whose rows hold different numbers of tokens, each row from slot 0 on.

    New tokens of row r are written from slot `starts[r]` on and replace what was there. Masks `seen` (N, L) say how
    many slots, counted from the first, each token or query sees; `None`: the first `starts[r]` slots of row r.
    """

    def __init__(self, memory: Memory, times: int, capacity: int):
        """Repeat all items of `memory` `times` times and make room for `capacity` slots."""
        super().__init__(len(memory.layers) - 1, memory.bounds, capacity)
        for index, (keys, values) in enumerate(memory.layers):
            self.layers[index] = (self._with_room(keys, times), self._with_room(values, times))
        self.starts = [memory.length] * (times * keys.shape[-4])
        self.length = memory.length

    def _with_room(self, held: Tensor, times: int) -> Tensor:
        held = held.repeat(*[1] * (held.dim() - 4), times, 1, 1, 1)
        return F.pad(held, (0, 0, 0, self.capacity - held.shape[-2]))  # zeros: what no query sees must be finite

    def start_at(self, starts: list[int]) -> None:
        """Set the slot of each row's next token; what is stored from there on is forgotten."""
        self.starts, self.length = starts, max(starts)

    def extend(self, index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values (..., N, H, L, D) from each row's start on; returns all of them up to the end."""
        count = keys.shape[-2]
        stop = self.length + count
        for held, new in zip(self.layers[index], (keys, values), strict=True):
            if min(self.starts) == self.length:
                held.narrow(-2, self.length, count).copy_(new)
            else:
                rows, slots = windows(self.starts, count, held.device)
                held.transpose(-3, -2)[..., rows, slots, :, :] = new.transpose(-3, -2)
        return tuple(held.narrow(-2, 0, stop) for held in self.layers[index])

    def replace(self, rows: list[int], memory: Memory) -> None:
        """Copy all tokens of `memory` into the first slots of the given rows; item i belongs to `rows[i]`."""
        for ours, theirs in zip(self.layers, memory.layers, strict=True):
            for held, new in zip(ours, theirs, strict=True):
                held[..., rows, :, : memory.length, :] = new[..., : memory.length, :]

    def mask_of_new(self, seen: Tensor | None, count: int) -> Tensor | None:
        if seen is None and min(self.starts) < self.length:
            seen = torch.tensor(self.starts, device=self.layers[0][0].device)[:, None] + count
        return None if seen is None else self.mask(seen, self.length + count)

    def mask(self, seen: Tensor | None, num_keys: int) -> Tensor | None:
        if seen is None:
            if min(self.starts) == num_keys:
                return None
            seen = torch.tensor(self.starts, device=self.layers[0][0].device)[:, None]
        # Numbers instead of bools, which every layer's attention would turn into numbers again.
        hidden = torch.arange(num_keys, device=seen.device) >= seen[..., None]
        dtype = self.layers[0][0].dtype
        return torch.zeros(hidden.shape, dtype=dtype, device=seen.device).masked_fill_(hidden, -torch.inf)[:, None]


def windows(starts: list[int], count: int, device) -> tuple[Tensor, Tensor]:
    """Indices of the rows (N, 1) and of `count` consecutive slots in each, from its start on (N, `count`)."""
    starts = torch.tensor(starts, device=device)[:, None]
    return torch.arange(len(starts), device=device)[:, None], starts + torch.arange(count, device=device)
