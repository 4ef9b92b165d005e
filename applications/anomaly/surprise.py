"""The surprise of each pixel: -log p of its value given all pixels outside a window around it.

A window hides what lies close to a pixel, so that a defect cannot explain itself. Many windows are hidden at a time, at
the same distance from each other, and of each only the pixels in its middle (the core) are scored. With cores of c,
windows of w and a distance of d pixels, (d / c)² passes score every pixel, whatever the size of the image. What lies at
a core's border has known pixels nearby. So the same is done again with all windows moved by half a core, and a pixel's
surprise is the mean of both.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

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
        grids (`int`): How often each pixel is scored: every time the windows are moved by core / grids along both axes.
    """

    core: int
    window: int
    distance: int
    grids: int = 1

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
        if not 1 <= self.grids <= self.core:
            raise ValueError(f"windows: expected 1 to core ({self.core}) grids, got {self.grids}")

    def groups(self, grid: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each pass, masks (cells,) of what is hidden and of what is scored; each cell is scored `grids` times."""
        width, height = grid
        margin = (self.window - self.core) // 2
        starts = range(0, self.distance, self.core)
        for moved in (number * self.core // self.grids for number in range(self.grids)):
            for top, left in product(starts, starts):
                hidden, scored = (
                    self._squares(height, top - moved, wider)[:, None] & self._squares(width, left - moved, wider)
                    for wider in (margin, 0)
                )
                if scored.any():
                    yield hidden.flatten(), scored.flatten()

    def _squares(self, length: int, start: int, margin: int) -> Tensor:
        """True (length,) in cores that begin at `start` modulo `distance`, widened by a margin on both sides."""
        starts = torch.arange(start - self.distance, length, self.distance)
        offset = torch.arange(length)[:, None] - starts[starts > -self.core]
        return ((offset >= -margin) & (offset < self.core + margin)).any(-1)


MAPS = ("nats", "distance", "excess")
FLOOR = 0.02  # added to variances: a black that is certain would make any other value infinitely excessive
DOUBT_BLURS = (2.0, 1.5)  # std in pixels of the blur by which doubted pixels are chosen: at first, and later


@dataclass(frozen=True)
class Style:
    """What is shown, and how it is made.

    Args:
        map (`str`): One of `MAPS`.
        smooth (`float`): Std of the map's blur in pixels.
        windows (`Windows`): What is hidden while a pixel is scored.
        doubts (`tuple[float, ...]`): Shares of pixels that are doubted in turn.
    """

    map: str
    smooth: float
    windows: Windows
    doubts: tuple[float, ...]

    @classmethod
    def of(cls, config) -> "Style":
        """The best one for a checkpoint: chosen on training and validation images of digits and of cat faces."""
        return GREY if config.value_dim == 1 else COLOUR

    def shown(self, found: "Surprise") -> Tensor:
        """The map (B, height, width) that is shown of each image."""
        return smooth(getattr(found, self.map), self.smooth)


# A stroke is explained by its own ends alone; fur by all fur around it.
GREY = Style("distance", 1.0, Windows(8, 8, 16, grids=2), (0.12, 0.12))
COLOUR = Style("nats", 1.0, Windows(8, 12, 16, grids=2), (0.2, 0.12, 0.12))


@dataclass(frozen=True)
class Surprise:
    """Maps (B, height, width) of images.

    Attributes:
        nats (`Tensor`): -log p of each pixel, all channels together.
        distance (`Tensor`): Root of the mean squared distance from the mean, in units of values.
        excess (`Tensor`): Squared distance divided by the variance of the components' means, mean of the channels.
    """

    nats: Tensor
    distance: Tensor
    excess: Tensor

    def maps(self) -> dict[str, Tensor]:
        """The maps by name, one for each of `MAPS`."""
        return {name: getattr(self, name) for name in MAPS}


@torch.no_grad()
def surprise(
    model,
    values: Tensor,
    windows: Windows | None = None,
    doubts: tuple[float, ...] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Surprise:
    """The surprise of each pixel of images.

    Args:
        values (`Tensor` (B, height, width, V)): Images on the model's native grid.
        windows (`Windows` or `None`): `None`: those of the checkpoint's `Style`.
        doubts (`tuple[float, ...]` or `None`): After a map is made, this share of the pixels is hidden too, those that
            surprise most by the map of the checkpoint's `Style`, and a new map is made without them; once for each
            entry. So a defect does not speak for its neighbours.
        progress (`Callable`): Called with the share of the work that a pass did.

    Raises:
        ValueError: for images of another shape, models of other signals, and shares that are not between 0 and 1.
    """
    style, grid = Style.of(model.config), model.config.native_grid
    windows, doubts = windows or style.windows, style.doubts if doubts is None else doubts
    shape = (grid[1], grid[0], model.config.value_dim)
    if model.config.signal != "image" or model.config.quantization_step is None:
        raise ValueError(f"model: expected one of images, got one of signal {model.config.signal!r}")
    if values.dim() != 4 or tuple(values.shape[1:]) != shape:
        raise ValueError(f"values: expected shape (B, {', '.join(map(str, shape))}), got {tuple(values.shape)}")
    if not all(0 < share < 1 for share in doubts):
        raise ValueError(f"doubts: expected shares between 0 and 1, got {doubts}")

    def advance(share: float) -> None:
        progress(share / (1 + len(doubts)))

    flat = values.flatten(1, 2).to(model.device)
    maps = _maps(model, flat, windows, None, advance)
    shown = MAPS.index(style.map)
    for number, share in enumerate(doubts):
        blur = DOUBT_BLURS[min(number, len(DOUBT_BLURS) - 1)]
        blurred = smooth(maps[shown].view(-1, grid[1], grid[0]), blur).flatten(1)
        doubted = blurred >= blurred.quantile(1 - share, 1, keepdim=True)
        maps = _maps(model, flat, windows, doubted, advance)
    return Surprise(*maps.view(len(MAPS), len(flat), grid[1], grid[0]))


def _maps(model, flat: Tensor, windows: Windows, doubted: Tensor | None, advance: Callable[[float], None]) -> Tensor:
    """Maps (3, B, cells), on the CPU, of images (B, cells, V), without `doubted` (B, cells) as context."""
    maps = torch.zeros(len(MAPS), *flat.shape[:2])
    positions, passes = model.native_positions(), list(windows.groups(model.config.native_grid))
    for hidden, scored in passes:
        known = ~hidden
        size = max(1, BATCH_TOKENS // max(1, int(known.sum())))
        for start in range(0, len(flat), size):
            part = flat[start : start + size]
            mask = None if doubted is None else ~doubted[start : start + size, known].to(model.device)
            context = positions[:, known].expand(len(part), -1, -1), part[:, known]
            found = model.predict(*context, positions[:, scored], context_mask=mask)
            maps[:, start : start + size, scored] += _measures(found, part[:, scored]).cpu() / windows.grids
            advance(len(part) / len(flat) / len(passes))
    return maps


def _measures(found: ValueDistribution, values: Tensor) -> Tensor:
    """-log p, distance from the mean and excess, (3, B, Q)."""
    # The mean without clamping of each component: `found.mean` takes several times as long in colour.
    weights = found.probs[..., None]
    mean = (weights * found.means).sum(-2).clamp(*found.value_range)
    variance = (weights * (found.means - mean[..., None, :]).square()).sum(-2)
    squares = (values - mean).square()
    return torch.stack((-found.log_prob(values), squares.mean(-1).sqrt(), (squares / (variance + FLOOR)).mean(-1)))


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
