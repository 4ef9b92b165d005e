"""A plane through a 3D shape: the mean distance there, and distances that are observed by a click on it."""

import torch
from torch import Tensor

from demo.answers import marginal
from demo.limits import MAX_CONTEXT, whole
from demo.models import config_of
from demo.observed import Observed
from signals.cells import cell_positions, values_at_positions

AXES = ("x", "y", "z")
INSIDE, OUTSIDE, EDGE, POINT = (0.80, 0.22, 0.20), (0.20, 0.42, 0.82), (0.08, 0.09, 0.12), (1.0, 0.80, 0.10)
FAINT = 0.6  # distance from which colours fade no further


def plane(side: int, axis: str, depth: int) -> Tensor:
    """Positions (rows, columns, 3) of the cells of a plane across an axis: the other two axes run right and up.

    Args:
        depth (`int`): Number of the plane, from 1 to `side`.
    """
    if axis not in AXES:
        raise ValueError(f"axis: expected one of {', '.join(AXES)}, got {str(axis)[:40]!r}")
    depth = whole("depth", depth, 1, side)
    across, (right, up) = AXES.index(axis), [index for index, name in enumerate(AXES) if name != axis]
    flat = cell_positions([side, side], torch.arange(side * side)).view(side, side, 2)
    places = torch.empty(side, side, 3)
    places[..., right], places[..., up] = flat[..., 0], -flat[..., 1]
    places[..., across] = (depth - 0.5) * 2 / side - 1
    return places


def slice_picture(checkpoint: str, observed: Observed, axis: str, depth: int) -> Tensor:
    """The plane in colours (rows, columns, 3): inside red, outside blue, paler the farther from the surface; the
    surface dark; observed points of the plane and its neighbours yellow."""
    side = config_of(checkpoint, "shape").native_grid[0]
    places = plane(side, axis, depth)
    mean = marginal(checkpoint, observed, places.view(-1, 3)).mean.view(side, side, 1)
    pale = (mean.abs() / FAINT).clamp(0, 0.85)
    colours = torch.where(mean < 0, torch.tensor(INSIDE), torch.tensor(OUTSIDE)) * (1 - pale) + pale
    colours = torch.where(mean.abs() < 1 / side, torch.tensor(EDGE), colours)
    far = (observed.positions[:, None] - places.view(1, -1, 3)).abs()  # (K, cells, 3)
    across = AXES.index(axis)
    close = far <= torch.tensor([3.0 if index == across else 1.001 for index in range(3)]) / side
    return torch.where(close.all(-1).any(0).view(side, side, 1), torch.tensor(POINT), colours)


def measured(sdf: Tensor, known: Observed, axis: str, depth: int, right: float, down: float) -> Observed:
    """What is known, and the distance (z, y, x, 1) of the cell that was clicked on a plane, at `right` and `down` from
    -1 to 1."""
    if len(known) >= MAX_CONTEXT:
        raise ValueError(f"shape: expected at most {MAX_CONTEXT:,} observed points (the limit of this app), got more")
    side = sdf.shape[0]
    row, column = (min(side - 1, max(0, int((at + 1) / 2 * side))) for at in (down, right))
    place = plane(side, axis, depth)[row, column][None]
    return known + Observed(place, values_at_positions(sdf[None], place[None])[0])


def turned(shape: Tensor, up: str) -> Tensor:
    """Distances (z, y, x, 1), or points (N, 3), turned so that the axis `up` of the file points upwards."""
    if up not in AXES:
        raise ValueError(f"up: expected one of {', '.join(AXES)}, got {str(up)[:40]!r}")
    if up == "z":
        return shape
    if shape.dim() == 2:  # points: (x, y, z) from (x, -z, y) or (-z, y, x)
        x, y, z = shape.unbind(-1)
        return torch.stack((x, -z, y) if up == "y" else (-z, y, x), -1)
    # A new position (x, y, z) shows the old (x, z, -y), or (z, y, -x).
    return shape.permute(1, 0, 2, 3).flip(1) if up == "y" else shape.permute(2, 1, 0, 3).flip(2)
