"""Meshes from signed distances, and signed distances from meshes or occupancy grids."""

import io
from pathlib import Path

import igl
import numpy as np
import torch
import trimesh
from scipy.ndimage import distance_transform_edt
from skimage.measure import marching_cubes
from torch import Tensor

from pixeltransformer.grids import centres
from signals.mesh_repair import NotClosed, enclose

EXTENSIONS = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")
FORMATS = (".glb", ".obj", ".ply")
Y_UP = ("glb", "gltf")  # by their standard; everything here has z up
MARGIN = 0.9  # half of the longest side of a mesh, in the units of positions


def read_mesh(
    source: str | Path | bytes, name: str | None = None, file_type: str | None = None, max_faces: int | None = None
) -> trimesh.Trimesh:
    """A mesh that encloses a volume from a file or its bytes, see `signals.mesh_repair.enclose`.

    Polygons become triangles, the parts of a scene one mesh. Units do not matter, as `normalize` removes them.

    Args:
        name (`str`): What messages call it; default: the file.
        max_faces (`int` or `None`): Most triangles that are worked on.

    Raises:
        ValueError: naming the file, where it cannot be read or does not enclose a volume.
    """
    name = name or str(source)
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        mesh = trimesh.load(file, file_type=file_type, force="mesh", process=False)
    except Exception as error:  # the parsers raise many kinds; the user needs one sentence
        raise ValueError(f"{name}: expected a mesh file, cannot read it: {error}") from error
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
        raise ValueError(f"{name}: expected a mesh with triangles and finite vertices, got none")
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices) or not np.isfinite(vertices[faces]).all():
        raise ValueError(f"{name}: expected a mesh with triangles and finite vertices, got others")
    if max_faces is not None and len(faces) > max_faces:
        raise ValueError(f"{name}: expected at most {max_faces:,} faces (the limit here), got {len(faces):,}")
    if (file_type or Path(name).suffix.lstrip(".").lower()) in Y_UP:
        vertices = vertices[:, [0, 2, 1]] * (1, -1, 1)
    try:
        return trimesh.Trimesh(*enclose(vertices, faces), process=False)
    except NotClosed as error:
        raise ValueError(f"{name}: {error}") from error


def normalize(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh centred, its longest side from -0.9 to 0.9."""
    mesh = mesh.copy()
    mesh.vertices = normalize_points(np.asarray(mesh.vertices, dtype=np.float64), mesh.bounds)
    return mesh


def normalize_points(points: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Points (N, 3) moved and scaled, alike along all axes, so that `bounds` (2, 3) are centred on 0 and their longest
    side reaches from -0.9 to 0.9: `(points - (low + high) / 2) * 1.8 / max(high - low)`.

    Raises:
        ValueError: for bounds without an extent.
    """
    low, high = np.asarray(bounds, dtype=np.float64)
    if not (high - low).max() > 0:
        raise ValueError(f"points: expected some at different positions, got all at {low.round(4).tolist()}")
    return (points - (low + high) / 2) * (2 * MARGIN / (high - low).max())


def mesh_to_sdf(mesh: trimesh.Trimesh, grid: list[int]) -> Tensor:
    """Signed distances (z, y, x, 1) at the cell centres of a grid, negative inside."""
    axes = [centres(np.arange(size), size) for size in grid]
    points = np.stack(np.meshgrid(*axes[::-1], indexing="ij"), -1)[..., ::-1].reshape(-1, 3)
    return torch.from_numpy(signed_distances(mesh, points).astype(np.float32)).view(*grid[::-1], 1)


def signed_distances(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    """Distances (N,) of points (N, 3) to the nearest triangle of a mesh, negative inside.

    A point is inside where the winding number (Barill et al. 2018) is above 0.5: in any of several bodies, overlapping
    or nested ones too. Triangles inside of another body count as surface for the distance like all others.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    distances = np.sqrt(igl.point_mesh_squared_distance(points, vertices, faces)[0])
    low, size = mesh.bounds[0], np.ptp(mesh.bounds, 0).max()  # the winding number is computed in single precision
    winding = igl.fast_winding_number((vertices - low) / size, faces, (points - low) / size)
    return np.where(winding > 0.5, -distances, distances)


def occupancy_to_sdf(occupancy: np.ndarray) -> Tensor:
    """Signed distances (z, y, x, 1) of occupied cells (x, y, z), negative inside, in the units of positions.

    Between the centres of cells, less half a cell: the surface lies between an occupied cell and an empty one.

    Raises:
        ValueError: for a grid that is no cube, all empty or all full.
    """
    if np.ndim(occupancy) != 3 or len(set(np.shape(occupancy))) != 1:
        raise ValueError(f"occupancy: expected a cube of cells, got shape {np.shape(occupancy)}")
    filled = np.asarray(occupancy).transpose(2, 1, 0) > 0
    if filled.all() or not filled.any():
        raise ValueError(f"occupancy: expected a surface, got a grid that is all {'full' if filled.any() else 'empty'}")
    cell = 2 / len(filled)
    outside, inside = distance_transform_edt(~filled), distance_transform_edt(filled)
    return torch.from_numpy((np.where(filled, 0.5 - inside, outside - 0.5) * cell).astype(np.float32))[..., None]


def sdf_to_mesh(sdf: Tensor) -> trimesh.Trimesh | None:
    """The surface where signed distances (z, y, x, 1) are 0, closed at the border; `None` if there is none."""
    volume = sdf[..., 0].detach().float().cpu().numpy().transpose(2, 1, 0)  # (x, y, z)
    if not volume.min() < 0 < volume.max():
        return None
    padded = np.pad(volume, 1, constant_values=volume.max())
    vertices, faces, _, _ = marching_cubes(padded, 0.0)
    sizes = np.array(volume.shape)
    vertices = centres(vertices - 1, sizes)  # a cell of padding lies in front
    mesh = trimesh.Trimesh(vertices, faces, process=True)
    trimesh.repair.fix_normals(mesh)
    return mesh


def save_mesh(mesh: trimesh.Trimesh, path: str | Path) -> None:
    """Write a mesh as GLB (turned so that viewers show z upwards), OBJ or PLY, by the file's ending.

    Raises:
        ValueError: for another ending.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise ValueError(f"path: expected a name ending in {', '.join(FORMATS)}, got {str(path)!r}")
    if Path(path).suffix.lower().lstrip(".") in Y_UP:
        mesh = mesh.copy()
        mesh.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0)))
    mesh.export(str(path))
