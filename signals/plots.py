"""Small plots, drawn by matplotlib without a display."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render_curve(positions: Tensor, values: Tensor, size: tuple[float, float] = (2.4, 1.8), limit: float = 4.0):
    """A curve through values (N,) at positions (N,) as a picture; single known positions among NaN show as dots."""
    from matplotlib.figure import Figure  # only here: importing it takes a second, and the app draws no such figure

    figure = Figure(figsize=size, dpi=80, layout="constrained")
    axes = figure.subplots()
    axes.plot(positions.cpu(), values.detach().float().cpu(), "-", linewidth=1.2, marker=".", markersize=3)
    axes.set(xlim=(-1, 1), ylim=(-limit, limit))
    axes.tick_params(labelsize=6)
    return figure_image(figure)


def figure_image(figure: "Figure") -> Image.Image:
    """A matplotlib figure as a PIL image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def save_small(figure: "Figure", path: Path, dpi: int = 80) -> None:
    """Save a figure as PNG of at most 128 colours: a third of the size, and the same to the eye."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    picture = Image.open(buffer).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
