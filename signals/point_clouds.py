"""Scanned surfaces: points without distances or normals, from files of points or from the triangles of a mesh.

A point on the surface has signed distance 0. Points are normalised like meshes: see `signals.mesh.normalize_points`.
"""

import io
import re
from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor

from signals.mesh import Y_UP, normalize_points

TEXT = ("xyz", "txt", "csv", "pts", "asc")
MESHES = ("obj", "off", "ply", "stl", "glb")
EXTENSIONS = tuple(f".{ending}" for ending in (*TEXT, *MESHES))


def read_point_cloud(
    source: str | Path | bytes,
    count: int,
    generator: torch.Generator | None = None,
    name: str | None = None,
    file_type: str | None = None,
    most: int = 2_000_000,
) -> Tensor:
    """`count` points (count, 3) of a surface, as positions (x, y, z) with the longest side from -0.9 to 0.9.

    Text files (`TEXT`) have a point a line: x, y, z, and perhaps further columns, which are not used. PLY and OBJ files
    without faces are the points that they list. Of a mesh, watertight or not, random points of its triangles are taken,
    evenly by area, and its bounds decide the size. Where a file lists more than `count` points, a random part is taken;
    where it lists fewer, all of them are.

    Args:
        name (`str`): What messages call it; default: the file.
        file_type (`str`): Its ending, where `source` is bytes.
        most (`int`): Most points, or triangles, that a file may hold.

    Raises:
        ValueError: naming the file, where it cannot be read, holds too much, or has no finite points of some extent.
    """
    name = name or str(source)[:200]
    ending = (file_type or Path(str(source)).suffix.lstrip(".")).lower()
    if ending not in (*TEXT, *MESHES):
        raise ValueError(f"{name}: expected a file ending in {', '.join(EXTENSIONS)}, got {ending or 'none'!r}")
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    points, faces = (_text_points(data, name), None) if ending in TEXT else _mesh_points(data, ending, name)
    listed, what = (len(points), "points") if faces is None else (len(faces), "triangles")
    if listed > most:
        raise ValueError(f"{name}: expected at most {most:,} {what} (the limit here), got {listed:,}")
    used = points if faces is None else points[np.unique(faces)]
    if not len(used):
        raise ValueError(f"{name}: expected points or triangles, got none")
    broken = int((~np.isfinite(used)).any(1).sum())
    if broken:
        raise ValueError(f"{name}: expected finite coordinates, got others at {broken:,} of {len(used):,} points")
    if ending in Y_UP:
        points, used = (array[:, [0, 2, 1]] * (1, -1, 1) for array in (points, used))
    if faces is not None:
        points = points_on_triangles(points[faces], count, generator)
    elif len(points) > count:
        points = points[torch.randperm(len(points), generator=generator)[:count].numpy()]
    try:
        return torch.from_numpy(normalize_points(points, (used.min(0), used.max(0))).astype(np.float32))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def points_on_triangles(triangles: np.ndarray, count: int, generator: torch.Generator | None = None) -> np.ndarray:
    """`count` uniform random points (count, 3) of triangles (F, 3, 3), evenly by area."""
    corners = torch.from_numpy(np.asarray(triangles, dtype=np.float64))
    first, sides = corners[:, 0], corners[:, 1:] - corners[:, :1]
    areas = torch.linalg.cross(sides[:, 0], sides[:, 1]).norm(dim=1).cumsum(0)
    drawn = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    which = torch.searchsorted(areas, drawn[:, 0] * areas[-1]).clamp(max=len(areas) - 1)
    folded = torch.where(drawn[:, 1:].sum(1, keepdim=True) > 1, 1 - drawn[:, 1:], drawn[:, 1:])
    return (first[which] + (folded[..., None] * sides[which]).sum(1)).numpy()


def _text_points(data: bytes, name: str) -> np.ndarray:
    """Points (N, 3) of a text file: comments, a line of column names and a line with the number of points are left out.

    Raises:
        ValueError: naming the line that is wrong.
    """
    rows = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        line = line.partition("#")[0].partition("//")[0].strip()
        if not line:
            continue
        try:
            row = [float(part) for part in re.split(r"[\s,;]+", line) if part]
        except ValueError:
            row = []
        if len(row) < 3:
            heading = not rows and (not row or (len(row) == 1 and row[0] == int(row[0])))
            if heading:
                continue
            raise ValueError(f"{name}, line {number}: expected three numbers, x, y and z, got {line[:40]!r}")
        rows.append(row[:3])
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _mesh_points(data: bytes, ending: str, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Vertices (V, 3) and triangles (F, 3) of a file; `None` where it has points only.

    Raises:
        ValueError: where it cannot be read.
    """
    if ending == "obj" and not re.search(rb"^f\s", data, re.MULTILINE):
        rows = b"\n".join(line[1:] for line in data.splitlines() if line[:2] in (b"v ", b"v\t"))
        return _text_points(rows, name), None
    try:
        loaded = trimesh.load(io.BytesIO(data), file_type=ending, process=False)
        if isinstance(loaded, trimesh.Scene):
            parts = loaded.dump()
            flat = [part for part in parts if isinstance(part, trimesh.Trimesh)] or parts
            loaded = trimesh.util.concatenate(flat) if isinstance(flat[0], trimesh.Trimesh) else flat[0]
    except Exception as error:  # the parsers raise many kinds; the user needs one sentence
        raise ValueError(f"{name}: expected a file of points or a mesh, cannot read it: {error}") from error
    points = np.asarray(getattr(loaded, "vertices", np.zeros((0, 3))), dtype=np.float64).reshape(-1, 3)
    faces = getattr(loaded, "faces", None)
    return points, None if faces is None or not len(faces) else np.asarray(faces, dtype=np.int64)
