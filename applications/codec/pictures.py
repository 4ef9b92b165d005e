"""Image files as arrays of levels that a checkpoint codes, and back. What would lose something is refused."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from applications.codec.container import MODES, CodecError
from signals.image import endings

DEEP = re.compile(r"\b(L|LA|RGB[AaX]?);16")  # Pillow's names of pixels whose low byte it drops
BITS_PER_SAMPLE = 258  # tag of TIFF


@dataclass(frozen=True)
class Picture:
    """An image: `levels` (height, width, V) as a checkpoint codes them, and the Pillow mode to restore."""

    name: str
    levels: np.ndarray
    mode: str


def find_files(paths: Iterable[Path]) -> list[tuple[str, Path]]:
    """Image files among paths and below folders, with the names that a decoder gives them. Raises `CodecError`."""
    found: list[tuple[str, Path]] = []
    for path in paths:
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in endings() and file.is_file()]
            found += [(file.relative_to(path).as_posix(), file) for file in inside]
        else:
            found.append((path.name, path))
    if not found:
        raise CodecError(f"inputs: expected image files or folders of them, got none in {', '.join(map(str, paths))}")
    names: set[str] = set()
    for name, path in found:
        target = str(PurePosixPath(name).with_suffix(".png"))
        if target in names:
            raise CodecError(f"inputs: expected names that differ by more than their ending, got {name} twice ({path})")
        names.add(target)
    return [(str(PurePosixPath(name).with_suffix("")), path) for name, path in found]


def read_picture(name: str, path: Path, channels: int) -> Picture:
    """Read an image file, its pixels as stored: neither turned upright nor resized.

    Args:
        channels (`int`): V, values of a pixel that the checkpoint codes.

    Raises:
        CodecError: for files that are no image, several frames, transparency, more than 8 bits, and colours where the
            checkpoint knows greys only.
    """
    try:
        image = Image.open(path)
        if is_deep(image):
            raise not_eight_bits(path, "more than 8")
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise CodecError(f"{path}: expected an image file, cannot read this one: {error}") from error
    if getattr(image, "n_frames", 1) > 1:
        raise CodecError(f"{path}: expected one image, got {image.n_frames} frames; save each as a file of its own")
    return to_picture(name, opaque(image, path), channels, path)


def is_deep(image: Image.Image) -> bool:
    """Whether a file that is not loaded yet has more than 8 bits a channel, of which Pillow would keep 8."""
    for codec, _, _, arguments in image.tile:
        if DEEP.search(str(arguments)) or (codec.startswith("ppm") and arguments[0] == "RGB" and arguments[1] > 255):
            return True
    return max(getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))) > 8


def not_eight_bits(path: Path, found: str) -> CodecError:
    return CodecError(f"{path}: expected 8 bits of grey or RGB, got {found}; convert it first, which loses something")


def opaque(image: Image.Image, path: Path) -> Image.Image:
    """The image in mode L, RGB or 1. Raises `CodecError` where that would change a pixel."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema()[0] < 255:
            raise CodecError(f"{path}: expected an opaque image, got transparent pixels; put it on a ground first")
        return image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode == "P":  # the same colours without their table
        return image.convert("RGB")
    if image.mode not in MODES:
        raise not_eight_bits(path, f"mode {image.mode}")
    return image


def to_picture(name: str, image: Image.Image, channels: int, path: Path | str = "image") -> Picture:
    """An image of mode L, RGB or 1 as a picture with V channels.

    Raises:
        CodecError: for colours where V is 1.
    """
    levels = np.array(image.convert("L") if image.mode == "1" else image)
    levels = levels if levels.ndim == 3 else levels[..., None]
    if channels == 1 and levels.shape[-1] == 3:
        if (levels != levels[..., :1]).any():
            raise CodecError(f"{path}: expected greys, which are all that this checkpoint codes, got colours")
        levels = levels[..., :1]
    return Picture(name, np.ascontiguousarray(np.broadcast_to(levels, (*levels.shape[:2], channels))), image.mode)


def to_image(picture: Picture) -> Image.Image:
    """The Pillow image, in the mode it had."""
    levels = picture.levels
    if picture.mode == "RGB":
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(levels, (*levels.shape[:2], 3))))
    image = Image.fromarray(np.ascontiguousarray(levels[..., 0]))
    return image.point(lambda level: 255 * (level > 127), "1") if picture.mode == "1" else image


def target_of(folder: Path, name: str, ending: str = ".png") -> Path:
    """Where an image of a file goes. Raises `CodecError` for names that lead out of the folder."""
    if not leads_below(name):
        raise CodecError(f"file: expected names below a folder, got {name!r}")
    return folder / f"{PurePosixPath(name)}{ending}"


def leads_below(name: str) -> bool:
    """Whether a name can be stored, and leads to a file below a folder on every system."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name or set(name) & set("\\:\0"):
        return False
    return name.encode(errors="ignore").decode() == name  # not so for file names that are no UTF-8


def read_mask(path: Path) -> np.ndarray:
    """A mask image as bool (height, width): true where it is not black."""
    try:
        return np.array(Image.open(path).convert("L")) > 0
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise CodecError(f"{path}: expected a mask image, cannot read this one: {error}") from error
