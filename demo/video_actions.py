"""What can be asked about a video: the rest of it from a few positions in space and time, and a sample of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from demo import examples
from demo.answers import Sampling, joint, marginal
from demo.grids import choose_cells
from demo.limits import MAX_CONTEXT, MAX_SEED, whole
from demo.models import config_of
from demo.observed import Observed
from pixeltransformer.grids import containing
from signals.cells import cell_positions
from signals.image import checkered, image_to_array, to_values
from signals.video import Videos, bounce, read_clip

QUESTIONS = {  # what the tab asks of a clip, by pattern
    "random pixels": "Scattered pixels",
    "first half of the frames": "Continue",
    "every second frame": "Fill in between",
}
PATTERNS = (*QUESTIONS, "first and last frame", "first frame", "top half of every frame")
DRAWN = 768  # values drawn one after another; the rest takes its mean given them
CLIPS = {"Three and seven": (3, 7, 1), "Two and eight": (2, 8, 4), "Zero and three": (0, 3, 9)}


def bouncing(name: str, checkpoint: str) -> Tensor:
    """One of `CLIPS`: two digits that move and bounce, as values (frames, y, x, 1)."""
    if name not in CLIPS:
        raise ValueError(f"clip: expected one of {', '.join(CLIPS)}, got {str(name)[:40]!r}")
    first, second, seed = CLIPS[name]
    frames, width, height = config_of(checkpoint, "video").native_grid
    side, random = min(width, height) // 2, np.random.default_rng(seed)
    room = np.array([height - side, width - side])
    clip = np.zeros((frames, height, width, 1), np.uint8)
    for number in (first, second):
        digit = image_to_array(examples.digit(number), (side, side), 1)
        start, angle = random.uniform(0, room), random.uniform(0, 2 * np.pi)
        velocity = 0.09 * np.array([height, width]) * np.array([np.sin(angle), np.cos(angle)])
        for frame in range(frames):
            y, x = bounce(start + frame * velocity, room).round().astype(int)
            target = clip[frame, y : y + side, x : x + side]
            np.maximum(target, digit, out=target)
    return to_values(torch.from_numpy(clip))


def read_video(path: str | None, checkpoint: str) -> Tensor:
    """A video file as values (frames, y, x, V) on the checkpoint's grid."""
    if not path:
        raise ValueError("video: expected a file, got none; upload one or click an example")
    config = config_of(checkpoint, "video")
    try:
        return to_values(read_clip(Path(path), config.native_grid, config.value_dim, "video"))
    except ValueError as error:  # the folder is the server's, not the visitor's
        raise ValueError(str(error).replace(f"{Path(path).parent}/", "")) from error


def observe(clip: Tensor, count: int, pattern: str, seed: int) -> Observed:
    """Positions (t, x, y) of a clip that one of `PATTERNS` observes; `count` is the number of random pixels."""
    frames, height, width, channels = clip.shape
    count = whole("count", count, 1, MAX_CONTEXT)
    seed = whole("seed", seed, 0, MAX_SEED)
    total = frames * height * width
    positions = _positions([frames, width, height], torch.arange(total))
    cells = choose_cells(Videos.patterns, positions, min(count, total - 1), pattern, seed)
    if len(cells) > MAX_CONTEXT:
        raise ValueError(
            f"pattern: expected at most {MAX_CONTEXT:,} positions (the limit of this app), got {len(cells):,}"
        )
    return Observed(positions[cells], clip.reshape(-1, channels)[cells])


def _positions(grid: list[int], cells: Tensor) -> Tensor:
    """Positions (N, 3) as (t, x, y) of cells numbered frame by frame."""
    frames, width, height = grid
    return cell_positions([width, height, frames], cells)[:, [2, 0, 1]]


class Clip:
    """The cells of a checkpoint's clip as known and hidden ones."""

    def __init__(self, checkpoint: str, observed: Observed):
        self.grid = list(config_of(checkpoint, "video").native_grid)
        frames, width, height = self.grid
        sizes = torch.tensor(self.grid)
        observed = observed[observed.points]
        index = containing(observed.positions, sizes)
        self.cells = (index[:, 0] * height + index[:, 2]) * width + index[:, 1]
        self.values = observed.values
        mask = torch.ones(frames * width * height, dtype=torch.bool)
        mask[self.cells] = False
        self.hidden = mask.nonzero()[:, 0]

    @property
    def queries(self) -> Tensor:
        """Positions (Q, 3) of the hidden cells."""
        return _positions(self.grid, self.hidden)

    def complete(self, hidden: Tensor) -> Tensor:
        """A clip (frames, y, x, V) from values (Q, V) at the hidden cells."""
        frames, width, height = self.grid
        whole_clip = torch.empty(frames * width * height, hidden.shape[-1])
        whole_clip[self.hidden] = hidden
        whole_clip[self.cells] = self.values
        return whole_clip.view(frames, height, width, -1)

    def seen(self) -> Tensor:
        """Colours (frames, y, x, 3) of the known cells on chequered ground."""
        frames, width, height = self.grid
        ground = checkered([width, height]).flatten(0, 1).repeat(frames, 1)
        ground[self.cells] = self.values.expand(-1, 3)
        return ground.view(frames, height, width, 3)


def mean_clip(checkpoint: str, observed: Observed) -> Tensor:
    """Expected values (frames, y, x, V)."""
    clip = Clip(checkpoint, observed)
    return clip.complete(marginal(checkpoint, observed, clip.queries).mean)


def sampled_clip(checkpoint: str, observed: Observed, sampling: Sampling) -> Iterator[tuple[Tensor, float]]:
    """A joint sample (frames, y, x, 3) while it is drawn, and the share of the work that is done."""
    clip = Clip(checkpoint, observed)
    for state in joint(checkpoint, observed, clip.queries, sampling, frames=6, most=DRAWN):
        drawn, values = state.drawn[0], state.values[0].nan_to_num(0.0)
        shown = torch.where(drawn[:, None], values, clip.seen().reshape(-1, 3)[clip.hidden])
        whole_clip = clip.seen().reshape(-1, 3)
        whole_clip[clip.hidden] = shown.expand(-1, 3)
        yield whole_clip.view(*clip.seen().shape), state.share
