"""Pictures of any kind and mode as 8-bit levels, and back."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.utils import is_vision_available

if is_vision_available():  # only pictures need Pillow, models of other signals do not
    from PIL import Image, ImageOps

CHANNEL_MODES = {1: "L", 3: "RGB"}
WHITE = 127  # a level above it counts as white in a mask


def image_to_array(image: "Image.Image", size: tuple[int, int] | None, channels: int) -> np.ndarray:
    """A PIL image as uint8 array (y, x, V): upright, white where transparent, resized and centre-cropped to `size`.

    Args:
        size (`tuple[int, int]` or `None`): Width and height; `None`: as the image is.

    Raises:
        ValueError: for images of 32-bit integers or floats, whose range nobody knows.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"image: expected 8 or 16 bits per channel, got mode {image.mode!r} of unknown range")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
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


def to_image(values: Tensor) -> "Image.Image":
    """Values (y, x, V) in [0, 1] as a PIL image."""
    array = (values.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def as_image(picture: Any, name: str = "images") -> "Image.Image":
    """A picture as PIL image.

    Args:
        picture: A PIL image, the path of a file, or an array or tensor: (y, x), (y, x, channels) or (channels, y, x)
            with 1, 2 (grey and alpha), 3 or 4 channels. Where both readings are possible, the channels of an array come
            last and those of a tensor first. 8 or 16 bits, booleans, or floats in [0, 1].

    Raises:
        TypeError, ValueError: naming `name`, what was expected and what came.
    """
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, str | PathLike):
        if str(picture).startswith(("http://", "https://")):
            raise ValueError(f"{name}: expected the path of a file, got an address; open it first: {picture}")
        image = Image.open(picture)
        image.load()
        return image
    array, channels_first = picture, isinstance(picture, Tensor)
    if channels_first:
        array = picture.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a PIL image, a path, an array or a tensor, got {type(picture).__name__}")
    return Image.fromarray(_levels(_channels_last(array, channels_first, name), name))


def _channels_last(array: np.ndarray, channels_first: bool, name: str) -> np.ndarray:
    """An array (y, x) or (y, x, 2 to 4)."""
    axes = [axis for axis in ((0, -1) if channels_first else (-1, 0)) if array.ndim == 3 and array.shape[axis] <= 4]
    if array.ndim != 2 and not axes or 0 in array.shape:
        raise ValueError(f"{name}: expected shape (y, x), (y, x, channels) or (channels, y, x), got {array.shape}")
    if array.ndim == 3:
        array = np.moveaxis(array, axes[0], -1)
        array = array[..., 0] if array.shape[-1] == 1 else array
    return np.ascontiguousarray(array)


def _levels(array: np.ndarray, name: str) -> np.ndarray:
    """Pixels as uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype.kind != "f" or not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        found = f"{array.dtype} from {array.min()} to {array.max()}"
        raise ValueError(f"{name}: expected bool, uint8, uint16 or floats in [0, 1], got {found}")
    return (array * 255).round().astype(np.uint8)


def as_mask(mask: Any, shown: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Where pixels are hidden, (y, x): where a mask is white, non-zero or true.

    Args:
        mask: A picture as in `as_image`, or an array of 0 and 1 of any dtype.
        shown (`tuple[int, int]`): Width and height of the upright picture, which the mask may have; it is then resized
            and cropped like the picture.
        size (`tuple[int, int]`): Width and height of the picture as the model sees it, which the mask may have as well.

    Raises:
        ValueError: for a mask of another size.
    """
    if isinstance(mask, np.ndarray | Tensor) and not bool((mask < 0).any()) and not bool((mask > 1).any()):
        mask = mask > 0.5
    levels = image_to_array(as_image(mask, "mask"), None, 1)[..., 0]
    hidden = Image.fromarray(np.where(levels > WHITE, 255, 0).astype(np.uint8))
    if hidden.size not in (shown, size):
        raise ValueError(
            f"mask: expected the picture's width and height {shown}, or those that the model sees {size}, "
            f"got {hidden.size}"
        )
    if hidden.size != size:
        hidden = ImageOps.fit(hidden, size, Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(hidden) > WHITE)


def upright_size(image: "Image.Image") -> tuple[int, int]:
    """Width and height of an image after turning it as its EXIF orientation says."""
    turned = image.getexif().get(0x0112, 1) >= 5  # 5 to 8 exchange the sides
    return image.size[::-1] if turned else image.size


def as_list(images: Any) -> list:
    """One picture, a list of pictures, or an array or tensor (B, …) of them, as a list."""
    if isinstance(images, np.ndarray | Tensor):
        return list(images) if images.ndim == 4 else [images]
    return list(images) if isinstance(images, Sequence) and not isinstance(images, str) else [images]
