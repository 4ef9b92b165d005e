"""PixelSNAIL: causal convolutions and causal self-attention over all pixels before.

Chen, Mishra, Rohaninejad & Abbeel, ICML 2018. Blocks of gated residual convolutions, each followed by attention whose
keys and values see the image, the features and the coordinates of pixels. Published: 2.85 bits on CIFAR-10;
dynamically binarised MNIST 78.61 nats (pytorch-generative).
"""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .configuration import FieldConfig
from .layers import CausalConv, Rowwise, ShiftDown, concat_elu, shift_right
from .rows import RasterImageModel


@strict
class PixelSNAILConfig(FieldConfig):
    """Args:
    hidden_size: Channels.
    num_blocks: Blocks, each with attention at its end.
    num_layers: Gated convolutions in a block.
    key_size: Channels of keys and queries of attention.
    """

    model_type = "field-pixelsnail"

    hidden_size: int = 32
    num_blocks: int = 3
    num_layers: int = 2
    key_size: int = 16


class GatedCausal(nn.Module):
    """Two causal convolutions of concatenated ELUs (2×2: the pixel, its left neighbour, those above), and a gate."""

    def __init__(self, width: int):
        super().__init__()
        self.first = CausalConv(2 * width, width, (2, 2), left=1)
        self.second = CausalConv(2 * width, 2 * width, (2, 2), left=1)

    def forward(self, x: Tensor) -> Tensor:
        signal, opening = self.second(concat_elu(self.first(concat_elu(x)))).chunk(2, 1)
        return x + signal * torch.sigmoid(opening)


class PointwiseGate(nn.Module):
    """The same with 1×1 kernels, and something else added in between."""

    def __init__(self, width: int, extra: int):
        super().__init__()
        self.first, self.between = nn.Conv2d(2 * width, width, 1), nn.Conv2d(2 * extra, width, 1)
        self.second = nn.Conv2d(2 * width, 2 * width, 1)

    def forward(self, x: Tensor, extra: Tensor) -> Tensor:
        inner = self.first(concat_elu(x)) + self.between(concat_elu(extra))
        signal, opening = self.second(concat_elu(inner)).chunk(2, 1)
        return x + signal * torch.sigmoid(opening)


class CausalAttention(Rowwise):
    """Each pixel attends to pixels strictly before it, the first one to nothing.

    Keys and values may depend on their own pixel's value, queries may not.
    """

    def __init__(self, of_queries: int, of_keys: int, key_size: int, width: int):
        super().__init__()
        self.query = nn.Conv2d(of_queries, key_size, 1)
        self.key_value = nn.Conv2d(of_keys, key_size + width, 1)
        self.key_size = key_size

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        query = self.query(queries)
        both = self.key_value(keys)
        height, width = query.shape[2:]
        if self.cached:
            self._row = both
            both = both if self._above is None else torch.cat((self._above, both), 2)
        key, value = both.flatten(2).split((self.key_size, both.shape[1] - self.key_size), 1)
        before = key.shape[2] - height * width  # pixels of the rows above that are remembered
        # Behind a zero key with a zero value, which the first pixel has to look at, key i is that of pixel i - 1: what
        # is strictly before a pixel is what causal attention shows of the shifted keys.
        key, value = (F.pad(part, (1, 0))[..., :-1].movedim(1, 2)[:, None].contiguous() for part in (key, value))
        places = torch.arange(height * width, device=query.device) + before
        mask = torch.arange(key.shape[2], device=query.device) <= places[:, None] if before else None
        query = query.flatten(2).movedim(1, 2)[:, None].contiguous()  # the fast kernels need this layout
        seen = F.scaled_dot_product_attention(query, key, value, mask, is_causal=mask is None)
        return seen[:, 0].movedim(1, 2).unflatten(2, (height, width))


class SNAILNetwork(nn.Module):
    """See the module."""

    def __init__(self, config: PixelSNAILConfig, outputs: int):
        super().__init__()
        width, channels = config.hidden_size, config.value_dim
        self.height = config.native_grid[1]
        # As in PixelCNN++: rows above, and pixels to the left; both without the pixel itself.
        self.above = CausalConv(channels + 1, width, (2, 3))
        self.left = CausalConv(channels + 1, width, (2, 1), left=0)
        self.shift = ShiftDown()
        self.blocks = nn.ModuleList(
            nn.ModuleList(GatedCausal(width) for _ in range(config.num_layers)) for _ in range(config.num_blocks)
        )
        self.attention = nn.ModuleList(
            CausalAttention(width + 2, width + channels + 2, config.key_size, width // 2)
            for _ in range(config.num_blocks)
        )
        self.join = nn.ModuleList(PointwiseGate(width, width // 2) for _ in range(config.num_blocks))
        self.last = nn.Conv2d(2 * width, outputs, 1)

    def forward(self, x: Tensor, first_row: int) -> Tensor:
        inside = torch.cat((x, torch.ones_like(x[:, :1])), 1)
        coordinates = self._coordinates(x, first_row)
        features = self.shift(self.above(inside)) + shift_right(self.left(inside))
        for convolutions, attention, join in zip(self.blocks, self.attention, self.join, strict=True):
            inner = features
            for convolution in convolutions:
                inner = convolution(inner)
            seen = attention(torch.cat((inner, coordinates), 1), torch.cat((inner, x, coordinates), 1))
            features = join(inner, seen)
        return self.last(concat_elu(features))

    def _coordinates(self, x: Tensor, first_row: int) -> Tensor:
        """Channels (B, 2, y, x) with y and x in [-0.5, 0.5]."""
        height, width = x.shape[2:]
        y = (torch.arange(height, device=x.device) + first_row + 0.5) / self.height - 0.5
        across = (torch.arange(width, device=x.device) + 0.5) / width - 0.5
        return torch.stack(torch.meshgrid(y, across, indexing="ij")).to(x.dtype).expand(len(x), -1, -1, -1)


class PixelSNAIL(RasterImageModel):
    """Grey or colour; drawing remembers rows of activations, keys and values."""

    config_class = PixelSNAILConfig
    head_kind = "logistics"
    colour = True

    def __init__(self, config: PixelSNAILConfig):
        super().__init__(config)
        self.network = SNAILNetwork(config, self.head.size)
        self.post_init()
