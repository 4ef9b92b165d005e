"""What every baseline shares: the model's calls `predict / sample / log_prob`, on the same positions and values."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pixeltransformer.distribution import ValueDistribution


class Baseline(ABC):
    """A method that answers with one Gaussian per query, clamped and rounded where values are quantised.

    Args:
        config: What it reads of a model's config: `value_dim`, `value_range`, `quantization_step`.

    Attributes:
        center (`Tensor` (V,)), spread (`float`): Mean and standard deviation of values, what is said where nothing is
            observed; set by `fit`.
    """

    def __init__(self, config):
        self.value_range = None if config.value_range is None else tuple(config.value_range)
        self.quantization_step = config.quantization_step
        self.center, self.spread = torch.zeros(config.value_dim), 1.0

    def fit(self, positions: Tensor, values: Tensor) -> "Baseline":
        """Learn what can be learned beforehand from B signals' values (B, N, V) at the same positions (N, P)."""
        self.center = values.double().mean((0, 1)).float()
        self.spread = (values - self.center).double().square().mean().sqrt().item()
        return self

    @abstractmethod
    def predict(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> ValueDistribution:
        """Marginals, batch shape (B, Q), event shape (V,), given contexts (B, K, P), (B, K, V) at queries (B, Q, P)."""

    def sample(
        self,
        context_positions: Tensor,
        context_values: Tensor,
        query_positions: Tensor,
        num_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Values (num_samples, B, Q, V), each drawn from its marginal."""
        marginal = self.predict(context_positions, context_values, query_positions)
        return marginal.sample((num_samples,), generator=generator)

    def log_prob(
        self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor, query_values: Tensor
    ) -> Tensor:
        """Log-likelihood (B,) in nats of values (B, Q, V), queries being independent of each other."""
        return self.predict(context_positions, context_values, query_positions).log_prob(query_values).sum(1)

    def gaussian(self, means: Tensor, deviations: Tensor) -> ValueDistribution:
        """One Gaussian for each query: means (B, Q, V), standard deviations (B, Q)."""
        smallest = 1e-4 if self.value_range is None else 1e-4 * (self.value_range[1] - self.value_range[0])
        scales = deviations.double().clamp(min=smallest).log()[..., None]
        zeros = torch.zeros_like(scales)
        return ValueDistribution(zeros, means[..., None, :], scales, self.value_range, self.quantization_step)

    def prior(self, query_positions: Tensor) -> ValueDistribution:
        """What is said where nothing is observed."""
        shape = query_positions.shape[:2]
        means = self.center.to(query_positions).expand(*shape, -1)
        return self.gaussian(means, torch.full(shape, self.spread, device=query_positions.device))


class PointwiseBaseline(Baseline):
    """A method that gives one value per query: a Gaussian about it, as wide as its errors on the context itself.

    The width is the root mean square error where each of up to `FOLDS` parts of the context is predicted from the
    others (cross-validation; with few positions each alone), one for all queries of a signal. The spread of values in
    general counts as one more error beside the K: four positions that are all black do not prove that all are.
    """

    FOLDS = 5

    @abstractmethod
    def values(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> Tensor:
        """Values (B, Q, V) at queries (B, Q, P) given K >= 1 positions (B, K, P), (B, K, V)."""

    def predict(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> ValueDistribution:
        if context_positions.shape[1] == 0:
            return self.prior(query_positions)
        means = self.values(context_positions, context_values, query_positions)
        return self.gaussian(means, self._error(context_positions, context_values)[:, None].expand(means.shape[:2]))

    def _error(self, positions: Tensor, values: Tensor) -> Tensor:
        """Root mean square error (B,) of the method on its own context, the general spread among it."""
        batch, count = positions.shape[:2]
        squares = [torch.full((batch, 1), self.spread**2, dtype=torch.float64, device=positions.device)]
        for fold in range(min(self.FOLDS, count) if count > 1 else 0):
            left_out = torch.arange(count, device=positions.device) % min(self.FOLDS, count) == fold
            known = positions[:, ~left_out], values[:, ~left_out]
            missed = self.values(*known, positions[:, left_out]) - values[:, left_out]
            squares.append(missed.double().square().mean(-1))
        return torch.cat(squares, 1).mean(1).sqrt()
