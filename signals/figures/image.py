"""Images: columns are numbers of observed pixels, rows what is observed, the mean, its uncertainty, joint samples.

And new images, drawn with nothing observed.
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from signals.image import checkered, to_image
from signals.plan import SIDE, View, fill_lines

CONTEXTS = [4, 8, 16, 32, 64, 128, 256]
SAMPLES = 3
COLUMNS, ZOOM = 8, 2  # of new images


class ImageView(View):
    """Pixels as they are, on a dim chequered ground where nothing is known."""

    def size(self, grid: list[int]) -> tuple[float, float]:
        return SIDE * grid[0] / max(grid), SIDE * grid[1] / max(grid)

    def show(self, axis, signal, values: Tensor, grid: list[int]) -> None:
        values = values.cpu().float().expand(-1, 3)
        pixels = torch.where(values.isnan(), checkered(grid).flatten(0, 1), values)
        axis.imshow(pixels.view(grid[1], grid[0], 3).clamp(0, 1), interpolation="nearest")
        axis.set(xticks=[], yticks=[])


def draw(model, signal, rows, index: int, temperature: float, seed: int, output: Path) -> None:
    """Write the picture for one row, each K observing the first K of one random order of its pixels."""
    grid, generator = model.config.native_grid, torch.Generator().manual_seed(seed)
    truth = signal.grid_values(signal.collate([rows[index]]), grid)[0]  # (cells, V)
    positions = model.native_positions()
    order = torch.randperm(len(truth), generator=generator)
    contexts = [context for context in CONTEXTS if context < len(truth)]
    names = ["observed", "mean", "uncertainty", *[f"sample {number + 1}" for number in range(SAMPLES)]]
    size = (1.35 * len(contexts) + 0.3, 1.35 * len(names) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(names), len(contexts), squeeze=False)
    for column, context in enumerate(contexts):
        known, hidden = order[:context], order[context:]
        observed, queries = (positions[:, known], truth[None, known]), positions[:, hidden]
        marginal = model.predict(*observed, queries)
        samples = model.sample(*observed, queries, num_samples=SAMPLES, temperature=temperature, generator=generator)

        def whole(filling: Tensor, known=known, hidden=hidden) -> Tensor:
            picture = torch.zeros(len(truth), filling.shape[-1])
            picture[hidden], picture[known] = filling, truth[known]
            return picture

        ground = checkered(grid).flatten(0, 1)
        ground[known] = truth[known].expand(-1, 3)
        deviation = torch.zeros(len(truth))
        deviation[hidden] = marginal.stddev[0].mean(-1)
        pictures = [ground, whole(marginal.mean[0]), deviation[:, None], *[whole(sample[0]) for sample in samples]]
        for row, picture in enumerate(pictures):
            axis = axes[row][column]
            if row != 2:
                picture = picture.expand(-1, 3)
            top = 0.5 if model.config.value_dim == 1 else 0.3
            axis.imshow(picture.view(grid[1], grid[0], -1).squeeze(-1), cmap="magma", vmin=0, vmax=top)
            axis.set(xticks=[], yticks=[])
            if column == 0:
                axis.set_ylabel(names[row], fontsize=10)
            if row == 0:
                axis.set_title(f"{context} pixels", fontsize=10)
    figure.savefig(output, dpi=100)


def draw_new(samples: Tensor, grid: list[int], output: Path) -> None:
    """Write the picture of samples (N, cells, V) of whole images."""
    images = samples.unflatten(1, grid[::-1])
    lines = [torch.cat(list(line), 1) for line in fill_lines(images, COLUMNS).split(COLUMNS)]
    picture = to_image(torch.cat(lines))
    size = (picture.width * ZOOM, picture.height * ZOOM)
    picture.resize(size, Image.Resampling.NEAREST).save(output, optimize=True)
