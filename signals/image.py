"""Images as signals: any HF image dataset, local folder of dataset files or of image files, grey or colour."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal
from zlib import crc32

import numpy as np
import torch
from datasets import Dataset, DatasetDict, IterableDatasetDict
from datasets import Image as ImageFeature
from PIL import Image
from torch import Tensor

from pixeltransformer.patterns import IMAGE_PATTERNS
from pixeltransformer.pictures import image_to_array, to_image, to_values
from signals.base import Batch, Rows, flag, flags, say
from signals.data import DatasetSignal, find_column, first_rows, load_media, pick_split
from signals.patterns import Pattern
from signals.plan import PUBLISHED, EvaluationPlan, SamplePlan
from signals.streams import Stream

PAPER, PAPER_LIGHT = (0.16, 0.18, 0.24), (0.22, 0.25, 0.32)
STUBS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")  # formats that Pillow names and cannot decode by itself
LOOKED_AT = 32  # images by which --channels auto decides
GREY_TOLERANCE = 2  # levels by which the channels of a grey picture may differ: what a JPEG's rounding leaves
LOOKED_SIDE = 256  # of larger images fewer pixels are looked at


def endings() -> frozenset[str]:
    """Endings of the files that Pillow decodes."""
    known = Image.registered_extensions()
    return frozenset(ending for ending, name in known.items() if name in Image.OPEN and name not in STUBS)


@dataclass
class Images(DatasetSignal):
    """Images: positions (x, y), values grey or RGB in [0, 1] with a step of 1/255."""

    kind: ClassVar[str] = "image"
    plural: ClassVar[str] = "images"
    coordinates: ClassVar[tuple[int, ...]] = (0, 1)
    patterns: ClassVar[dict[str, Pattern]] = IMAGE_PATTERNS

    dataset_name: str | None = flag("Hub dataset (ylecun/mnist), folder of dataset files, or folder of image files.")
    image_column: str | None = flag("Column with the images; needed only where there are several.")
    image_size: list[int] = flags(
        "Side to which images are resized and centre-cropped, or several: every image then comes at each. "
        "Default: as they are.", []
    )  # fmt: skip
    channels: Literal["auto", "grey", "colour"] = flag(
        f"Channels of a value; auto: grey if {LOOKED_AT} images, taken from all over the data, have no colours.", "auto"
    )
    horizontal_flip: bool = flag("Mirror every other image in training.", False)
    binarise: bool = flag(
        "Two levels: pixels are 1 with the probability of their grey level. Drawn anew each time in training, once for "
        "each held-out image.", False
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        if any(size < 1 for size in self.image_size):
            raise ValueError(f"--image_size: expected numbers above 0, got {self.image_size}")

    def splits(self) -> DatasetDict | IterableDatasetDict:
        return load_images(self.dataset_name, self.cache_dir, self.streaming)

    def load(self, seed: int) -> tuple[Rows, Rows]:
        training, validation = self.hold_out(self.splits(), seed)
        column = find_image_column(training, self.image_column)
        training, validation = (undecoded(part, column) for part in (training, validation))
        channels = choose_channels(training, column, self.channels)
        sizes = [(size, size) for size in self.image_size] or [None]
        return (
            self._rows(training, column, sizes, channels, self.max_bad_rows),
            self._held_out(self.binarise, validation, column, sizes[:1], channels, self.max_bad_rows),
        )

    def load_split(self, split: str, config: Any, limit: int | None = None) -> Rows:
        rows = pick_split(self.splits(), split)
        column = find_image_column(rows, self.image_column)
        rows = undecoded(first_rows(rows, limit), column)
        binary = self.binarise or getattr(config, "quantization_step", None) == 1.0  # the checkpoint knows two levels
        return self._held_out(binary, rows, column, [tuple(config.native_grid)], config.value_dim)

    def _held_out(self, binary: bool, *arguments: Any) -> Rows:
        """As `_rows`; of binary data every image is drawn once and for all."""
        rows = self._rows(*arguments)
        if binary:
            rows.decode = partial(_draw_once, rows.decode)
        return rows

    def _rows(self, rows: Dataset | Stream, column: str, sizes: list, channels: int, skip: int = 0) -> Rows:
        source = EverySize(rows, column, sizes)
        return self.make_rows(source, partial(_read_row, channels), rows, column, skip, len(sizes))

    def config_fields(self, rows: Rows) -> dict[str, Any]:
        fields = {"native_grid": self.grid_of(rows[0]), "value_dim": rows[0].shape[-1]}
        return fields | {"quantization_step": 1.0, "num_bins": 2} if self.binarise else fields

    def values(self, arrays: Tensor) -> Tensor:
        return to_values(arrays)

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        if not (self.horizontal_flip or self.binarise):
            return batch
        if not isinstance(batch, Tensor):
            return [self.augment(row[None], generator)[0] for row in batch]
        if self.binarise:
            batch = draw_levels(batch, generator)
        if not self.horizontal_flip:
            return batch
        mirrored = torch.rand(len(batch), 1, 1, 1, generator=generator, device=batch.device) < 0.5
        return torch.where(mirrored, batch.flip(-2), batch)

    def render(self, values: Tensor, grid: list[int]) -> Image.Image:
        return to_image(values.nan_to_num(0.5).view(grid[1], grid[0], -1))

    @classmethod
    def evaluation_plan(cls) -> EvaluationPlan:
        from signals.figures import image as figures
        from signals.measures import image_quality

        return EvaluationPlan(
            contexts=(0, *PUBLISHED),
            few_contexts=(4, 16, 64, 256),
            signals={
                "likelihood": 300, "patterns": 500, "joint": 32, "references": 48, "buffer": 64, "generalisation": 64
            },
            joint_signals=16,
            whole_contexts=(16,),
            samples=SamplePlan(signals=24, samples=5, contexts=PUBLISHED),
            measure=image_quality,
            view=figures.ImageView(),
            galleries=("means", "samples"),
            draw=figures.draw,
            draw_new=figures.draw_new,
            resized=True,
        )  # fmt: skip

    def describe(self, count: int) -> str:
        mirrored = ", every other one mirrored" if self.horizontal_flip else ""
        binarised = ", each time binarised anew" if self.binarise else ""
        count //= max(1, len(self.image_size))
        return f"{count:,} images of `{self.source()[0]}`, split `{self.train_split}`{mirrored}{binarised}."


class EverySize(Sequence):
    """Each undecoded image of a dataset's column at each of some sizes: pairs of file and size (or `None`)."""

    def __init__(self, rows: Dataset | Stream, column: str, sizes: list[tuple[int, int] | None]):
        self.rows, self.column, self.sizes = rows, column, sizes

    def __len__(self) -> int:
        return len(self.rows) * len(self.sizes)

    def __getitem__(self, index: int) -> tuple[dict, tuple[int, int] | None]:
        row, size = divmod(index, len(self.sizes))
        return self.rows[row][self.column], self.sizes[size]


def load_images(name: str, cache_dir: str | None = None, streaming: bool = False) -> DatasetDict | IterableDatasetDict:
    """Splits of an image dataset or of a folder of images, see `signals.data.load_media`."""
    return load_media(name, endings(), "image", ImageFeature(), cache_dir, streaming)


def find_image_column(rows: Dataset | Stream, wanted: str | None = None) -> str:
    """Name of the image column: `wanted`, or the only one there is. Undecoded files will do."""
    return find_column(rows.features, (ImageFeature,), "an image", wanted, "image_column", raw=True)


def undecoded(rows: Dataset | Stream, column: str) -> Dataset | Stream:
    """The column of images alone, as files: dictionaries of `bytes` and `path`."""
    return rows.select_columns([column]).cast_column(column, ImageFeature(decode=False))


def open_image(stored: dict | None) -> Image.Image:
    """The image of an undecoded file.

    Raises:
        ValueError: where a row holds none.
        Exception: whatever Pillow raises for what it cannot decode.
    """
    if stored is None:
        raise ValueError("expected an image, got an empty row")
    return ImageFeature().decode_example(stored)


def sample_images(rows: Dataset | Stream, column: str) -> Iterator[Image.Image]:
    """Images from all over an undecoded column, of a stream from the first rows; without those that cannot be read."""
    if isinstance(rows, Stream):
        rows[0]  # after that the rows of the first block are known
    for index in np.unique(np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).astype(int)):
        with suppress(Exception):  # reported when the row is read
            yield open_image(rows[int(index)][column])


def is_animated(image: Image.Image) -> bool:
    return getattr(image, "n_frames", 1) > 1


def choose_channels(rows: Dataset | Stream, column: str, wanted: str) -> int:
    """1 or 3 for "grey" or "colour"; for "auto" 1 where images from all over the data are grey, whatever their mode.

    What is decided is reported, as are images of which only the first frame will be used.
    """
    looked, coloured, animated = 0, 0, 0
    for image in sample_images(rows, column):
        looked, animated = looked + 1, animated + is_animated(image)
        coloured += has_colours(image)
    if animated:
        say(f"{animated} of {looked} images looked at are animated: their first frames are used (clips: --kind video)")
    if wanted == "auto":
        wanted = "colour" if coloured or not looked else "grey"
        say(f"--channels auto: {wanted}, as {coloured} of {looked} images looked at have colours")
    return {"grey": 1, "colour": 3}[wanted]


def has_colours(image: Image.Image) -> bool:
    """Whether any of the pixels looked at is not grey."""
    image.thumbnail((LOOKED_SIDE, LOOKED_SIDE), Image.Resampling.NEAREST)
    try:
        array = image_to_array(image, None, 3).astype(int)
    except ValueError:  # reported when the row is read
        return False
    return bool((array.max(-1) - array.min(-1)).max() > GREY_TOLERANCE)


def _read_row(channels: int, row: tuple[dict, tuple[int, int] | None]) -> Tensor:
    stored, size = row
    return read(open_image(stored), size, channels)


def draw_levels(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images of uint8 with levels 0 and 255 alone, 255 with the probability of their own levels."""
    noise = torch.rand(images.shape, generator=generator, device=images.device)
    return torch.where(noise < to_values(images), 255, 0).to(torch.uint8)


def _draw_once(decode: Callable[[Any], Tensor], row: Any) -> Tensor:
    """A decoded image with two levels, whose noise depends on the image alone."""
    image = decode(row)
    return draw_levels(image, torch.Generator().manual_seed(crc32(image.numpy().tobytes())))


def read(image: Image.Image, size: tuple[int, int] | None, channels: int) -> Tensor:
    """A PIL image as uint8 tensor (y, x, V), see `image_to_array`."""
    return torch.from_numpy(image_to_array(image, size, channels))


def checkered(grid: list[int]) -> Tensor:
    """A dim chequered ground (y, x, 3) for what is not known, which no image is mistaken for."""
    width, height = grid
    odd = (torch.arange(height)[:, None] + torch.arange(width)[None]) % 2
    return torch.where(odd[..., None].bool(), torch.tensor(PAPER), torch.tensor(PAPER_LIGHT))
