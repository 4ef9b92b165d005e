"""Kriging: Gaussian-process regression with one kernel for many maps, batched, and what it leaves to be learned.

Given the values of a map at K positions, kriging names a mean and a standard deviation at any other. It knows neither
where a map is rough nor how its errors are distributed. A network that is trained on its *residuals*, (value - mean) /
std, starts from kriging and learns these. At the observed positions it is given the residuals of leaving each out,
which say how rough the map is there.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

JITTER = 1e-6  # of the variance, added to the diagonal: positions may coincide


@dataclass(frozen=True)
class Kriging:
    """A Matérn kernel of smoothness 3/2, k(x, y) = s² (1 + √3 d) exp(-√3 d), d = |(x - y) / l|, and noise.

    Args:
        variance (`float`): s², in squared units of values, whose mean is 0.
        lengths (`tuple[float, ...]`): l, for each coordinate of a position.
        noise (`float`): Variance of the noise of a value.
    """

    variance: float
    lengths: tuple[float, ...]
    noise: float

    @classmethod
    def fit(cls, positions: Tensor, values: Tensor, isotropic: bool = False) -> "Kriging":
        """The kernel under which B maps' values (B, N) at the same positions (N, P) are most likely.

        Args:
            isotropic (`bool`): One length for all coordinates.
        """
        from sklearn.exceptions import ConvergenceWarning  # only training needs it
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        axes = positions.shape[-1]
        matern = Matern(0.5 if isotropic else [0.5] * axes, (0.01, 20.0), nu=1.5)
        kernel = ConstantKernel(1.0, (1e-4, 1e4)) * matern + WhiteKernel(1e-4, (1e-10, 1.0))
        with warnings.catch_warnings():  # a parameter at its bound is an answer too
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = GaussianProcessRegressor(kernel).fit(positions.double().numpy(), values.T.double().numpy()).kernel_
        lengths = found.k1.k2.length_scale
        lengths = tuple(map(float, [lengths] * axes if isotropic else lengths))
        return cls(float(found.k1.k1.constant_value), lengths, float(found.k2.noise_level))

    def covariance(self, left: Tensor, right: Tensor) -> Tensor:
        """Covariance (B, N, M) of values at positions (B, N, P) and (B, M, P), noise aside."""
        lengths = torch.tensor(self.lengths, dtype=torch.double, device=left.device)
        distance = math.sqrt(3) * torch.cdist(left.double() / lengths, right.double() / lengths)
        return self.variance * (1 + distance) * torch.exp(-distance)

    def _factor(self, positions: Tensor) -> Tensor:
        covariance = self.covariance(positions, positions)
        diagonal = (self.noise + JITTER * self.variance) * torch.ones_like(positions[..., 0], dtype=torch.double)
        return torch.linalg.cholesky(covariance + torch.diag_embed(diagonal))

    def predict(self, positions: Tensor, values: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, Q, V) and standard deviation (B, Q, 1), noise included, float64, given K >= 0 values (B, K, V)."""
        across = self.covariance(positions, queries)  # (B, K, Q)
        factor = self._factor(positions)
        weights = torch.linalg.solve_triangular(factor, across, upper=False)
        seen = torch.linalg.solve_triangular(factor, values.double(), upper=False)
        left = self.variance - weights.square().sum(1) + self.noise
        return weights.transpose(1, 2) @ seen, left.clamp(min=JITTER * self.variance).sqrt().unsqueeze(-1)

    def left_out(self, positions: Tensor, values: Tensor) -> Tensor:
        """Residuals (B, K, V) of K values, each predicted from the others: (K⁻¹ v)ᵢ / √(K⁻¹)ᵢᵢ."""
        if positions.shape[1] == 0:
            return values.double()
        inverse = torch.cholesky_inverse(self._factor(positions))
        return (inverse @ values.double()) / inverse.diagonal(dim1=1, dim2=2).sqrt().unsqueeze(-1)


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
