"""What the image tab opens with, drawn beforehand: a visitor sees samples at once, and the app starts without drawing.

`python -m demo.opening` draws it again, after a change of the first example or of its checkpoint: a minute or two.
"""

import argparse
import hashlib
import json
import math
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from demo import models
from demo.answers import FRAMES, Sampling
from demo.drawings import Drawing, Request, drawing, finish
from demo.examples import images
from demo.image_actions import Partial, draw
from demo.image_handlers import observed_in
from signals.image import to_image

FILE = Path(__file__).with_name("opening.png")


def first() -> Request:
    """The request that the tab opens with: the first example, on its checkpoint's grid.

    Raises:
        ValueError: where the checkpoint is not on offer.
    """
    checkpoint = images()[0].checkpoint
    return Request(checkpoint, observed_in(0), max(models.config_of(checkpoint).native_grid), Sampling())


def drawn_before(request: Request) -> Drawing:
    """The finished drawing: from the file where that is of this request and these weights, else drawn now."""
    partials = stored(request)
    return finish(request, partials) if partials else list(drawing(request))[-1]


def warm_up() -> None:
    """Draw the beginning of a sample: the first of a process takes longer, which no visitor should wait for.

    Raises:
        ValueError: where the checkpoint is not on offer.
    """
    request = first()
    next(draw(request.checkpoint, request.observed, request.resolution, request.sampling))


def stored(request: Request) -> list[Partial] | None:
    """The states of the drawing in the file, or `None` where they are of other weights or of another request."""
    if not FILE.exists():
        return None
    with Image.open(FILE) as sheet:
        known = json.loads(sheet.text.get("drawing", "{}"))
        if known.get("of") != fingerprint(request):
            return None
        pixels = torch.frombuffer(bytearray(sheet.convert("RGB").tobytes()), dtype=torch.uint8) / 255
        pixels = pixels.view(sheet.height, sheet.width, 3)
    side = sheet.height // len(known["counts"])
    cells = pixels.unflatten(0, (-1, side)).unflatten(2, (-1, side)).transpose(1, 2)  # state, sample, y, x, channel
    return [Partial(row[:count], 1.0) for row, count in zip(cells, known["counts"], strict=True)]


def fingerprint(request: Request) -> str:
    """Equal only for the same request of the same weights."""
    folder = Path(models.offered[request.checkpoint])
    found = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        if (folder / name).exists():
            found.update((folder / name).read_bytes())
    for part in request.key:
        found.update(part if isinstance(part, bytes) else repr(part).encode())
    return found.hexdigest()


def keep(request: Request) -> None:
    """Draw it and write the file."""
    states = [each.values for each in draw(request.checkpoint, request.observed, request.resolution, request.sampling)]
    rows = [*states[: -1 : math.ceil(len(states) / FRAMES)], states[-1]]  # as many as the moving picture shows
    count = max(map(len, rows))
    sheet = torch.cat([_row(each, count) for each in rows])
    notes = PngInfo()
    notes.add_text("drawing", json.dumps({"of": fingerprint(request), "counts": [len(each) for each in rows]}))
    to_image(sheet).convert("RGB").save(FILE, pnginfo=notes, optimize=True)


def _row(samples: Tensor, count: int) -> Tensor:
    """Samples (S, y, x, V) side by side, room for `count` of them: (y, count · x, V)."""
    room = torch.ones(count - len(samples), *samples.shape[1:])
    return torch.cat(list(torch.cat((samples, room))), 1)


if __name__ == "__main__":
    argparse.ArgumentParser("python -m demo.opening", description=__doc__).parse_args()
    models.offer()
    keep(first())
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")
