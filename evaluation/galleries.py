"""Pictures of signals in rows and columns, drawn by the view of their kind."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from evaluation.completion import TEMPERATURE, Drawn
from evaluation.job import Job
from signals.plots import save_small

COLUMNS = {None: 8, "3d": 4}  # instances in a row, by the projection of their view
LABEL = 0.075  # inches of a letter of a row's name
Figures = list[tuple[str, str]]
Cell = tuple[str, Callable[[Axes], None]]  # the name of a column, and what draws on an axis


def make(job: Job, everything: list[Drawn]) -> Figures:
    """The galleries of the signal's plan, from whole signals drawn for each K."""
    return [] if job.output is None else [GALLERIES[name](job, everything) for name in job.plan.galleries]


def whole(job: Job, name: str, values: Tensor) -> Cell:
    """A cell with a whole signal, values (cells, V)."""
    return name, lambda axis: job.plan.view.show(axis, job.signal, values.cpu(), job.config.native_grid)


def observed(job: Job, positions: Tensor, values: Tensor) -> Cell:
    """A cell with what is observed: values (K, V) at positions (K, P)."""
    parts = positions.cpu(), values.cpu()
    return "observed", lambda axis: job.plan.view.show_observed(axis, job.signal, *parts, job.config.native_grid)


def means(job: Job, everything: list[Drawn]) -> tuple[str, str]:
    """Means: a row for each K, a column for each instance; the truth at the bottom."""
    count = min(COLUMNS.get(job.plan.view.projection, 4), len(everything[0].truth))
    lines = [(f"K = {drawn.context}", drawn.guess) for drawn in everything]
    lines.append(("truth", everything[0].truth))
    sheet(job, "means", [(label, [whole(job, "", values) for values in part[:count]]) for label, part in lines])
    return job.figure("means").name, "Means given K random positions, and the truth"


def samples(job: Job, everything: list[Drawn]) -> tuple[str, str]:
    """Samples from the same positions: a row for each K; observed, mean, samples, truth of the first instance."""
    positions, lines = job.signal.positions(job.config.native_grid), []
    for drawn in everything:
        seen = drawn.known[0]
        cells = [observed(job, positions[seen], drawn.truth[0][seen]), whole(job, drawn.guessed, drawn.guess[0])]
        cells += [whole(job, f"sample {n + 1}", sample) for n, sample in enumerate(drawn.samples[:, 0])]
        lines.append((f"K = {drawn.context}", [*cells, whole(job, "truth", drawn.truth[0])]))
    sheet(job, "samples", lines)
    return job.figure("samples").name, f"Samples from the same positions, temperature {TEMPERATURE}"


GALLERIES: dict[str, Callable[[Job, list[Drawn]], tuple[str, str]]] = {"means": means, "samples": samples}


def inference(job: Job) -> Figures:
    """The picture that `evaluation.figure` makes of the kind, of the first signals."""
    if job.output is None or job.plan.draw is None:
        return []
    path = job.figure("fits")
    path.parent.mkdir(parents=True, exist_ok=True)
    job.plan.draw(job.model, job.signal, job.rows(8), 0, 1.0, job.seed, path)
    return [(path.name, f"{job.signal.plural.capitalize()} given K values: inference, samples and the truth")]


def sheet(job: Job, name: str, lines: Sequence[tuple[str, Sequence[Cell]]]) -> Path:
    """Save lines of cells, all as long, under the names of their columns, as a figure in the report's folder.

    Signals of a wide view take a line each, which their line and column name.
    """
    view = job.plan.view
    if view.wide:
        lines = [
            (f"{label}: {title}" if title else label, [("", draw)]) for label, line in lines for title, draw in line
        ]
    columns, (width, height) = len(lines[0][1]), view.size(job.config.native_grid)
    top = 0.3 if any(title for title, _ in lines[0][1]) else 0.02
    left = 0.25 + LABEL * max(len(label) for label, _ in lines)
    size = (width * columns + left, height * len(lines) + top)
    figure = Figure(figsize=size)
    figure.subplots_adjust(left / size[0], 0.005, 0.995, 1 - top / size[1], 0.04, 0.04)
    axes = figure.subplots(len(lines), columns, squeeze=False, subplot_kw={"projection": view.projection})
    for row, (label, line) in zip(axes, lines, strict=True):
        for axis, (_, draw) in zip(row, line, strict=True):
            draw(axis)
        middle = (row[0].get_position().y0 + row[0].get_position().y1) / 2
        figure.text((left - 0.08) / size[0], middle, label, fontsize=9, ha="right", va="center")
    for axis, (title, _) in zip(axes[0], lines[0][1], strict=True):
        box = axis.get_position()
        figure.text((box.x0 + box.x1) / 2, 1 - 0.08 / size[1], title, fontsize=9, ha="center", va="top")
    save_small(figure, job.figure(name), 110 if view.projection is None else 80)
    return job.figure(name)
