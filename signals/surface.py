"""Points on the surface of a shape that is stored as signed distances: what a scanner would see of it."""

import torch
from torch import Tensor

from pixeltransformer.grids import centres, coordinates

TOLERANCE = 1e-4  # of the signed distance at a returned point, in the units of positions
NEWTON_STEPS = 6


def interpolate(fields: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distances (B, N) and their gradients (B, N, 3) of fields (B, z, y, x, 1) at positions (B, N, 3).

    Trilinear between cell centres and constant beyond the outermost ones, like `signals.cells.values_at_positions`.
    The gradient is that of the interpolation, along x, y, z.
    """
    sizes = torch.tensor(fields.shape[-2:0:-1], device=fields.device)  # cells along x, y, z
    exact = coordinates(positions, sizes).clamp(min=0).minimum(sizes - 1)
    low = exact.long().clamp(max=sizes - 2).clamp(min=0)
    weight = exact - low  # (B, N, 3), of the upper neighbour along each axis
    strides = torch.stack((torch.ones_like(sizes[0]), sizes[0], sizes[0] * sizes[1]))
    high = strides * (sizes > 1)  # an axis of one cell has no upper neighbour
    base = (low * strides).sum(-1)
    flat = fields.reshape(len(fields), -1)
    corners = [base + x * high[0] + y * high[1] + z * high[2] for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    values = flat.gather(1, torch.cat(corners, 1)).view(len(flat), 2, 2, 2, -1)  # (B, z, y, x, N)
    wx, wy, wz = weight.unbind(-1)
    along_x = values[:, :, :, 0].lerp(values[:, :, :, 1], wx[:, None, None])  # (B, z, y, N)
    slope_x = values[:, :, :, 1] - values[:, :, :, 0]
    along_y = along_x[:, :, 0].lerp(along_x[:, :, 1], wy[:, None])  # (B, z, N)
    slope_y = along_x[:, :, 1] - along_x[:, :, 0]
    slope_x = slope_x[:, :, 0].lerp(slope_x[:, :, 1], wy[:, None])
    found = along_y[:, 0].lerp(along_y[:, 1], wz)
    per_cell = (
        slope_x[:, 0].lerp(slope_x[:, 1], wz),
        slope_y[:, 0].lerp(slope_y[:, 1], wz),
        along_y[:, 1] - along_y[:, 0],
    )
    within = (positions.abs() <= 1 - 1 / sizes) & (sizes > 1)  # beyond the outermost centres nothing changes
    return found, torch.stack(per_cell, -1) * (sizes / 2) * within


def has_surface(fields: Tensor) -> Tensor:
    """Which (B,) of fields (B, z, y, x, 1) have cells both inside and outside, hence a surface."""
    flat = fields.flatten(1)
    return (flat < 0).any(1) & (flat > 0).any(1)


def surface_points(fields: Tensor, count: int, generator: torch.Generator | None = None, noise: float = 0.0) -> Tensor:
    """`count` random points on each surface, (B, count, 3), about evenly by area; positions (x, y, z) in [-1, 1].

    The interpolated signed distance at each is 0 within `TOLERANCE`. Random points of the cells next to the surface
    are moved along the gradient by Newton's method. The few that do not arrive are replaced by points where an edge
    between two neighbouring cell centres crosses the surface, which are exact.

    A shape that reaches the border of the cube has no surface there, as its field is negative up to the border.

    Args:
        fields (`Tensor` (B, z, y, x, 1)): Signed distances at cell centres, negative inside.
        noise (`float`): Standard deviation of Gaussian noise added to each coordinate, in the units of positions. Noisy
            points are kept in [-1, 1] and do not lie on the surface.

    Raises:
        ValueError: for fields of another shape, a negative count or noise, or a field without a surface.
    """
    if fields.dim() != 5 or fields.shape[-1] != 1:
        raise ValueError(f"fields: expected signed distances of shape (B, z, y, x, 1), got {tuple(fields.shape)}")
    if count < 0 or noise < 0:
        raise ValueError(f"count, noise: expected numbers of at least 0, got {count} and {noise}")
    without = (~has_surface(fields)).nonzero()[:, 0].tolist()
    if without:
        raise ValueError(f"fields[{without[0]}]: expected cells inside and outside, got only one kind")
    fields = fields.float()
    positions = _near_surface(fields, count, generator)
    largest = 4 / torch.tensor(fields.shape[-2:0:-1], device=fields.device)  # two cells
    for _ in range(NEWTON_STEPS):
        distance, slope = interpolate(fields, positions)
        move = distance[..., None] * slope / slope.square().sum(-1, keepdim=True).clamp(min=1e-6)
        positions = (positions - move.clamp(-largest, largest)).clamp(-1, 1)
    arrived = interpolate(fields, positions)[0].abs() <= TOLERANCE
    if not arrived.all():
        positions = torch.where(arrived[..., None], positions, _edge_crossings(fields, count, generator))
    if noise > 0:
        drawn = torch.randn(positions.shape, generator=generator, device=positions.device)
        positions = (positions + noise * drawn).clamp(-1, 1)
    return positions


def _choose(mask: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Numbers (B, count) of true entries of masks (B, N), drawn with replacement; each mask has at least one."""
    ranks = mask.cumsum(1)
    uniform = torch.rand(len(mask), count, generator=generator, device=mask.device)
    wanted = (uniform * ranks[:, -1:]).long().minimum(ranks[:, -1:] - 1) + 1
    return torch.searchsorted(ranks, wanted)


def _cell_numbers(shape: torch.Size, cells: Tensor) -> Tensor:
    """Indices (…, 3) along x, y, z of cells numbered as an array (z, y, x) is flattened."""
    _, height, width = shape
    return torch.stack((cells % width, cells // width % height, cells // (width * height)), -1)


def _near_surface(fields: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Uniform random positions (B, count, 3) in the cells whose centres lie within a cell of the surface."""
    shape = fields.shape[1:-1]
    sizes = torch.tensor(shape[::-1], device=fields.device)
    flat = fields.flatten(1).abs()
    near = flat <= flat.amin(1, keepdim=True).clamp(min=2 / min(shape))
    cells = _cell_numbers(shape, _choose(near, count, generator))
    within = torch.rand(cells.shape, generator=generator, device=fields.device)
    return (cells + within) * (2 / sizes) - 1


def _edge_crossings(fields: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Random points (B, count, 3) where a line between two neighbouring cell centres crosses the surface."""
    volume, shape = fields[..., 0], fields.shape[1:-1]
    sizes = torch.tensor(shape[::-1], device=fields.device)
    crossing = torch.zeros(3, *volume.shape, dtype=torch.bool, device=fields.device)  # from a cell along x, y, z
    for axis in range(3):
        length = volume.shape[3 - axis] - 1
        first, second = (volume.narrow(3 - axis, start, length) < 0 for start in (0, 1))
        crossing[axis].narrow(3 - axis, 0, length).copy_(first != second)
    edges = _choose(crossing.movedim(1, 0).flatten(1), count, generator)
    axis, cells = edges // volume[0].numel(), edges % volume[0].numel()
    strides = torch.tensor([1, shape[2], shape[1] * shape[2]], device=fields.device)
    flat = volume.flatten(1)
    first, second = flat.gather(1, cells), flat.gather(1, cells + strides[axis])
    share = first / (first - second)  # one is below 0 and the other is not, so they differ
    along = torch.nn.functional.one_hot(axis, 3) * share[..., None]
    return centres(_cell_numbers(shape, cells) + along, sizes)
