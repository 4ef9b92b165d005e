"""Pictures in and out: uploads as values, values as small pictures that the page enlarges, and moving ones."""

import base64
import io

import matplotlib
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from demo.grids import split
from demo.limits import MAX_DRAFT, MAX_PIXELS
from demo.observed import Observed
from signals.image import checkered, image_to_array, to_image, to_values

SHARP = 96  # pictures up to this side travel without loss
SMOOTH = 384  # side of a picture that is shown large
DRAFT = 1024  # least side to which a JPEG is reduced while it is read
DOWNLOAD = 512  # side, about, of a picture to keep
LEVELS = torch.from_numpy(matplotlib.colormaps["magma"](np.linspace(0, 1, 256))[:, :3].astype(np.float32))


def read_picture(source: str | Image.Image | None, grid: list[int], channels: int, enlarged: bool = True) -> Tensor:
    """A picture, or an image file, as values (y, x, V) on a grid: cropped to its shape, white where transparent.

    Args:
        enlarged (`bool`): If false, a side of the grid is at most the picture's shorter side.

    Raises:
        ValueError: where there is none, it is no picture, or it is too large.
    """
    if source is None:
        raise ValueError("picture: expected an image, got none; upload one or click an example")
    try:
        picture = source if isinstance(source, Image.Image) else Image.open(source)
        if picture.width * picture.height <= MAX_DRAFT:
            picture.draft(None, (DRAFT, DRAFT))  # a JPEG of a camera is reduced while it is read
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"picture: expected at most {MAX_PIXELS:,} pixels, got {picture.width} × {picture.height}")
        size = tuple(grid) if enlarged else tuple(min(side, *picture.size) for side in grid)
        return to_values(torch.from_numpy(image_to_array(picture, size, channels)))
    except Image.DecompressionBombError as error:
        raise ValueError(f"picture: expected at most {MAX_PIXELS:,} pixels, got far more") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"picture: expected an image file (PNG, JPEG, WebP, GIF, …), {_told(source)}") from error


def _told(source: str | Image.Image) -> str:
    """What a file is that is no picture here, in words that help."""
    if isinstance(source, Image.Image):
        return "cannot read this one"
    with open(source, "rb") as file:
        start = file.read(512)
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"):
        return "got HEIC, which phones write; share or save the photo as JPEG and upload that"
    if b"<svg" in start.lower():
        return "got SVG, a drawing of lines; save it as PNG and upload that"
    return "cannot read this one"


def picture_url(values: Tensor, lossless: bool = False) -> str:
    """Values (y, x, V) in [0, 1] as a data URL: PNG where the picture is small, WebP where it is large."""
    image, buffer = to_image(values), io.BytesIO()
    small = lossless or max(image.size) <= SHARP
    if small:
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.convert("RGB").save(buffer, "WEBP", quality=90, method=1)
    return f"data:image/{'png' if small else 'webp'};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def smooth_url(values: Tensor, side: int = SMOOTH) -> str:
    """Values (y, x, V) in [0, 1] as a data URL of a picture at least `side` pixels wide, without visible cells."""
    image, buffer = to_image(values).convert("RGB"), io.BytesIO()
    zoom = max(1.0, side / max(image.size))
    size = [round(zoom * length) for length in image.size]
    image.resize(size, Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=88, method=0)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def show_uncertainty(deviation: Tensor, top: float) -> Tensor:
    """Standard deviations (y, x, V) as colours (y, x, 3): black at 0, brightest from `top` on."""
    level = (deviation.mean(-1) / top * 255).round().clamp(0, 255).long()
    return LEVELS[level]


def show_known(values: Tensor, known: Tensor) -> Tensor:
    """Values (y, x, V) where `known` (y, x) is true, on a chequered ground: colours (y, x, 3)."""
    height, width = known.shape
    return torch.where(known[..., None], values.expand(-1, -1, 3), checkered([width, height]))


def sketch_of(observed: Observed, grid: list[int]) -> Tensor:
    """What is observed, as colours (y, x, 3) on chequered ground: averages as squares, the largest first."""
    cells, averages = split(observed, grid), observed[~observed.points]
    width, height = grid
    sheet, known = torch.zeros(height, width, 3), torch.zeros(height, width, dtype=torch.bool)
    for index in averages.sizes.argsort(descending=True, stable=True).tolist():
        side = 2 ** averages.sizes[index].item()
        left, top = (((averages.positions[index] + 1) / 2 * torch.tensor(grid)) - side / 2).round().int().tolist()
        here = slice(max(0, top), top + round(side)), slice(max(0, left), left + round(side))
        sheet[here], known[here] = averages.values[index].expand(3), True
    sheet.view(-1, 3)[cells.known], known.view(-1)[cells.known] = cells.values.expand(-1, 3), True
    return show_known(sheet, known)


def enlarge(values: Tensor, side: int = DOWNLOAD) -> Image.Image:
    """Values (y, x, V) as a picture with visible cells, about `side` pixels wide."""
    picture = to_image(values).convert("RGB")
    zoom = max(1, side // max(picture.size))
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def beside(pictures: list[Image.Image], gap: int = 8) -> Image.Image:
    """Pictures of one size in a row."""
    width, height = pictures[0].size
    sheet = Image.new("RGB", (len(pictures) * (width + gap) - gap, height), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index * (width + gap), 0))
    return sheet


def animation(frames: list[Image.Image], milliseconds: int = 80, rest: int = 1500) -> bytes:
    """A GIF of frames that rests on the last one."""
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [rest]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
