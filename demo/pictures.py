"""What the model says as pictures: enlarged pixels, an uncertainty map with its scale."""

import matplotlib
import numpy as np
import torch
from PIL import Image

from demo.observations import Observed
from signals.image import checkered, to_image

SIZE = 336  # side of a shown picture in screen pixels


def enlarge(values: torch.Tensor) -> Image.Image:
    """Values (y, x, V) as a picture of about `SIZE` pixels with visible cells."""
    picture = to_image(values).convert("RGB")
    zoom = max(1, SIZE // max(picture.size))
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def show_observed(observed: Observed) -> Image.Image:
    """The observed cells on the chequered ground."""
    sheet = checkered(observed.grid).flatten(0, 1)
    sheet[observed.cells] = observed.values.expand(-1, 3)
    return enlarge(sheet.view(observed.grid[1], observed.grid[0], 3))


def show_partial(values: torch.Tensor, drawn: torch.Tensor, observed: Observed) -> Image.Image:
    """A sample (Q, V) of the hidden cells while it is drawn (Q,): drawn and observed ones on the chequered ground."""
    sheet = checkered(observed.grid).flatten(0, 1)
    sheet[observed.hidden[drawn]] = values[drawn].expand(-1, 3)
    sheet[observed.cells] = observed.values.expand(-1, 3)
    return enlarge(sheet.view(observed.grid[1], observed.grid[0], 3))


def show_uncertainty(deviation: torch.Tensor) -> Image.Image:
    """Standard deviation (y, x, 1 or V) of values in [0, 1]: black where it is 0, brightest at 0.5."""
    level = (deviation.mean(-1) / 0.5).clamp(0, 1).numpy()
    colours = matplotlib.colormaps["magma"](level)[..., :3].astype(np.float32)
    return enlarge(torch.from_numpy(colours))
