"""PixelCNN++: discretised logistics, two streams, short-cuts across resolutions.

Salimans, Karpathy, Chen & Kingma, ICLR 2017. One stream sees all rows above, the other also the pixels to the left;
both go down to half the resolution and up again, with short-cuts from each layer down to its mirror image up.
Published: 2.92 bits on CIFAR-10; 8-bit MNIST 0.88 bits, as Akoury & Nguyen 2017 list it. Here it halves once, the
paper twice.
"""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .configuration import FieldConfig
from .layers import CausalConv, concat_elu, shift_right
from .rows import RasterImageModel


@strict
class PixelCNNPlusConfig(FieldConfig):
    """Args:
    hidden_size: Channels.
    num_layers: Gated blocks at each resolution, down and up.
    num_halvings: How often the resolution is halved.
    dropout: Share of channels left out in the blocks.
    """

    model_type = "field-pixelcnn-plus"

    hidden_size: int = 24
    num_layers: int = 2
    num_halvings: int = 1
    dropout: float | int = 0.1


def _down(inputs: int, outputs: int) -> CausalConv:
    """Of the stream of rows: 2×3, up to the own row."""
    return CausalConv(inputs, outputs, (2, 3))


def _down_right(inputs: int, outputs: int) -> CausalConv:
    """Of the stream of pixels to the left too: 2×2, up to the own pixel."""
    return CausalConv(inputs, outputs, (2, 2), left=1)


class GatedBlock(nn.Module):
    """Two convolutions of concatenated ELUs, a gate, and the input added; `extra` channels come in between."""

    def __init__(self, make, width: int, extra: int, condition: int, dropout: float):
        super().__init__()
        self.first, self.second = make(2 * width, width), make(2 * width, 2 * width)
        self.between = nn.Conv2d(2 * extra, width, 1) if extra else None
        self.condition = nn.Conv2d(condition, 2 * width, 1, bias=False) if condition else None
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, extra: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        inner = self.first(concat_elu(x))
        if extra is not None:
            inner = inner + self.between(concat_elu(extra))
        inner = self.second(self.dropout(concat_elu(inner)))
        if condition is not None:
            inner = inner + self.condition(condition)
        signal, opening = inner.chunk(2, 1)
        return x + signal * torch.sigmoid(opening)


class Pair(nn.Module):
    """A block of each stream; the second also sees the first, and on the way up both see their mirror images."""

    def __init__(self, width: int, condition: int, dropout: float, up: bool):
        super().__init__()
        self.rows = GatedBlock(_down, width, width * up, condition, dropout)
        self.pixels = GatedBlock(_down_right, width, width * (1 + up), condition, dropout)

    def forward(self, u: Tensor, ul: Tensor, mirror, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        if mirror is None:
            u = self.rows(u, None, condition)
            return u, self.pixels(ul, u, condition)
        u = self.rows(u, mirror[0], condition)
        return u, self.pixels(ul, torch.cat((u, mirror[1]), 1), condition)


class Resize(nn.Module):
    """Half or twice the resolution of both streams."""

    def __init__(self, width: int, up: bool):
        super().__init__()
        self.up = up
        if up:
            self.rows, self.pixels = (nn.ConvTranspose2d(width, width, 2, stride=2) for _ in range(2))
        else:
            self.rows = nn.Conv2d(width, width, (2, 3), stride=2)
            self.pixels = nn.Conv2d(width, width, (2, 2), stride=2)

    def forward(self, u: Tensor, ul: Tensor) -> tuple[Tensor, Tensor]:
        if self.up:
            return self.rows(u), self.pixels(ul)
        # One row of zeros above, so that a kernel ends in the even row that its output stands for.
        return self.rows(F.pad(u, (1, 1, 1, 0))), self.pixels(F.pad(ul, (1, 0, 1, 0)))


class PixelCNNPlusNetwork(nn.Module):
    """From images (B, V, y, x) in [-1, 1] to numbers (B, outputs, y, x).

    Args:
        condition (`int`): Channels of a further input (B, condition, 1 or y, 1 or x) that every block sees, at the full
            resolution or one number for the image; only without halvings where it varies.
    """

    def __init__(
        self, width: int, num_layers: int, num_halvings: int, dropout: float, channels: int, outputs: int, condition=0
    ):
        super().__init__()
        self.above = CausalConv(channels + 1, width, (2, 3))
        self.above_first = CausalConv(channels + 1, width, (1, 3))
        self.left_first = CausalConv(channels + 1, width, (2, 1), left=0)

        def pairs(count: int, up: bool) -> nn.ModuleList:
            return nn.ModuleList(Pair(width, condition, dropout, up) for _ in range(count))

        # The last output down is the first input up; all others are mirror images of a block.
        levels = range(num_halvings + 1)
        self.down = nn.ModuleList(pairs(num_layers, False) for _ in levels)
        self.up = nn.ModuleList(pairs(num_layers + (level > 0), True) for level in levels)
        self.halve = nn.ModuleList(Resize(width, False) for _ in range(num_halvings))
        self.enlarge = nn.ModuleList(Resize(width, True) for _ in range(num_halvings))
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor, first_row: int = 0, condition: Tensor | None = None) -> Tensor:
        x = torch.cat((x, torch.ones_like(x[:, :1])), 1)  # a channel of ones tells inside from padding
        u = _shift_down(self.above(x))
        ul = _shift_down(self.above_first(x)) + shift_right(self.left_first(x))
        stack = [(u, ul)]
        for level, blocks in enumerate(self.down):
            for block in blocks:
                u, ul = block(u, ul, None, condition)
                stack.append((u, ul))
            if level < len(self.halve):
                u, ul = self.halve[level](u, ul)
                stack.append((u, ul))
        u, ul = stack.pop()
        for level, blocks in enumerate(self.up):
            for block in blocks:
                u, ul = block(u, ul, stack.pop(), condition)
            if level < len(self.enlarge):
                u, ul = self.enlarge[level](u, ul)
        return self.last(F.elu(ul))


def _shift_down(x: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 1, 0))[:, :, :-1]


class PixelCNNPlus(RasterImageModel):
    """Grey or colour. Halved activations belong to several rows, so that sampling takes whole passes."""

    config_class = PixelCNNPlusConfig
    head_kind = "logistics"
    colour = True
    remembers_rows = False

    def __init__(self, config: PixelCNNPlusConfig):
        super().__init__(config)
        if any(side % 2**config.num_halvings for side in config.native_grid):
            raise ValueError(
                f"native_grid: expected sides that can be halved {config.num_halvings} times, got {config.native_grid}"
            )
        self.network = PixelCNNPlusNetwork(
            config.hidden_size,
            config.num_layers,
            config.num_halvings,
            config.dropout,
            config.value_dim,
            self.head.size,
        )
        self.post_init()
