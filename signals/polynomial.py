"""Polynomials as signals: random coefficients, drawn on the fly, so that no data is needed and the truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from signals.base import Batch, Observation, Rows, Signal, flag
from signals.patterns import Pattern, anywhere, ball, clusters
from signals.plan import EvaluationPlan, SamplePlan
from signals.plots import render_curve
from signals.polynomial_posterior import PolynomialPosterior

PLOT = 6.0  # values that a plot of polynomials shows, above and below 0
STEEPEST = 200.0  # largest coefficient of a revised polynomial: beyond it, clicked points nearly contradict each other
TEST_SPLITS = {"train": 0, "validation": 1, "test": 2}  # streams of coefficients that share nothing


# Where points of a curve are observed: all over it, in one interval (its continuation is asked for), in a few clusters.
REGIONS = {
    "random points": Pattern(anywhere, 1),
    "points of an interval": Pattern(ball, 1 / 4),
    "points of clusters": Pattern(clusters, 1 / 8),
}


@dataclass
class Polynomials(Signal):
    """Polynomials v = Σ aₖ xᵏ on [-1, 1] with coefficients N(0, 1): positions x, values unbounded."""

    kind: ClassVar[str] = "polynomial"
    plural: ClassVar[str] = "polynomials"
    patterns: ClassVar[dict[str, Pattern]] = {
        f"{count} {name}": pattern.with_count(count, 256) for name, pattern in REGIONS.items() for count in (1, 2, 4, 6)
    }

    degree: int = flag("Degree of the polynomials.", 6)
    num_polynomials: int = flag("Polynomials in an epoch.", 1_000_000)
    validation_size: int = flag("Polynomials to validate on.", 1000)
    clicked_probability: float = flag(
        "Share of training signals with observed values that no typical polynomial has; all others are then drawn "
        "from the exact posterior given these.", 0.4
    )  # fmt: skip

    def __post_init__(self):
        if not 0 <= self.clicked_probability <= 1:
            raise ValueError(f"--clicked_probability: expected a number from 0 to 1, got {self.clicked_probability}")
        for name in ("degree", "num_polynomials", "validation_size"):
            if getattr(self, name) < (name != "degree"):
                raise ValueError(f"--{name}: expected a number above 0, got {getattr(self, name)}")

    def load(self, seed: int) -> tuple[Rows, Rows]:
        sizes = {"train": self.num_polynomials, "validation": self.validation_size}
        training, validation = (Coefficients(size, self.degree, seed, split) for split, size in sizes.items())
        return Rows(training, torch.from_numpy, cache_bytes=0), Rows(validation, torch.from_numpy)

    def load_split(self, split: str, config: Any, limit: int | None = None) -> Rows:
        if split not in TEST_SPLITS:
            raise ValueError(f"--split: expected one of {', '.join(TEST_SPLITS)}, got {split!r}")
        return Rows(Coefficients(limit or self.validation_size, self.degree, 0, split), torch.from_numpy)

    def config_fields(self, rows: Rows) -> dict[str, Any]:
        return {
            "native_grid": [256],
            "value_dim": 1,
            "value_range": None,
            "quantization_step": None,
            "num_bins": 1,  # the posterior is one Gaussian
            "offset_radius": None,
            "min_std": 1e-4,
            "max_std": 8.0,
            "rotary_max_frequency": 4 * np.pi,  # a polynomial of low degree has no finer detail
            "position_bandwidth": 1.0,
            "value_bandwidth": None,  # what is looked for is linear in the values
            "max_buffer_share": 0.04,  # of few values each tells much, and encoding them again takes little
        }

    def num_cells(self, fields: dict[str, Any]) -> int:
        return 0

    def pairs(
        self, batch: Batch, count: int, generator: torch.Generator | None = None, continuous: bool = True
    ) -> tuple[Tensor, Tensor]:
        positions = torch.rand(len(batch), count, 1, generator=generator, device=batch.device) * 2 - 1
        return positions, polynomial(batch, positions).to(batch.dtype)

    def revise(
        self, batch: Batch, positions: Tensor, values: Tensor, context: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """For some signals, the first `context` values are atypical and the others follow from the exact posterior.

        The atypical values are those of a polynomial with larger coefficients or, where a polynomial exists through any
        values, uniform numbers: points clicked anywhere in a plot.
        """
        if not self.clicked_probability or not context:
            return positions, values
        count, draw = len(batch), {"generator": generator, "device": batch.device}
        numbers = torch.rand(count, 3, **draw)
        features = positions[:, :context].double() ** torch.arange(self.degree + 1, device=batch.device)
        size = PLOT ** numbers[:, 1:2].double()  # log-uniform
        other = torch.randn(batch.shape, **draw).double() * size
        target = (features @ other[..., None])[..., 0]
        if context <= self.degree + 1:
            anywhere = (torch.rand(count, context, **draw).double() * 2 - 1) * size
            target = torch.where(numbers[:, 2:3] < 0.7, anywhere, target)
        prior, posterior = batch.double(), through(batch, positions[:, :context], target)
        revised = (numbers[:, :1] < self.clicked_probability) & (posterior.abs().amax(1, keepdim=True) < STEEPEST)
        return positions, polynomial(torch.where(revised, posterior, prior), positions).to(values.dtype)

    def clicked(
        self, batch: Batch, num_queries: int, generator: torch.Generator | None, count: int, steepest: float = np.inf
    ) -> Observation:
        """Points clicked uniformly in a plot, and random points of a curve from the exact posterior given these.

        Args:
            count (`int`): Points that are clicked, at most degree + 1.
            steepest (`float`): Clicks that ask for a larger coefficient are made again.
        """
        positions = torch.empty(len(batch), count, 1, device=batch.device)
        values, rows = torch.empty_like(positions, dtype=torch.double), torch.arange(len(batch), device=batch.device)
        while len(rows):
            numbers = torch.rand(2, len(rows), count, 1, generator=generator, device=batch.device) * 2 - 1
            positions[rows], values[rows] = numbers[0], PLOT * numbers[1].double()
            mean = through(torch.zeros_like(batch[rows]), positions[rows], values[rows, :, 0])  # of the posterior
            rows = rows[mean.abs().amax(1) >= steepest]
        asked = torch.rand(len(batch), num_queries, 1, generator=generator, device=batch.device) * 2 - 1
        return Observation(positions, values, asked, polynomial(through(batch, positions, values[..., 0]), asked))

    @property
    def posterior(self) -> PolynomialPosterior:
        return PolynomialPosterior(self.degree)

    @classmethod
    def evaluation_plan(cls) -> EvaluationPlan:
        from signals.figures import polynomial as figures

        few = (1, 2, 4, 6, 8, 12, 20)
        clicks = {
            f"{count} clicked point" + "s" * (count > 1): partial(cls.clicked, count=count) for count in (1, 2, 4)
        }
        clicks["4 clicked points, no steep curve"] = partial(cls.clicked, count=4, steepest=STEEPEST)
        return EvaluationPlan(
            contexts=(0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 20),
            few_contexts=few,
            signals={
                "likelihood": 1000, "patterns": 1000, "joint": 500, "references": 200, "buffer": 300,
                "generalisation": 500,
            },
            samples=SamplePlan(signals=200, samples=5, contexts=(0, 1, 2, 4, 6, 8, 12, 20)),
            view=figures.CurveView(),
            draw=figures.draw,
            draw_new=figures.draw_new,
            smoothness=2.5,
            calibrated_within=3.0,
            unusual=clicks,
        )  # fmt: skip

    def grid_values(self, batch: Batch, grid: list[int]) -> Tensor:
        return polynomial(batch, self.positions(grid).to(batch.device).expand(len(batch), -1, -1)).to(batch.dtype)

    def render(self, values: Tensor, grid: list[int]) -> Image.Image:
        return render_curve(self.positions(grid)[:, 0], values[:, 0])

    def describe(self, count: int) -> str:
        return f"Polynomials of degree {self.degree} on [-1, 1], coefficients N(0, 1), drawn on the fly."


def through(coefficients: Tensor, positions: Tensor, values: Tensor) -> Tensor:
    """Polynomials (B, degree + 1), float64, from the exact posterior given values (B, K) at positions (B, K, 1).

    A draw a from the prior becomes one from the posterior by the smallest change that brings it through the values v:
    a + Φ⁺(v - Φ a) (Matheron).

    Args:
        coefficients (`Tensor` (B, degree + 1)): Draws from the prior, independent of the values.
    """
    prior = coefficients.double()
    features = positions.double() ** torch.arange(prior.shape[-1], device=prior.device)
    missing = values.double() - (features @ prior[..., None])[..., 0]
    return prior + (torch.linalg.pinv(features, rtol=1e-13) @ missing[..., None])[..., 0]


def polynomial(coefficients: Tensor, positions: Tensor) -> Tensor:
    """Values (B, N, 1), float64, at x (B, N, 1) of coefficients (B, degree + 1), the constant term first."""
    powers = positions.double() ** torch.arange(coefficients.shape[-1], device=positions.device)  # (B, N, degree + 1)
    return (powers * coefficients[:, None].double()).sum(-1, keepdim=True)


class Coefficients(Sequence):
    """Coefficients (degree + 1,) of numbered random polynomials, each a function of seed, split and number."""

    def __init__(self, count: int, degree: int, seed: int, split: str):
        self.count, self.degree, self.key = count, degree, (seed, TEST_SPLITS[split])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self.count:
            raise IndexError(f"index: expected 0 … {self.count - 1}, got {index}")
        random = np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, 0, index]))
        return random.standard_normal(self.degree + 1, dtype=np.float32)
