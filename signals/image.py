"""Images as signals: any HF image dataset, local folder of dataset files or of image files, grey or colour."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image, ImageOps
from torch import Tensor

from signals.base import Batch, Rows, flag, flags
from signals.data import DatasetSignal, find_column, first_rows, pick_split
from signals.patterns import Pattern, anywhere, around_center, blobs, every, outside, strokes, toward

CHANNEL_MODES = {1: "L", 3: "RGB"}
PAPER, PAPER_LIGHT = (0.16, 0.18, 0.24), (0.22, 0.25, 0.32)
GREY_MODES = ("1", "L", "I", "I;16", "F")


@dataclass
class Images(DatasetSignal):
    """Images: positions (x, y), values grey or RGB in [0, 1] with a step of 1/255."""

    kind: ClassVar[str] = "image"
    plural: ClassVar[str] = "images"
    coordinates: ClassVar[tuple[int, ...]] = (0, 1)
    patterns: ClassVar[dict[str, Pattern]] = {
        "random pixels": Pattern(anywhere, 1 / 15),
        "top half": Pattern(toward(0, -1), 1 / 2),
        "left half": Pattern(toward(-1, 0), 1 / 2),
        "top quarter": Pattern(toward(0, -1), 1 / 4),
        "three strokes": Pattern(partial(strokes, count=3, length=0.6), 1 / 15),
        "all but the centre": Pattern(outside(around_center), 3 / 4),
        "the centre": Pattern(around_center, 1 / 4),
        "smooth regions": Pattern(blobs, 1 / 3),
        "every second row": Pattern(every(None, 2), 1 / 2),
        "every second pixel": Pattern(every(2, 2), 1 / 4),
        "every fourth pixel": Pattern(every(4, 4), 1 / 16),
        "top half and a few": Pattern(toward(0, -1), 1 / 2, also=1 / 64),
    }

    dataset_name: str | None = flag("Hub dataset (ylecun/mnist), folder of dataset files, or folder of image files.")
    image_column: str | None = flag("Column with the images; needed only where there are several.")
    image_size: list[int] = flags(
        "Side to which images are resized and centre-cropped, or several: every image then comes at each. "
        "Default: as they are.", []
    )  # fmt: skip
    channels: Literal["auto", "grey", "colour"] = flag("Channels of a value; auto looks at the first image.", "auto")
    horizontal_flip: bool = flag("Mirror every other image in training.", False)

    def __post_init__(self):
        super().__post_init__()
        if any(size < 1 for size in self.image_size):
            raise ValueError(f"--image_size: expected numbers above 0, got {self.image_size}")

    def load(self, seed: int) -> tuple[Rows, Rows]:
        training, validation = self.hold_out(self.splits(), seed)
        column = find_image_column(training, self.image_column)
        channels = {"grey": 1, "colour": 3}.get(self.channels)
        if channels is None:
            channels = 1 if training[0][column].mode in GREY_MODES else 3
        sizes = [(size, size) for size in self.image_size] or [None]
        return (
            Rows(EverySize(training, column, sizes), lambda row: read(*row, channels)),
            Rows(EverySize(validation, column, sizes[:1]), lambda row: read(*row, channels)),
        )

    def load_split(self, split: str, config: Any, limit: int | None = None) -> Rows:
        rows = first_rows(pick_split(self.splits(), split), limit)
        sizes = [tuple(config.native_grid)]
        column = find_image_column(rows, self.image_column)
        return Rows(EverySize(rows, column, sizes), lambda row: read(*row, config.value_dim))

    def config_fields(self, rows: Rows) -> dict[str, Any]:
        return {"native_grid": self.grid_of(rows[0]), "value_dim": rows[0].shape[-1]}

    def values(self, arrays: Tensor) -> Tensor:
        return to_values(arrays)

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        if not self.horizontal_flip:
            return batch
        if not isinstance(batch, Tensor):
            return [self.augment(row[None], generator)[0] for row in batch]
        mirrored = torch.rand(len(batch), 1, 1, 1, generator=generator, device=batch.device) < 0.5
        return torch.where(mirrored, batch.flip(-2), batch)

    def render(self, values: Tensor, grid: list[int]) -> Image.Image:
        return to_image(values.nan_to_num(0.5).view(grid[1], grid[0], -1))

    def describe(self, count: int) -> str:
        mirrored = ", every other one mirrored" if self.horizontal_flip else ""
        count //= max(1, len(self.image_size))
        return f"{count:,} images of `{self.source()[0]}`, split `{self.train_split}`{mirrored}."


class EverySize:
    """Each image of a dataset's column at each of some sizes: pairs of image and size (or `None`)."""

    def __init__(self, rows: Dataset, column: str, sizes: list[tuple[int, int] | None]):
        self.rows, self.column, self.sizes = rows.select_columns([column]), column, sizes

    def __len__(self) -> int:
        return len(self.rows) * len(self.sizes)

    def __getitem__(self, index: int) -> tuple[Image.Image, tuple[int, int] | None]:
        row, size = divmod(index, len(self.sizes))
        return self.rows[row][self.column], self.sizes[size]


def find_image_column(rows: Dataset, wanted: str | None = None) -> str:
    """Name of the image column: `wanted`, or the only one there is."""
    return find_column(rows.features, (ImageFeature,), "an image", wanted, "image_column")


def read(image: Image.Image, size: tuple[int, int] | None, channels: int) -> Tensor:
    """A PIL image as uint8 tensor (y, x, V), see `image_to_array`."""
    return torch.from_numpy(image_to_array(image, size, channels))


def image_to_array(image: Image.Image, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    """A PIL image as uint8 array (y, x, V): upright, white where transparent, resized and centre-cropped to `size`.

    Args:
        size (`tuple[int, int]` or `None`): Width and height; `None`: as the image is.

    Raises:
        ValueError: for images of 32-bit integers or floats, whose range nobody knows.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"image: expected 8 or 16 bits per channel, got mode {image.mode!r} of unknown range")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(CHANNEL_MODES[channels])
    if size is not None and image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    array = np.array(image, dtype=np.uint8)
    return array if array.ndim == 3 else array[..., None]


def to_values(arrays: Tensor) -> Tensor:
    """uint8 levels as float values in [0, 1]."""
    return arrays.float() / 255


def to_image(values: Tensor) -> Image.Image:
    """Values (y, x, V) in [0, 1] as a PIL image."""
    array = (values.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def checkered(grid: list[int]) -> Tensor:
    """A dim chequered ground (y, x, 3) for what is not known, which no image is mistaken for."""
    width, height = grid
    odd = (torch.arange(height)[:, None] + torch.arange(width)[None]) % 2
    return torch.where(odd[..., None].bool(), torch.tensor(PAPER), torch.tensor(PAPER_LIGHT))
