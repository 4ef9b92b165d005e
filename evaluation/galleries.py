"""Pictures of completed signals next to the truth, in the layouts of the paper's figures."""

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from evaluation.figures import polynomial
from evaluation.figures.shape import show_points, show_surface
from evaluation.job import Job
from signals.image import checkered

COLUMNS = 8
Figures = list[tuple[str, str]]


def save_small(figure: Figure, path: Path, dpi: int = 80) -> None:
    """Save a figure as PNG of at most 128 colours: a third of the size, and the same to the eye."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    picture = Image.open(buffer).convert("RGB").quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def make(job: Job, everything: list) -> Figures:
    """The pictures of a kind of signal, from what `evaluation.samples.draw` returns for each K."""
    makers = {"image": [means, samples], "shape": [chairs], "video": [clips]}.get(job.config.signal, [])
    return [] if job.output is None else [maker(job, everything) for maker in makers]


def means(job: Job, everything: list) -> tuple[str, str]:
    """Mean images: a row for each K, a column for each instance; the truth at the bottom."""
    count = min(COLUMNS, len(everything[0].truth))
    lines = [(f"K = {drawn.context}", drawn.mean[:count]) for drawn in everything]
    _sheet(_file(job, "means"), [*lines, ("truth", everything[0].truth[:count])], job.config.native_grid)
    return _file(job, "means").name, "Mean images given K random pixels, and the truth"


def samples(job: Job, everything: list) -> tuple[str, str]:
    """Samples from the same pixels: a row for each K; observed, mean, samples, truth of the first instance."""
    lines, grid = [], job.config.native_grid
    for drawn in everything:
        seen = drawn.known[0][:, None]
        observed = torch.where(seen, drawn.truth[0].expand(-1, 3), checkered(grid).flatten(0, 1))
        whole = [drawn.mean[0], *drawn.samples[:, 0], drawn.truth[0]]
        lines.append((f"K = {drawn.context}", torch.stack([observed, *[x.expand(-1, 3) for x in whole]])))
    names = ["observed", "mean", *[f"sample {n + 1}" for n in range(len(everything[0].samples))], "truth"]
    _sheet(_file(job, "samples"), lines, grid, names)
    return _file(job, "samples").name, "Samples from the same pixels, temperature 0.9"


def chairs(job: Job, everything: list) -> tuple[str, str]:
    """Shapes from the fewest points: a column for each instance."""
    grid, drawn = job.config.native_grid, everything[0]
    count = min(4, len(drawn.truth))
    places = job.signal.positions(grid)
    names = [f"{drawn.context} points", "mean", "sample 1", "sample 2", "truth"]
    figure = Figure(figsize=(1.9 * count + 0.3, 1.9 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), count, squeeze=False, subplot_kw={"projection": "3d"})
    for index, line in enumerate(axes.T):
        seen = drawn.known[index]
        show_points(line[0], places[seen], drawn.truth[index][seen])
        fields = [drawn.mean[index], *[part[index] for part in drawn.samples[:2]], drawn.truth[index]]
        for axis, field in zip([*line[1 : len(fields)], line[-1]], fields, strict=True):
            show_surface(axis, field.reshape(*grid[::-1], 1))
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.text2D(-0.06, 0.5, name, transform=axis.transAxes, fontsize=10, rotation=90, va="center")
    save_small(figure, _file(job, "shapes"), 70)
    caption = f"Shapes from {drawn.context} observed distances (red inside, blue outside), mean, samples and truth"
    return _file(job, "shapes").name, caption


def clips(job: Job, everything: list) -> tuple[str, str]:
    """Videos: a column for each frame; for each K what is observed, the mean and a sample, the truth at the bottom."""
    frames, width, height = grid = job.config.native_grid
    lines = []
    for drawn in everything[1:]:
        ground = checkered([width, height]).flatten(0, 1).repeat(frames, 1)
        observed = torch.where(drawn.known[0][:, None], drawn.truth[0].expand(-1, 3), ground)
        for name, clip in (("observed", observed), ("mean", drawn.mean[0]), ("sample", drawn.samples[0, 0])):
            lines.append((f"{drawn.context}: {name}", clip.unflatten(0, (frames, -1)).expand(-1, -1, 3)))
    truth = everything[0].truth[0].unflatten(0, (frames, -1)).expand(-1, -1, 3)
    _sheet(_file(job, "clips"), [*lines, ("truth", truth)], grid[1:], [f"frame {n + 1}" for n in range(frames)])
    return _file(job, "clips").name, "One clip given K random places of all frames: observed, mean, a sample, the truth"


def curves(job: Job) -> Figures:
    """Polynomial fits: means with bands, samples, the exact posterior's band and the truth."""
    if job.output is None:
        return []
    path = _file(job, "fits")
    path.parent.mkdir(parents=True, exist_ok=True)
    polynomial.draw(job.model, job.signal, job.rows(8), 0, 1.0, job.seed, path)
    return [(path.name, "Polynomials from K points: mean, 50 and 90 % bands, samples; the exact 90 % band; the truth")]


def _file(job: Job, name: str) -> Path:
    return job.output.with_name(f"{job.output.stem}-{name}.png")


def _sheet(path: Path, lines: list[tuple[str, Tensor]], grid: list[int], names: list[str] | None = None) -> None:
    """Images (columns, cells, 1 or 3) in rows with names, under names of columns."""
    columns = max(len(images) for _, images in lines)
    side, top = 0.75, 0.3 if names else 0.02
    left = 0.25 + 0.075 * max(len(label) for label, _ in lines)
    size = (side * columns + left, side * len(lines) + top)
    figure = Figure(figsize=size)
    figure.subplots_adjust(left / size[0], 0.005, 0.995, 1 - top / size[1], 0.04, 0.04)
    axes = figure.subplots(len(lines), columns, squeeze=False)
    for line, (label, images) in zip(axes, lines, strict=True):
        for axis, image in zip(line, images, strict=True):
            picture = image.view(grid[1], grid[0], -1)
            axis.imshow(picture.expand(-1, -1, 3).clamp(0, 1), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=9, rotation=0, ha="right", va="center")
    for axis, name in zip(axes[0], names or [], strict=False):
        axis.set_title(name, fontsize=9)
    save_small(figure, path, 110)
