"""Shapes: observed points, the true surface, the likely surface and sampled ones, as renders."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import LightSource
from matplotlib.figure import Figure

from signals.mesh import sdf_to_mesh
from signals.overlap import likely_distances
from signals.plan import View
from signals.plots import save_small
from signals.shape_samples import sample_shapes

CONTEXTS = [32, 128, 512]
SAMPLES = 3
COLUMNS = 6  # of new shapes


class SurfaceView(View):
    """The zero surface as a render; what is observed as points."""

    projection = "3d"

    def size(self, grid: list[int]) -> tuple[float, float]:
        return 1.6, 1.6

    def show(self, axis, signal, values: torch.Tensor, grid: list[int]) -> None:
        show_surface(axis, values.cpu().float().reshape(*grid[::-1], 1))

    def show_observed(self, axis, signal, positions: torch.Tensor, values: torch.Tensor, grid: list[int]) -> None:
        show_points(axis, positions.cpu(), values.cpu().float())


def draw(model, signal, rows, index: int, temperature: float, seed: int, output: Path) -> None:
    """Write the picture for one row: a line for each K."""
    grid = model.config.native_grid
    sdf = rows[index]
    everywhere = model.native_positions()
    names = ["observed", "truth", "likely", *[f"sample {number + 1}" for number in range(SAMPLES)]]
    figure = Figure(figsize=(2.1 * len(names), 2.2 * len(CONTEXTS) + 0.3), layout="constrained")
    axes = figure.subplots(len(CONTEXTS), len(names), subplot_kw={"projection": "3d"})
    generator = torch.Generator().manual_seed(seed)
    positions, values = signal.pairs(sdf[None], max(CONTEXTS), generator)
    for line, context in zip(axes, CONTEXTS, strict=True):
        observed = positions[:, :context], values[:, :context]
        fields = [sdf[None], likely_distances(model.predict(*observed, everywhere)[0])]
        settings = dict(num_samples=SAMPLES, num_steps=128, temperature=temperature, generator=generator)
        *_, samples = sample_shapes(model, *observed, everywhere, **settings)
        fields += samples
        show_points(line[0], *(part[0] for part in observed))
        for axis, field in zip(line[1:], fields, strict=True):
            show_surface(axis, field.reshape(*grid[::-1], 1))
        line[0].text2D(
            -0.08, 0.5, f"{context} points", transform=line[0].transAxes, fontsize=10, rotation=90, va="center"
        )
    for axis, name in zip(axes[0], names, strict=True):
        axis.text2D(0.5, 1.04, name, transform=axis.transAxes, fontsize=10, ha="center")
    save_small(figure, output, 90)


def draw_new(samples: torch.Tensor, grid: list[int], output: Path) -> None:
    """Write the picture of samples (N, cells, 1) of whole shapes."""
    columns = min(COLUMNS, len(samples))
    lines = -(-len(samples) // columns)
    figure = Figure(figsize=(1.6 * columns, 1.7 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, subplot_kw={"projection": "3d"}, squeeze=False)
    for axis in axes.flat:
        prepare(axis)
    for axis, field in zip(axes.flat, samples, strict=False):
        show_surface(axis, field.reshape(*grid[::-1], 1))
    save_small(figure, output, 80)


def show_points(axis, positions: torch.Tensor, values: torch.Tensor) -> None:
    """Observed positions (K, 3): red inside, blue outside, paler the farther from the surface."""
    prepare(axis)
    inside = values[:, 0] < 0
    strength = (1 - values[:, 0].abs()).clamp(0.15, 1)
    colours = np.array([(0.8, 0.1, 0.1) if flag else (0.1, 0.3, 0.8) for flag in inside])
    axis.scatter(*positions.T, c=np.c_[colours, strength], s=8, depthshade=False)


def show_surface(axis, sdf: torch.Tensor) -> None:
    """The zero surface of a distance field (z, y, x, 1), shaded."""
    prepare(axis)
    mesh = sdf_to_mesh(sdf)
    if mesh is None:
        axis.text2D(0.5, 0.5, "no surface", ha="center", transform=axis.transAxes, fontsize=9)
        return
    axis.plot_trisurf(
        *mesh.vertices.T, triangles=mesh.faces, color=(0.62, 0.7, 0.84), lightsource=LightSource(315, 50), linewidth=0
    )


def prepare(axis) -> None:
    """One view for all."""
    axis.view_init(elev=18, azim=-60)
    axis.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    axis.set_box_aspect((1, 1, 1), zoom=1.55)
    axis.set_axis_off()
