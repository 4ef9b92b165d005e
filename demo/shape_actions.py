"""What can be asked about a 3D shape: its surface from distances at a few points, sampled ones, where it is sure."""

from collections.abc import Iterator

import numpy as np
import torch
import trimesh
from matplotlib import colormaps
from torch import Tensor

from demo.answers import FAST, Sampling, marginal
from demo.grids import choose_cells, split
from demo.guard import check_time
from demo.limits import (
    MAX_CONTEXT,
    MAX_FACES,
    MAX_POINTS,
    MAX_SEED,
    MAX_SHAPE_RESOLUTION,
    MIN_SHAPE_RESOLUTION,
    whole,
)
from demo.models import config_of, load
from demo.observed import Observed
from signals.cells import cell_positions, values_at_positions, weighted_cells
from signals.mesh import mesh_to_sdf, normalize, read_mesh, sdf_to_mesh
from signals.overlap import likely_distances
from signals.point_clouds import read_point_cloud
from signals.shape import NEAR, Shapes, points_of
from signals.shape_samples import DRAWN, sample_shapes
from signals.surface import has_surface

NEAR_SURFACE = "near the surface"
WHERE = (NEAR_SURFACE, *Shapes.patterns)
INSIDE, OUTSIDE, ON = (226, 74, 66), (66, 126, 226), (232, 168, 56)
PLAIN = (150, 160, 205)  # of a surface without colours: it stands out on white and on black
UNCERTAIN = 0.08  # standard deviation of a distance that is shown brightest


def read_shape(path: str | None, checkpoint: str) -> Tensor:
    """Signed distances (z, y, x, 1) of a mesh file on the checkpoint's grid."""
    if not path:
        raise ValueError("mesh: expected a file, got none; upload one or click an example")
    ending = str(path).rsplit(".", 1)[-1].lower()
    return distances(read_mesh(path, "mesh", ending, MAX_FACES), checkpoint)


def distances(mesh: trimesh.Trimesh, checkpoint: str) -> Tensor:
    """Signed distances (z, y, x, 1) of a mesh, made to fill the cube, on the checkpoint's grid."""
    config = config_of(checkpoint, "shape")
    return mesh_to_sdf(normalize(mesh), config.native_grid).clamp(*config.value_range)


def observe(sdf: Tensor, count: int, where: str, seed: int) -> Observed:
    """Distances at `count` cell centres, or points of the surface, where the distance is 0.

    Args:
        where (`str`): One of `WHERE`.
    """
    grid = list(sdf.shape[-2::-1])
    count = whole("count", count, 1, min(MAX_CONTEXT, sdf.numel()))
    seed = whole("seed", seed, 0, MAX_SEED)
    generator = torch.Generator().manual_seed(seed)
    if where not in WHERE:
        raise ValueError(f"where: expected one of {', '.join(WHERE)}, got {str(where)[:40]!r}")
    if where == NEAR_SURFACE:
        near = sdf.flatten().abs() < NEAR * 2 / max(grid)
        share = near.float().mean().clamp(1e-3, 1 - 1e-3)
        cells = weighted_cells(torch.where(near, (1 - share) / share, 1.0)[None], count, generator)[0]
    elif Shapes.patterns[where].surface:
        if not has_surface(sdf[None]):
            raise ValueError(
                f"where: expected a shape thick enough for {grid} cells, got one that holds no cell's centre"
            )
        pattern = Shapes.patterns[where].with_count(count, sdf.numel())
        return on_surface(points_of(pattern, sdf[None], generator)[0])
    else:
        positions = cell_positions(grid, torch.arange(sdf.numel()))
        cells = choose_cells(Shapes.patterns, positions, count, where, seed)
    return Observed(cell_positions(grid, cells), sdf.flatten()[cells][:, None])


def on_surface(points: Tensor) -> Observed:
    """Points (K, 3) of a surface as an observed set: their distance to it is 0."""
    return Observed(points, torch.zeros(len(points), 1))


def read_scan(path: str | None, checkpoint: str) -> Tensor:
    """Points (N, 3) of a file, in random order, as many as may be observed: a point cloud, or samples of a mesh."""
    if not path:
        raise ValueError("point cloud: expected a file, got none; upload one")
    config_of(checkpoint, "shape")
    generator = torch.Generator().manual_seed(0)
    points = read_point_cloud(path, MAX_CONTEXT, generator, "point cloud", str(path).rsplit(".", 1)[-1], MAX_POINTS)
    return points[torch.randperm(len(points), generator=generator)]


def observe_scan(points: Tensor, count: int, seed: int) -> Observed:
    """`count` random ones of points (N, 3) on a surface, or all where there are fewer."""
    count = whole("count", count, 1, MAX_CONTEXT)
    generator = torch.Generator().manual_seed(whole("seed", seed, 0, MAX_SEED))
    return on_surface(points[torch.randperm(len(points), generator=generator)[:count]])


def cube(side: int) -> list[int]:
    """The grid of an answer."""
    return [whole("resolution", side, MIN_SHAPE_RESOLUTION, MAX_SHAPE_RESOLUTION)] * 3


def likely_surface(checkpoint: str, observed: Observed, side: int) -> trimesh.Trimesh | None:
    """The surface around the cells that probably overlap most with the shape; `None` if there is none.

    It is bright where the distance is uncertain.
    """
    cells = split(observed, cube(side))
    likely = deviation = torch.empty(0, 1)
    if len(cells.hidden):
        found = marginal(checkpoint, observed, cells.queries)
        likely, deviation = likely_distances(found), found.stddev
    surface = sdf_to_mesh(cells.complete(likely))
    if surface is None:
        return None
    deviation = cells.complete(deviation, 0.0)
    positions = torch.from_numpy(np.asarray(surface.vertices, dtype=np.float32)).clamp(-1, 1)
    level = (values_at_positions(deviation[None], positions[None])[0, :, 0] / UNCERTAIN).clamp(0, 1).numpy()
    surface.visual.vertex_colors = (colormaps["viridis"](level) * 255).astype(np.uint8)
    return surface


def sampled_surfaces(
    checkpoint: str, observed: Observed, side: int, sampling: Sampling
) -> Iterator[float | list[trimesh.Trimesh | None]]:
    """The share of the work that is done, now and then, and at the end the surfaces of joint samples (`None` for a
    sample without a surface)."""
    cells = split(observed, cube(side))
    model = load(checkpoint)
    samples = int(sampling.samples)
    states = sample_shapes(
        model,
        **observed.arguments(model.device),
        query_positions=cells.queries[None].to(model.device),
        num_samples=samples,
        num_drawn=DRAWN,
        num_steps=int(sampling.steps or FAST),
        temperature=float(sampling.temperature),
        generator=torch.Generator(model.device).manual_seed(int(sampling.seed)),
    )
    for state in states:
        check_time()
        yield state if isinstance(state, float) else [sdf_to_mesh(cells.complete(each.cpu())) for each in state]


def point_cloud(observed: Observed, size: float = 0.022) -> trimesh.Trimesh:
    """Observed points as small octahedra: red inside the shape, blue outside, paler the farther from it; yellow on
    the surface."""
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=np.float64) * size
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    centers, value = observed.positions.double().numpy(), observed.values[:, 0].numpy()
    pale = np.clip(np.abs(value) / 0.8, 0, 0.8)[:, None]
    colours = np.where((value < 0)[:, None], INSIDE, np.where((value > 0)[:, None], OUTSIDE, ON))
    colours = colours * (1 - pale) + 235 * pale
    mesh = trimesh.Trimesh(
        (centers[:, None] + corners).reshape(-1, 3),
        (faces[None] + 6 * np.arange(len(centers))[:, None, None]).reshape(-1, 3),
        process=False,
    )
    mesh.visual.vertex_colors = np.repeat(np.c_[colours, np.full(len(colours), 255)], 6, axis=0).astype(np.uint8)
    return mesh


def glb(mesh: trimesh.Trimesh) -> bytes:
    """A mesh as GLB, turned so that viewers show z upwards; one without colours gets `PLAIN`."""
    turned = mesh.copy()
    if turned.visual.kind is None:
        turned.visual.vertex_colors = np.tile(np.array([*PLAIN, 255], dtype=np.uint8), (len(turned.vertices), 1))
    turned.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0)))
    return turned.export(file_type="glb")
