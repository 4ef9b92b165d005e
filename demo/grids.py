"""Where an observed set meets a grid: which of its cells are known, and which a pattern reveals."""

from dataclasses import dataclass

import torch
from torch import Tensor

from demo.observed import Observed
from pixeltransformer.grids import coordinates
from signals.cells import cell_positions
from signals.patterns import Pattern


@dataclass(frozen=True)
class Split:
    """The cells of a grid, x running fastest, as known ones and hidden ones.

    Attributes:
        grid (`list[int]`): Cells along x, y, …
        known (`Tensor` (K',)), values (`Tensor` (K', V)): Cells whose centre is an observed position, and its value;
            averages over larger areas make no cell known.
        hidden (`Tensor` (Q,)): All other cells: what is asked for.
    """

    grid: list[int]
    known: Tensor
    values: Tensor
    hidden: Tensor

    @property
    def queries(self) -> Tensor:
        """Positions (Q, P) of the hidden cells, in the order of the grid's axes."""
        return cell_positions(self.grid, self.hidden)

    def inside(self, coarse: list[int]) -> Tensor:
        """Numbers (Q,) of the cells of a coarser grid over the same signal in which the hidden cells' centres lie."""
        numbers, stride, rest = torch.zeros_like(self.hidden), 1, self.hidden
        for side, larger in zip(self.grid, coarse, strict=True):
            numbers = numbers + ((rest % side + 0.5) * larger / side).long() * stride
            rest, stride = rest // side, stride * larger
        return numbers

    def complete(self, hidden: Tensor, known: Tensor | float | None = None) -> Tensor:
        """An array (…, y, x, V) from values (Q, V) at the hidden cells and `known` ones (default: those observed)."""
        sheet = torch.empty(torch.Size(self.grid).numel(), hidden.shape[-1])
        sheet[self.hidden] = hidden
        sheet[self.known] = self.values if known is None else known
        return sheet.view(*self.grid[::-1], -1)


def split(observed: Observed, grid: list[int]) -> Split:
    """Match observed positions with the centres of a grid's cells (to a thousandth of a cell); the last one counts."""
    sizes = torch.tensor(grid)
    exact = coordinates(observed.positions, sizes)
    index = exact.round().long()
    match = ((exact - index).abs() < 1e-3).all(-1) & observed.points
    strides = torch.cat((torch.ones(1, dtype=torch.long), sizes.cumprod(0)[:-1]))
    cells = (index * strides).sum(-1)[match]
    latest = torch.full((int(sizes.prod()),), -1)
    latest[cells] = match.nonzero()[:, 0]
    known = (latest >= 0).nonzero()[:, 0]
    return Split(grid, known, observed.values[latest[known]], (latest < 0).nonzero()[:, 0])


def observe_cells(values: Tensor, cells: Tensor) -> Observed:
    """The set of the given cells of an array (y, x, V) or (z, y, x, V)."""
    grid = list(values.shape[-2::-1])
    return Observed(cell_positions(grid, cells), values.flatten(0, -2)[cells])


def choose_cells(
    patterns: dict[str, Pattern], positions: Tensor, count: int, name: str, seed: int, everything: str | None = None
) -> Tensor:
    """Cells (K,) that a pattern observes of those at positions (N, P), as cell numbers.

    Args:
        patterns (`dict`): A kind's patterns by name.
        count (`int`): How many cells; only patterns of random positions look at it.
        everything (`str` or `None`): A further name, which observes all cells.

    Raises:
        ValueError: for an unknown pattern.
    """
    total = len(positions)
    if name == everything:
        return torch.arange(total)
    if name not in patterns:
        names = [*patterns, *([everything] if everything else [])]
        raise ValueError(f"pattern: expected one of {', '.join(names)}, got {str(name)[:40]!r}")
    pattern = patterns[name]
    if pattern.sparse:
        if count == 0:
            return torch.zeros(0, dtype=torch.long)
        pattern = pattern.with_count(count, total)
    return pattern.observe(positions[None], torch.Generator().manual_seed(seed))[0][0]
