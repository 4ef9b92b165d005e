"""Multi-scale PixelRNN: a small subsampled image first, then the whole one given it (van den Oord et al. 2016).

An unconditional PixelRNN models every `factor`-th pixel of every `factor`-th row; a conditional one models the other
pixels in raster order and sees the small image, enlarged, everywhere. The product is an exact likelihood in the order
"small image, then the rest". The paper reports it for ImageNet at 64×64 (3.63 bits, like the model without scales).
"""

from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .base import AutoregressiveModel
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head
from .orders import subsampled_first
from .pixel_rnn import PixelRNNNetwork


@strict
class MultiScaleConfig(FieldConfig):
    """Args:
    layer: "row" or "diagonal".
    hidden_size: Channels of states, in both networks.
    num_layers: LSTM layers of each network.
    factor: Every so many pixels and rows make the small image.
    """

    model_type = "field-multi-scale"

    layer: str = "row"
    hidden_size: int = 40
    num_layers: int = 3
    factor: int = 2


class MultiScalePixelRNN(AutoregressiveModel):
    """Two PixelRNNs."""

    config_class = MultiScaleConfig

    def __init__(self, config: MultiScaleConfig):
        super().__init__(config)
        if any(side % config.factor for side in config.native_grid):
            raise ValueError(
                f"native_grid: expected sides that factor ({config.factor}) divides, got {config.native_grid}"
            )
        self.head = Head(config)
        channels = config.value_dim
        sizes = (config.layer, config.hidden_size, config.num_layers, channels, self.head.size)
        self.small = PixelRNNNetwork(*sizes)
        self.whole = PixelRNNNetwork(*sizes, condition=channels)
        self.enlarge = nn.Upsample(scale_factor=config.factor, mode="nearest")
        self.post_init()

    def orders(self) -> list[Tensor]:
        return [subsampled_first(self.config.native_grid, self.config.factor).to(self.device)]

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        width, height = self.config.native_grid
        factor = self.config.factor
        images = 2 * values.movedim(1, 2).unflatten(2, (height, width)) - 1
        little = images[:, :, ::factor, ::factor]
        first = self.small(little).flatten(2).movedim(1, 2)
        # What the second network sees of pixels of the small image it could copy; its answers there are not used.
        second = self.whole(images, 0, self.enlarge(little)).flatten(2).movedim(1, 2)
        inside = len(order) // factor**2
        numbers = second.clone()
        numbers[:, order[:inside]] = first.to(second.dtype)
        return self.head.read(numbers)
