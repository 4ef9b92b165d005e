"""Masked layers, written once: linear, convolutional, and cached row by row."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = tuple[int, int]  # rows, columns


def unpack(weights: Tensor, mask: Tensor) -> Tensor:
    """A matrix that has weights (n,), row by row, where a mask (out, in) has its n ones, and 0 elsewhere."""
    return weights.new_zeros(mask.shape).masked_scatter(mask.bool(), weights)


def below_diagonal(size: int, device: torch.device | str) -> Tensor:
    """Mask (size, size) of the inputs before each output: ones below the diagonal."""
    return torch.ones(size, size, device=device).tril(-1)


class MaskedLinear(nn.Linear):
    """A linear layer whose weights count only where a mask (out, in) says so; the mask comes with the call."""

    def matrix(self, mask: Tensor) -> Tensor:
        """Weights (out, in) that count."""
        return self.weight * mask


class PackedLinear(nn.Module):
    """A linear layer that stores only the weights that its mask lets through; the mask must never change.

    Args:
        mask (`Tensor` (out, in)): Zeros and ones. Only its shape and sum are kept; it comes again with the call.
    """

    def __init__(self, mask: Tensor):
        super().__init__()
        outputs, inputs = mask.shape
        bound = inputs**-0.5  # as nn.Linear
        self.weight = nn.Parameter(torch.empty(int(mask.sum())).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def matrix(self, mask: Tensor) -> Tensor:
        """Weights (out, in), 0 where the mask is."""
        return unpack(self.weight, mask)


def raster_mask(kernel: Kernel, include_centre: bool) -> Tensor:
    """1 where a kernel (rows, columns) may look: rows above its last one, and its last row up to the middle.

    Mask A of van den Oord et al. 2016 leaves out the middle itself, mask B includes it. The kernel's last row is the
    pixel's own.
    """
    mask = torch.ones(kernel)
    mask[-1, kernel[1] // 2 + include_centre :] = 0
    return mask


class Rowwise(nn.Module):
    """A module that looks at rows above, and can be given an image row by row: it then remembers what it needs.

    While `row_by_row` is entered, `forward` takes one row (B, C, 1, x), which may be given again and again until
    `finish_row` makes it the last remembered one.
    """

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.cached, self._above, self._row = False, None, None

    def start_rows(self) -> None:
        self.cached, self._above, self._row = True, None, None

    def stop_rows(self) -> None:
        self.cached, self._above, self._row = False, None, None

    def finish_row(self) -> None:
        """Remember the row that was given last."""
        self._above = self._row if self._above is None else torch.cat((self._above, self._row), 2)

    def with_rows_above(self, x: Tensor, count: int, value: float = 0.0) -> Tensor:
        """Rows (B, C, count + y, x): those of x behind `count` rows above, of `value` where the image has none."""
        if not self.cached:
            return F.pad(x, (0, 0, count, 0), value=value)
        self._row = x
        above = x[:, :, :0] if self._above is None else self._above[:, :, max(0, self._above.shape[2] - count) :]
        missing = count - above.shape[2]
        return F.pad(torch.cat((above, x), 2), (0, 0, missing, 0), value=value)


@contextmanager
def row_by_row(network: nn.Module) -> Iterator[list[Rowwise]]:
    """Give the network images row by row inside; yields its modules that remember rows."""
    modules = [module for module in network.modules() if isinstance(module, Rowwise)]
    try:
        for module in modules:
            module.start_rows()
        yield modules
    finally:
        for module in modules:
            module.stop_rows()


class CausalConv(Rowwise, nn.Conv2d):
    """A convolution whose kernel ends in the pixel's own row.

    Args:
        kernel (`tuple`): Rows and columns.
        kind (`str`): "A" or "B": the mask of its last row, see `raster_mask`. "": it may look everywhere.
        left (`int` or `None`): Columns before the pixel; `None`: half of the kernel. The rest comes after it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, kind: str = "", left: int | None = None):
        super().__init__(inputs, outputs, kernel)
        self.kind, self.left = kind, kernel[1] // 2 if left is None else left

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.kernel_size
        x = F.pad(self.with_rows_above(x, rows - 1), (self.left, columns - 1 - self.left))
        weight = self.weight
        if self.kind:
            weight = weight * raster_mask(self.kernel_size, self.kind == "B").to(weight)
        return F.conv2d(x, weight, self.bias)


class ShiftDown(Rowwise):
    """Each row becomes that above it, the first one 0."""

    def forward(self, x: Tensor) -> Tensor:
        return self.with_rows_above(x, 1)[:, :, : x.shape[2]]


def shift_right(x: Tensor) -> Tensor:
    """Each column becomes that to its left, the first one 0."""
    return F.pad(x, (1, 0))[..., :-1]


def concat_elu(x: Tensor) -> Tensor:
    """ELU of x and of -x, side by side: twice the channels."""
    return F.elu(torch.cat((x, -x), 1))


def gate(x: Tensor) -> Tensor:
    """tanh of one half of the channels times the sigmoid of the other (van den Oord et al. 2016)."""
    signal, opening = x.chunk(2, 1)
    return torch.tanh(signal) * torch.sigmoid(opening)
