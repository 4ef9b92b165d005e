"""Videos as signals: clips of any HF video dataset or folder, or digits that bounce (Moving MNIST)."""

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import av
import datasets
import numpy as np
import torch
from datasets import Dataset, DatasetDict
from PIL import Image
from torch import Tensor

from signals.base import Rows, flag, say
from signals.clips import ANIMATIONS, VIDEOS, is_clip, read_clip
from signals.data import DatasetSignal, find_column, first_rows, load_media, pick_split
from signals.folders import find_files
from signals.image import image_to_array, is_animated, load_images, open_image, sample_images, to_image, to_values
from signals.patterns import ANY_KIND, OF_TIME, Pattern, anywhere, around_center, every, outside, toward
from signals.plan import EvaluationPlan, SamplePlan
from signals.streams import Stream


@dataclass
class Videos(DatasetSignal):
    """Videos: positions (t, x, y), values grey or RGB in [0, 1] with a step of 1/255."""

    kind: ClassVar[str] = "video"
    plural: ClassVar[str] = "videos"
    coordinates: ClassVar[tuple[int, ...]] = (2, 0, 1)
    families: ClassVar[tuple[str, ...]] = (*ANY_KIND, *OF_TIME)
    patterns: ClassVar[dict[str, Pattern]] = {
        "random pixels": Pattern(anywhere, 1, density=1 / 16),
        "first half of the frames": Pattern(toward(-1, 0, 0), 1 / 2),
        "first frame": Pattern(toward(-1, 0, 0), 1 / 8),
        "every second frame": Pattern(every(2, None, None), 1 / 2),
        "first and last frame": Pattern(outside(partial(around_center, axes=(0,))), 1 / 4),
        "all but a box through time": Pattern(outside(partial(around_center, axes=(1, 2))), 3 / 4),
        "top half of every frame": Pattern(toward(0, 0, -1), 1 / 2),
    }

    dataset_name: str | None = flag(
        "Video dataset, folder of clips, or dataset of grey images (ylecun/mnist) that then bounce in pairs."
    )
    video_column: str | None = flag("Column with the videos or images; needed only where there are several.")
    frames: int = flag("Frames of a clip, spread over the video.", 8)
    frame_size: int = flag("Side to which frames are resized and centre-cropped.", 32)
    digit_size: int = flag("Side of a bouncing image.", 16)
    num_digits: int = flag("Bouncing images in a clip.", 2)
    channels: Literal["grey", "colour"] = flag("Channels of a value; bouncing images are grey.", "grey")

    def __post_init__(self):
        super().__post_init__()
        for name in ("frames", "frame_size", "digit_size", "num_digits"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected a number above 0, got {getattr(self, name)}")

    def load(self, seed: int) -> tuple[Rows, Rows]:
        parts = self.hold_out(self.splits(), seed)
        grid = [self.frames, self.frame_size, self.frame_size]
        channels = 1 if self.channels == "grey" else 3
        training, validation = (
            self._rows(part, grid, channels, split, skip=self.max_bad_rows)
            for part, split in zip(parts, ("train", "validation"), strict=True)
        )
        return training, validation

    def load_split(self, split: str, config: Any, limit: int | None = None) -> Rows:
        return self._rows(pick_split(self.splits(), split), config.native_grid, config.value_dim, split, limit)

    def splits(self) -> DatasetDict:
        """Those of a dataset, of a folder of clips or, where it holds none, of its images."""
        options = (self.cache_dir, self.streaming)
        if Path(self.dataset_name).is_dir():
            found = find_files(self.dataset_name, VIDEOS | ANIMATIONS, is_clip)
            if not found.splits and not found.tables:
                return load_images(self.dataset_name, *options)
        feature = datasets.Video(decode=False)
        return load_media(self.dataset_name, VIDEOS | ANIMATIONS, "video", feature, *options, wanted=is_clip)

    def _rows(
        self,
        rows: Dataset | Stream,
        grid: list[int],
        channels: int,
        split: str,
        limit: int | None = None,
        skip: int = 0,
    ) -> Rows:
        kinds = (datasets.Video, datasets.Image)
        column = find_column(rows.features, kinds, "a video or image", self.video_column, "video_column", raw=True)
        clips = isinstance(rows.features[column], datasets.Video)
        rows = rows.select_columns([column]).cast_column(column, datasets.Video(decode=False))
        if clips or holds_clips(rows, column):
            rows = first_rows(rows, limit)
            return self.make_rows(rows, partial(_read_row, column, grid, channels), rows, column, skip)
        if self.streaming:
            raise ValueError("--streaming: expected a dataset of videos, as bouncing images come from all of its rows")
        if channels != 1:
            raise ValueError("--channels: expected grey for bouncing images, got colour")
        moving = MovingDigits(rows, column, grid, self.digit_size, self.num_digits, split, limit)
        return self.make_rows(moving, torch.from_numpy, rows, column, skip)

    def config_fields(self, rows: Rows) -> dict[str, Any]:
        return {"native_grid": self.grid_of(rows[0]), "value_dim": rows[0].shape[-1]}

    def values(self, arrays: Tensor) -> Tensor:
        return to_values(arrays)

    def render(self, values: Tensor, grid: list[int]) -> Image.Image:
        frames, width, height = grid
        strip = values.nan_to_num(0.5).view(frames, height, width, -1)
        return to_image(torch.cat(list(strip), 1))  # side by side

    @classmethod
    def evaluation_plan(cls) -> EvaluationPlan:
        from signals.figures import video as figures
        from signals.measures import video_quality

        return EvaluationPlan(
            contexts=(0, 16, 64, 256, 1024, 2048),
            few_contexts=(16, 64, 256, 1024),
            signals={
                "likelihood": 60, "patterns": 64, "joint": 8, "references": 16, "buffer": 16, "generalisation": 16
            },
            joint_signals=2,
            samples=SamplePlan(signals=4, samples=2, contexts=(16, 64, 256, 1024), drawn=512),
            measure=video_quality,
            view=figures.ClipView(),
            draw=figures.draw,
            draw_new=figures.draw_new,
            resized=True,
        )  # fmt: skip

    def describe(self, count: int) -> str:
        return f"{count:,} clips made of `{self.source()[0]}`, split `{self.train_split}`."


class MovingDigits:
    """Clips uint8 (frames, y, x, 1) of images that move at constant speed and bounce off the borders.

    Clip `index` shows the dataset's image of that number and others of it, drawn like start and speed by a generator
    that the split's name and the number seed (Srivastava et al., ICML 2015). Where images overlap the brighter shows.

    Args:
        rows (`Dataset`): Its `column` holds undecoded images.
        grid (`list[int]`): Frames, width and height.
        limit (`int` or `None`): Number of clips; others than the first images still come from the whole dataset.
    """

    def __init__(
        self,
        rows: Dataset,
        column: str,
        grid: list[int],
        digit_size: int,
        num_digits: int,
        split: str = "train",
        limit: int | None = None,
    ):
        if digit_size > min(grid[1:]):
            raise ValueError(f"--digit_size: expected at most the {min(grid[1:])} pixels of a frame, got {digit_size}")
        self.rows, self.column, self.grid = rows, column, grid
        self.digit_size, self.num_digits = digit_size, num_digits
        self.seed = list(split.encode())
        self.count = len(rows) if limit is None else min(limit, len(rows))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        frames, width, height = self.grid
        random = np.random.default_rng([index, *self.seed])
        others = random.integers(len(self.rows), size=self.num_digits - 1)
        clip = np.zeros((frames, height, width, 1), np.uint8)
        size = self.digit_size
        room = np.array([height - size, width - size])
        for number in (index, *others):
            digit = image_to_array(open_image(self.rows[int(number)][self.column]), (size, size), 1)
            start, angle = random.uniform(0, room + 1e-9), random.uniform(0, 2 * np.pi)
            speed = random.uniform(0.06, 0.12) * np.array([height, width])  # of the frame's side, each frame
            velocity = speed * np.array([np.sin(angle), np.cos(angle)])
            for frame in range(frames):
                y, x = bounce(start + frame * velocity, room).round().astype(int)
                target = clip[frame, y : y + size, x : x + size]
                np.maximum(target, digit, out=target)
        return clip


def bounce(position: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Free flight folded back into [0, room] along each axis, as if reflected by walls."""
    folded = np.mod(position, 2 * np.maximum(room, 1e-9))
    return np.minimum(folded, 2 * room - folded).clip(0, room)


def holds_clips(rows: Dataset | Stream, column: str) -> bool:
    """Whether a column of undecoded images or unknown files holds clips: no images, or mostly animated ones."""
    images = list(sample_images(rows, column))
    animated = sum(map(is_animated, images))
    if images and 2 * animated <= len(images):
        return False
    if animated:
        say(f"{animated} of {len(images)} images looked at are animated: they are clips, still ones will be left out")
    return True


def _read_row(column: str, grid: list[int], channels: int, row: dict) -> Tensor:
    return video_row_to_array(row[column], grid, channels)


def video_row_to_array(row: dict | None, grid: list[int], channels: int) -> Tensor:
    """A row of a `datasets.Video` column as uint8 clip (frames, y, x, V)."""
    if row is None:
        raise ValueError("expected a video, got an empty row")
    source = row["path"] if row.get("bytes") is None else io.BytesIO(row["bytes"])
    return read_clip(source, grid, channels, row.get("path") or "video of the dataset")


def save_clip(values: Tensor, path: str | Path, fps: int = 8, zoom: int = 4) -> None:
    """Write values (frames, y, x, V) in [0, 1] as MP4 (H.264) or GIF, by the file's ending, a cell `zoom` pixels wide.

    Raises:
        ValueError: for another ending.
    """
    path = Path(path)
    frames = [to_image(frame).convert("RGB") for frame in values]
    frames = [frame.resize((frame.width * zoom, frame.height * zoom), Image.Resampling.NEAREST) for frame in frames]
    if path.suffix.lower() == ".gif":
        duration = round(1000 / fps)
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration, loop=0, disposal=2)
        return
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"path: expected a name ending in .mp4 or .gif, got {str(path)!r}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        # H.264 with halved colour resolution wants even sides; every browser plays it.
        stream.width, stream.height = (side + side % 2 for side in frames[0].size)
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            padded = Image.new("RGB", (stream.width, stream.height))
            padded.paste(frame)
            container.mux(stream.encode(av.VideoFrame.from_image(padded)))
        container.mux(stream.encode())
