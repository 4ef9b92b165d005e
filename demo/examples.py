"""Example pictures drawn by code: a cat's face, and digits in the manner of MNIST (a stroke, softened, on black)."""

import math

from PIL import Image, ImageDraw, ImageFilter

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


def cat(size: int = 224) -> Image.Image:
    """A ginger cat's face, filling the picture as in the training set, softened like a photo."""
    fine = 4 * size
    sheet = Image.new("RGB", (fine, fine), (120, 132, 118))
    draw = ImageDraw.Draw(sheet)

    def box(x: float, y: float, rx: float, ry: float) -> tuple[float, ...]:
        return (x - rx) * fine, (y - ry) * fine, (x + rx) * fine, (y + ry) * fine

    def triangle(*points: tuple[float, float], fill: tuple[int, int, int]) -> None:
        draw.polygon([(x * fine, y * fine) for x, y in points], fill=fill)

    for side in (-1, 1):
        triangle((0.5 + side * 0.44, 0.02), (0.5 + side * 0.1, 0.3), (0.5 + side * 0.46, 0.46), fill=(176, 104, 52))
        triangle((0.5 + side * 0.39, 0.12), (0.5 + side * 0.2, 0.3), (0.5 + side * 0.4, 0.4), fill=(214, 158, 140))
    draw.ellipse(box(0.5, 0.58, 0.45, 0.4), fill=(202, 132, 70))
    for x in (0.4, 0.5, 0.6):
        draw.ellipse(box(x, 0.26, 0.022, 0.09), fill=(150, 84, 38))
    draw.ellipse(box(0.5, 0.8, 0.22, 0.17), fill=(238, 222, 202))
    for side in (-1, 1):
        draw.ellipse(box(0.5 + side * 0.19, 0.52, 0.09, 0.075), fill=(190, 196, 96))
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
