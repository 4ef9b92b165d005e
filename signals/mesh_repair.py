"""Triangles of a file made into a surface that encloses a volume, without moving any of them.

A file's triangles count as closed where no edge belongs to one triangle only, whether or not more than two meet there
(two bodies that touch), whether a long edge meets several short ones (a T-junction), and whether corners at the same
position are one vertex or several. Faces are then turned so that the winding number is above 0.5 inside.
"""

from dataclasses import dataclass

import igl
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from signals.polygons import unfold

TOLERANCE = 1e-6  # of the longest side: corners and edges closer than this touch
SMALL_HOLE = 4  # most edges of a hole that is filled


class NotClosed(ValueError):
    """The triangles enclose no volume; the message says what is wrong, without naming the file."""


@dataclass(frozen=True)
class Pieces:
    """Directed edges of triangles, cut where the end of another edge lies on them.

    Attributes:
        ends (`ndarray` (N, 2)): Vertices from and to which a piece runs.
        faces (`ndarray` (N,)): The triangle that it belongs to.
    """

    ends: np.ndarray
    faces: np.ndarray

    def groups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which undirected edge (N,) each piece is, its direction (N,) as 1 or -1, and how many share each edge."""
        _, edge, counts = np.unique(np.sort(self.ends, 1), axis=0, return_inverse=True, return_counts=True)
        return edge.reshape(-1), np.where(self.ends[:, 0] < self.ends[:, 1], 1, -1), counts

    def open(self) -> np.ndarray:
        """Numbers of the pieces that no other triangle shares."""
        edge, _, counts = self.groups()
        return np.flatnonzero(counts[edge] == 1)


def enclose(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (F, 3) that enclose a volume, from those of a file.

    Corners are joined only as far as it takes to close the surface: those with one number in the file, those at equal
    positions, those within `TOLERANCE`. A triangle that the file lists twice counts once. A body that has each triangle
    facing both ways keeps one of each pair. Holes of up to four edges are filled. Every other triangle of positive area
    stays, as do walls between touching bodies.

    Raises:
        NotClosed: with the number of open edges, or what else keeps the triangles from enclosing a volume.
    """
    low = vertices[faces].min((0, 1))
    size = (vertices[faces].max((0, 1)) - low).max()
    if not size > 0:
        raise NotClosed("expected a mesh that encloses a volume, got all vertices at one position")
    used, faces = np.unique(faces, return_inverse=True)
    unit, faces = (vertices[used] - low) / size, faces.reshape(-1, 3)
    fewest = None
    for joined, tolerance in ((False, 0.0), (True, 0.0), (True, TOLERANCE)):
        points, corners = _join(unit, faces, tolerance) if joined else (unit, faces)
        corners = _without_repetitions(corners)
        pieces = _pieces(points, corners, split=joined)
        if not len(pieces.open()):
            break
        fewest = pieces.open() if fewest is None or len(pieces.open()) < len(fewest) else fewest
    else:
        corners = np.concatenate((corners, _small_fillings(pieces)))
        pieces = _pieces(points, corners, split=True)
        if len(pieces.open()):
            raise NotClosed(
                f"expected a watertight mesh, got one with {len(fewest)} open edges (each at one triangle only); "
                f"holes of more than {SMALL_HOLE} edges are not filled; close it, for example by remeshing"
            )
    corners = _outward(points, _oriented(corners, pieces))
    edges = points[corners[:, 1:]] - points[corners[:, :1]]
    solid = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) > 1e-14
    corners = unfold(points, corners[solid])
    if not volumes(points, corners).sum() > 1e-9:
        raise NotClosed("expected a mesh that encloses a volume, got flat or empty surfaces")
    return points * size + low, corners


def volumes(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Signed volumes (F,) of the tetrahedra from each triangle to the mesh's middle: their sum is what is enclosed."""
    a, b, c = (points[corners] - points[corners].mean((0, 1))).transpose(1, 0, 2)
    return np.einsum("ij,ij->i", a, np.cross(b, c)) / 6


def _join(points: np.ndarray, faces: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices at equal positions, or within a tolerance of each other, made one."""
    _, first, number = np.unique(points + 0.0, axis=0, return_index=True, return_inverse=True)  # -0 is 0
    points, faces = points[first], number.reshape(-1)[faces]
    if tolerance:
        pairs = cKDTree(points).query_pairs(tolerance, output_type="ndarray")
        near = coo_matrix((np.ones(len(pairs)), pairs.T), (len(points),) * 2)
        _, number = connected_components(near, directed=False)
        _, first = np.unique(number, return_index=True)
        points, faces = points[first], number[faces]
    return points, faces.astype(np.int64)


def _without_repetitions(corners: np.ndarray) -> np.ndarray:
    """Triangles without those that have no three corners, those listed twice, and the backs of two-sided bodies."""
    a, b, c = corners.T
    corners = corners[(a != b) & (b != c) & (c != a)]
    turned = np.take_along_axis(corners, (corners.argmin(1)[:, None] + np.arange(3)) % 3, 1)  # the least corner first
    _, kept = np.unique(turned, axis=0, return_index=True)
    corners = corners[np.sort(kept)]
    if not len(corners):
        return corners
    _, first, which, counts = np.unique(
        np.sort(corners, 1), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    paired = counts[which.reshape(-1)] == 2
    body = bodies(corners)
    two_sided = np.bincount(body, paired) == np.bincount(body)
    back = paired & two_sided[body]
    back[first] = False
    return corners[~back]


def bodies(corners: np.ndarray) -> np.ndarray:
    """Which connected body (F,) each triangle belongs to: those that share a vertex do."""
    count = corners.max() + 1
    links = coo_matrix((np.ones(2 * len(corners)), (corners[:, [0, 0]].ravel(), corners[:, 1:].ravel())), (count,) * 2)
    label = connected_components(links, directed=False)[1][corners[:, 0]]
    return np.unique(label, return_inverse=True)[1].reshape(-1)


def _pieces(points: np.ndarray, corners: np.ndarray, split: bool) -> Pieces:
    """Edges of triangles; with `split`, open ones are cut at the ends of other open ones that lie on them."""
    ends = corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    pieces = Pieces(ends, np.repeat(np.arange(len(corners)), 3))
    cut = pieces.open() if split else []
    if not len(cut):
        return pieces
    candidates = np.unique(ends[cut])
    tree = cKDTree(points[candidates])
    starts, stops = points[ends[cut, 0]], points[ends[cut, 1]]
    lengths = np.linalg.norm(stops - starts, axis=1)
    near = tree.query_ball_point((starts + stops) / 2, lengths / 2 + TOLERANCE)
    new_ends, new_faces = [], []
    for number, start, stop, length, found in zip(cut, starts, stops, lengths, near, strict=True):
        inner = candidates[found]
        along = (points[inner] - start) @ (stop - start) / length
        off = np.linalg.norm(points[inner] - start - along[:, None] * (stop - start) / length, axis=1)
        on = (off <= TOLERANCE) & (along > TOLERANCE) & (along < length - TOLERANCE)
        chain = [ends[number, 0], *inner[on][along[on].argsort()], ends[number, 1]]
        new_ends += zip(chain, chain[1:], strict=False)
        new_faces += [pieces.faces[number]] * (len(chain) - 1)
    whole = np.ones(len(ends), bool)
    whole[cut] = False
    return Pieces(
        np.concatenate((ends[whole], np.array(new_ends).reshape(-1, 2))),
        np.concatenate((pieces.faces[whole], np.array(new_faces, dtype=np.int64))),
    )


def _small_fillings(pieces: Pieces) -> np.ndarray:
    """Triangles (N, 3) over holes of three or four edges."""
    ends = pieces.ends[pieces.open()]
    neighbours: dict[int, list[int]] = {}
    for first, second in ends.tolist():
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    found, done = [], set()
    for start, around in neighbours.items():
        if start in done or len(around) != 2:
            continue
        loop = [start, around[0]]
        while len(loop) <= SMALL_HOLE and len(neighbours[loop[-1]]) == 2:
            first, second = neighbours[loop[-1]]
            following = second if first == loop[-2] else first
            if following == start:
                break
            loop.append(following)
        else:
            continue
        done.update(loop)
        if 3 <= len(loop) <= SMALL_HOLE:
            directed = {tuple(pair) for pair in ends.tolist()}
            loop = loop[::-1] if (loop[0], loop[1]) in directed else loop  # against the edge that it closes
            found += [(loop[0], loop[n], loop[n + 1]) for n in range(1, len(loop) - 1)]
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def _oriented(corners: np.ndarray, pieces: Pieces) -> np.ndarray:
    """Triangles turned so that those at an edge run along it both ways equally often; as they are where they do.

    Raises:
        NotClosed: where that cannot be, as on a Klein bottle.
    """
    edge, direction, counts = pieces.groups()

    def balanced(turn: np.ndarray) -> bool:
        return bool((np.abs(np.bincount(edge, direction * turn[pieces.faces])) == counts % 2).all())

    if balanced(np.ones(len(corners))):
        return corners
    turned, patch = igl.bfs_orient(np.ascontiguousarray(corners))
    first = np.take_along_axis(turned, (np.argmax(turned == corners[:, :1], 1)[:, None] + 1) % 3, 1)[:, 0]
    turn = np.where(first == corners[:, 1], 1, -1)
    kept = np.where(np.bincount(patch, turn) >= 0, 1, -1)  # most of a patch stays as it was
    turn = turn * kept[patch]
    # Patches meet where more than two triangles share an edge: turn each that makes the sums there smaller.
    sums = coo_matrix((direction * turn[pieces.faces], (edge, patch[pieces.faces]))).tocsc()
    side, total = np.ones(sums.shape[1]), np.asarray(sums.sum(1)).ravel()
    for _ in range(20):
        changed = False
        for number in range(sums.shape[1]):
            rows = slice(sums.indptr[number], sums.indptr[number + 1])
            column, at = sums.data[rows] * side[number], sums.indices[rows]
            if (column @ (column - total[at])) < -1e-9:
                total[at] -= 2 * column
                side[number], changed = -side[number], True
        if not changed:
            break
    turn = turn * side[patch]
    if not balanced(turn):
        raise NotClosed("expected a surface with an inside and an outside, got faces that cannot be turned to agree")
    return np.where(turn[:, None] > 0, corners, corners[:, [0, 2, 1]])


def _outward(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Triangles with each body turned outwards; a body that faces the other way inside another is a cavity of it."""
    body = bodies(corners)
    volume = np.bincount(body, volumes(points, corners))
    if (volume >= 0).all():
        return corners
    parts = [corners[body == number] for number in range(len(volume))]
    boxes = np.array([(points[part].min((0, 1)), points[part].max((0, 1))) for part in parts])
    turned = np.zeros(len(parts), bool)
    for number, part in enumerate(parts):
        around = (boxes[:, 0] <= boxes[number, 0]).all(1) & (boxes[:, 1] >= boxes[number, 1]).all(1)
        around &= np.abs(volume) > np.abs(volume[number])
        own = np.ascontiguousarray(points[np.unique(part)[:64]])
        holding = [n for n in np.flatnonzero(around) if np.abs(igl.winding_number(points, parts[n], own)).mean() > 0.5]
        outermost = max(holding, key=lambda n: abs(volume[n]), default=number)
        turned[number] = volume[outermost] < 0
    return np.where(turned[body][:, None], corners[:, [0, 2, 1]], corners)
