"""MADE: an autoencoder whose weights are masked so that each output depends on the inputs before it alone.

Germain, Gregor, Murray & Larochelle, ICML 2015. Hidden unit k has a number m(k); it sees inputs with places up to
m(k), and output i sees hidden units with numbers below its place. Static binarised MNIST, published: 88.40 nats with
one hidden layer and one set of masks, 86.64 with two layers of 8,000 units and 32 sets; 84.87 with dynamic
binarisation (pytorch-generative). Here one hidden layer: of 130 units and, as in the paper's equation 11, direct
connections from inputs to outputs, which need no units; with several orders of 320 units, without direct connections,
as these would differ from order to order.

With several orders, each step of training takes the next of `num_orders` orders, and several at once are an ensemble.
The first order is raster, so that a half can be completed with it.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .base import AutoregressiveModel
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head
from .layers import MaskedLinear, lower_triangle
from .orders import random, raster


@strict
class MADEConfig(FieldConfig):
    """Args:
    hidden_size: Units of each hidden layer.
    num_layers: Hidden layers.
    num_orders: Orders that it is trained in, with as many sets of masks.
    direct: Connections from each input to all outputs after it in raster order, the only one.
    """

    model_type = "field-made"

    hidden_size: int = 320
    num_layers: int = 1
    num_orders: int = 1
    direct: bool = False


class MADE(AutoregressiveModel):
    """All conditionals in one pass."""

    config_class = MADEConfig

    def __init__(self, config: MADEConfig):
        super().__init__(config)
        self.head = Head(config)
        cells, hidden = config.num_cells, config.hidden_size
        sizes = [cells, *[hidden] * config.num_layers]
        self.hidden = nn.ModuleList(MaskedLinear(*pair) for pair in zip(sizes, sizes[1:], strict=False))
        self.output = MaskedLinear(hidden, cells * self.head.size)
        if config.direct and (config.num_orders > 1 or self.head.size > 1):
            raise ValueError(
                f"direct: expected false for {config.num_orders} orders and {self.head.size} numbers a cell"
            )
        self.direct = nn.Parameter(torch.zeros(cells * (cells - 1) // 2)) if config.direct else None  # row by row
        self._masks: dict[bytes, list[Tensor]] = {}
        self.post_init()

    def orders(self) -> list[Tensor]:
        grid = self.config.native_grid
        found = [raster(grid), *(random(grid, seed) for seed in range(1, self.config.num_orders))]
        return [order.to(self.device) for order in found]

    def masks(self, order: Tensor) -> list[Tensor]:
        """Masks (out, in) of all layers for an order."""
        key = order.cpu().numpy().tobytes() + str(order.device).encode()
        if key in self._masks:
            return self._masks[key]
        cells = len(order)
        numbers = order.argsort() + 1  # places of the inputs, from 1
        masks, before, places = [], numbers, numbers
        generator = torch.Generator().manual_seed(int(order[0]) * cells + int(order[-1]))
        for layer in self.hidden:
            # A number below the smallest one before it would cut the unit off.
            numbers = torch.randint(int(before.min()), max(cells, 2), (layer.out_features,), generator=generator)
            numbers = numbers.to(order.device)
            masks.append((numbers[:, None] >= before[None]).float())
            before = numbers
        last = (places[:, None] > before[None]).float()
        masks.append(last.repeat_interleave(self.head.size, 0))
        self._masks[key] = masks
        return masks

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        *masks, last = self.masks(order)
        x = values[..., 0]
        for layer, mask in zip(self.hidden, masks, strict=True):
            x = torch.relu(layer(x, mask))
        numbers = self.output(x, last)
        if self.direct is not None:
            numbers = numbers + values[..., 0] @ lower_triangle(self.direct, numbers.shape[1]).T
        return self.head.read(numbers.unflatten(1, (-1, self.head.size)))
