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

EXTENSIONS = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")
FORMATS = (".glb", ".obj", ".ply")
Y_UP = ("glb", "gltf")  # by their standard; everything here has z up
MARGIN = 0.9  # half of the longest side of a mesh, in the units of positions


def read_mesh(
    source: str | Path | bytes, name: str | None = None, file_type: str | None = None, max_faces: int | None = None
) -> trimesh.Trimesh:
    """A watertight mesh from a file or its bytes; small holes are filled.

    Args:
        name (`str`): What messages call it; default: the file.
        max_faces (`int` or `None`): Most triangles that are worked on.

    Raises:
        ValueError: naming the file, where it cannot be read or does not enclose a volume.
    """
    name = name or str(source)
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        mesh = trimesh.load(file, file_type=file_type, force="mesh")
    except Exception as error:  # the parsers raise many kinds; the user needs one sentence
        raise ValueError(f"{name}: expected a mesh file, cannot read it: {error}") from error
    if (file_type or Path(name).suffix.lstrip(".").lower()) in Y_UP and isinstance(mesh, trimesh.Trimesh):
        mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0)))
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
        raise ValueError(f"{name}: expected a mesh with triangles and finite vertices, got none")
    if max_faces is not None and len(mesh.faces) > max_faces:
        raise ValueError(f"{name}: expected at most {max_faces:,} faces (the limit here), got {len(mesh.faces):,}")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    mesh.update_faces(mesh.nondegenerate_faces() & mesh.unique_faces())
    if not mesh.is_watertight:
        trimesh.repair.fill_holes(mesh)
    if not mesh.is_watertight:
        broken = len(trimesh.grouping.group_rows(mesh.edges_sorted, require_count=1))
        raise ValueError(
            f"{name}: expected a watertight mesh, got one with {broken} open edges after filling small holes; "
            "close it, for example by remeshing"
        )
    trimesh.repair.fix_normals(mesh)
    return mesh


def normalize(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh centred, its longest side from -0.9 to 0.9."""
    low, high = mesh.bounds
    mesh = mesh.copy()
    mesh.apply_translation(-(low + high) / 2)
    mesh.apply_scale(2 * MARGIN / max((high - low).max(), 1e-12))
    return mesh


def mesh_to_sdf(mesh: trimesh.Trimesh, grid: list[int]) -> Tensor:
    """Signed distances (z, y, x, 1) at the cell centres of a grid, exact, negative inside."""
    axes = [(np.arange(size) + 0.5) * (2 / size) - 1 for size in grid]
    points = np.stack(np.meshgrid(*axes[::-1], indexing="ij"), -1)[..., ::-1].reshape(-1, 3)
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    kind = igl.SIGNED_DISTANCE_TYPE_FAST_WINDING_NUMBER  # bears with self-intersections
    distances = igl.signed_distance(np.ascontiguousarray(points), vertices, faces, kind)[0]
    return torch.from_numpy(distances.astype(np.float32)).view(*grid[::-1], 1)


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
    vertices = (vertices - 1 + 0.5) * (2 / sizes) - 1  # from padded cell numbers to positions
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
