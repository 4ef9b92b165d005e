"""What can be asked about a polynomial: bands, sampled curves, the exact posterior, the density at one x."""

import math
from typing import Any

import torch
from torch import Tensor

from demo.answers import Sampling, joint, marginal
from demo.limits import MAX_SEED, whole
from demo.models import config_of
from demo.observed import Observed, nothing
from pixeltransformer.checks import read_rows
from pixeltransformer.distribution import ValueDistribution
from signals.polynomial import REGIONS, Coefficients, polynomial
from signals.polynomial_posterior import PolynomialPosterior

DEGREE = 6
REGION_NAMES = tuple(REGIONS)
MAX_POINTS, MAX_VALUE = 64, 50.0
DECIMALS = 4  # of points as they are written
ROUNDING = 10**-DECIMALS / math.sqrt(12)  # standard deviation of the error of a value with so many decimals
CURVE, SAMPLED = 129, 33  # positions of a drawn curve, and of a sampled one


def read_points(text: str, checkpoint: str) -> Observed:
    """Points typed one a line, or separated by semicolons: x in [-1, 1], then y.

    Raises:
        ValueError: naming the line that is wrong.
    """
    rows = []
    for number, line in enumerate((text or "").replace(";", "\n").splitlines(), 1):
        if not line.strip():
            continue
        parts = line.replace(",", " ").split()
        try:
            row = [float(part) for part in parts]
        except ValueError:
            row = []
        if len(row) != 2 or not all(map(math.isfinite, row)):
            raise ValueError(f"points, line {number}: expected two numbers, x and y, got {line.strip()[:40]!r}")
        if abs(row[0]) > 1 or abs(row[1]) > MAX_VALUE:
            raise ValueError(
                f"points, line {number}: expected x from -1 to 1, y from -50 to 50, got {line.strip()[:40]!r}"
            )
        rows.append(row)
    if len(rows) > MAX_POINTS:
        raise ValueError(f"points: expected at most {MAX_POINTS} (the limit of this app), got {len(rows)}")
    if not rows:
        return nothing(config_of(checkpoint, "polynomial"))
    table = torch.tensor(rows)
    return Observed(table[:, :1], table[:, 1:])


def write_points(observed: Observed) -> str:
    """Points as `read_points` reads them."""
    return write_pairs(pairs(observed))


def write_pairs(points: list[list[float]]) -> str:
    """The same for points as the page has them."""
    return "\n".join(f"{x:.{DECIMALS}f}, {y:.{DECIMALS}f}" for x, y in points)


def true_curve(seed: int, positions: Tensor) -> Tensor:
    """Values (N,) of the random polynomial with this number at x (N,)."""
    row = torch.from_numpy(Coefficients(MAX_SEED, DEGREE, 0, "test")[whole("polynomial", seed, 0, MAX_SEED - 1)])
    return polynomial(row[None], positions[None, :, None])[0, :, 0].float()


def observe(seed: int, count: int, where: str = REGION_NAMES[0]) -> Observed:
    """`count` points of the random polynomial with this number: all over it, or in one of `REGIONS`.

    Values are those at x as it is written, since rounding x would change them.
    """
    count = whole("count", count, 0, MAX_POINTS)
    if where not in REGIONS:
        raise ValueError(f"where: expected one of {', '.join(REGIONS)}, got {str(where)[:40]!r}")
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(max(16 * count, 256), generator=generator) * 2 - 1
    if count:
        seen = REGIONS[where].with_count(count, len(x)).observe(x[None, :, None], generator)[0][0]
        x = x[seen].round(decimals=DECIMALS)
    else:
        x = x[:0]
    return Observed(x[:, None], true_curve(seed, x)[:, None])


def pairs(observed: Observed) -> list[list[float]]:
    """Points as the page has them: [x, y] each."""
    return [[round(a, 6), round(b, 6)] for a, b in torch.cat((observed.positions, observed.values), 1).tolist()]


def curves(checkpoint: str, observed: Observed, truth: int | None) -> dict[str, Any]:
    """Mean and deviation on [-1, 1], the exact posterior's, and the true curve where its number is given."""
    x = torch.linspace(-1, 1, CURVE)
    found = marginal(checkpoint, observed, x[:, None])
    exact = PolynomialPosterior(DEGREE, ROUNDING).predict(*observed.context, x[None, :, None])
    rounded = lambda row: [round(v, 4) for v in row.tolist()]  # noqa: E731
    return {
        "points": pairs(observed),
        "x": rounded(x),
        "mean": rounded(found.mean[:, 0]),
        "deviation": rounded(found.stddev[:, 0]),
        "exact_mean": rounded(exact.mean[0, :, 0]),
        "exact_deviation": rounded(exact.stddev[0, :, 0]),
        "truth": None if truth is None else rounded(true_curve(truth, x)),
    }


def sampled(checkpoint: str, observed: Observed, sampling: Sampling) -> tuple[list[float], list[list[float]]]:
    """Positions, and sampled curves there: joint samples at `SAMPLED` positions, one after another."""
    x = torch.linspace(-1, 1, SAMPLED)
    for state in joint(checkpoint, observed, x[:, None], sampling, frames=1):
        values = state.values[..., 0]
    return x.tolist(), [[round(v, 4) for v in row] for row in values.tolist()]


def ask(checkpoint: str, observed: Observed, x: float) -> ValueDistribution:
    """The density (batch shape ()) of the value at x."""
    position = read_rows([[x]], 1, "x", "(x)")
    if abs(x) > 1:
        raise ValueError(f"x: expected a number from -1 to 1, got {x:g}")
    return marginal(checkpoint, observed, position)[0]
