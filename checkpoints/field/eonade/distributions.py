"""Distributions of a value: a table of levels, mixtures of discretised logistics, mixtures of Gaussians.

They have the calls of PixelTransformer's `ValueDistribution`: batch shape (B, Q), event shape (V,), `mean`, `variance`,
`mode`, `log_prob`, `sample`, and `entropy` of levels. `mixed(dim)` is the even mixture of the distributions along a
batch dimension.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from .noise import exponential, normal, uniform

MIN_LOG_SCALE = -7.0  # of a logistic over [-1, 1], as in PixelCNN++


class Parts:
    """Indexing of distributions that are made of a few tensors: `parts` lists them, `like` is the inverse."""

    def parts(self) -> tuple[Tensor | None, ...]:
        raise NotImplementedError

    def like(self, *parts: Tensor | None) -> Any:
        return type(self)(*parts)

    def __getitem__(self, index):
        return self.like(*(None if part is None else part[index] for part in self.parts()))


def join(distributions: list) -> Any:
    """Distributions of one kind, joined along the first batch dimension."""
    parts = zip(*(one.parts() for one in distributions), strict=True)
    return distributions[0].like(*(None if same[0] is None else torch.cat(same) for same in parts))


def gumbel(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Indices drawn from a softmax over the last axis, by the Gumbel-max trick."""
    noise = exponential(logits.shape, logits.device, generator).log_()
    return (logits - noise).argmax(-1)


class LevelDistribution(Parts):
    """One channel with L levels, spread evenly over [0, 1].

    Args:
        logits (`Tensor` (…, L)): Need not be normalised.
    """

    event_shape = torch.Size([1])

    def __init__(self, logits: Tensor):
        self.logits = logits.float().log_softmax(-1)
        self.levels = torch.linspace(0, 1, logits.shape[-1], device=logits.device)

    @classmethod
    def bernoulli(cls, logits: Tensor) -> "LevelDistribution":
        """Two levels, given the log-odds (…) of the upper one."""
        return cls(torch.stack((torch.zeros_like(logits), logits), -1))

    @property
    def batch_shape(self) -> torch.Size:
        return self.logits.shape[:-1]

    @property
    def probabilities(self) -> Tensor:
        return self.logits.exp()

    @property
    def mean(self) -> Tensor:
        return (self.probabilities @ self.levels)[..., None]

    @property
    def variance(self) -> Tensor:
        return (self.probabilities * (self.levels - self.mean).square()).sum(-1, keepdim=True)

    @property
    def mode(self) -> Tensor:
        return self.levels[self.logits.argmax(-1)][..., None]

    def entropy(self) -> Tensor:
        """In nats."""
        return -(self.probabilities * self.logits).sum(-1)

    def log_prob(self, values: Tensor) -> Tensor:
        """Log-probabilities (…) of the levels nearest to values (…, 1), in nats."""
        index = (values[..., 0] * (len(self.levels) - 1)).round().long().clamp(0, len(self.levels) - 1)
        logits, index = torch.broadcast_tensors(self.logits, index[..., None])
        return logits.gather(-1, index[..., :1])[..., 0]

    def sample(self, shape=(), generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Values (*shape, …, 1)."""
        logits = (self.logits / temperature).expand(*shape, *self.logits.shape)
        return self.levels[gumbel(logits, generator)][..., None]

    def mixed(self, dim: int) -> "LevelDistribution":
        return LevelDistribution(self.logits.logsumexp(dim))

    def parts(self) -> tuple[Tensor]:
        return (self.logits,)


class DiscretisedLogistics(Parts):
    """A mixture of logistics over [-1, 1], each the mass of its levels (Salimans et al. 2017, PixelCNN++).

    With three channels the mean of green depends linearly on red, that of blue on red and green.

    Args:
        logits (`Tensor` (…, M)), means, log_scales (`Tensor` (…, M, V)): The components.
        coefficients (`Tensor` (…, M, 3) or `None`): Of red in green, of red and of green in blue.
        num_levels (`int`): L.
    """

    def __init__(self, logits: Tensor, means: Tensor, log_scales: Tensor, coefficients: Tensor | None, num_levels: int):
        self.logits, self.means = logits.float().log_softmax(-1), means.float()
        self.log_scales = log_scales.float().clamp(min=MIN_LOG_SCALE)
        self.coefficients = None if coefficients is None else coefficients.float()
        self.num_levels, self.event_shape = num_levels, means.shape[-1:]

    @classmethod
    def read(cls, parameters: Tensor, components: int, value_dim: int, num_levels: int) -> "DiscretisedLogistics":
        """From the numbers (…, `parameters_of(…)`) of a network."""
        sizes = [components, components * value_dim, components * value_dim]
        sizes += [3 * components] * (value_dim == 3)
        logits, means, log_scales, *rest = parameters.split(sizes, -1)
        shape = (components, value_dim)
        coefficients = rest[0].unflatten(-1, (components, 3)).tanh() if rest else None
        return cls(logits, means.unflatten(-1, shape), log_scales.unflatten(-1, shape), coefficients, num_levels)

    @staticmethod
    def parameters_of(components: int, value_dim: int) -> int:
        """Numbers that a network must give for each value."""
        return components * (1 + 2 * value_dim + 3 * (value_dim == 3))

    @property
    def batch_shape(self) -> torch.Size:
        return self.logits.shape[:-1]

    def table(self) -> LevelDistribution:
        """The same as a table, for one channel."""
        if self.event_shape[0] != 1:
            raise ValueError("table: expected values of one channel, got three, whose levels are too many to list")
        levels = torch.linspace(0, 1, self.num_levels, device=self.logits.device)
        wider = DiscretisedLogistics(
            self.logits[..., None, :],
            self.means[..., None, :, :],
            self.log_scales[..., None, :, :],
            None,
            self.num_levels,
        )
        return LevelDistribution(wider.log_prob(levels[:, None].expand(*self.batch_shape, -1, 1)))

    @property
    def mean(self) -> Tensor:
        """Exact for one channel; for three, that of 64 samples."""
        if self.event_shape[0] == 1:
            return self.table().mean
        return self.sample((64,), torch.Generator(self.logits.device).manual_seed(0)).mean(0)

    @property
    def variance(self) -> Tensor:
        if self.event_shape[0] == 1:
            return self.table().variance
        return self.sample((64,), torch.Generator(self.logits.device).manual_seed(0)).var(0)

    @property
    def mode(self) -> Tensor:
        """The likeliest level; for three channels the mean of the likeliest component."""
        if self.event_shape[0] == 1:
            return self.table().mode
        index = self.logits.argmax(-1)[..., None, None].expand(*self.batch_shape, 1, 3)
        return ((self.means.gather(-2, index)[..., 0, :] + 1) / 2).clamp(0, 1)

    def entropy(self) -> Tensor:
        return self.table().entropy()

    def log_prob(self, values: Tensor) -> Tensor:
        """Log-probabilities (…) of values (…, V) in [0, 1], in nats."""
        x = (2 * values - 1)[..., None, :]  # (…, 1, V)
        half = 1 / (self.num_levels - 1)
        inverse = torch.exp(-self.log_scales)
        centred = x - self._means(x)
        upper, lower = (centred + half) * inverse, (centred - half) * inverse
        middle = centred * inverse
        mass = torch.sigmoid(upper) - torch.sigmoid(lower)
        # Where a level's mass underflows, its density times its width.
        density = middle - self.log_scales - 2 * F.softplus(middle) + math.log(2 * half)
        inside = torch.where(mass > 1e-5, mass.clamp(min=1e-12).log(), density)
        log = torch.where(x < -1 + half, F.logsigmoid(upper), torch.where(x > 1 - half, F.logsigmoid(-lower), inside))
        return (self.logits + log.sum(-1)).logsumexp(-1)

    def _means(self, x: Tensor) -> Tensor:
        """Means (…, M, V) given values (…, 1, V) of the channels before."""
        if self.coefficients is None:
            return self.means
        of = self.coefficients
        red, green, blue = self.means.unbind(-1)
        green = green + of[..., 0] * x[..., 0]
        blue = blue + of[..., 1] * x[..., 0] + of[..., 2] * x[..., 1]
        return torch.stack(torch.broadcast_tensors(red, green, blue), -1)

    def sample(self, shape=(), generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Values (*shape, …, V)."""
        logits = (self.logits / temperature).expand(*shape, *self.logits.shape)
        chosen = gumbel(logits, generator)[..., None]  # (*shape, …, 1)

        def pick(x: Tensor) -> Tensor:
            return x.expand(*shape, *x.shape).gather(-2, chosen[..., None].expand(*chosen.shape, x.shape[-1]))[
                ..., 0, :
            ]

        means, scales = pick(self.means), pick(self.log_scales).exp() * temperature
        of = None if self.coefficients is None else pick(self.coefficients)
        noise = uniform(means.shape, means.device, generator).clamp(1e-6, 1 - 1e-6)
        drawn = scales * torch.logit(noise)
        channels: list[Tensor] = []
        for channel in range(means.shape[-1]):
            mean = means[..., channel]
            if channel == 1:
                mean = mean + of[..., 0] * channels[0]
            if channel == 2:
                mean = mean + of[..., 1] * channels[0] + of[..., 2] * channels[1]
            value = ((mean + drawn[..., channel]).clamp(-1, 1) + 1) / 2
            channels.append((value * (self.num_levels - 1)).round() / (self.num_levels - 1) * 2 - 1)
        return (torch.stack(channels, -1) + 1) / 2

    def mixed(self, dim: int) -> "DiscretisedLogistics | LevelDistribution":
        if self.event_shape[0] == 1:
            return self.table().mixed(dim)
        logits, *others = self.parts()
        return self.like(_join(logits, dim, 1), *(_join(part, dim, 2) for part in others))

    def parts(self) -> tuple[Tensor | None, ...]:
        return self.logits, self.means, self.log_scales, self.coefficients

    def like(self, *parts: Tensor | None) -> "DiscretisedLogistics":
        return DiscretisedLogistics(*parts, self.num_levels)


class GaussianMixture(Parts):
    """Real values: a mixture of Gaussians, `torch.distributions` inside.

    Args:
        logits, means, log_stds (`Tensor` (…, M)): The components.
    """

    event_shape = torch.Size([1])

    def __init__(self, logits: Tensor, means: Tensor, log_stds: Tensor):
        self.logits, self.means, self.log_stds = logits.float(), means.float(), log_stds.float().clamp(-6, 6)
        components = Normal(self.means, self.log_stds.exp(), validate_args=False)
        self.inner = MixtureSameFamily(Categorical(logits=self.logits), components, validate_args=False)
        self.batch_shape = self.inner.batch_shape

    @classmethod
    def read(cls, parameters: Tensor) -> "GaussianMixture":
        """From the 3 M numbers of a network."""
        return cls(*parameters.chunk(3, -1))

    @property
    def mean(self) -> Tensor:
        return self.inner.mean[..., None]

    @property
    def variance(self) -> Tensor:
        return self.inner.variance[..., None]

    @property
    def mode(self) -> Tensor:
        """The mean of the likeliest component."""
        return self.means.gather(-1, self.logits.argmax(-1, keepdim=True))

    def log_prob(self, values: Tensor) -> Tensor:
        """Log-densities (…) of values (…, 1), in nats."""
        return self.inner.log_prob(values[..., 0])

    def sample(self, shape=(), generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        logits = (self.logits / temperature).expand(*shape, *self.logits.shape)
        index = gumbel(logits, generator)[..., None]
        means, stds = (x.expand(logits.shape).gather(-1, index) for x in (self.means, self.log_stds.exp()))
        return means + stds * temperature * normal(means.shape, means.device, generator)

    def mixed(self, dim: int) -> "GaussianMixture":
        parts = (self.logits.log_softmax(-1), self.means, self.log_stds)
        return GaussianMixture(*(_join(x, dim, 1) for x in parts))

    def parts(self) -> tuple[Tensor, ...]:
        return self.logits, self.means, self.log_stds


Distribution = LevelDistribution | DiscretisedLogistics | GaussianMixture


def _join(x: Tensor, dim: int, after: int) -> Tensor:
    """Make a batch dimension part of the components, whose axis is number `after` from the end."""
    components = x.dim() - after
    return x.movedim(dim, components - 1).flatten(components - 1, components)
