"""Reading clips from video files and animated images: the frames shown at times spread evenly over them, upright."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from signals.image import image_to_array, is_animated

VIDEOS = frozenset(
    (
        *(".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m1v", ".m2t", ".m2ts", ".m2v"),
        *(".m4v", ".mj2", ".mjpeg", ".mjpg", ".mkv", ".mov", ".movie", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv"),
        *(".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)
ANIMATIONS = frozenset((".gif", ".webp", ".apng"))  # clips where they have several frames, else images
# How a display matrix ((a, b), (c, d)) takes a frame's pixel (x, y) to (a x + c y, b x + d y), and what does so here.
UPRIGHT = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}

Source = str | Path | io.BytesIO
Timed = tuple[float | None, float | None]  # when a frame is shown and for how long, in seconds


def is_clip(path: Path) -> bool:
    """Whether a file with an ending of a clip is one: an image must be animated; one that cannot be read may be."""
    if path.suffix.lower() not in ANIMATIONS:
        return True
    try:
        with Image.open(path) as image:
            return is_animated(image)
    except Exception:  # reported when the row is read
        return True


def read_clip(source: Source, grid: list[int], channels: int, name: str | None = None) -> Tensor:
    """The frames shown at times spread evenly over a clip, resized and centre-cropped: uint8 (frames, y, x, V).

    Rotation and the shape of pixels follow the container's metadata. A frame that is shown for long may come twice.

    Args:
        grid (`list[int]`): Frames, width and height.

    Raises:
        ValueError: naming the file, where it cannot be decoded or has fewer frames than asked for.
    """
    count, width, height = grid
    name = name or str(source)
    read = _read_animation if _is_webp(source) else _read_video  # FFmpeg does not decode animated WebP
    try:
        times = [timed for timed, _ in read(source, frozenset())]
        wanted = choose_frames(times, count) if times else []
        images = {number: image for number, (_, image) in enumerate(read(source, frozenset(wanted))) if image}
    except (av.FFmpegError, EOFError, IndexError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: expected a video file, cannot decode it: {error}") from error
    if not times:
        raise ValueError(f"{name}: expected a video, got a file without a frame that can be decoded")
    if len(times) < count:
        raise ValueError(f"{name}: expected at least {count} frames (--frames), got {len(times)}")
    arrays = {number: image_to_array(image, (width, height), channels) for number, image in images.items()}
    return torch.from_numpy(np.stack([arrays[number] for number in wanted]))


def choose_frames(times: list[Timed], count: int) -> list[int]:
    """Numbers of the frames shown in the middle of each of `count` equal parts of a clip's time.

    Args:
        times (`list[Timed]`): In the order of the file. Where a start is unknown or all are the same, frames count as
            equally long.
    """
    starts = np.array([np.nan if start is None else start for start, _ in times])
    if np.isnan(starts).any() or (len(starts) > 1 and starts.max() == starts.min()):
        starts, durations = np.arange(len(times), dtype=float), np.ones(len(times))
    else:
        durations = np.array([duration or 0.0 for _, duration in times])
    order = starts.argsort(kind="stable")
    starts, durations = starts[order], durations[order]
    typical = (starts[-1] - starts[0]) / (len(starts) - 1) if len(starts) > 1 else 1.0
    length = starts[-1] + (durations[-1] if durations[-1] > 0 else typical) - starts[0]
    middles = starts[0] + (np.arange(count) + 0.5) / count * length
    shown = np.searchsorted(starts, middles + 1e-6 * length, side="right") - 1  # a frame begins at its time, rounded
    return order[shown].tolist()


def _read_video(source: Source, wanted: frozenset[int]) -> Iterator[tuple[Timed, Image.Image | None]]:
    """Each frame's time, and the upright image of those that are wanted: a long video need not fit into memory."""
    with _opened(source) as container:
        stream = container.streams.best("video")  # not a cover picture
        if stream is None:
            raise ValueError("it holds no video")
        for number, frame in enumerate(container.decode(stream)):
            duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else None
            image = None
            if number in wanted:
                image = upright(frame.to_image(), display_matrix(frame), stream.sample_aspect_ratio)
            yield (frame.time, duration), image


def _read_animation(source: Source, wanted: frozenset[int]) -> Iterator[tuple[Timed, Image.Image | None]]:
    """As `_read_video`, of an image with several frames."""
    if isinstance(source, io.BytesIO):
        source.seek(0)
    start = 0.0
    with Image.open(source) as image:
        for number, frame in enumerate(ImageSequence.Iterator(image)):
            frame.load()
            duration = (frame.info.get("duration") or 100) / 1000
            yield (start, duration), frame.copy() if number in wanted else None
            start += duration


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """How a frame is turned or mirrored for display, to the nearest right angle: a, b, c, d as in `UPRIGHT`."""
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("=9i", bytes(side))
            straight = abs(a) + abs(d) >= abs(b) + abs(c)
            return (_sign(a), 0, 0, _sign(d)) if straight else (0, _sign(b), _sign(c), 0)
    return 1, 0, 0, 1


def upright(image: Image.Image, matrix: tuple[int, int, int, int], pixel_aspect: Fraction | None) -> Image.Image:
    """A frame as it is meant to be seen: pixels made square, then turned or mirrored."""
    if pixel_aspect and pixel_aspect > 0 and pixel_aspect != 1:
        width = max(1, round(image.width * float(pixel_aspect)))
        image = image.resize((width, image.height), Image.Resampling.LANCZOS)
    return image.transpose(UPRIGHT[matrix]) if matrix in UPRIGHT else image


@contextmanager
def _opened(source: Source) -> Iterator[av.container.InputContainer]:
    if isinstance(source, io.BytesIO):
        source.seek(0)
    elif Path(source).is_file():
        source = str(Path(source).absolute())  # FFmpeg takes what stands before a colon for a protocol
    with av.open(source) as container:
        yield container


def _is_webp(source: Source) -> bool:
    if isinstance(source, io.BytesIO):
        head = source.getbuffer()[:12].tobytes()
    elif Path(source).is_file():
        with open(source, "rb") as file:
            head = file.read(12)
    else:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def _sign(number: int) -> int:
    return 1 if number >= 0 else -1
