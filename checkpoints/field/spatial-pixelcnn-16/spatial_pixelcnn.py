"""Spatial PixelCNN: a PixelCNN++ of patches that knows where a patch lies, and a latent code of the whole image.

Akoury & Nguyen 2017. Patches of 8×8 or 16×16 pixels are modelled given the coordinates of their pixels in [-1, 1] and a
code of 60 dimensions, whose variational encoder is trained jointly. A window that slides over a grid of any size draws
images at 1×, 2×, 8×, 50× the side of those it was trained on. Published on MNIST: a classifier's confidence 95.1 ± 1.3
at 28×28 and 94.1 ± 1.6 at 56×56.

A network that knows patches of one size alone draws strokes of one width in images of any size. So training here also
cuts patches from enlarged images and tells the network the size. Whether the paper does the same is not known to us.

It has no likelihood, only a bound (`bound`), and its code is inferred from whole images: no context is answered.
"""

import math

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .base import AutoregressiveModel, FieldOutput
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head
from .pixelcnn_plus import PixelCNNPlusNetwork

WINDOWS = 2048  # patches of one pass outside of training


@strict
class SpatialPixelCNNConfig(FieldConfig):
    """Args:
    patch_size: Side of a patch.
    latent_size: Dimensions of the code.
    hidden_size: Channels of the PixelCNN++.
    num_layers: Its gated blocks, down and up.
    dropout: Share of channels left out in them.
    largest_enlargement: Half of the patches of a training come from images that are enlarged bilinearly, up to so many
        times the side; 1: none do, and the network is not told the size.
    reconstruction: Weight of the loss of a decoder that reconstructs whole images from the code, as in any variational
        autoencoder; 0: there is none. Patches say so much of their next pixel that without it the code stays empty.
    """

    model_type = "field-spatial-pixelcnn"

    patch_size: int = 8
    latent_size: int = 60
    hidden_size: int = 30
    num_layers: int = 3
    dropout: float | int = 0.0
    largest_enlargement: float | int = 1
    reconstruction: float | int = 0


class Encoder(nn.Module):
    """Mean and log-variance of the code of images (B, V, y, x)."""

    def __init__(self, channels: int, latent: int, width: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.ELU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ELU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(16 * width, 2 * latent),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(images).chunk(2, 1)


class Decoder(nn.Module):
    """Logits (B, V, y, x) of the values of images, reconstructed from codes (B, latent)."""

    def __init__(self, channels: int, latent: int, grid: list[int], width: int = 24):
        super().__init__()
        self.sizes = [[max(1, side // share) for side in reversed(grid)] for share in (4, 2, 1)]
        self.linear = nn.Linear(latent, 16 * width)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in self.sizes)
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, code: Tensor) -> Tensor:
        x = self.linear(code).unflatten(1, (-1, 4, 4))
        for size, layer in zip(self.sizes, self.layers, strict=True):
            x = F.elu(layer(F.interpolate(F.elu(x), size, mode="bilinear", align_corners=False)))
        return self.last(x)


class SpatialPixelCNN(AutoregressiveModel):
    """Draws whole images, of any size."""

    config_class = SpatialPixelCNNConfig
    colour = True

    def __init__(self, config: SpatialPixelCNNConfig):
        super().__init__(config)
        if config.patch_size > min(config.native_grid):
            raise ValueError(
                f"patch_size: expected at most the grid's sides {config.native_grid}, got {config.patch_size}"
            )
        self.head = Head(config, "logistics")
        self.encoder = Encoder(config.value_dim, config.latent_size)
        if config.reconstruction:
            self.decoder = Decoder(config.value_dim, config.latent_size, config.native_grid)
        self.network = PixelCNNPlusNetwork(
            config.hidden_size,
            config.num_layers,
            0,
            config.dropout,
            config.value_dim,
            self.head.size,
            condition=2 + (config.largest_enlargement > 1) + config.latent_size,
        )
        self.post_init()

    def refusal(self, task: str, context_positions: Tensor, query_positions: Tensor | None = None) -> str | None:
        if task == "log_prob":
            return "SpatialPixelCNN has a bound, not a likelihood."
        if context_positions.shape[1]:
            return "SpatialPixelCNN draws whole images only: its code is inferred from whole images."
        if task == "predict":
            return "SpatialPixelCNN has samples but no marginals: its code would have to be summed over."
        return super().refusal(task, context_positions, query_positions)

    def log_prob(self, context_positions, *arguments, **more) -> Tensor:
        raise ValueError(self.refusal("log_prob", context_positions))

    def predict(self, context_positions, *arguments, **more) -> Distribution:
        raise ValueError(self.refusal("predict", context_positions))

    def sample(self, context_positions, *arguments, **more) -> Tensor:
        if context_positions.shape[1]:
            raise ValueError(self.refusal("sample", context_positions))
        return super().sample(context_positions, *arguments, **more)

    # ------------------------------------------------------------------- parts

    def patches(self, images: Tensor, places: Tensor, code: Tensor) -> Tensor:
        """Numbers (N, size, p, p) for patches (N, V, p, p) at places (N, 2 or 3, p, p), given codes (N, latent)."""
        tiled = code[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return self.network(images, 0, torch.cat((places, tiled), 1))

    def _images(self, values: Tensor) -> Tensor:
        width, height = self.config.native_grid
        return 2 * values.movedim(1, 2).unflatten(2, (height, width)) - 1

    def _code(self, images: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """A code drawn for each image, and its divergence from the prior in nats (B,)."""
        mean, log_variance = self.encoder(images)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return mean + (0.5 * log_variance).exp() * noise, divergence

    def forward(self, values: Tensor, generator: torch.Generator | None = None) -> FieldOutput:
        """Loss of a random patch of each image, scaled up to it, plus the code's divergence and reconstruction."""
        images = self._images(values)
        code, divergence = self._code(images, generator)
        patches, places = self._random_patches(images, generator)
        numbers = self.patches(patches, places, code).flatten(2).movedim(1, 2)
        inside = (patches.flatten(2).movedim(1, 2) + 1) / 2
        nats = self.head.read(numbers).log_prob(inside).mean(1) * values.shape[1]
        log_prob = nats - divergence
        loss = -log_prob.mean()
        if self.config.reconstruction:
            lost = F.binary_cross_entropy_with_logits(self.decoder(code), (images + 1) / 2, reduction="none")
            loss = loss + self.config.reconstruction * lost.flatten(1).sum(1).mean()
        return FieldOutput(loss / values[0].numel(), log_prob)

    def _random_patches(self, images: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """A patch (B, V, p, p) of each image, and its place; in training, half of the images are enlarged first."""
        count, (height, width) = len(images), images.shape[2:]
        largest = self.config.largest_enlargement if self.training else 1
        enlarged = torch.rand(count, generator=generator) < 0.5
        scale = torch.where(enlarged, largest ** torch.rand(count, generator=generator), 1.0)
        size, offsets = self.config.patch_size, torch.rand(2, count, generator=generator)
        axes = []
        for length, offset in zip((width, height), offsets, strict=True):
            cells = (scale * length).round()
            first = (offset * (cells - size + 1)).floor()
            axes.append((first[:, None] + torch.arange(size) + 0.5) * (2 / cells[:, None]) - 1)  # (B, p)
        across, down = axes[0][:, None, :].expand(-1, size, -1), axes[1][:, :, None].expand(-1, -1, size)
        coordinates = torch.stack((across, down), -1).to(images)
        found = F.grid_sample(images, coordinates, padding_mode="border", align_corners=False)
        if self.config.num_levels is not None:
            steps = self.config.num_levels - 1
            found = ((found + 1) / 2 * steps).round() / steps * 2 - 1
        return found, self._with_scale(coordinates.movedim(3, 1), scale)

    def _with_scale(self, coordinates: Tensor, scale: Tensor) -> Tensor:
        """Coordinates (N, 2, p, p); a third channel is the logarithm of the scale (N,) if training enlarges images."""
        if self.config.largest_enlargement <= 1:
            return coordinates
        logs = (scale.log() / math.log(self.config.largest_enlargement)).to(coordinates)
        return torch.cat((coordinates, logs[:, None, None, None].expand_as(coordinates[:, :1])), 1)

    @torch.no_grad()
    def bound(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Evidence lower bound (B,) in nats of images (B, D, V): each pixel given the window that draws it."""
        images = self._images(values)
        code, divergence = self._code(images, generator)
        height, width = images.shape[2:]
        cells = torch.arange(height * width)
        found = torch.zeros(len(values), device=values.device)
        for row in range(len(values)):
            for part in cells.split(WINDOWS):
                rows = torch.full_like(part, row)
                distribution = self._at(images, rows, part // width, part % width, code)
                found[row] += distribution.log_prob(values[row, part]).sum()
        return found - divergence

    def _at(self, images: Tensor, rows: Tensor, y: Tensor, x: Tensor, code: Tensor) -> Distribution:
        """Distributions (N,) of the pixels (y, x) of images number `rows`, given the windows that hold them.

        A window ends in the pixel's row and has it in the middle, except at the edges.
        """
        size, (height, width) = self.config.patch_size, images.shape[2:]
        top = (y - size + 1).clamp(0, height - size)
        left = (x - size // 2).clamp(0, width - size)
        patches = _cut(images, rows, top, left, size)
        coordinates = torch.stack((_centres(left, size, width), _centres(top, size, height).mT), 1).to(images)
        scale = torch.full((len(rows),), width / self.config.native_grid[0])
        numbers = self.patches(patches, self._with_scale(coordinates, scale), code[rows])
        return self.head.read(numbers[torch.arange(len(rows)), :, y - top, x - left])

    # --------------------------------------------------------------- drawing

    @torch.no_grad()
    def generate(
        self,
        num_samples: int,
        grid=None,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        code: Tensor | None = None,
    ) -> Tensor:
        """Images (num_samples, V, y, x) in [0, 1] of any grid (width, height); by default the native one.

        A pixel sees half a patch to its right in the rows above, so that pixels with equal x + (p/2 + 1) y are drawn at
        once. A `code` (num_samples, latent) draws one image at several sizes.
        """
        width, height = grid or self.config.native_grid
        size = self.config.patch_size
        if min(width, height) < size:
            raise ValueError(f"grid: expected sides of at least the patch's {size}, got {width}×{height}")
        if code is None:
            code = torch.randn(num_samples, self.config.latent_size, generator=generator, device=self.device)
        images = torch.zeros(num_samples, self.config.value_dim, height, width, device=self.device)
        slope = size  # near the left edge a window reaches a whole patch to the right
        for front in range(width + slope * (height - 1)):
            y = torch.arange(max(0, -(-(front - width + 1) // slope)), min(height - 1, front // slope) + 1)
            x = front - slope * y
            rows = torch.arange(num_samples).repeat_interleave(len(y))
            y, x = y.repeat(num_samples), x.repeat(num_samples)
            for part in torch.arange(len(rows)).split(WINDOWS):
                distribution = self._at(images, rows[part], y[part], x[part], code)
                drawn = distribution.sample((), generator, temperature)
                images[rows[part], :, y[part], x[part]] = 2 * drawn - 1
        return (images + 1) / 2

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        return self.generate(len(values), None, generator, temperature).flatten(2).movedim(1, 2)

    def passes(self, count: int) -> int:
        width, height = self.config.native_grid
        return width + self.config.patch_size * (height - 1)


def _centres(first: Tensor, size: int, length: int) -> Tensor:
    """Centres in [-1, 1] of cells `first` (N,) and those after it, of `length` along an axis: (N, size, size), last."""
    inside = (first[:, None] + torch.arange(size) + 0.5) * (2 / length) - 1
    return inside[:, None].expand(-1, size, -1)


def _cut(images: Tensor, rows: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Patches (N, C, size, size) of images number `rows` (N,), from their top left corners."""
    offset = torch.arange(size)
    y = (top[:, None] + offset)[:, :, None].expand(-1, -1, size)
    x = (left[:, None] + offset)[:, None].expand(-1, size, -1)
    return images[rows[:, None, None], :, y, x].movedim(3, 1)
