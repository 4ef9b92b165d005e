"""The exact posterior of a polynomial with Gaussian coefficients: Bayesian linear regression without noise."""

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal


class PolynomialPosterior:
    r"""What can be known of v(x) = φ(x)·w, φ(x) = (1, x, …, x^d), w ~ N(0, I), from its values at K positions.

    Observing Φ w = v leaves w ~ N(Φ⁺ v, I - Φ⁺Φ) (Bishop 2006, §3.3, in the limit of no noise; Φ⁺ is the
    pseudo-inverse), so v(x) ~ N(φ(x)·Φ⁺v, ‖(I - Φ⁺Φ) φ(x)‖²). With d + 1 different positions nothing is left to know.
    Computed in float64.

    Args:
        degree (`int`): d.
    """

    def __init__(self, degree: int = 6):
        self.degree = degree

    def has_density(self, context: int) -> bool:
        """Whether values are uncertain given so many different positions."""
        return context <= self.degree

    def _features(self, positions: Tensor) -> Tensor:  # (B, N, 1)
        return positions.double() ** torch.arange(self.degree + 1, device=positions.device)  # (B, N, d + 1)

    def coefficients(self, context_positions: Tensor, context_values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, d + 1) of the coefficients, and the projector (B, d + 1, d + 1) that is their covariance."""
        features = self._features(context_positions)
        inverse = torch.linalg.pinv(features, rtol=1e-13)  # (B, d + 1, K)
        mean = (inverse @ context_values.double())[..., 0]
        return mean, torch.eye(self.degree + 1, dtype=torch.float64, device=mean.device) - inverse @ features

    def predict(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> Independent:
        """Marginals, batch shape (B, Q), event shape (1,), float64; a standard deviation of 0 where all is known."""
        mean, free = self.coefficients(context_positions, context_values)
        features = self._features(query_positions)
        deviation = torch.linalg.vector_norm(features @ free, dim=-1, keepdim=True)
        return Independent(Normal(features @ mean[..., None], deviation, validate_args=False), 1, validate_args=False)

    def sample(
        self,
        context_positions: Tensor,
        context_values: Tensor,
        query_positions: Tensor,
        num_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Joint samples (num_samples, B, Q, 1): values of whole polynomials."""
        mean, free = self.coefficients(context_positions, context_values)
        noise = torch.randn(num_samples, *mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        drawn = mean + (free @ noise[..., None])[..., 0]  # a projector is its own square root
        return (self._features(query_positions) @ drawn[..., None]).to(query_positions.dtype)

    def log_prob(
        self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor, query_values: Tensor
    ) -> Tensor:
        """Joint log-density (B,) of the values at the queries, in nats.

        Raises:
            ValueError: where context and queries together are more than the d + 1 positions that determine everything.
        """
        count = context_positions.shape[1] + query_positions.shape[1]
        if count > self.degree + 1:
            raise ValueError(
                f"query_positions: expected at most {self.degree + 1} positions in all, as more have no joint density, "
                f"got {count}"
            )
        mean, free = self.coefficients(context_positions, context_values)
        features = self._features(query_positions)
        covariance = features @ free @ features.mT
        center = (features @ mean[..., None])[..., 0]
        return MultivariateNormal(center, covariance, validate_args=False).log_prob(query_values.double()[..., 0])
