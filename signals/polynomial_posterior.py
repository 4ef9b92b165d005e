"""The exact posterior of a polynomial with Gaussian coefficients: Bayesian linear regression."""

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal


class PolynomialPosterior:
    r"""What can be known of v(x) = φ(x)·w, φ(x) = (1, x, …, x^d), w ~ N(0, I), from its values at K positions.

    Observing v = Φ w + ε, ε ~ N(0, σ² I), leaves w ~ N(m, R²) (Bishop 2006, eq. 3.53–3.54). With the singular value
    decomposition Φ = U S Vᵀ this is m = V S (S² + σ²)⁻¹ Uᵀ v and R = I - V Vᵀ + V σ (S² + σ²)^(-1/2) Vᵀ, so
    v(x) ~ N(φ(x)·m, ‖R φ(x)‖²). Without noise m = Φ⁺ v and R = I - Φ⁺Φ, where Φ⁺ is the pseudo-inverse, and d + 1
    different positions leave nothing to know. Computed in float64.

    Args:
        degree (`int`): d.
        noise (`float`): σ, the standard deviation of the error of each observed value, such as that of rounding it.
            Values at queries have no noise.
    """

    def __init__(self, degree: int = 6, noise: float = 0):
        self.degree, self.noise = degree, noise

    def has_density(self, context: int) -> bool:
        """Whether values are uncertain given so many different positions."""
        return self.noise > 0 or context <= self.degree

    def _features(self, positions: Tensor) -> Tensor:  # (B, N, 1)
        return positions.double() ** torch.arange(self.degree + 1, device=positions.device)  # (B, N, d + 1)

    def coefficients(self, context_positions: Tensor, context_values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, d + 1) of the coefficients, and the symmetric square root (B, d + 1, d + 1) of their covariance."""
        left, sizes, right = torch.linalg.svd(self._features(context_positions), full_matrices=False)
        known = sizes > 1e-13 * sizes[..., :1]  # others are 0, up to rounding
        total = torch.hypot(sizes, torch.full_like(sizes, self.noise))
        gain = torch.where(known, sizes / total**2, 0)
        shrink = torch.where(known, 1 - self.noise / total, 0)
        mean = (right.mT @ (gain[..., None] * (left.mT @ context_values.double())))[..., 0]
        identity = torch.eye(self.degree + 1, dtype=torch.float64, device=mean.device)
        return mean, identity - right.mT @ (shrink[..., None] * right)

    def predict(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> Independent:
        """Marginals, batch shape (B, Q), event shape (1,), float64; a standard deviation of 0 where all is known."""
        mean, root = self.coefficients(context_positions, context_values)
        features = self._features(query_positions)
        deviation = torch.linalg.vector_norm(features @ root, dim=-1, keepdim=True)
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
        mean, root = self.coefficients(context_positions, context_values)
        noise = torch.randn(num_samples, *mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        drawn = mean + (root @ noise[..., None])[..., 0]
        return (self._features(query_positions) @ drawn[..., None]).to(query_positions.dtype)

    def log_prob(
        self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor, query_values: Tensor
    ) -> Tensor:
        """Joint log-density (B,) of the values at the queries, in nats.

        Raises:
            ValueError: where there are more queries (without noise, also counting the context) than the d + 1 positions
                that determine everything.
        """
        count = query_positions.shape[1] + (0 if self.noise else context_positions.shape[1])
        if count > self.degree + 1:
            raise ValueError(
                f"query_positions: expected at most {self.degree + 1} positions in all, as more have no joint density, "
                f"got {count}"
            )
        mean, root = self.coefficients(context_positions, context_values)
        features = self._features(query_positions)
        covariance = features @ root @ root @ features.mT
        center = (features @ mean[..., None])[..., 0]
        return MultivariateNormal(center, covariance, validate_args=False).log_prob(query_values.double()[..., 0])
