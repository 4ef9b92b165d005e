"""Measures of marginals, gathered batch by batch: likelihood, errors and coverage."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from evaluation.calibration import coverage
from evaluation.tables import mean_interval

# A black margin is predicted for sure: whoever looks at all pixels alike sees little of what a model does not know.
UNCERTAIN = 0.05  # in units of values, by the predicted standard deviation alone
MODEL = "model"  # the name of the predicted mean among the methods whose errors are measured


class Scores:
    """Gathers what batches of predictions score, a number for each signal where an interval is wanted.

    Args:
        central (`Sequence[float]`): Central intervals whose coverage is measured.
    """

    def __init__(self, central: Sequence[float] = ()):
        self.central = central
        self._nats: list[Tensor] = []  # (B,) each: means over a signal's values
        self._exact: list[Tensor] = []  # the same of an exact posterior
        self._covered: list[Tensor] = []  # (intervals, B)
        self._uncertain: list[Tensor] = []  # the same over uncertain values alone
        self._squares: dict[str, float] = {}  # sums of squared errors by method
        self._count = 0  # values scored

    def add(
        self, distribution, truth: Tensor, guesses: Mapping[str, Tensor] | None = None, exact: Tensor | None = None
    ) -> None:
        """Add a batch of predictions, batch shape (B, Q).

        Args:
            truth (`Tensor` (B, Q, V)): The true values.
            guesses (`Mapping[str, Tensor]`): Those (B, Q, V) of other methods, by name.
            exact (`Tensor` (B, Q) or `None`): Log-densities of the true values under the exact posterior, in nats.
        """
        self._nats.append(-distribution.log_prob(truth).double().mean(1).cpu())
        self._count += truth.numel()
        for name, guess in {MODEL: distribution.mean, **(guesses or {})}.items():
            error = (guess - truth).double().square().sum().item()
            self._squares[name] = self._squares.get(name, 0.0) + error
        if exact is not None:
            self._exact.append(-exact.mean(1).cpu())
        if self.central:
            inside = coverage(distribution, truth, self.central).cpu()  # (intervals, B, Q, V)
            certain = (distribution.stddev <= UNCERTAIN).cpu()
            self._covered.append(inside.mean((2, 3)))
            self._uncertain.append(inside.masked_fill(certain, math.nan).nanmean((2, 3)))

    @property
    def nats(self) -> Tensor:
        """Negative log-likelihood per value of each signal (N,)."""
        return torch.cat(self._nats)

    @property
    def exact_nats(self) -> Tensor | None:
        """The same of the exact posterior, where it was given and has a density."""
        return torch.cat(self._exact) if self._exact else None

    @property
    def methods(self) -> list[str]:
        """Names of the other methods whose errors were measured."""
        return [name for name in self._squares if name != MODEL]

    def rmse(self, name: str = MODEL) -> float | None:
        """Root of a method's mean square error over all values; `None` for a method that was not measured."""
        return math.sqrt(self._squares[name] / self._count) if name in self._squares else None

    def coverage(self) -> list[list[float]]:
        """For each interval, the share of values inside and the half-width of its confidence interval over signals."""
        return [mean_interval(shares) for shares in torch.cat(self._covered, 1)]

    def uncertain_coverage(self) -> list[list[float]]:
        """The same of the values whose predicted standard deviation is above `UNCERTAIN`."""
        return [mean_interval(shares) for shares in torch.cat(self._uncertain, 1)]
