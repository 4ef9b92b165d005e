"""Meshes of every kind that files hold: what encloses a volume is accepted, and its distances are right."""

import numpy as np
import pytest
import trimesh

from signals.mesh import mesh_to_sdf, normalize, read_mesh, signed_distances
from signals.mesh_repair import enclose


def ball(radius: float = 0.6, center=(0.0, 0.0, 0.0), inwards: bool = False) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=radius)
    mesh.apply_translation(center)
    if inwards:
        mesh.invert()
    return mesh


def box(low, high) -> trimesh.Trimesh:
    return trimesh.creation.box(bounds=(low, high))


def union(*parts: trimesh.Trimesh) -> trimesh.Trimesh:
    """All triangles as one mesh."""
    return trimesh.util.concatenate(list(parts))


def brute_force(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    """Distances (N,) to the closest point of any triangle: in its plane if that is inside, else on one of its sides."""
    best = np.full(len(points), np.inf)
    for a, b, c in mesh.triangles:
        normal = np.cross(b - a, c - a)
        inside = np.ones(len(points), bool)
        for start, stop in ((a, b), (b, c), (c, a)):
            side = stop - start
            inside &= (np.cross(side, points - start) @ normal) >= 0
            along = np.clip((points - start) @ side / (side @ side), 0, 1)
            best = np.minimum(best, np.linalg.norm(points - start - along[:, None] * side, axis=1))
        height = np.abs((points - a) @ normal) / np.linalg.norm(normal)
        best = np.where(inside, np.minimum(best, height), best)
    return best


def in_ball(points, radius, center=(0.0, 0.0, 0.0)):
    """Inside of a ball's triangles: outside of none of their planes."""
    mesh = ball(radius, center)
    return ((points[:, None] - mesh.triangles[:, 0]) * mesh.face_normals).sum(-1).max(1) < 0


def in_box(points, low, high):
    return ((points > low) & (points < high)).all(1)


TOP, BOTTOM = ((-0.4, -0.4, 0.0), (0.4, 0.4, 0.8)), ((-0.4, -0.4, -0.8), (0.4, 0.4, 0.0))
# Name: the mesh, and which points are inside.
SOLIDS = {
    "one ball": (ball(), lambda p: in_ball(p, 0.6)),
    "overlapping balls": (
        union(ball(0.5, (-0.2, 0, 0)), ball(0.5, (0.25, 0.1, 0))),
        lambda p: in_ball(p, 0.5, (-0.2, 0, 0)) | in_ball(p, 0.5, (0.25, 0.1, 0)),
    ),
    "three overlapping boxes": (
        union(*(box(-np.roll((0.8, 0.3, 0.3), n), np.roll((0.8, 0.3, 0.3), n)) for n in range(3))),
        lambda p: np.any([in_box(p, -np.roll((0.8, 0.3, 0.3), n), np.roll((0.8, 0.3, 0.3), n)) for n in range(3)], 0),
    ),
    "a ball in a ball": (union(ball(0.8), ball(0.4)), lambda p: in_ball(p, 0.8)),
    "a hollow ball": (union(ball(0.8), ball(0.4, inwards=True)), lambda p: in_ball(p, 0.8) & ~in_ball(p, 0.4)),
    "boxes that touch": (union(box(*TOP), box(*BOTTOM)), lambda p: in_box(p, *TOP) | in_box(p, *BOTTOM)),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_distances_are_those_of_the_closest_point(name):
    mesh, inside = SOLIDS[name]
    points = np.random.default_rng(0).uniform(-1, 1, (1500, 3))
    points = points[np.abs(points[:, 2]) > 1e-3]
    expected = brute_force(mesh, points) * np.where(inside(points), -1, 1)
    assert np.abs(signed_distances(mesh, points) - expected).max() < 1e-6
    sdf = mesh_to_sdf(mesh, [6, 7, 8])[..., 0].double().numpy()
    z, y, x = np.meshgrid(*((np.arange(n) + 0.5) * 2 / n - 1 for n in (8, 7, 6)), indexing="ij")
    cells = np.stack((x, y, z), -1).reshape(-1, 3)
    assert np.allclose(sdf.ravel(), signed_distances(mesh, cells), atol=1e-6)


def flipped(mesh: trimesh.Trimesh, every: int) -> trimesh.Trimesh:
    """Every n-th triangle turned round."""
    faces = mesh.faces.copy()
    faces[::every] = faces[::every][:, ::-1]
    return trimesh.Trimesh(mesh.vertices, faces, process=False)


def soup(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Each triangle with vertices of its own, as in an STL file."""
    return trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3), process=False)


def split_edge(filled: bool) -> trimesh.Trimesh:
    """A cube whose top is cut at a vertex in the middle of an edge that the side does not have, a T-junction; perhaps
    closed by a triangle without area."""
    cube = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
    edges = {tuple(edge) for face in cube.faces.tolist() for edge in zip(face, face[1:] + face[:1], strict=True)}
    face = cube.faces[0].tolist()
    a, b, c = face
    assert (b, a) in edges
    middle = len(cube.vertices)
    vertices = np.vstack((cube.vertices, cube.vertices[[a, b]].mean(0)))
    faces = [*cube.faces[1:].tolist(), [a, middle, c], [middle, b, c]]
    return trimesh.Trimesh(vertices, faces + [[a, b, middle]] * filled, process=False)


def without_wall(walls: int) -> trimesh.Trimesh:
    """Two stacked cubes with common vertices, the wall between them listed never, once or (both ways) twice."""
    mesh = union(box(*TOP), box(*BOTTOM))
    vertices, number = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = number.reshape(-1)[mesh.faces]
    wall = (np.abs(vertices[faces][:, :, 2]) < 1e-9).all(1)
    first = np.flatnonzero(wall)[:2]
    kept = ~wall
    kept[first[: 2 * min(walls, 1)]] = True
    faces = np.concatenate((faces[kept], faces[first][:, ::-1])) if walls == 2 else faces[kept]
    return trimesh.Trimesh(vertices, faces, process=False)


def hollow() -> trimesh.Trimesh:
    return union(ball(0.8), ball(0.4, inwards=True))


def inverted(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], process=False)


def doubled(mesh: trimesh.Trimesh, back: bool) -> trimesh.Trimesh:
    """All triangles twice, perhaps once facing the other way."""
    return trimesh.Trimesh(mesh.vertices, np.vstack((mesh.faces, mesh.faces[:, :: -1 if back else 1])), process=False)


STACKED = union(box(*TOP), box(*BOTTOM))
CUBE = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
# Name: what a file holds, and the volume that it encloses (of the union, where bodies overlap).
FILES = {
    "stacked cubes": (STACKED, 1.024),
    "stacked cubes as a soup": (soup(STACKED), 1.024),
    "stacked cubes, wall once": (without_wall(1), 1.024),
    "stacked cubes, wall both ways": (without_wall(2), 1.024),
    "stacked cubes, no wall": (without_wall(0), 1.024),
    "stacked cubes, one inside out": (union(box(*TOP), inverted(box(*BOTTOM))), 1.024),
    "stacked cubes, a soup with turned triangles": (flipped(soup(STACKED), 5), 1.024),
    "turned triangles": (flipped(ball(), 3), ball().volume),
    "inside out": (inverted(ball()), ball().volume),
    "a hollow ball inside out": (inverted(hollow()), hollow().volume),
    "a hollow ball": (hollow(), hollow().volume),
    "triangles twice": (doubled(ball(), False), ball().volume),
    "triangles twice, both ways": (doubled(ball(), True), ball().volume),
    "a T-junction": (split_edge(False), 1.0),
    "a T-junction as a soup, turned": (flipped(soup(split_edge(False)), 4), 1.0),
    "a triangle without area": (split_edge(True), 1.0),
    "vertices that are not used": (
        trimesh.Trimesh(np.vstack((CUBE.vertices, [[9, 9, 9]])), CUBE.faces, process=False),
        1,
    ),
    "far from the origin": (CUBE.copy().apply_translation((5e5, -4e5, 3e5)), 1.0),
}


def inside_volume(mesh: trimesh.Trimesh) -> float:
    """Volume of what counts as inside, from a grid over the bounds."""
    low, high = mesh.bounds
    points = np.stack(np.meshgrid(*((np.arange(24) + 0.5) / 24 for _ in range(3))), -1).reshape(-1, 3)
    return (signed_distances(mesh, low + points * (high - low)) < 0).mean() * np.prod(high - low)


FORMATS = ("off", "ply", "stl", "glb")
WAYS = [(name, "obj") for name in FILES] + [(name, ending) for name in list(FILES)[::6] for ending in FORMATS]


@pytest.mark.parametrize(("name", "ending"), WAYS)
def test_what_encloses_a_volume_is_accepted(name, ending):
    mesh, volume = FILES[name]
    if ending == "glb":
        mesh = mesh.copy().apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0)))
    data = mesh.export(file_type=ending)
    found = read_mesh(data if isinstance(data, bytes) else data.encode(), "it", ending)
    assert np.allclose(found.bounds, FILES[name][0].bounds, atol=1e-4)
    assert inside_volume(found) == pytest.approx(volume, rel=0.03)


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0, 1e6])
def test_units_do_not_matter(size):
    mesh = union(ball(0.5, (-0.2, 0, 0)), ball(0.5, (0.25, 0.1, 0)))
    found = trimesh.Trimesh(*enclose(mesh.vertices * size + 3 * size, mesh.faces), process=False)
    assert np.allclose(normalize(found).vertices, normalize(mesh).vertices, atol=1e-6)
    assert np.allclose(np.abs(normalize(found).bounds).max(), 0.9)


def prism(outline: np.ndarray) -> str:
    """OBJ text of a prism over an outline (N, 2), its ends as polygons."""
    count = len(outline)
    lines = [f"v {x} {y} {z}" for z in (0, 1) for x, y in outline]
    lines.append("f " + " ".join(str(n + 1) for n in reversed(range(count))))
    lines.append("f " + " ".join(str(n + 1 + count) for n in range(count)))
    for n in range(count):
        following = (n + 1) % count
        lines.append(f"f {n + 1} {following + 1} {following + 1 + count} {n + 1 + count}")
    return "\n".join(lines)


OUTLINES = {
    "an L": [(0.4, 0.3), (0.4, 1), (0, 1), (0, 0), (1, 0), (1, 0.3)],
    "a chevron": [(0, 0), (1, 0.5), (0, 1), (0.4, 0.5)],
    "a chevron, begun elsewhere": [(1, 0.5), (0, 1), (0.4, 0.5), (0, 0)],
    "a star": [(np.cos(a) * r, np.sin(a) * r) for n in range(10) for a, r in [(n * np.pi / 5, 1 if n % 2 else 0.4)]],
}


@pytest.mark.parametrize("name", OUTLINES)
def test_polygons_that_are_not_convex_keep_their_shape(name):
    outline = np.array(OUTLINES[name], dtype=float)
    found = read_mesh(prism(outline).encode(), "it", "obj")
    x, y = outline.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    perimeter = np.linalg.norm(outline - np.roll(outline, -1, 0), axis=1).sum()
    assert found.volume == pytest.approx(area) and found.area == pytest.approx(2 * area + perimeter)


def test_messages_describe_the_file_as_given():
    bowl = ball()
    bowl.update_faces(bowl.triangles_center[:, 2] < 0)
    rim = len(trimesh.grouping.group_rows(bowl.edges_sorted, require_count=1))
    sheet = doubled(trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False), True)
    point = trimesh.Trimesh([[1, 1, 1]] * 3, [[0, 1, 2]], process=False)
    for mesh, expected in (
        (bowl, f"it: expected a watertight mesh, got one with {rim} open edges"),
        (soup(bowl), f"it: expected a watertight mesh, got one with {rim} open edges"),
        (union(bowl, box((2, 2, 2), (3, 3, 3))), f"got one with {rim} open edges"),
        (sheet, "it: expected .*, got"),
        (point, "it: expected a mesh that encloses a volume, got all vertices at one position"),
    ):
        with pytest.raises(ValueError, match=expected):
            read_mesh(mesh.export(file_type="ply"), "it", "ply")


@pytest.mark.parametrize("removed", [1, 2])
def test_small_holes_are_filled(removed):
    top = np.flatnonzero(CUBE.face_normals[:, 2] > 0.9)
    mesh = trimesh.Trimesh(CUBE.vertices, np.delete(CUBE.faces, top[:removed], 0), process=False)
    for given in (mesh, soup(mesh), union(mesh, box((2, 2, 2), (3, 3, 3)))):
        found = read_mesh(given.export(file_type="ply"), "it", "ply")
        assert found.is_watertight and found.volume == pytest.approx(round(found.area / 6))


def test_faces_without_two_sides_are_refused():
    # A Klein bottle: a torus whose ends are joined turned round.
    count = 8
    u, v = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
    angle, turn = u * 2 * np.pi / count, v * 2 * np.pi / count
    radius = 1 + 0.4 * (np.cos(angle / 2) * np.sin(turn) - np.sin(angle / 2) * np.sin(2 * turn))
    height = 0.4 * (np.sin(angle / 2) * np.sin(turn) + np.cos(angle / 2) * np.sin(2 * turn))
    vertices = np.stack((radius * np.cos(angle), radius * np.sin(angle), height), -1).reshape(-1, 3)

    def number(i, j):
        return (i % count) * count + ((-j) % count if i == count else j % count)

    quads = [(number(i, j), number(i + 1, j), number(i + 1, j + 1), number(i, j + 1)) for i in u[:, 0] for j in v[0]]
    faces = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))]
    with pytest.raises(ValueError, match="faces that cannot be turned to agree"):
        enclose(vertices, np.array(faces))
