"""What can be asked about an image: the rest of it, samples of it, one pixel of it, the pixel that is least known."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from demo.answers import FRAMES, Sampling, joint, marginal, most_uncertain
from demo.grids import Split, choose_cells, observe_cells, split
from demo.guard import check_time
from demo.limits import MAX_CONTEXT, MAX_RESOLUTION, MAX_SEED, MIN_RESOLUTION, together_at_most, whole
from demo.models import config_of
from demo.observed import Observed
from demo.pictures import animation, beside, enlarge, png, read_picture
from pixeltransformer.checks import check_rows, read_rows
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.grids import centres, containing
from pixeltransformer.levels import round_to_levels
from signals.cells import cell_positions
from signals.image import Images

EVERYTHING = "everything"
PATTERNS = (*Images.patterns, EVERYTHING)
OTHERS = 1_000_003  # from the seed of the first sample to that of the others
UNCERTAIN = {1: 0.5, 3: 0.3}  # standard deviation, by channels, that the map shows brightest


def output_grid(checkpoint: str, resolution: int | None) -> list[int]:
    """Width and height of the answer: the longer side is `resolution`; `None` or 0: as in training."""
    native = config_of(checkpoint, "image").native_grid
    if not resolution:
        return list(native)
    longest = whole("resolution", resolution, MIN_RESOLUTION, MAX_RESOLUTION)
    return [max(1, round(side * longest / max(native))) for side in native]


def reveal(checkpoint: str, picture: str | Image.Image | None, count: int, pattern: str, seed: int) -> Observed:
    """Pixels of a picture, made to fit the checkpoint's native grid, that one of `PATTERNS` reveals.

    `count` is the number of random pixels; the other patterns do not look at it.
    """
    config = config_of(checkpoint, "image")
    count = whole("count", count, 0, MAX_CONTEXT)
    seed = whole("seed", seed, 0, MAX_SEED)
    values = read_picture(picture, config.native_grid, config.value_dim)
    positions = cell_positions(config.native_grid, torch.arange(values[..., 0].numel()))
    return observe_cells(values, choose_cells(Images.patterns, positions, count, pattern, seed, EVERYTHING))


def refit(observed: Observed, checkpoint: str, grid: list[int] | None = None) -> Observed:
    """The same positions for another checkpoint: moved to its cells, in its channels.

    Averages keep their place and their size, up to the checkpoint's largest; those that it takes for no larger than a
    pixel become the nearest one. Where several come to the same place, the last one stays.

    Args:
        grid (`list[int]`): In whose cells the sizes of averages are measured; `None`: those of the checkpoint.
    """
    config = config_of(checkpoint, "image")
    sizes = torch.tensor(config.native_grid)
    cells = containing(observed.positions, sizes)
    finer = math.log2(max(config.native_grid) / max(grid or config.native_grid))
    scales = torch.where(observed.points, 0.0, observed.sizes + finer).clamp(0.0, config.num_scales - 1)
    positions = torch.where(scales[:, None] > 0, observed.positions, centres(cells, sizes))
    values = observed.values
    if config.value_dim == 1 and values.shape[-1] == 3:
        values = (values @ torch.tensor([0.299, 0.587, 0.114]))[:, None]
    values = round_to_levels(values, config.value_range, config.quantization_step)
    values = values.expand(-1, config.value_dim).clone()
    return Observed(positions, values, scales if scales.any() else None).distinct


@dataclass(frozen=True)
class Inferred:
    """Mean (y, x, V) and standard deviation (y, x, V) of every pixel, observed ones known."""

    mean: Tensor
    deviation: Tensor


REMEMBERED = 16  # answers kept: a drawing begins with the mean that was just shown
_remembered: dict[tuple, Inferred] = {}


def infer(checkpoint: str, observed: Observed, resolution: int | None = None) -> Inferred:
    """What the model expects everywhere, pixel by pixel."""
    check_time()
    key = checkpoint, tuple(output_grid(checkpoint, resolution)), observed.fingerprint
    found = _remembered.pop(key, None) or _infer(checkpoint, observed, resolution)
    _remembered[key] = found
    while len(_remembered) > REMEMBERED:
        _remembered.pop(next(iter(_remembered)), None)
    return found


def _infer(checkpoint: str, observed: Observed, resolution: int | None) -> Inferred:
    cells = split(observed, output_grid(checkpoint, resolution))
    if not len(cells.hidden):
        return Inferred(cells.complete(cells.values[:0]), torch.zeros(*cells.grid[::-1], cells.values.shape[-1]))
    found = marginal(checkpoint, observed, cells.queries)
    return Inferred(cells.complete(found.mean), cells.complete(found.stddev, 0.0))


@dataclass(frozen=True)
class Partial:
    """The first samples (S, y, x, V) of those asked for, while they are drawn; `share` of the whole work is done.

    What is not drawn yet is the average over a larger cell, or else its mean given the observed set. `level`
    (y', x', V) holds the averages of a scale of the first sample when all of them are drawn; otherwise it is `None`.
    """

    values: Tensor
    share: float
    level: Tensor | None = None


def draw(checkpoint: str, observed: Observed, resolution: int | None, sampling: Sampling) -> Iterator[Partial]:
    """Joint samples of the whole image while they are drawn: one, soon, then all others together.

    Raises:
        ValueError: where nothing is left to draw, or so many samples would take too long.
    """
    cells = split(observed, output_grid(checkpoint, resolution))
    if not len(cells.hidden):
        raise ValueError("observed: expected at least one pixel to be left for the model, got all of them")
    count, most = int(sampling.samples), 1 + together_at_most(len(cells.hidden), len(observed))
    if count > most:
        size = " × ".join(map(str, cells.grid))
        raise ValueError(
            f"samples: expected at most {most} of {size} pixels with {len(observed):,} observed, got {count}"
        )
    ground = infer(checkpoint, observed, resolution).mean.flatten(0, 1)[cells.hidden]
    for state in _fill(checkpoint, observed, cells, replace(sampling, samples=1), ground):
        first = state.values
        yield replace(state, share=state.share / count)
    if count == 1:
        return
    others = replace(sampling, samples=count - 1, seed=(int(sampling.seed) + OTHERS) % (MAX_SEED + 1))
    for state in _fill(checkpoint, observed, cells, others, ground):
        yield Partial(torch.cat((first, state.values)), (1 + (count - 1) * state.share) / count)


def _fill(checkpoint: str, observed: Observed, cells: Split, sampling: Sampling, ground: Tensor) -> Iterator[Partial]:
    """Samples drawn together; what is not drawn shows `ground` (Q, V) or coarser averages."""
    coarser = ground.expand(int(sampling.samples), -1, -1)
    for state in joint(checkpoint, observed, cells.queries, sampling):
        found, level = state.values, None
        if state.coarse is not None:
            found = state.coarse.flatten(1, 2)[:, cells.inside(list(state.coarse.shape[2:0:-1]))]
            level = None if state.coarse.isnan().any() else state.coarse[0]
        coarser = torch.where(found.isnan(), coarser, found)
        yield Partial(torch.stack([cells.complete(sample) for sample in coarser]), state.share, level)


def drawing_files(frames: list[Tensor], sketch: Tensor) -> tuple[bytes, bytes]:
    """The sketch (y, x, 3) and the last samples next to it as PNG, and all frames (S, y, x, V) as GIF."""
    last, every = frames[-1], math.ceil(len(frames) / FRAMES)
    side = max(96, 640 // (len(last) + 1))
    rows = []
    for frame in (*frames[:-1:every], last):
        pictures = [*frame, *torch.ones_like(last[len(frame) :])]
        rows.append(beside([enlarge(picture, side) for picture in (sketch, *pictures)]))
    return png(rows[-1]), animation(rows)


def ask(checkpoint: str, observed: Observed, position: list[float]) -> ValueDistribution:
    """The distribution (batch shape ()) of the value at a position [x, y]."""
    rows = read_rows([position], 2, "position", "(x, y)")
    check_rows("position", rows, -1.0, 1.0)
    return marginal(checkpoint, observed, rows)[0]


def best_next(checkpoint: str, observed: Observed) -> tuple[int, float]:
    """The cell of the native grid, not observed, whose value is least known, and its entropy in nats."""
    cells = split(observed, config_of(checkpoint, "image").native_grid)
    if not len(cells.hidden):
        raise ValueError("observed: expected at least one pixel that is not observed, got all of them")
    index, entropy = most_uncertain(checkpoint, observed, cells.queries)
    return int(cells.hidden[index]), entropy
