"""WaveNet: dilated causal convolutions over a sequence (van den Oord et al. 2016), here of a curve's values.

Gated layers with dilations 1, 2, 4, … double the receptive field each; residual and skip connections join them. The
paper models speech with a softmax over 256 companded levels (mean opinion score 4.21; no likelihood is given). Curves
have no bounds, so that real values get a mixture of Gaussians, as in later WaveNets; levels get the softmax.
"""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .base import AutoregressiveModel
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head


@strict
class WaveNetConfig(FieldConfig):
    """Args:
    hidden_size: Channels of the residual stream.
    dilations: Of the layers, in order.
    """

    model_type = "field-wavenet"

    native_grid: list[int] | tuple[int, ...] = (256,)
    num_levels: int | None = None
    hidden_size: int = 48
    dilations: list[int] | tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)


class WaveNetLayer(nn.Module):
    """A causal convolution of two values `dilation` apart, gated, with residual and skip."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.dilation = dilation
        self.convolution = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.residual, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (B, C, L), behind `before` (B, C, dilation) or zeros."""
        padded = F.pad(x, (self.dilation, 0)) if before is None else torch.cat((before, x), 2)
        signal, opening = self.convolution(padded).chunk(2, 1)
        inner = torch.tanh(signal) * torch.sigmoid(opening)
        return x + self.residual(inner), self.skip(inner)


class WaveNet(AutoregressiveModel):
    """Left to right. Drawing keeps the last inputs of each layer, so that a value costs one step of each."""

    config_class = WaveNetConfig
    real = True

    def __init__(self, config: WaveNetConfig):
        super().__init__(config)
        self.head = Head(config)
        width = config.hidden_size
        self.first = nn.Conv1d(config.value_dim + 1, width, 1)
        self.layers = nn.ModuleList(WaveNetLayer(width, dilation) for dilation in config.dilations)
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(width, width, 1), nn.ReLU(), nn.Conv1d(width, self.head.size, 1))
        self.post_init()

    def _inputs(self, values: Tensor) -> Tensor:
        """Values one place later, and a channel of ones where there is one (B, 2, L)."""
        shifted = F.pad(values[:, :-1], (0, 0, 1, 0))
        inside = F.pad(torch.ones_like(values[:, :-1]), (0, 0, 1, 0))
        return torch.cat((shifted, inside), 2).movedim(1, 2)

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        x, total = self.first(self._inputs(values)), 0
        for layer in self.layers:
            x, skip = layer(x)
            total = total + skip
        return self.head.read(self.last(total).movedim(1, 2))

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        values = values.clone()
        queues = [values.new_zeros(len(values), self.config.hidden_size, layer.dilation) for layer in self.layers]
        inputs = self._inputs(values)
        for cell in range(stop):
            x, total = self.first(inputs[:, :, cell, None]), 0
            for number, layer in enumerate(self.layers):
                oldest, given = queues[number][:, :, :1], x
                padded = torch.cat((oldest, given), 2)
                x, skip = _one_step(layer, padded)
                queues[number] = torch.cat((queues[number][:, :, 1:], given), 2)
                total = total + skip
            if cell < start:
                continue
            values[:, cell] = self.head.read(self.last(total)[:, :, 0]).sample((), generator, temperature)
            if cell + 1 < inputs.shape[2]:
                inputs[:, 0, cell + 1] = values[:, cell, 0]
        return values


def _one_step(layer: WaveNetLayer, pair: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's output for the last of two values (B, C, 2) that are one dilation apart."""
    numbers = F.conv1d(pair, layer.convolution.weight, layer.convolution.bias)
    signal, opening = numbers.chunk(2, 1)
    inner = torch.tanh(signal) * torch.sigmoid(opening)
    return pair[:, :, 1:] + layer.residual(inner), layer.skip(inner)
