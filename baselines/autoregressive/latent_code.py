"""A latent code of whole images: variational encoder, decoder, and the distribution that new codes are drawn from.

Kingma & Welling, ICLR 2014. Codes of training images do not fill the standard normal that they are pulled towards: what
is drawn from it is often no image. A mixture of Gaussians, fitted to them once training is over, is a better source
(ex-post density estimation, Ghosh et al., ICLR 2020).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from .noise import normal, source


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
    """From codes (B, latent) to features (B, width, y, x), and from these to logits (B, V, y, x) of images."""

    def __init__(self, channels: int, latent: int, grid: list[int], width: int = 24):
        super().__init__()
        self.width = width
        self.sizes = [[max(1, side // share) for side in reversed(grid)] for share in (4, 2, 1)]
        self.linear = nn.Linear(latent, 16 * width)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in self.sizes)
        self.last = nn.Conv2d(width, channels, 1)

    def features(self, code: Tensor) -> Tensor:
        x = self.linear(code).unflatten(1, (-1, 4, 4))
        for size, layer in zip(self.sizes, self.layers, strict=True):
            x = F.elu(layer(F.interpolate(F.elu(x), size, mode="bilinear", align_corners=False)))
        return x

    def forward(self, features: Tensor) -> Tensor:
        return self.last(features)


class Mixture(nn.Module):
    """Gaussians, of which `fit` makes a model of codes; before that each is the standard normal."""

    def __init__(self, components: int, latent: int):
        super().__init__()
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, latent))
        self.register_buffer("factors", torch.eye(latent).repeat(components, 1, 1))

    def fit(self, codes: Tensor, seed: int = 0) -> None:
        """Expectation maximisation on codes (N, latent), N at least the number of components."""
        from sklearn.mixture import GaussianMixture  # only training needs it

        found = GaussianMixture(
            len(self.weights), reg_covar=1e-4, max_iter=50, init_params="k-means++", random_state=seed
        ).fit(codes.double().cpu().numpy())
        for buffer, values in (
            (self.weights, torch.from_numpy(found.weights_)),
            (self.means, torch.from_numpy(found.means_)),
            (self.factors, torch.linalg.cholesky(torch.from_numpy(found.covariances_))),
        ):
            buffer.copy_(values)

    def draw(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Codes (count, latent)."""
        place = source(self.weights.device, generator)
        chosen = torch.multinomial(self.weights.to(place), count, True, generator=generator).to(self.weights.device)
        noise = normal((count, self.means.shape[1], 1), self.means.device, generator)
        return self.means[chosen] + (self.factors[chosen] @ noise)[..., 0]

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log-densities (N,) of codes (N, latent)."""
        each = MultivariateNormal(self.means, scale_tril=self.factors)
        return MixtureSameFamily(Categorical(self.weights), each).log_prob(codes)
