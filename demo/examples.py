"""Example pictures drawn by code: digits in the manner of MNIST (a stroke, softened, on black)."""

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
