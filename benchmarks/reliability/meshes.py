"""Bad and odd meshes: bodies whose distances are known exactly, in every format and state that files come in."""

import numpy as np
import trimesh

from benchmarks.reliability.tally import Tally
from signals.mesh import mesh_to_sdf, read_mesh, signed_distances

FORMATS = ("obj", "off", "ply", "stl", "glb")


class Box:
    """A box of half sides `half` (3,) around `center`, turned by the rotation `turn` (3, 3)."""

    def __init__(self, half, center=(0.0, 0.0, 0.0), turn=None):
        self.half, self.center = np.array(half, dtype=float), np.array(center, dtype=float)
        self.turn = np.eye(3) if turn is None else turn

    def mesh(self) -> trimesh.Trimesh:
        mesh = trimesh.creation.box(extents=2 * self.half)
        mesh.vertices = mesh.vertices @ self.turn.T + self.center
        return mesh

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Signed distances (N,) to its surface, negative inside."""
        beyond = np.abs((points - self.center) @ self.turn) - self.half
        return np.linalg.norm(beyond.clip(0), axis=1) + beyond.max(1).clip(max=0)


def union(boxes: list[Box]) -> trimesh.Trimesh:
    """All triangles as one mesh."""
    return trimesh.util.concatenate([box.mesh() for box in boxes])


def expected(boxes: list[Box], points: np.ndarray) -> np.ndarray:
    """To the nearest triangle of any box, negative inside of any."""
    each = np.stack([box.distances(points) for box in boxes])
    return np.abs(each).min(0) * np.where((each < 0).any(0), -1, 1)


def cases() -> dict[str, list[Box]]:
    """Single, overlapping, nested and touching boxes; and random ones."""
    found = {
        "one box": [Box((0.5, 0.4, 0.3))],
        "a thin plate": [Box((0.8, 0.8, 0.005))],
        "a needle": [Box((0.01, 0.01, 0.9))],
        "a crossing of three": [Box(np.roll((0.8, 0.3, 0.3), n)) for n in range(3)],
        "a box in a box": [Box((0.8, 0.8, 0.8)), Box((0.3, 0.3, 0.3))],
        "boxes that share a face": [Box((0.4, 0.4, 0.4), (0, 0, 0.4)), Box((0.4, 0.4, 0.4), (0, 0, -0.4))],
        "boxes that share an edge": [Box((0.3, 0.3, 0.3), (0.3, 0.3, 0)), Box((0.3, 0.3, 0.3), (-0.3, -0.3, 0))],
        "boxes that share a corner": [Box((0.3,) * 3, (0.3,) * 3), Box((0.3,) * 3, (-0.3,) * 3)],
        "the same box twice": [Box((0.5, 0.5, 0.5)), Box((0.5, 0.5, 0.5))],
        "boxes apart": [Box((0.2,) * 3, (0.6, 0, 0)), Box((0.2,) * 3, (-0.6, 0, 0))],
    }
    random = np.random.default_rng(0)
    for count in (1, 2, 3, 5):
        for number in range(5):
            turns = [np.linalg.qr(random.normal(size=(3, 3)))[0] for _ in range(count)]
            turns = [turn * np.sign(np.linalg.det(turn)) for turn in turns]
            found[f"{count} random boxes ({number})"] = [
                Box(random.uniform(0.1, 0.5, 3), random.uniform(-0.4, 0.4, 3), turn) for turn in turns
            ]
    return found


def soup(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Each triangle with vertices of its own, as in an STL file."""
    return trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3), process=False)


def turned(mesh: trimesh.Trimesh, every: int) -> trimesh.Trimesh:
    """Every n-th triangle turned round."""
    faces = mesh.faces.copy()
    faces[::every] = faces[::every][:, ::-1]
    return trimesh.Trimesh(mesh.vertices, faces, process=False)


STATES = {
    "as it is": lambda mesh: mesh,
    "a soup of triangles": soup,
    "every third triangle turned": lambda mesh: turned(mesh, 3),
    "inside out": lambda mesh: turned(mesh, 1),
    "all triangles twice": lambda mesh: trimesh.Trimesh(
        mesh.vertices, np.vstack((mesh.faces, mesh.faces)), process=False
    ),
    "with vertices that are not used": lambda mesh: trimesh.Trimesh(
        np.vstack((mesh.vertices, [[3.0, 3.0, 3.0]])), mesh.faces, process=False
    ),
}


def try_meshes() -> Tally:
    """Distances of every body; files of every format and state; files that must be refused."""
    tally = Tally()
    points = np.random.default_rng(1).uniform(-1, 1, (800, 3))
    for name, boxes in cases().items():
        mesh = union(boxes)
        tally.answer(name, lambda boxes=boxes, mesh=mesh: _close(signed_distances(mesh, points), boxes, points))
        tally.answer(f"{name}, on a grid", lambda boxes=boxes, mesh=mesh: _right_grid(mesh, boxes))
    body = [Box((0.5, 0.4, 0.3)), Box((0.1, 0.1, 0.8), (0.1, 0.1, 0.0))]
    for ending in FORMATS:
        for state, change in STATES.items():
            for scale in (1e-3, 1e3):
                data = _file(change(union(body)), ending, scale)
                tally.answer(
                    f".{ending}, {state}, in units of {scale:g}",
                    lambda data=data, ending=ending, scale=scale: _same_body(data, ending, scale, body, points),
                )
    _try_bad(tally)
    return tally


def _close(found: np.ndarray, boxes: list[Box], points: np.ndarray, atol: float = 1e-6) -> bool:
    return bool(np.abs(found - expected(boxes, points)).max() < atol)


def _right_grid(mesh: trimesh.Trimesh, boxes: list[Box]) -> bool:
    """Whether a field on a grid has its cells in the order (z, y, x)."""
    x, y, z = ((np.arange(n) + 0.5) * 2 / n - 1 for n in (6, 7, 8))
    cells = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], -1).reshape(-1, 3)
    return _close(mesh_to_sdf(mesh, [6, 7, 8]).numpy().ravel(), boxes, cells, atol=1e-5)


def _file(mesh: trimesh.Trimesh, ending: str, scale: float) -> bytes:
    mesh = trimesh.Trimesh(mesh.vertices * scale, mesh.faces, process=False)
    if ending == "glb":  # y is up there by its standard
        mesh.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0)))
    data = mesh.export(file_type=ending)
    return data if isinstance(data, bytes) else data.encode()


def _same_body(data: bytes, ending: str, scale: float, boxes: list[Box], points: np.ndarray) -> bool:
    found = read_mesh(data, f"it.{ending}", ending)
    found.vertices = found.vertices / scale
    return _close(signed_distances(found, points), boxes, points, atol=1e-4)  # files hold single precision


def _try_bad(tally: Tally) -> None:
    cube = Box((0.5, 0.5, 0.5)).mesh()
    ball = trimesh.creation.icosphere(subdivisions=2)
    bowl = ball.copy()
    bowl.update_faces(bowl.triangles_center[:, 2] < 0)
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    bodies = {
        "a bowl": bowl,
        "a bowl as a soup": soup(bowl),
        "a bowl beside a cube": trimesh.util.concatenate([bowl, cube.copy().apply_translation((3, 0, 0))]),
        "one triangle": flat,
        "one triangle, both sides": trimesh.Trimesh(flat.vertices, [[0, 1, 2], [2, 1, 0]], process=False),
        "one position": trimesh.Trimesh([[1, 1, 1]] * 3, [[0, 1, 2]], process=False),
        "a line": trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], process=False),
    }
    for ending in FORMATS:
        for name, mesh in bodies.items():
            data = _file(mesh, ending, 1.0)
            word = rf"^it\.{ending}: expected .*, got"
            tally.refuse(
                f".{ending}: {name}", lambda data=data, ending=ending: read_mesh(data, f"it.{ending}", ending), word
            )
        whole = _file(cube, ending, 1.0)
        for way, data in {
            "empty": b"", "text": b"no mesh at all\n" * 9, "zeros": bytes(500), "cut": whole[: len(whole) // 3]
        }.items():  # fmt: skip
            word = rf"^it\.{ending}: expected"
            tally.refuse(
                f".{ending}: {way}", lambda data=data, ending=ending: read_mesh(data, f"it.{ending}", ending), word
            )
    nowhere = cube.vertices.copy()
    nowhere[0] = np.nan
    broken = {
        "NaN": _text(nowhere, cube.faces),
        "infinite": _text(np.where(np.isnan(nowhere), np.inf, nowhere), cube.faces),
        "vertices alone": _text(cube.vertices, []),
        "a vertex that is not there": _text(cube.vertices, [*cube.faces.tolist(), [0, 1, 99]]),
    }
    for name, text in broken.items():
        tally.refuse(f"OBJ: {name}", lambda text=text: read_mesh(text.encode(), "it.obj", "obj"), r"^it\.obj: expected")
    tally.refuse(
        "too many faces", lambda: read_mesh(_file(ball, "ply", 1.0), "it", "ply", max_faces=9), "at most 9 faces"
    )
    tally.refuse("no file", lambda: read_mesh("/nowhere/it.obj"), r"/nowhere/it\.obj: expected a mesh file")


def _text(vertices, faces) -> str:
    """OBJ text."""
    lines = ["v " + " ".join(map(str, vertex)) for vertex in vertices]
    return "\n".join([*lines, *("f " + " ".join(str(number + 1) for number in face) for face in faces)])
