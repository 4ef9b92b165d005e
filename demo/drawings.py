"""Whole drawings of an image as the page shows them, made once and remembered: marginals, samples, files to keep."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from PIL import Image

from demo import latest, models
from demo.answers import Sampling
from demo.image_actions import UNCERTAIN, Partial, draw, drawing_files, infer, output_grid
from demo.limits import SMALL
from demo.observed import Observed
from demo.pictures import picture_url, read_picture, show_uncertainty, sketch_of, smooth_url
from demo.turns import Waiting, in_turn
from demo.widgets.result import result
from demo.widgets.tiles import tile

REMEMBERED = 32  # finished drawings kept, half a megabyte each: examples, and what undo comes back to


@dataclass(frozen=True)
class Request:
    """What is to be drawn."""

    checkpoint: str
    observed: Observed
    resolution: int | None
    sampling: Sampling

    @property
    def key(self) -> tuple:
        """Equal for requests with the same answer."""
        return self.checkpoint, self.observed.fingerprint, tuple(self.grid), self.sampling

    @property
    def grid(self) -> list[int]:
        """Width and height of the answer."""
        return output_grid(self.checkpoint, self.resolution)

    @property
    def name(self) -> int:
        """Equal for requests with the same answer, short enough for the page."""
        return latest.name_of(self.key)


@dataclass(frozen=True)
class Drawing:
    """What the page shows of samples: the result, the levels of the first one, PNG and GIF at the end."""

    samples: dict
    levels: list[dict] = field(default_factory=list)
    files: tuple[bytes, bytes] | None = None


_finished: OrderedDict[tuple, Drawing] = OrderedDict()


def remembered(request: Request) -> Drawing | None:
    """The finished drawing of a request that was answered before."""
    return _finished.get(request.key)


def drawing(request: Request, wanted: Callable[[], bool] = lambda: True) -> Iterator[Drawing]:
    """The drawing while it is made: at once where it is remembered, in its turn otherwise, and only while `wanted`."""
    found = remembered(request)
    if found is not None:
        _finished.move_to_end(request.key)
        yield found
        return
    count, partials = int(request.sampling.samples), []
    work = draw(request.checkpoint, request.observed, request.resolution, request.sampling)
    for partial in in_turn(work, math.prod(request.grid) <= SMALL):
        if not wanted():
            return
        if isinstance(partial, Waiting):
            yield Drawing(result([], count, 0.0, request.name, partial.ahead))
            continue
        partials.append(partial)
        yield Drawing(result(sample_tiles(partial, count), count, partial.share, request.name))
    yield finish(request, partials)


def finish(request: Request, partials: list[Partial]) -> Drawing:
    """The finished drawing, remembered from now on, of all its states."""
    count = int(request.sampling.samples)
    files = drawing_files([partial.values for partial in partials], sketch_of(request.observed, request.grid))
    last = result(sample_tiles(partials[-1], count), count, 1.0, request.name)
    levels = level_tiles(partials, models.config_of(request.checkpoint).native_grid)
    _finished[request.key] = done = Drawing(last, levels, files)
    while len(_finished) > REMEMBERED:
        _finished.popitem(last=False)
    return done


def marginal_tiles(checkpoint: str, observed: Observed, resolution: int | None, truth: Image.Image | None):
    """Mean, uncertainty and, where there is one, the true picture."""
    config = models.config_of(checkpoint, "image")
    found = infer(checkpoint, observed, resolution)
    top = UNCERTAIN[config.value_dim]
    grid = output_grid(checkpoint, resolution)
    text = f"Mean image, {grid[0]} × {grid[1]} pixels, {len(observed):,} observed"
    tiles = [
        tile("Mean", picture_url(found.mean), text, f"{len(observed):,} observed"),
        tile(
            "Uncertainty",
            picture_url(show_uncertainty(found.deviation, top)),
            f"Standard deviation of every pixel, {found.deviation.mean():.3f} on average",
            f"black 0, bright {top}",
        ),
    ]
    if truth is not None:
        values = read_picture(truth, grid, config.value_dim)
        tiles.append(tile("Truth", picture_url(values), "The true picture", pickable=False))
    return tiles


def sample_tiles(partial: Partial, count: int) -> list[dict]:
    """The samples that are drawn so far."""
    return [
        tile(f"Sample {number}", smooth_url(values), f"Sample {number} of {count}")
        for number, values in enumerate(partial.values, 1)
    ]


def level_tiles(partials: Iterable[Partial], native: list[int]) -> list[dict]:
    """The first sample from coarse to fine: what was drawn of it at each scale; nothing where there was one alone."""
    levels = [partial.level for partial in partials if partial.level is not None]
    if not levels:
        return []
    tiles = []
    for values in (*levels, list(partials)[-1].values[0]):
        height, width = values.shape[:2]
        text = f"Sample 1 at {width} × {height} cells"
        if len(tiles) < len(levels):
            text += f", each the average of {native[0] // width} × {native[1] // height} pixels"
        tiles.append(tile(f"{width} × {height}", picture_url(values), text, pickable=False))
    return tiles
