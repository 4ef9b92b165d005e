"""Example pictures drawn by code: cats' faces, a boat, and digits in the manner of MNIST; what each starts with."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from demo.grids import choose_cells
from demo.observed import Observed, ObservedLists
from demo.pictures import read_picture, show_known, sketch_of
from signals.cells import cell_positions
from signals.image import Images

# Strokes in a unit box: arcs as (centre x, centre y, radius x, radius y, from, to) in degrees, lines as point lists.
STROKES = {
    0: [(0.5, 0.5, 0.22, 0.36, 0, 360)],
    2: [(0.5, 0.33, 0.22, 0.2, 180, 400), [(0.67, 0.44), (0.28, 0.84), (0.74, 0.84)]],
    3: [(0.46, 0.32, 0.2, 0.18, 200, 450), (0.46, 0.68, 0.23, 0.18, -90, 160)],
    7: [[(0.26, 0.18), (0.74, 0.18), (0.44, 0.86)]],
    8: [(0.5, 0.32, 0.17, 0.17, 0, 360), (0.5, 0.68, 0.21, 0.19, 0, 360)],
}


def digit(number: int, size: int = 224) -> Image.Image:
    """A grey picture of one of the digits in `STROKES`."""
    fine = 4 * size
    sheet = Image.new("L", (fine, fine))
    draw = ImageDraw.Draw(sheet)
    radius = 0.042 * fine
    for stroke in STROKES[number]:
        for x, y in _points(stroke):
            x, y = (0.14 + 0.72 * x) * fine, (0.14 + 0.72 * y) * fine
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return sheet.filter(ImageFilter.GaussianBlur(fine / 90)).resize((size, size), Image.Resampling.BOX)


COATS = {  # fur, dark stripes, muzzle, eyes, ground
    "ginger": ((202, 132, 70), (150, 84, 38), (238, 222, 202), (190, 196, 96), (120, 132, 118)),
    "grey": ((138, 140, 146), (84, 86, 94), (206, 206, 208), (206, 168, 60), (92, 78, 66)),
    "black": ((52, 48, 50), (26, 24, 26), (84, 80, 80), (176, 200, 80), (182, 176, 164)),
}


def cat(coat: str = "ginger", size: int = 224) -> Image.Image:
    """A cat's face in one of `COATS`, filling the picture as in the training set, softened like a photo."""
    fur, stripes, muzzle, eyes, ground = COATS[coat]
    fine = 4 * size
    sheet = Image.new("RGB", (fine, fine), ground)
    draw = ImageDraw.Draw(sheet)

    def box(x: float, y: float, rx: float, ry: float) -> tuple[float, ...]:
        return (x - rx) * fine, (y - ry) * fine, (x + rx) * fine, (y + ry) * fine

    def triangle(*points: tuple[float, float], fill: tuple[int, int, int]) -> None:
        draw.polygon([(x * fine, y * fine) for x, y in points], fill=fill)

    for side in (-1, 1):
        triangle(
            (0.5 + side * 0.44, 0.02),
            (0.5 + side * 0.1, 0.3),
            (0.5 + side * 0.46, 0.46),
            fill=tuple((a + b) // 2 for a, b in zip(fur, stripes, strict=True)),
        )
        triangle((0.5 + side * 0.39, 0.12), (0.5 + side * 0.2, 0.3), (0.5 + side * 0.4, 0.4), fill=(214, 158, 140))
    draw.ellipse(box(0.5, 0.58, 0.45, 0.4), fill=fur)
    for x in (0.4, 0.5, 0.6):
        draw.ellipse(box(x, 0.26, 0.022, 0.09), fill=stripes)
    draw.ellipse(box(0.5, 0.8, 0.22, 0.17), fill=muzzle)
    for side in (-1, 1):
        draw.ellipse(box(0.5 + side * 0.19, 0.52, 0.09, 0.075), fill=eyes)
        draw.ellipse(box(0.5 + side * 0.19, 0.52, 0.04, 0.07), fill=(18, 16, 14))
        draw.ellipse(box(0.5 + side * 0.175, 0.49, 0.014, 0.014), fill=(250, 250, 250))
    triangle((0.44, 0.67), (0.56, 0.67), (0.5, 0.74), fill=(206, 122, 118))
    draw.line([(0.5 * fine, 0.74 * fine), (0.5 * fine, 0.8 * fine)], fill=(110, 66, 50), width=fine // 80)
    return sheet.filter(ImageFilter.GaussianBlur(fine / 70)).resize((size, size), Image.Resampling.BOX)


def _points(stroke, count: int = 240):
    if isinstance(stroke, tuple):
        x, y, rx, ry, start, stop = stroke
        for index in range(count):
            angle = math.radians(start + (stop - start) * index / (count - 1))
            yield x + rx * math.cos(angle), y + ry * math.sin(angle)
        return
    for (x0, y0), (x1, y1) in zip(stroke, stroke[1:], strict=False):
        for index in range(count):
            t = index / (count - 1)
            yield x0 + t * (x1 - x0), y0 + t * (y1 - y0)


def boat(size: int = 224) -> Image.Image:
    """A sailing boat on the sea, softened like a photo."""
    fine = 4 * size
    sheet = Image.new("RGB", (fine, fine))
    draw = ImageDraw.Draw(sheet)
    for y in range(fine):
        t = y / fine
        sky = tuple(round(a + (b - a) * t / 0.6) for a, b in ((110, 206), (160, 220), (214, 236)))
        sea = tuple(round(a + (b - a) * (t - 0.6) / 0.4) for a, b in ((70, 24), (116, 60), (146, 96)))
        draw.line([(0, y), (fine, y)], fill=sky if t < 0.6 else sea)
    for points, fill in (
        (((0.5, 0.1), (0.5, 0.62), (0.8, 0.62)), (244, 240, 232)),
        (((0.47, 0.2), (0.47, 0.62), (0.24, 0.62)), (222, 214, 204)),
        (((0.18, 0.66), (0.86, 0.66), (0.74, 0.8), (0.3, 0.8)), (150, 60, 48)),
    ):
        draw.polygon([(x * fine, y * fine) for x, y in points], fill=fill)
    return sheet.filter(ImageFilter.GaussianBlur(fine / 90)).resize((size, size), Image.Resampling.BOX)


# A cat as one would paint it on a 32×32 pad: colour, side of the brush, and the corners of each stroke.
FUR, DARK, PALE, EYE, BLACK, PINK, WALL = "#c8742c", "#6b4423", "#e8b878", "#8fae5a", "#141210", "#e79a9a", "#8c8880"
SKETCH = [
    (WALL, 3, [(14, 1), (18, 1)]),
    (WALL, 3, [(1, 27), (1, 30)]),
    (WALL, 3, [(30, 27), (30, 30)]),
    (FUR, 3, [(3, 16), (4, 3), (10, 7)]),
    (FUR, 3, [(28, 16), (27, 3), (21, 7)]),
    (PINK, 2, [(6, 7), (7, 9)]),
    (PINK, 2, [(25, 7), (24, 9)]),
    (FUR, 3, [(3, 16), (4, 24), (9, 29)]),
    (FUR, 3, [(28, 16), (27, 24), (22, 29)]),
    (FUR, 3, [(12, 7), (19, 7)]),
    (DARK, 2, [(12, 4), (12, 9)]),
    (DARK, 2, [(19, 4), (19, 9)]),
    (DARK, 2, [(15, 4), (15, 9)]),
    (FUR, 3, [(15, 13), (15, 18)]),
    (FUR, 3, [(6, 20), (8, 22)]),
    (FUR, 3, [(25, 20), (23, 22)]),
    *[(EYE, 2, [(x, 15), (x, 15)]) for x in (7, 11, 19, 23)],
    *[(BLACK, 2, [(x, 14), (x, 16)]) for x in (9, 21)],
    ("#ffffff", 4, [(12, 25), (18, 25)]),
    (PALE, 3, [(13, 29), (18, 29)]),
    (PINK, 2, [(15, 22), (16, 22)]),
]


def painted(strokes: list[tuple], side: int = 32) -> ObservedLists:
    """Strokes as the pad sets them: a dab, the average over its square, at most every half side; pixels for side 1.

    Of dabs with the same square the last one counts, as on the pad.
    """
    dabs: dict[tuple[int, int, int], str] = {}
    for colour, brush, corners in strokes:
        latest = None
        for position in _along(corners):
            if latest and max(abs(a - b) for a, b in zip(position, latest, strict=True)) < brush / 2:
                continue
            latest = position
            low = [min(side - brush, max(0, at - (brush - 1) // 2)) for at in position]
            dabs.pop((*low, brush), None)  # a repeated one moves to the end
            dabs[(*low, brush)] = colour
    return {
        "positions": [[round((at + brush / 2) * 2 / side - 1, 6) for at in low] for *low, brush in dabs],
        "values": [[round(int(colour[i : i + 2], 16) / 255, 6) for i in (1, 3, 5)] for colour in dabs.values()],
        "scales": [math.log2(brush) for _, _, brush in dabs],
    }


def _along(corners: list[tuple[int, int]]):
    """Cells on the lines between corners."""
    for (x0, y0), (x1, y1) in zip(corners, corners[1:], strict=False):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            yield round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)


@dataclass(frozen=True)
class ImageExample:
    """What a click on an example shows: a picture of which some pixels are revealed, or painted dabs alone."""

    name: str
    checkpoint: str
    picture: Image.Image | None
    count: int = 0
    pattern: str = "random pixels"
    observed: ObservedLists | None = None


@lru_cache
def images() -> tuple[ImageExample, ...]:
    """All examples of the image tab."""
    return (
        ImageExample("Sketch of a cat", "cat-faces", None, observed=painted(SKETCH)),
        ImageExample("Ginger cat", "cat-faces", cat("ginger"), 96),
        ImageExample("Grey cat, half", "cat-faces", cat("grey"), 0, "left half"),
        ImageExample("Black cat, inside", "cat-faces", cat("black"), 0, "all but the centre"),
        ImageExample("Boat", "cifar10", boat(), 128),
        ImageExample("Three", "mnist", digit(3), 0, "every fourth pixel"),
        ImageExample("Eight", "mnist", digit(8), 40),
    )


@lru_cache
def thumbnail(number: int) -> Tensor:
    """What of an example is observed, as colours (y, x, 3) on chequered ground."""
    example = images()[number]
    if example.observed is not None:
        parts = (torch.tensor(example.observed[name]) for name in ("positions", "values", "scales"))
        return sketch_of(Observed(*parts), [32, 32])
    values = read_picture(example.picture, [32, 32], 3)
    known = torch.zeros(32 * 32, dtype=torch.bool)
    positions = cell_positions([32, 32], torch.arange(32 * 32))
    known[choose_cells(Images.patterns, positions, example.count, example.pattern, 0)] = True
    return show_known(values, known.view(32, 32))
