"""MADE: an autoencoder whose weights are masked so that each output depends on the inputs before it alone.

Germain, Gregor, Murray & Larochelle, ICML 2015. Hidden unit k has a number m(k); it sees inputs with places up to
m(k), and output i sees hidden units with numbers below its place. Static binarised MNIST, published: 88.40 nats with
one hidden layer and one set of masks, 86.64 with two layers of 8,000 units and 32 sets; 84.87 with dynamic
binarisation (pytorch-generative). Here a model of one order has two hidden layers of 238 units and, as in the paper's
equation 11, direct connections from inputs to outputs; weights that the masks hide are not stored. A model of several
orders has one layer of 320 units and no direct connections, as these would differ from order to order.

With several orders, each step of training takes the next of `num_orders` orders, and several at once are an ensemble.
The first order is raster, so that a half can be completed with it.
"""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .base import AutoregressiveModel
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head
from .layers import MaskedLinear, PackedLinear, below_diagonal, unpack
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
        if config.direct and (config.num_orders > 1 or self.head.size > 1):
            raise ValueError(
                f"direct: expected false for {config.num_orders} orders and {self.head.size} numbers a cell"
            )
        self._masks: dict[bytes, list[Tensor]] = {}
        with torch.device("cpu"):  # masks are read here, and `from_pretrained` builds models on the meta device
            masks = self.masks(raster(config.native_grid))
        packed = config.num_orders == 1
        layers = [PackedLinear(mask) if packed else MaskedLinear(mask.shape[1], mask.shape[0]) for mask in masks]
        self.hidden, self.output = nn.ModuleList(layers[:-1]), layers[-1]
        cells = config.num_cells
        self.direct = nn.Parameter(torch.zeros(cells * (cells - 1) // 2)) if config.direct else None  # row by row
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
        for _ in range(self.config.num_layers):
            # A number below the smallest one before it would cut the unit off.
            numbers = torch.randint(int(before.min()), max(cells, 2), (self.config.hidden_size,), generator=generator)
            numbers = numbers.to(order.device)
            masks.append((numbers[:, None] >= before[None]).float())
            before = numbers
        last = (places[:, None] > before[None]).float()
        masks.append(last.repeat_interleave(self.head.size, 0))
        self._masks[key] = masks
        return masks

    def matrices(self, order: Tensor) -> list[Tensor]:
        """Weights (out, in) of all layers for an order, and of the direct connections where there are any."""
        layers = [*self.hidden, self.output]
        found = [layer.matrix(mask) for layer, mask in zip(layers, self.masks(order), strict=True)]
        if self.direct is not None:
            found.append(unpack(self.direct, below_diagonal(len(order), order.device)))
        return found

    def outputs(self, values: Tensor, matrices: list[Tensor], cells: slice) -> Distribution:
        """Distributions, batch shape (B, cells), given `matrices` and values (B, D, V)."""
        x, rows = values[..., 0], slice(cells.start * self.head.size, cells.stop * self.head.size)
        for layer, matrix in zip(self.hidden, matrices, strict=False):
            x = torch.relu(F.linear(x, matrix, layer.bias))
        numbers = F.linear(x, matrices[len(self.hidden)][rows], self.output.bias[rows])
        if self.direct is not None:
            numbers = numbers + F.linear(values[..., 0], matrices[-1][rows])
        return self.head.read(numbers.unflatten(1, (-1, self.head.size)))

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        return self.outputs(values, self.matrices(order), slice(0, len(order)))

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        """See `AutoregressiveModel.draw`; weights are masked once, and only the output that is drawn is computed."""
        values, matrices = values.clone(), self.matrices(order)
        for cell in order[start:stop].tolist():
            distribution = self.outputs(values, matrices, slice(cell, cell + 1))[:, 0]
            values[:, cell] = distribution.sample((), generator, temperature)
        return values
