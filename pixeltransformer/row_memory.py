"""A memory whose rows hold different numbers of tokens, as rows of a chain advance independently."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import Memory, Span


@dataclass
class Packing:
    """Tokens of several rows in one sequence, those of row 0 first, then those of row 1, …; no row is padded.

    Linear layers then compute nothing in vain. Attention takes one call per row, which suits a CPU.

    Attributes:
        counts (`list[int]`): Tokens of each row, T in all.
        rows, columns (`Tensor` (T,)): The row of each token, and its index among the tokens of its row.
    """

    counts: list[int]
    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, counts: list[int], device) -> "Packing | None":
        """The packing of `counts` tokens of each row, or `None` where rows are better padded to equal lengths."""
        if device.type != "cpu" or min(counts) == max(counts):
            return None
        sizes = torch.tensor(counts)
        rows = torch.arange(len(counts)).repeat_interleave(sizes)
        return cls(counts, rows, torch.arange(len(rows)) - (sizes.cumsum(0) - sizes)[rows])

    def pack(self, x: Tensor) -> Tensor:
        """The tokens' entries (1, T, …) of x (N, L, …), whose rows have at least as many entries as tokens."""
        return x[self.rows, self.columns][None]

    def unpacking(self, length: int) -> Tensor:
        """Indices (N, `length`) of each row's tokens in the sequence; arbitrary ones behind a row's last token."""
        sizes = torch.tensor(self.counts)
        return ((sizes.cumsum(0) - sizes)[:, None] + torch.arange(length)).clamp(max=len(self.rows) - 1)


class RowMemory(Memory):
    """A memory whose rows hold different numbers of tokens, each row from slot 0 on.

    New tokens of row r are written from slot `starts[r]` on and replace what was there. Masks `seen` (N, L) say how
    many slots, counted from the first, each token or query sees; `None`: the first `starts[r]` slots of row r. With
    `packing`, tokens and queries are those of all rows in one sequence, and `seen` is (1, T).
    """

    def __init__(self, memory: Memory, times: int, capacity: int):
        """Repeat all items of `memory` `times` times and make room for `capacity` slots."""
        super().__init__(len(memory.layers) - 1, memory.bounds, capacity)
        for index, (keys, values) in enumerate(memory.layers):
            self.layers[index] = (self._with_room(keys, times), self._with_room(values, times))
        self.start_at([memory.length] * (times * keys.shape[-4]))

    def _with_room(self, held: Tensor, times: int) -> Tensor:
        held = held.repeat(*[1] * (held.dim() - 4), times, 1, 1, 1)
        return F.pad(held, (0, 0, 0, self.capacity - held.shape[-2]))  # zeros: what no query sees must be finite

    def start_at(self, starts: list[int], packing: Packing | None = None) -> None:
        """Set the slot of each row's next token; what is stored from there on is forgotten."""
        self.starts, self.length, self.packing = starts, max(starts), packing

    def extend(self, index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values (..., N, H, L, D) from each row's start on; returns all of them up to the end.

        With `packing`, new ones are (..., 1, H, T, D).
        """
        if self.packing is not None:
            for held, new in zip(self.layers[index], (keys, values), strict=True):
                parts = new.squeeze(-4).split(self.packing.counts, -2)
                for row, (start, part) in enumerate(zip(self.starts, parts, strict=True)):
                    held[..., row, :, start : start + part.shape[-2], :] = part
            return self.layers[index]
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

    def spans_of_new(self, count: int, seen: Tensor | None) -> list[Span]:
        if self.packing is not None:
            return self._spans_of_rows(seen)
        if seen is None and min(self.starts) < self.length:
            seen = torch.tensor(self.starts, device=self.layers[0][0].device)[:, None] + count
        mask = None if seen is None else self.mask(seen, self.length + count)
        return [Span(0, count, self.length + count, mask)]

    def spans(self, count: int, seen: Tensor | None = None) -> list[Span]:
        return super().spans(count, seen) if self.packing is None else self._spans_of_rows(seen)

    def _spans_of_rows(self, seen: Tensor) -> list[Span]:
        """A span for each row that has tokens, of which each sees its first `seen` (1, T) slots."""
        spans, start = [], 0
        for row, count in enumerate(self.packing.counts):
            if count:
                of_row = seen[:, start : start + count]
                num_keys = int(of_row.max())
                spans.append(Span(start, start + count, num_keys, self.mask(of_row, num_keys), row))
            start += count
        return spans

    def mask(self, seen: Tensor | None, num_keys: int) -> Tensor | None:
        """Numbers (N, 1, L, `num_keys`) to add to scores: 0 for the first `seen` (N, L) keys, minus infinity beyond.

        Every layer's attention would turn bools into these numbers again.
        """
        if seen is None:
            if min(self.starts) == num_keys:
                return None
            seen = torch.tensor(self.starts, device=self.layers[0][0].device)[:, None]
        hidden = torch.arange(num_keys, device=seen.device) >= seen[..., None]
        dtype = self.layers[0][0].dtype
        return torch.zeros(hidden.shape, dtype=dtype, device=seen.device).masked_fill_(hidden, -torch.inf)[:, None]


def windows(starts: list[int], count: int, device) -> tuple[Tensor, Tensor]:
    """Indices of the rows (N, 1) and of `count` consecutive slots in each, from its start on (N, `count`)."""
    starts = torch.tensor(starts, device=device)[:, None]
    return torch.arange(len(starts), device=device)[:, None], starts + torch.arange(count, device=device)
