"""Flat polygons cut into triangles that stay inside of them.

Readers of mesh files cut a polygon into a fan around its first corner. Where the polygon is not convex, some triangles
of the fan lie outside of it and are folded back: the volume is right, but distances to the surface are not.
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

FLAT = 1e-6  # how far the cosine of two normals may be from 1 or -1 for triangles in one plane
LARGEST = 2000  # triangles of a flat region that is looked at


def unfold(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Triangles (F, 3) in which each flat region that is folded onto itself is triangulated again along its outline.

    A region without one simple outline (say, a flat fin) stays as it is.
    """
    normals = np.cross(*(points[corners[:, 1:]] - points[corners[:, :1]]).transpose(1, 0, 2))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    pairs = _neighbours(corners)
    cosine = np.einsum("ij,ij->i", normals[pairs[:, 0]], normals[pairs[:, 1]])
    folds = pairs[cosine < FLAT - 1]
    if not len(folds):
        return corners
    flat = pairs[np.abs(cosine) > 1 - FLAT]
    links = coo_matrix((np.ones(len(flat)), flat.T), (len(corners),) * 2)
    region = connected_components(links, directed=False)[1]
    kept, added = np.ones(len(corners), bool), []
    for number in np.unique(region[folds[:, 0]]):
        members = np.flatnonzero(region == number)
        outline = _outline(corners[members]) if len(members) <= LARGEST else None
        triangles = None if outline is None else _cut(points[outline])
        if triangles is not None:
            kept[members] = False
            added.append(outline[triangles])
    return np.concatenate((corners[kept], *added))


def _neighbours(corners: np.ndarray) -> np.ndarray:
    """Pairs (N, 2) of triangles that alone share an edge and run along it in opposite directions."""
    ends = corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    _, edge, counts = np.unique(np.sort(ends, 1), axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(edge.reshape(-1), kind="stable")
    order = order[counts[edge.reshape(-1)[order]] == 2].reshape(-1, 2)
    opposite = ends[order[:, 0], 0] == ends[order[:, 1], 1]
    return order[opposite] // 3


def _outline(corners: np.ndarray) -> np.ndarray | None:
    """Vertices around triangles, in their direction; `None` where these have no one simple outline."""
    ends = [tuple(pair) for pair in corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).tolist()]
    left = set(ends) - {(second, first) for first, second in ends}
    following = dict(left)
    if len(following) != len(left) or len(set(following.values())) != len(left) or len(left) < 3:
        return None
    loop = [next(iter(following))]
    while following[loop[-1]] != loop[0]:
        if len(loop) > len(left):
            return None
        loop.append(following[loop[-1]])
    return np.array(loop) if len(loop) == len(left) else None


def _cut(outline: np.ndarray) -> np.ndarray | None:
    """Triangles (N - 2, 3), numbers of the corners (N, 3) of a flat polygon, by cutting off ears; `None` on failure."""
    centred = outline - outline.mean(0)
    area = np.cross(centred, np.roll(centred, -1, 0)).sum(0)
    if not np.linalg.norm(area) > 0:
        return None
    axis = area / np.linalg.norm(area)
    across = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    across /= np.linalg.norm(across)
    flat = np.stack((centred @ across, centred @ np.cross(axis, across)), 1)
    left, triangles = list(range(len(flat))), []
    while len(left) > 3:
        for corner in range(len(left)):
            ear = [left[corner - 1], left[corner], left[(corner + 1) % len(left)]]
            if _is_ear(flat, ear, left):
                triangles.append(ear)
                del left[corner]
                break
        else:
            return None
    return np.array([*triangles, left])


def _is_ear(flat: np.ndarray, ear: list[int], left: list[int]) -> bool:
    """Whether a corner with its two neighbours is convex and no other corner lies in that triangle."""
    sides = flat[ear][[1, 2, 0]] - flat[ear]
    if sides[0, 0] * sides[1, 1] - sides[0, 1] * sides[1, 0] <= 0:
        return False
    others = flat[[corner for corner in left if corner not in ear]]
    to = others[:, None] - flat[ear]  # (others, 3, 2)
    inside = sides[:, 0] * to[..., 1] - sides[:, 1] * to[..., 0]
    return not (inside >= 0).all(1).any()
