"""Spatial PixelCNN: a PixelCNN++ of patches that knows where a patch lies, and a latent code of the whole image.

Akoury & Nguyen 2017. Patches of 8×8 or 16×16 pixels are modelled given the coordinates of their pixels in [-1, 1] and a
code of 60 dimensions, whose variational encoder is trained jointly. A window that slides over a grid of any size draws
images at 1×, 2×, 8×, 50× the side of those it was trained on. Published on MNIST: a classifier's confidence 95.1 ± 1.3
at 28×28 and 94.1 ± 1.6 at 56×56.

A network that knows patches of one size alone draws strokes of one width in images of any size. So training here also
cuts patches from enlarged images and tells the network the size. Whether the paper does the same is not known to us.
Two more things are not the paper's. The code reaches a patch through a decoder of whole images, whose features are read
where the patch lies (as in PixelVAE, Gulrajani et al., ICLR 2017): told the code itself, the network mostly ignores it.
And new codes come from a mixture fitted to those of training images, see `latent_code`.

It has no likelihood, only a bound (`bound`), and its code is inferred from whole images: no context is answered.
"""

import math

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor

from .base import AutoregressiveModel, FieldOutput
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head
from .latent_code import Decoder, Encoder, Mixture
from .noise import normal, uniform
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
        autoencoder; 0: there is none, and patches are told the code. They say so much of their next pixel that without
        it the code stays empty.
    prior_components: Gaussians of the mixture that new codes are drawn from; 0: they are standard normal.
    """

    model_type = "field-spatial-pixelcnn"

    patch_size: int = 8
    latent_size: int = 60
    hidden_size: int = 30
    num_layers: int = 3
    dropout: float | int = 0.0
    largest_enlargement: float | int = 1
    reconstruction: float | int = 0
    prior_components: int = 0


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
        if config.prior_components:
            self.prior = Mixture(config.prior_components, config.latent_size)
        self.network = PixelCNNPlusNetwork(
            config.hidden_size,
            config.num_layers,
            0,
            config.dropout,
            config.value_dim,
            self.head.size,
            condition=2 + (config.largest_enlargement > 1) + self._told(),
        )
        self.post_init()

    def _told(self) -> int:
        """Channels that say what a patch shows."""
        return self.decoder.width if self.config.reconstruction else self.config.latent_size

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

    def patches(self, images: Tensor, places: Tensor, told: Tensor) -> Tensor:
        """Numbers (N, size, p, p) for patches (N, V, p, p) at places (N, 2 or 3, p, p), told (N, C, p, p) of them."""
        return self.network(images, 0, torch.cat((places, told), 1))

    def _image_features(self, code: Tensor) -> Tensor:
        """What codes (B, latent) say of whole images, (B, C, y, x)."""
        return self.decoder.features(code) if self.config.reconstruction else code[:, :, None, None]

    def _images(self, values: Tensor) -> Tensor:
        width, height = self.config.native_grid
        return 2 * values.movedim(1, 2).unflatten(2, (height, width)) - 1

    def _code(self, images: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """A code drawn for each image, and its divergence from the standard normal in nats (B,)."""
        mean, log_variance = self.encoder(images)
        noise = normal(mean.shape, mean.device, generator)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return mean + (0.5 * log_variance).exp() * noise, divergence

    def fit_prior(self, values: Tensor, generator: torch.Generator | None = None) -> None:
        """Fit the mixture that new codes are drawn from to those of images (N, D, V)."""
        codes = [self._code(self._images(part), generator)[0] for part in values.split(WINDOWS)]
        self.prior.fit(torch.cat(codes))

    def forward(self, values: Tensor, generator: torch.Generator | None = None) -> FieldOutput:
        """Loss of a random patch of each image, scaled up to it, plus the code's divergence and reconstruction."""
        images = self._images(values)
        code, divergence = self._code(images, generator)
        features = self._image_features(code)
        patches, places = self._random_patches(images, generator)
        numbers = self.patches(patches, places, _look_up(features, places)).flatten(2).movedim(1, 2)
        inside = (patches.flatten(2).movedim(1, 2) + 1) / 2
        nats = self.head.read(numbers).log_prob(inside).mean(1) * values.shape[1]
        log_prob = nats - divergence
        loss = -log_prob.mean()
        if self.config.reconstruction:
            lost = F.binary_cross_entropy_with_logits(self.decoder(features), (images + 1) / 2, reduction="none")
            loss = loss + self.config.reconstruction * lost.flatten(1).sum(1).mean()
        return FieldOutput(loss / values[0].numel(), log_prob)

    def _random_patches(self, images: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """A patch (B, V, p, p) of each image, and its place; in training, half of the images are enlarged first."""
        count, (height, width) = len(images), images.shape[2:]
        largest = self.config.largest_enlargement if self.training else 1
        enlarged = uniform((count,), "cpu", generator) < 0.5
        scale = torch.where(enlarged, largest ** uniform((count,), "cpu", generator), 1.0)
        size, offsets = self.config.patch_size, uniform((2, count), "cpu", generator)
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
        mean, log_variance = self.encoder(images)
        noise = normal(mean.shape, mean.device, generator)
        code = mean + (0.5 * log_variance).exp() * noise
        found = self._log_prior(code) - torch.distributions.Normal(0, 1).log_prob(noise).sum(1)
        found = found + 0.5 * log_variance.sum(1)
        features, width = self._image_features(code), images.shape[3]
        for part in torch.arange(values.shape[1]).split(max(1, WINDOWS // len(values))):
            log_prob = self._at(images, part // width, part % width, features).log_prob(values[:, part].flatten(0, 1))
            found = found + log_prob.view(len(values), -1).sum(1)
        return found

    def _log_prior(self, code: Tensor) -> Tensor:
        if self.config.prior_components:
            return self.prior.log_prob(code)
        return torch.distributions.Normal(0, 1).log_prob(code).sum(1)

    def _at(self, images: Tensor, y: Tensor, x: Tensor, features: Tensor) -> Distribution:
        """Distributions (B · n,) of the pixels (y, x), (n,), of images (B, V, …), given the windows that hold them.

        A window ends in the pixel's row and has it in the middle, except at the edges.
        """
        size, (height, width) = self.config.patch_size, images.shape[2:]
        top = (y - size + 1).clamp(0, height - size)
        left = (x - size // 2).clamp(0, width - size)
        patches = _cut(images, top, left, size)
        coordinates = torch.stack((_centres(left, size, width), _centres(top, size, height).mT), 1).to(images)
        scale = torch.full((len(y),), width / self.config.native_grid[0])
        places = self._with_scale(coordinates, scale)
        # Windows lie at the same places in all images: below each other they are one grid to look up.
        column = places.movedim(1, 0).flatten(1, 2)[None].expand(len(images), -1, -1, -1)  # (B, 2 or 3, n · p, p)
        told = _look_up(features, column).unflatten(2, (len(y), size)).movedim(2, 1).flatten(0, 1)
        numbers = self.patches(patches, places.repeat(len(images), 1, 1, 1), told)
        rows, columns = (y - top).repeat(len(images)), (x - left).repeat(len(images))
        return self.head.read(numbers[torch.arange(len(numbers)), :, rows, columns])

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
            code = self.draw_codes(num_samples, generator)
        images = torch.zeros(num_samples, self.config.value_dim, height, width, device=self.device)
        features = self._image_features(code)
        slope = size  # near the left edge a window reaches a whole patch to the right
        for front in range(width + slope * (height - 1)):
            y = torch.arange(max(0, -(-(front - width + 1) // slope)), min(height - 1, front // slope) + 1)
            x = front - slope * y
            for part in torch.arange(len(y)).split(max(1, WINDOWS // num_samples)):
                drawn = self._at(images, y[part], x[part], features).sample((), generator, temperature)
                images[:, :, y[part], x[part]] = 2 * drawn.unflatten(0, (num_samples, -1)).movedim(2, 1) - 1
        return (images + 1) / 2

    def draw_codes(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Codes (count, latent) of new images."""
        if self.config.prior_components:
            return self.prior.draw(count, generator)
        return normal((count, self.config.latent_size), self.device, generator)

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


def _cut(images: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Patches (B · n, V, size, size) of images (B, V, y, x), from their top left corners (n,)."""
    offset = torch.arange(size)
    y = (top[:, None] + offset)[:, :, None].expand(-1, -1, size)
    x = (left[:, None] + offset)[:, None].expand(-1, size, -1)
    return images[:, :, y, x].movedim(2, 1).flatten(0, 1)


def _look_up(features: Tensor, places: Tensor) -> Tensor:
    """Features (B, C, y, x) of whole images at places (B, 2 or 3, h, w) in [-1, 1], bilinearly: (B, C, h, w)."""
    if features.shape[2:] == (1, 1):
        return features.expand(-1, -1, *places.shape[2:])
    coordinates = places[:, :2].movedim(1, 3).to(features)
    return F.grid_sample(features, coordinates, padding_mode="border", align_corners=False)
