"""Meshes from points on a surface by two standard methods, and how well they rebuild test shapes.

    python -m baselines.surface_reconstruction --dataset_name path/to/chairs --points 1024

prints the intersection over union (IoU) of each method's cells with the true ones. The methods are screened Poisson
surface reconstruction (Kazhdan & Hoppe 2013) and ball pivoting (Bernardini et al. 1999) of MeshLab. They need
`pip install pymeshlab` (100 MB; GPL), which nothing else here uses.

With `--checkpoint`, a model is compared too. It is told nothing but that the points lie on the surface. Two sets of
cells are taken from its answer: those that probably overlap most with the shape (`signals/overlap.py`), and those whose
mean distance is negative.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import igl
import numpy as np
import torch
from torch import Tensor

from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.cells import cell_positions
from signals.overlap import likely_distances
from signals.shape import Shapes
from signals.surface import interpolate, surface_points

NEIGHBOURS = 12  # points to which the plane at a point is fitted, for its normal
POISSON_DEPTH = 6  # an octree of 64 cells a side, twice as fine as the grid


def _point_set(points: np.ndarray, normals: np.ndarray | None):
    """A `pymeshlab.MeshSet` of points (N, 3), with normals (N, 3) as given or else fitted.

    Raises:
        ImportError: with what to install.
    """
    try:
        import pymeshlab
    except ImportError as error:
        raise ImportError("surface reconstruction needs `pip install pymeshlab`") from error
    meshes = pymeshlab.MeshSet(verbose=False)
    given = {} if normals is None else {"v_normals_matrix": normals.astype(np.float64)}
    meshes.add_mesh(pymeshlab.Mesh(vertex_matrix=points.astype(np.float64), **given))
    if normals is None:
        meshes.compute_normal_for_point_clouds(k=NEIGHBOURS)
    return meshes


def screened_poisson(points: np.ndarray, normals: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (F, 3) of a closed surface near points (N, 3).

    Without `normals` (N, 3) these are fitted to each point's neighbours. Which side is outside is then a guess that
    MeshLab makes consistent between neighbours, and that fails on thin parts.
    """
    meshes = _point_set(points, normals)
    meshes.generate_surface_reconstruction_screened_poisson(depth=POISSON_DEPTH, preclean=True, threads=1)
    found = meshes.current_mesh()
    return found.vertex_matrix(), found.face_matrix().astype(np.int64)


def ball_pivoting(points: np.ndarray, normals: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (F, 3) between points (N, 3) that a ball of guessed size touches; may be open."""
    meshes = _point_set(points, normals)
    meshes.generate_surface_reconstruction_ball_pivoting()
    found = meshes.current_mesh()
    return found.vertex_matrix(), found.face_matrix().astype(np.int64)


METHODS: dict[str, Callable] = {"screened Poisson": screened_poisson, "ball pivoting": ball_pivoting}


def occupied(vertices: np.ndarray, faces: np.ndarray, grid: list[int]) -> np.ndarray:
    """Which cells (z, y, x) of a grid have their centre inside of triangles: a winding number beyond 0.5 or -0.5.

    Without normals a method cannot know which way faces turn, hence both signs.
    """
    centres = cell_positions(grid, torch.arange(torch.Size(grid).numel())).double().numpy()
    if not len(faces):
        return np.zeros(grid[::-1], bool)
    winding = igl.fast_winding_number(np.ascontiguousarray(vertices), np.ascontiguousarray(faces), centres)
    return (np.abs(winding) > 0.5).reshape(grid[::-1])


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two sets of cells; 1 for two empty ones."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def outward_normals(field: Tensor, points: Tensor) -> np.ndarray:
    """Normals (N, 3) of a distance field (z, y, x, 1) at points (N, 3), which some scanners know."""
    slope = interpolate(field[None], points[None])[1][0]
    return torch.nn.functional.normalize(slope, dim=-1).numpy()


def filled(model, points: Tensor, grid: list[int]) -> dict[str, np.ndarray]:
    """Which cells (z, y, x) of a grid a model fills, given that points (N, 3) lie on the surface, in two ways."""
    cells = cell_positions(grid, torch.arange(torch.Size(grid).numel()))
    found = model.predict(points[None], torch.zeros(1, len(points), 1), cells[None])[0]
    distances = {"this model": likely_distances(found), "this model, negative mean": found.mean}
    return {name: (each < 0).view(grid[::-1]).numpy() for name, each in distances.items()}


def compare(fields: list[Tensor], count: int, seed: int, front: bool = False, model=None) -> Iterator[dict[str, float]]:
    """The IoU of each method for each of some shapes (z, y, x, 1), from `count` random points of its surface.

    Args:
        front (`bool`): Only points with y < 0, half of the shape.
        model (`PixelTransformerModel` or `None`): Of signed distances; compared too.
    """
    generator = torch.Generator().manual_seed(seed)
    for field in fields:
        drawn = surface_points(field[None], count * (8 if front else 1), generator)[0]
        points = drawn[drawn[:, 1] < 0][:count] if front else drawn
        grid, truth = list(field.shape[-2::-1]), field[..., 0].numpy() < 0
        cells = {} if model is None else filled(model, points, grid)
        found = {name: iou(each, truth) for name, each in cells.items()}
        for name, method in METHODS.items():
            found[name] = iou(occupied(*method(points.numpy()), grid), truth)
            given = outward_normals(field, points)
            found[f"{name}, true normals"] = iou(occupied(*method(points.numpy(), given), grid), truth)
        yield found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset_name", required=True, help="dataset or folder with occupancy grids or meshes")
    parser.add_argument("--split", default="test", help="which shapes")
    parser.add_argument("--points", type=int, default=1024, help="points on each surface")
    parser.add_argument("--shapes", type=int, help="how many; default: all")
    parser.add_argument("--grid", type=int, default=32, help="cells a side of meshes' distance fields")
    parser.add_argument("--front", action="store_true", help="only points of the front half")
    parser.add_argument("--checkpoint", help="checkpoint folder or Hub id of a model to compare")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    for name in ("points", "shapes", "grid"):
        value = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name}: expected a number above 0, got {value}")
    config = SimpleNamespace(native_grid=[given.grid] * 3, value_range=[-1.5, 1.5])
    try:
        rows = Shapes(dataset_name=given.dataset_name).load_split(given.split, config, given.shapes)
        model = None if given.checkpoint is None else PixelTransformerModel.from_pretrained(given.checkpoint).eval()
        fields = [rows[index] for index in range(len(rows))]
        found = list(compare(fields, given.points, given.seed, given.front, model))
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"surface_reconstruction: {error}")
    where = "the front half of the surface" if given.front else "the surface"
    print(f"IoU of {len(found)} shapes from {given.points:,} points of {where}:")
    for name in found[0]:
        scores = np.array([each[name] for each in found])
        print(f"  {name}: mean {scores.mean():.3f}, median {np.median(scores):.3f}, least {scores.min():.3f}")


if __name__ == "__main__":
    main()
