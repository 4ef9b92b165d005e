"""Polynomials: mean, 50 % and 90 % bands and samples from K points, with the exact posterior and the truth."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

from pixeltransformer.grids import centres
from signals.plan import View
from signals.plots import save_small

CONTEXTS = [1, 2, 4, 6, 8]
SAMPLES = 5


class CurveView(View):
    """A curve, or the points that are observed, in the window that a plot of polynomials shows."""

    def size(self, grid: list[int]) -> tuple[float, float]:
        return 1.3, 0.9

    def show(self, axis, signal, values: torch.Tensor, grid: list[int]) -> None:
        axis.plot(signal.positions(grid)[:, 0], values[:, 0].cpu(), linewidth=1)
        self._frame(axis)

    def show_observed(self, axis, signal, positions: torch.Tensor, values: torch.Tensor, grid: list[int]) -> None:
        axis.plot(positions[:, 0].cpu(), values[:, 0].cpu(), "o", color="black", markersize=3)
        self._frame(axis)

    @staticmethod
    def _frame(axis) -> None:
        axis.set(xlim=(-1, 1), ylim=(-6, 6), xticks=[], yticks=[])


def draw(model, signal, rows, index: int, temperature: float, seed: int, output: Path) -> None:
    """Write the picture for two rows, from `index` on."""
    posterior = signal.posterior
    everywhere = model.native_positions()
    x = everywhere[0, :, 0]
    figure = Figure(figsize=(2.6 * len(CONTEXTS), 4.8), layout="constrained")
    axes = figure.subplots(2, len(CONTEXTS), sharex=True, sharey="row")
    for line, number in zip(axes, (index, index + 1), strict=True):
        batch = signal.collate([rows[number]])
        generator = torch.Generator().manual_seed(seed)
        positions, values = signal.pairs(batch, max(CONTEXTS), generator)
        truth = signal.grid_values(batch, model.config.native_grid)[0, :, 0]
        for axis, context in zip(line, CONTEXTS, strict=True):
            observed = positions[:, :context], values[:, :context]
            ours, exact = (source.predict(*observed, everywhere) for source in (model, posterior))
            mean, deviation = ours.mean[0, :, 0], ours.stddev[0, :, 0]
            for width, alpha in ((1.645, 0.15), (0.674, 0.25)):
                axis.fill_between(x, mean - width * deviation, mean + width * deviation, color="C0", alpha=alpha, lw=0)
            samples = model.sample(
                *observed, everywhere[:, ::8], num_samples=SAMPLES, temperature=temperature, generator=generator
            )
            axis.plot(x[::8], samples[:, 0, :, 0].T, color="C0", linewidth=0.6, alpha=0.6)
            axis.plot(x, mean, color="C0", label="mean, 50 and 90 %, samples")
            for sign in (-1.645, 1.645):
                edge = exact.mean[0, :, 0] + sign * exact.stddev[0, :, 0]
                axis.plot(x, edge, "k:", linewidth=1, label="exact 90 %" if sign > 0 else None)
            axis.plot(x, truth, color="C3", linewidth=1, linestyle="--", label="truth")
            axis.plot(*(part[0, :, 0] for part in observed), "o", color="black", markersize=4)
            axis.set_title(f"{context} point" + "s" * (context > 1), fontsize=10)
            axis.set_ylim(truth.min() - 3, truth.max() + 3)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    save_small(figure, output, 90)


def draw_new(samples: torch.Tensor, grid: list[int], output: Path) -> None:
    """Write the picture of samples (N, cells, 1) of whole polynomials."""
    x = centres(torch.arange(grid[0]), grid[0])
    figure = Figure(figsize=(6, 3), layout="constrained")
    figure.subplots().plot(x, samples[..., 0].T, linewidth=1)
    save_small(figure, output, 100)
