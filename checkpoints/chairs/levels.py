"""Quantised values: the levels that a channel can take, and the exact mass of a Gaussian in the cell of a level."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Highest power first.
_ERFC = (0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807)
_ERFC += (-0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223)


class Levels(NamedTuple):
    """The levels low, low + step, …, high of a quantised channel. A level's cell is the interval that rounds to it.

    Example:

    ```python
    >>> Levels(-1.0, 1.0, 0.5).nearest(torch.tensor([-0.7, 0.3, 9.0]))
    tensor([-0.5000,  0.5000,  1.0000])

    ```
    """

    low: float
    high: float
    step: float

    @classmethod
    def of(cls, value_range: tuple[float, float] | None, step: float | None) -> "Levels | None":
        """The levels of values in `value_range`, or `None` for continuous values (`step` is `None`).

        Raises:
            ValueError: if there is a `step` but no `value_range`.
        """
        if step is None:
            return None
        if value_range is None:
            raise ValueError("value_range: expected the smallest and largest value with a quantization_step, got None")
        return cls(value_range[0], value_range[1], step)

    @property
    def last(self) -> int:
        """Index of the highest level; the lowest has 0."""
        return round((self.high - self.low) / self.step)

    def index(self, values: Tensor) -> Tensor:
        """Index of the nearest level, in the dtype of the values."""
        return ((values - self.low) / self.step).round().clamp(0, self.last)

    def at(self, index: Tensor) -> Tensor:
        """The values of the levels with these indices."""
        return self.low + self.step * index

    def nearest(self, values: Tensor) -> Tensor:
        """Values rounded to the nearest level, inside the range."""
        # In place on the copy that clamp makes: the time of a sampler's pass depends on the number of operations.
        index = values.clamp(self.low, self.high).sub_(self.low).div_(self.step).round_()
        return index.mul_(self.step).add_(self.low).clamp_(self.low, self.high)

    def edges(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper edge of a level's cell; the outermost cells extend to infinity."""
        center = self.at(index)
        lower = torch.where(index > 0, center - self.step / 2, -math.inf)
        return lower, torch.where(index < self.last, center + self.step / 2, math.inf)

    def upper_edge(self, values: Tensor) -> Tensor:
        """Upper edge of the cell of the nearest level, infinite for the highest."""
        return self.edges(self.index(values.float()))[1]

    def all(self, device: torch.device | None = None) -> Tensor:
        """All levels, from low to high."""
        return self.at(torch.arange(self.last + 1, device=device))


def round_to_levels(values: Tensor, value_range: tuple[float, float] | None, step: float | None) -> Tensor:
    """Values rounded to the nearest level of a range; unchanged if they are continuous (`step` is `None`)."""
    levels = Levels.of(value_range, step)
    return values if levels is None else levels.nearest(values)


class LogGaussianMass(torch.autograd.Function):
    """log(Φ(u) - Φ(l)): the log-mass of a Gaussian between two edges l and u (in standard deviations from its mean).

    Everything is computed relative to the density at the edge that is nearer to the mean. So neither the mass nor its
    gradients overflow or cancel, even for a cell far out in a tail. It takes half the time of autograd through
    `torch.special.log_ndtr`.

    Args:
        means (`Tensor` (N, B, V)), log_stds (`Tensor` (N, B, 1 or V)): The Gaussians.
        lower, upper (`Tensor` (N, 1 or B, V)): The edges, lower < upper; an infinite edge includes the tail.
    """

    @staticmethod
    def forward(ctx, means: Tensor, log_stds: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        mass, *saved = log_gaussian_mass(means, log_stds, lower, upper)
        ctx.save_for_backward(*saved)
        return mass

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return *log_gaussian_mass_gradients(gradient, *ctx.saved_tensors), None, None


def log_gaussian_mass(means: Tensor, log_stds: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, ...]:
    """The log-mass of `LogGaussianMass`, and the tensors that its gradients need."""
    inverse = torch.exp(-log_stds)
    # Beyond these bounds a density is 0 in any case, and their square is still finite.
    lower = ((lower - means) * inverse).clamp(-1e12, 1e12)
    upper = ((upper - means) * inverse).clamp(-1e12, 1e12)
    # By symmetry, consider the cell to the left of the mean: `near` is the edge closer to the mean.
    flip = lower + upper > 0
    near = torch.where(flip, -lower, upper)
    away = torch.where(flip, upper, -lower)  # distance of the farther edge, positive
    x, y = near.abs() * math.sqrt(0.5), away * math.sqrt(0.5)
    falls = (x - y) * (x + y)  # log φ(away) - log φ(near), at most 0
    # A cell to the left of the mean: erfc(x)/2 - erfc(y)/2. One around it: erf(x)/2 + erf(y)/2.
    first = _log_erfcx(x)
    share = _log_erfcx(y).add_(falls).sub_(first).clamp_(max=-1e-6).expm1_().neg_()  # 1 - erfc(y) / erfc(x)
    outer = share.log_().add_(first)
    around = torch.erf(x).add_(torch.erf(y)).log_().add_(x * x)
    scaled = torch.where(near > 0, around, outer) - math.log(2.0)  # log of mass / exp(-near²/2)
    side = torch.where(flip, 1.0, -1.0)  # compiled, returning the bool itself takes five times as long
    return scaled - x * x, inverse, side, near, away, falls, scaled


def log_gaussian_mass_gradients(
    gradient: Tensor, inverse: Tensor, side: Tensor, near: Tensor, away: Tensor, falls: Tensor, scaled: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to means and log-stds, given the gradient with respect to the log-mass."""
    density = gradient * torch.exp(-scaled - 0.5 * math.log(2 * math.pi))  # φ(near) / mass
    beyond = density * torch.exp(falls)  # φ(away) / mass
    of_stds = -(density * near + beyond * away)
    if inverse.shape[-1] == 1:
        of_stds = of_stds.sum(-1, keepdim=True)
    return side * (density - beyond) * inverse, of_stds


def _log_erfcx(x: Tensor) -> Tensor:
    """log(exp(x²) erfc(x)) for x >= 0, to 1.2e-7 (Chebyshev fit in t = 1 / (1 + x/2), Press et al., Numerical Recipes).

    `torch.special.erfcx` and `log_ndtr` are not vectorised on CPUs.
    """
    t = (0.5 * x).add_(1).reciprocal_()
    polynomial = t * _ERFC[0]
    for coefficient in _ERFC[1:-1]:  # in place: allocating tensors would take longer than the arithmetic
        polynomial.add_(coefficient).mul_(t)
    return polynomial.add_(_ERFC[-1]).add_(t.log_())
