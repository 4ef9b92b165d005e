"""LMConv: one network for many orders, by convolutions whose mask differs from cell to cell.

Jain, Abbeel & Pathak, UAI 2020. The kernel at each cell sees those neighbours that come earlier in the order. Trained
on the eight reflections of an S-curve, a drawn one each step; their average is an ensemble, and a region is completed
in an order in which what is known comes first. Binarised MNIST, published: 77.56 nats; CIFAR-10 2.89 bits. The
network is that of PixelCNN++ without halvings and with one stream, gated residual blocks with positional
normalisation.
"""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .base import AutoregressiveModel
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head
from .layers import concat_elu
from .locally_masked import LocallyMaskedConv, LocalMasks, local_masks
from .orders import ORDERS, put_first, reflections


@strict
class LMConvConfig(FieldConfig):
    """Args:
    hidden_size: Channels.
    num_layers: Gated blocks.
    kernel_size: Side of the kernels.
    dilation: Of every other block.
    order: "raster", "s-curve" or "hilbert", whose reflections it is trained in.
    all_reflections: False: only the order itself.
    """

    model_type = "field-lmconv"

    hidden_size: int = 32
    num_layers: int = 5
    kernel_size: int = 3
    dilation: int = 2
    order: str = "s-curve"
    all_reflections: bool = True


def positional_norm(x: Tensor) -> Tensor:
    """Each cell's channels with mean 0 and variance 1: unlike other norms it mixes no cells."""
    return F.layer_norm(x.movedim(1, 3), x.shape[1:2]).movedim(3, 1)


class GatedBlock(nn.Module):
    """Two locally masked convolutions of concatenated ELUs, a gate, and the input added."""

    def __init__(self, width: int, size: int, dilation: int):
        super().__init__()
        self.first = LocallyMaskedConv(2 * width, width, size, dilation=dilation)
        self.second = LocallyMaskedConv(2 * width, 2 * width, size, dilation=dilation)
        self.dilation = dilation

    def forward(self, x: Tensor, masks: LocalMasks) -> Tensor:
        inner = positional_norm(self.first(concat_elu(x), masks))
        signal, opening = positional_norm(self.second(concat_elu(inner), masks)).chunk(2, 1)
        return x + signal * torch.sigmoid(opening)


class LMConv(AutoregressiveModel):
    """Grey or colour. It answers any context, in an order that puts the known cells first."""

    config_class = LMConvConfig
    colour = True

    def __init__(self, config: LMConvConfig):
        super().__init__(config)
        if config.order not in ORDERS:
            raise ValueError(f"order: expected one of {', '.join(ORDERS)}, got {config.order!r}")
        self.head = Head(config, "logistics")
        width, size = config.hidden_size, config.kernel_size
        self.first = LocallyMaskedConv(config.value_dim + 1, width, size)
        self.blocks = nn.ModuleList(
            GatedBlock(width, size, config.dilation if number % 2 else 1) for number in range(config.num_layers)
        )
        self.last = nn.Conv2d(2 * width, self.head.size, 1)
        self.post_init()

    def orders(self) -> list[Tensor]:
        grid = self.config.native_grid
        order = ORDERS[self.config.order](grid)
        found = reflections(order, grid) if self.config.all_reflections else [order]
        return [order.to(self.device) for order in found]

    def orders_of(self, known: Tensor, asked: Tensor) -> list[Tensor]:
        """Trained orders in which the known cells come first; others, with these moved to the front, after them."""
        orders, count = self.orders(), int(known.sum())
        fitting = [order for order in orders if bool(known[order[:count]].all())]
        return fitting + [put_first(order, known, asked) for order in orders]

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        config = self.config
        width, height = config.native_grid
        ranks = order.argsort()
        masks = {
            dilation: local_masks(ranks, (width, height), config.kernel_size, dilation, include_centre=True)
            for dilation in {1, config.dilation}
        }
        images = 2 * values.movedim(1, 2).unflatten(2, (height, width)) - 1
        images = torch.cat((images, torch.ones_like(images[:, :1])), 1)
        x = self.first(images, local_masks(ranks, (width, height), config.kernel_size, 1, include_centre=False))
        for block in self.blocks:
            x = block(x, masks[block.dilation])
        return self.head.read(self.last(concat_elu(x)).flatten(2).movedim(1, 2))
