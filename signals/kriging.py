"""Kriging: Gaussian-process regression with the same kernels for many maps, batched, and what it leaves to be learned.

Given the values of a map at K positions, kriging names a mean and a standard deviation at any other. The deviation is
that of the kernel, times how rough the observed values are, compared with those of other maps. Kriging knows neither
where in a map it is rough nor how its errors are distributed. A network that is trained on its *residuals*, (value -
mean) / std, starts from kriging and learns these. At the observed positions it is given the residuals of leaving each
out, which say how rough the map is there.

No map is quite a draw from a Matérn process, so the kernel that suits 16 values is not the one that suits 256: what
lies between distant cells looks like noise. Hence a kernel for each of several K.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

JITTER = 1e-6  # of the variance, added to the diagonal: positions may coincide
BOUNDS = (-16.0, 5.0)  # of the logarithm of what a kernel is made of, while it is fitted
MAX_ITERATIONS = 30  # of fitting a kernel
ROUGHNESS_WEIGHT = 10  # values of other maps that count as much as so many of this one for how rough it is
FITTED_VALUES = 9_600  # at most, by one kernel: 75 maps of 128 values take about five seconds


@dataclass(frozen=True)
class Kernel:
    """A Matérn kernel of smoothness 3/2, k(x, y) = s² (1 + √3 d) exp(-√3 d), d = |(x - y) / l|, and noise.

    Args:
        observed (`int`): Number of observed values that it is meant for.
        variance (`float`): s², in squared units of values, whose mean is 0.
        lengths (`Sequence[float]`): l, for each coordinate of a position.
        noise (`float`): Variance of the noise of a value.
    """

    observed: int
    variance: float
    lengths: Sequence[float]
    noise: float

    @classmethod
    def fit(cls, positions: Tensor, values: Tensor, isotropic: bool = False) -> "Kernel":
        """The kernel for N values under which B maps' values (B, N) at positions (B, N, P) are most likely.

        Args:
            isotropic (`bool`): One length for all coordinates.
        """
        axes, observed = positions.shape[-1], positions.shape[1]
        start = torch.tensor([1.0, *[0.5] * (1 if isotropic else axes), 1e-3], dtype=torch.double)
        logs = start.log().requires_grad_()

        def kernel() -> Kernel:
            variance, *lengths, noise = logs.clamp(*BOUNDS).exp()
            return cls(observed, variance, lengths * axes if isotropic else lengths, noise)

        def nats() -> Tensor:
            """A value's negative log-likelihood, constants aside."""
            optimizer.zero_grad()
            factor = kernel().factor(positions)
            white = torch.linalg.solve_triangular(factor, values.double().unsqueeze(-1), upper=False)
            determinant = factor.diagonal(dim1=1, dim2=2).log().sum()
            loss = (0.5 * white.square().sum() + determinant) / values.numel()
            loss.backward()
            return loss

        optimizer = torch.optim.LBFGS([logs], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe")
        optimizer.step(nats)
        found = kernel()
        return cls(observed, found.variance.item(), [length.item() for length in found.lengths], found.noise.item())

    def covariance(self, left: Tensor, right: Tensor) -> Tensor:
        """Covariance (B, N, M) of values at positions (B, N, P) and (B, M, P), noise aside."""
        lengths = torch.stack([torch.as_tensor(one, dtype=torch.double, device=left.device) for one in self.lengths])
        distance = math.sqrt(3) * torch.cdist(left.double() / lengths, right.double() / lengths)
        return self.variance * (1 + distance) * torch.exp(-distance)

    def factor(self, positions: Tensor) -> Tensor:
        """Cholesky factor (B, N, N) of the covariance of values at positions (B, N, P), noise included."""
        covariance = self.covariance(positions, positions)
        diagonal = (self.noise + JITTER * self.variance) * torch.ones_like(positions[..., 0], dtype=torch.double)
        return torch.linalg.cholesky(covariance + torch.diag_embed(diagonal))


@dataclass(frozen=True)
class Kriging:
    """Kriging of a mean of 0, with the kernel whose number of observed values is nearest to K by ratio.

    The variance of the kernel is that of all maps. That of one map is unknown: its inverse has a gamma distribution
    (as in a Student-t process), which the observed values update. `predict` returns the resulting scale as a standard
    deviation.

    Args:
        kernels (`tuple[Kernel, ...]`): At least one.
    """

    kernels: tuple[Kernel, ...]

    @classmethod
    def fit(
        cls, positions: Tensor, values: Tensor, counts: Sequence[int], generator: torch.Generator, isotropic: bool
    ) -> "Kriging":
        """A kernel for each of `counts`, fitted to so many random ones of the values (B, N) of B maps.

        Args:
            positions (`Tensor` (N, P)): The same for all maps.
            counts (`Sequence[int]`): Those above N become N. Where `FITTED_VALUES` are reached, some maps are left out.
            isotropic (`bool`): See `Kernel.fit`.
        """
        kernels = []
        for count in sorted({min(count, len(positions)) for count in counts}):
            some = values[: max(1, FITTED_VALUES // count)]
            chosen = torch.rand(some.shape, generator=generator).topk(count, 1).indices
            kernels.append(Kernel.fit(positions[chosen], some.gather(1, chosen), isotropic))
        return cls(tuple(kernels))

    def kernel(self, count: int) -> Kernel:
        """The kernel for `count` >= 0 observed values."""
        return min(self.kernels, key=lambda kernel: abs(math.log(kernel.observed / max(count, 1))))

    def predict(self, positions: Tensor, values: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, Q, V) and standard deviation (B, Q, 1), noise included, float64, given K >= 0 values (B, K, V)."""
        kernel = self.kernel(positions.shape[1])
        across = kernel.covariance(positions, queries)  # (B, K, Q)
        factor = kernel.factor(positions)
        weights = torch.linalg.solve_triangular(factor, across, upper=False)
        seen = torch.linalg.solve_triangular(factor, values.double(), upper=False)
        left = kernel.variance - weights.square().sum(1) + kernel.noise
        std = left.clamp(min=JITTER * kernel.variance).sqrt().unsqueeze(-1)
        return weights.transpose(1, 2) @ seen, std * _roughness(seen)

    def left_out(self, positions: Tensor, values: Tensor) -> Tensor:
        """Residuals (B, K, V) of K values, each predicted from the others: (K⁻¹ v)ᵢ / √(K⁻¹)ᵢᵢ, over the roughness."""
        if positions.shape[1] == 0:
            return values.double()
        factor = self.kernel(positions.shape[1]).factor(positions)
        inverse = torch.cholesky_inverse(factor)
        residuals = (inverse @ values.double()) / inverse.diagonal(dim1=1, dim2=2).sqrt().unsqueeze(-1)
        return residuals / _roughness(torch.linalg.solve_triangular(factor, values.double(), upper=False))


def _roughness(white: Tensor) -> Tensor:
    """Standard deviation (B, 1, 1) of a map over that of all maps, given its whitened values (B, K, V)."""
    count = white.shape[1]
    total = white.square().mean(2, keepdim=True).sum(1, keepdim=True)
    return ((ROUGHNESS_WEIGHT + total) / (ROUGHNESS_WEIGHT + count)).sqrt()


@dataclass(frozen=True)
class Kriged:
    """A model trained on residuals, asked for values: kriging first, then what the model says about its residuals."""

    model: Any
    kriging: Kriging

    @property
    def config(self):
        return self.model.config

    def predict(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor, reduce=None) -> Any:
        """As `model.predict`: marginals, batch shape (B, Q), or what `reduce` makes of them."""
        mean, std = self.kriging.predict(context_positions, context_values, query_positions)
        residuals = self.kriging.left_out(context_positions, context_values).to(context_values)
        found = self.model.predict(context_positions, residuals, query_positions)
        mean, std = mean.float().unsqueeze(2), std.float()  # (B, Q, 1, V) and (B, Q, 1)
        log_stds = found.log_stds + (std if found.log_stds.dim() == 3 else std.unsqueeze(-1)).log()
        moved = found.with_parts(means=mean + std.unsqueeze(-1) * found.means, log_stds=log_stds)
        return moved if reduce is None else reduce(moved)
