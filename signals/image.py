"""Images as signals: any HF image dataset, local folder of parquet or image files, read as arrays of one size."""

from pathlib import Path

import datasets
import numpy as np
import torch
from datasets import Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from PIL import Image, ImageOps

CHANNEL_MODES = {1: "L", 3: "RGB"}


def load_images(name: str, cache_dir: str | None = None) -> DatasetDict:
    """The splits of a Hub dataset, of a local folder of dataset files, or of a folder of image files.

    Raises:
        ValueError: for a dataset that is not found or cannot be read, naming it and the reason.
    """
    path = Path(name)
    if path.is_dir() and not any(path.iterdir()):
        raise ValueError(f"--dataset_name: expected a folder with dataset or image files, got the empty folder {name}")
    try:
        return datasets.load_dataset(name, cache_dir=cache_dir)
    except Exception as error:  # datasets raises many kinds; the user needs one sentence
        kind = "folder" if path.exists() else "Hub dataset (or no folder of that name exists)"
        raise ValueError(f"--dataset_name: cannot load the {kind} {name!r}: {error}") from error


def find_image_column(features: Features, wanted: str | None = None) -> str:
    """Name of the image column: `wanted`, or the only one there is.

    Raises:
        ValueError: where there is none, or several and none was named.
    """
    columns = [name for name, feature in features.items() if isinstance(feature, ImageFeature)]
    listing = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
    if wanted is not None:
        if wanted not in columns:
            raise ValueError(f"--image_column: expected an image column, got {wanted!r}; the columns are {listing}")
        return wanted
    if not columns:
        raise ValueError(f"--dataset_name: expected a dataset with an image column; the columns are {listing}")
    if len(columns) > 1:
        raise ValueError(f"--image_column: expected one of {', '.join(columns)} to be named, got none")
    return columns[0]


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


def as_arrays(dataset: Dataset, column: str, size: tuple[int, int] | None, channels: int) -> Dataset:
    """The dataset with one column "array", uint8 (y, x, V), decoded when a row is read."""

    def decode(rows: dict) -> dict:
        return {"array": [torch.from_numpy(image_to_array(image, size, channels)) for image in rows[column]]}

    return dataset.select_columns([column]).with_transform(decode)


def stack_arrays(rows: list[dict]) -> torch.Tensor:
    """Collate rows into a uint8 batch (B, y, x, V).

    Raises:
        ValueError: where the images differ in size.
    """
    shapes = {tuple(row["array"].shape) for row in rows}
    if len(shapes) > 1:
        raise ValueError(f"--image_size: expected a size, as the dataset's images differ: {sorted(shapes)[:4]}")
    return torch.stack([row["array"] for row in rows])


def to_values(arrays: torch.Tensor) -> torch.Tensor:
    """uint8 levels as float values in [0, 1]."""
    return arrays.float() / 255


def to_image(values: torch.Tensor) -> Image.Image:
    """Values (y, x, V) in [0, 1] as a PIL image."""
    array = (values.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
