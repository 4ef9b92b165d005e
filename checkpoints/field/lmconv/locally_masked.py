"""Convolutions whose mask differs from cell to cell (Jain, Abbeel & Pathak, UAI 2020)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = ((1, 1), (2, 1), (1, 2), (2, 2))  # rows and columns from one cell of a lattice to the next


@dataclass(frozen=True)
class Lattice:
    """Cells of one mask: those at rows `first[0]`, `first[0] + step[0]`, … and columns `first[1]`, ….

    Attributes:
        mask (`torch.Tensor`): (size, size), 1 where the kernel may look, seen from any of these cells.
    """

    first: tuple[int, int]
    step: tuple[int, int]
    mask: Tensor


@dataclass(frozen=True)
class LocalMasks:
    """What a square kernel may see from each cell.

    Attributes:
        cells (`torch.Tensor`): (size², D): 1 where the kernel may look. Outside of the grid it may not.
        lattices (`tuple`): If few masks serve for all cells, their lattices, which hold each cell once. Raster orders
            have one and S-curves two; for Hilbert curves and orders that put cells first there are none.
    """

    cells: Tensor
    lattices: tuple[Lattice, ...]


def local_masks(ranks: Tensor, grid, size: int, dilation: int, include_centre: bool) -> LocalMasks:
    """Masks of a square kernel for an order in which cell i comes at place ranks[i]: earlier neighbours are seen."""
    width, height = grid
    padding = dilation * (size // 2)
    places = F.pad(ranks.view(1, 1, height, width).float(), [padding] * 4, value=float("inf"))
    neighbours = F.unfold(places, size, dilation=dilation)[0]  # (size², D)
    seen = neighbours <= ranks if include_centre else neighbours < ranks
    inside = neighbours.isfinite()
    return LocalMasks(seen.float(), _lattices(*(part.view(-1, height, width) for part in (seen, inside)), size))


def _lattices(seen: Tensor, inside: Tensor, size: int) -> tuple[Lattice, ...]:
    """The coarsest lattices whose cells agree on every neighbour that lies in the grid; none, where they do not.

    What lies outside is 0 and may be looked at.
    """
    for step in STEPS:
        found = []
        for first in ((row, column) for row in range(step[0]) for column in range(step[1])):
            part = (slice(None), slice(first[0], None, step[0]), slice(first[1], None, step[1]))
            mask = seen[part].any((1, 2))
            if bool((inside[part] & (seen[part] != mask[:, None, None])).any()):
                break
            found.append(Lattice(first, step, mask.float().view(size, size)))
        else:
            return tuple(found)
    return ()


class LocallyMaskedConv(nn.Conv2d):
    """A convolution with a mask of its own for each cell; outside of the grid there are zeros.

    Where few masks serve for all cells, each is a common convolution with a stride: training on S-curves takes a
    quarter of the time of unfolding, masking and multiplying, which any other order needs.
    """

    def forward(self, x: Tensor, masks: LocalMasks) -> Tensor:
        """x (B, C, y, x) to (B, outputs, y, x)."""
        padding = self.dilation[0] * (self.kernel_size[0] // 2)
        if not masks.lattices:
            patches = F.unfold(x, self.kernel_size, self.dilation, padding)  # (B, C · size², cells)
            patches = patches.unflatten(1, (x.shape[1], -1)) * masks.cells
            out = self.weight.flatten(1) @ patches.flatten(1, 2)
            return (out + self.bias[:, None]).unflatten(2, x.shape[2:])
        padded = F.pad(x, [padding] * 4)
        parts = [self._at(lattice, padded, x.shape[2:]) for lattice in masks.lattices]
        if len(parts) == 1:
            return parts[0]
        out = parts[0].new_empty(len(x), self.out_channels, *x.shape[2:])
        for lattice, part in zip(masks.lattices, parts, strict=True):
            out[:, :, lattice.first[0] :: lattice.step[0], lattice.first[1] :: lattice.step[1]] = part
        return out

    def _at(self, lattice: Lattice, padded: Tensor, sides: torch.Size) -> Tensor:
        """The convolution at the cells of a lattice, with the kernel cut to what its mask shows."""
        weight = self.weight * lattice.mask
        for axis in (0, 1):
            shown = lattice.mask.any(1 - axis).nonzero().flatten().tolist() or [0]
            weight = weight.narrow(2 + axis, shown[0], shown[-1] - shown[0] + 1)
            first, step, dilation = lattice.first[axis], lattice.step[axis], self.dilation[axis]
            cells = len(range(first, sides[axis], step))
            length = (cells - 1) * step + (shown[-1] - shown[0]) * dilation + 1
            padded = padded.narrow(2 + axis, first + shown[0] * dilation, length)
        return F.conv2d(padded, weight, self.bias, lattice.step, dilation=self.dilation)
