"""Gaussian-process regression (scikit-learn), its kernel fitted beforehand to signals of the same kind."""

import math
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from torch import Tensor

from baselines.base import Baseline
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.levels import round_to_levels


class GaussianProcess(Baseline):
    """Matérn kernel with a length for each coordinate, and noise; the channels of a value are independent.

    `fit` maximises the marginal likelihood of a few signals together (empirical Bayes); a context is then conditioned
    on with the kernel found, as fitting it to 4 positions would fit nothing.

    Args:
        config: See `Baseline`; also `position_dim`.
        smoothness (`float`): ν of the kernel; 1.5 suits images, 2.5 smoother curves.

    Attributes:
        log_likelihood (`float`): Of the values given to `fit`, in nats, with the kernel found.
    """

    def __init__(self, config, smoothness: float = 1.5):
        super().__init__(config)
        self.smoothness, self.log_likelihood = smoothness, -math.inf
        lengths = Matern([0.5] * config.position_dim, (0.01, 20.0), nu=smoothness)
        self.kernel = ConstantKernel(1.0, (1e-4, 1e4)) * lengths + WhiteKernel(1e-4, (1e-10, 1.0))

    def fit(self, positions: Tensor, values: Tensor) -> "GaussianProcess":
        super().fit(positions, values)
        functions = (values - self.center).movedim(1, 0).flatten(1)  # (N, B · V): so many draws of one process
        regressor = GaussianProcessRegressor(self.kernel)
        with warnings.catch_warnings():  # a parameter at its bound is an answer too
            warnings.simplefilter("ignore", ConvergenceWarning)
            regressor.fit(self._array(positions), self._array(functions))
        self.kernel, self.log_likelihood = regressor.kernel_, regressor.log_marginal_likelihood_value_
        return self

    def predict(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> ValueDistribution:
        means, deviations = [], []
        for x, y, asked in zip(context_positions, context_values, query_positions, strict=True):
            mean, deviation = self._posterior(x, y, asked, return_std=True)
            means.append(mean)
            deviations.append(deviation)
        means, deviations = (torch.from_numpy(np.stack(part)) for part in (means, deviations))
        return self.gaussian(means.to(query_positions) + self.center.to(query_positions), deviations)

    def sample(
        self,
        context_positions: Tensor,
        context_values: Tensor,
        query_positions: Tensor,
        num_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Joint samples (num_samples, B, Q, V), clamped and rounded where values are quantised."""
        drawn = []
        for x, y, asked in zip(context_positions, context_values, query_positions, strict=True):
            mean, factor = self._joint(x, y, asked)
            noise = torch.randn(num_samples, *mean.shape, generator=generator, dtype=torch.float64)
            drawn.append(mean + factor @ noise)
        values = torch.stack(drawn, 1).to(query_positions) + self.center.to(query_positions)
        if self.value_range is not None:
            values = values.clamp(*self.value_range)
        return round_to_levels(values, self.value_range, self.quantization_step)

    def log_prob(
        self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor, query_values: Tensor
    ) -> Tensor:
        """Joint log-likelihood (B,) in nats of values (B, Q, V).

        Of quantised values the density times the width of their cells: a Gaussian's mass in a box has no closed form.
        """
        totals = []
        for x, y, asked, values in zip(context_positions, context_values, query_positions, query_values, strict=True):
            mean, factor = self._joint(x, y, asked)
            left = torch.linalg.solve_triangular(factor, values.double().cpu() - self.center - mean, upper=False)
            constant = factor.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
            totals.append(-0.5 * left.square().sum() - mean.shape[1] * constant)
        width = 0.0 if self.quantization_step is None else math.log(self.quantization_step)
        return torch.stack(totals).to(query_positions) + query_values[0].numel() * width

    def _joint(self, positions: Tensor, values: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (Q, V) less the centre, and a Cholesky factor (Q, Q) of the covariance, for one signal."""
        mean, covariance = self._posterior(positions, values, queries, return_cov=True)
        return torch.from_numpy(mean), torch.linalg.cholesky(torch.from_numpy(covariance))

    def _posterior(
        self, positions: Tensor, values: Tensor, queries: Tensor, **what: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean (Q, V) less the centre, and deviation (Q,) or covariance (Q, Q), noise included, for one signal."""
        channels = len(self.center)
        if len(positions) == 0:
            covariance = self.kernel(self._array(queries))
            spread = covariance if "return_cov" in what else np.sqrt(np.diag(covariance))
            return np.zeros((len(queries), channels)), spread
        regressor = GaussianProcessRegressor(self.kernel, alpha=1e-9, optimizer=None)
        regressor.fit(self._array(positions), self._array(values - self.center.to(values)))
        with warnings.catch_warnings():  # variances that rounding makes negative are set to 0
            warnings.filterwarnings("ignore", "Predicted variances smaller than 0")
            mean, spread = regressor.predict(self._array(queries), **what)
        # All channels share the kernel, so their spreads are one and the same.
        one = 2 if "return_cov" in what else 1
        return mean.reshape(len(queries), channels), spread[..., 0] if spread.ndim > one else spread

    @staticmethod
    def _array(x: Tensor) -> np.ndarray:
        return x.double().cpu().numpy()
