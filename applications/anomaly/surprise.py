"""The surprise of each pixel: -log p of its value given all pixels outside a window around it.

A window hides what lies close to a pixel, so that a defect cannot explain itself. Many windows are hidden at a time, at
the same distance from each other, and of each only the pixels in its middle (the core) are scored. With cores of c,
windows of w and a distance of d pixels, (d / c)² passes score every pixel, whatever the size of the image.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pixeltransformer.distribution import ValueDistribution

BATCH_TOKENS = 16384  # values encoded at a time


@dataclass(frozen=True)
class Windows:
    """What is hidden while a pixel is scored, in pixels of the native grid.

    Args:
        core (`int`): Side of the squares whose pixels are scored at a time.
        window (`int`): Side of the square around each core that is hidden; `core` hides no more than what is scored.
        distance (`int`): From one window's middle to the next one's, a multiple of `core`; as large as the image:
            one window at a time.
    """

    core: int = 4
    window: int = 8
    distance: int = 16

    def __post_init__(self):
        if not 1 <= self.core <= self.window <= self.distance:
            raise ValueError(
                "windows: expected 1 <= core <= window <= distance, got "
                f"core {self.core}, window {self.window}, distance {self.distance}"
            )
        if self.distance % self.core or (self.window - self.core) % 2:
            raise ValueError(
                "windows: expected a distance that is a multiple of the core, and a window that is wider by an even "
                f"number, got core {self.core}, window {self.window}, distance {self.distance}"
            )

    def groups(self, grid: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each pass, masks (cells,) of what is hidden and of what is scored; each cell is scored once."""
        width, height = grid
        margin = (self.window - self.core) // 2
        for top in range(0, min(self.distance, height), self.core):
            for left in range(0, min(self.distance, width), self.core):
                scored = self._squares(width, left, 0)[None] & self._squares(height, top, 0)[:, None]
                hidden = self._squares(width, left, margin)[None] & self._squares(height, top, margin)[:, None]
                yield hidden.flatten(), scored.flatten()

    def _squares(self, length: int, start: int, margin: int) -> Tensor:
        """True (length,) in cores that begin at `start` modulo `distance`, widened by a margin on both sides."""
        offset = (torch.arange(length)[:, None] - torch.arange(start, length, self.distance)[None]).float()
        return ((offset >= -margin) & (offset < self.core + margin)).any(-1)


MAPS = ("nats", "excess", "distance")


@dataclass(frozen=True)
class Style:
    """Which map is shown, the standard deviation of its blur in pixels, and the windows."""

    map: str = "nats"
    smooth: float = 1.5
    windows: Windows = Windows()


DEFAULT = Style()  # chosen on validation images, see docs/ANOMALY.md


@dataclass(frozen=True)
class Surprise:
    """Maps (B, height, width) of images.

    Attributes:
        nats (`Tensor`): -log p of each pixel, all channels together.
        excess (`Tensor`): Squared distance from the mean in standard deviations, averaged over the channels: large
            where a pixel lies further from its mean than was to be expected.
        distance (`Tensor`): Root of the mean squared distance from the mean, in units of values.
    """

    nats: Tensor
    excess: Tensor
    distance: Tensor

    def maps(self) -> dict[str, Tensor]:
        """The maps by name, one for each of `MAPS`."""
        return {name: getattr(self, name) for name in MAPS}


@torch.no_grad()
def surprise(
    model,
    values: Tensor,
    windows: Windows | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Surprise:
    """The surprise of each pixel of images.

    Args:
        values (`Tensor` (B, height, width, V)): Images on the model's native grid.
        windows (`Windows` or `None`): `None`: the default.
        progress (`Callable`): Called with the share of the work that a pass did.

    Raises:
        ValueError: for images of another shape, and models of other signals.
    """
    windows, grid = windows or Windows(), model.config.native_grid
    shape = (grid[1], grid[0], model.config.value_dim)
    if model.config.signal != "image" or model.config.quantization_step is None:
        raise ValueError(f"model: expected one of images, got one of signal {model.config.signal!r}")
    if values.dim() != 4 or tuple(values.shape[1:]) != shape:
        raise ValueError(f"values: expected shape (B, {', '.join(map(str, shape))}), got {tuple(values.shape)}")
    flat, positions = values.flatten(1, 2).to(model.device), model.native_positions()
    maps = torch.zeros(3, len(flat), flat.shape[1])
    passes = list(windows.groups(grid))
    for hidden, scored in passes:
        known = ~hidden
        size = max(1, BATCH_TOKENS // max(1, int(known.sum())))
        for start in range(0, len(flat), size):
            part = flat[start : start + size]
            context = positions[:, known].expand(len(part), -1, -1), part[:, known]
            found = model.predict(*context, positions[:, scored])
            maps[:, start : start + size, scored] = _measures(found, part[:, scored]).cpu()
            progress(len(part) / len(flat) / len(passes))
    return Surprise(*maps.view(3, len(flat), grid[1], grid[0]))


def _measures(found: ValueDistribution, values: Tensor) -> Tensor:
    """-log p, squared standardised distance and distance from the mean, (3, B, Q)."""
    mean, variance = found.moments
    step = found.quantization_step
    squares = (values - mean).square()
    # Rounding to levels adds a uniform error, and keeps a certain black from being infinitely sure.
    excess = (squares / (variance + step * step)).mean(-1)
    return torch.stack((-found.log_prob(values), excess, squares.mean(-1).sqrt()))


def smooth(maps: Tensor, std: float) -> Tensor:
    """Maps (B, height, width) after a Gaussian blur with a standard deviation in pixels; 0 changes nothing."""
    if std <= 0:
        return maps
    radius = max(1, round(3 * std))
    offset = torch.arange(-radius, radius + 1, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (offset / std) ** 2)
    kernel = kernel / kernel.sum()
    maps = maps[:, None]
    for shape, padding in (((1, -1), (radius, radius, 0, 0)), ((-1, 1), (0, 0, radius, radius))):
        maps = F.conv2d(F.pad(maps, padding, mode="replicate"), kernel.view(1, 1, *shape))
    return maps[:, 0]
