"""Files of points and meshes become points on a surface, normalised as meshes are."""

import numpy as np
import pytest
import torch
import trimesh

from signals.mesh import normalize
from signals.point_clouds import points_on_triangles, read_point_cloud

POINTS = np.random.default_rng(0).uniform(-3, 5, (200, 3)) * (1, 2, 0.5)


def text(points: np.ndarray, separator: str = " ") -> bytes:
    return "\n".join(separator.join(f"{x:.9g}" for x in row) for row in points).encode()


def expected(points: np.ndarray) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) * 1.8 / (high - low).max()


def is_part(found: torch.Tensor, whole: np.ndarray) -> bool:
    gaps = np.linalg.norm(found.numpy()[:, None] - whole[None], axis=-1).min(1)
    return bool(gaps.max() < 1e-5)


FILES = {
    "xyz": ("xyz", text(POINTS)),
    "comma-separated with a heading": ("csv", b"x,y,z\n" + text(POINTS, ",")),
    "a number of points first": ("pts", b"200\n" + text(np.hstack((POINTS, POINTS)))),
    "comments and further columns": ("txt", b"# a scan\n\n" + text(np.hstack((POINTS, np.ones((200, 4)))), "; ")),
    "OBJ vertices": ("obj", b"o scan\n" + b"\n".join(b"v " + row for row in text(POINTS).splitlines())),
    "PLY points": ("ply", trimesh.PointCloud(POINTS).export(file_type="ply")),
}


@pytest.mark.parametrize("name", FILES)
def test_points_are_normalised_like_meshes(name):
    ending, data = FILES[name]
    found = read_point_cloud(data, 500, name="it", file_type=ending)
    assert np.allclose(found.numpy(), expected(POINTS), atol=1e-5)
    some = read_point_cloud(data, 50, torch.Generator().manual_seed(0), "it", ending)
    assert some.shape == (50, 3) and is_part(some, expected(POINTS))
    assert torch.equal(some, read_point_cloud(data, 50, torch.Generator().manual_seed(0), "it", ending))


@pytest.mark.parametrize("ending", ["obj", "off", "ply", "stl", "glb"])
def test_points_of_a_mesh_lie_on_it_even_if_it_is_open(ending):
    mesh = trimesh.creation.box((1.0, 2.0, 3.0))
    mesh.update_faces(np.arange(len(mesh.faces)) > 1)
    data = mesh.export(file_type=ending)
    found = read_point_cloud(data if isinstance(data, bytes) else data.encode(), 400, name="it", file_type=ending)
    if ending == "glb":  # y up
        mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0)))
    corners = normalize(mesh).bounds[1]
    assert found.shape == (400, 3)
    on_a_side = np.isclose(np.abs(found.numpy()), corners, atol=1e-5).any(1)
    assert on_a_side.all() and (np.abs(found.numpy()) <= corners + 1e-5).all()


def test_points_of_triangles_are_even_by_area():
    triangles = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 5], [3, 0, 5], [0, 3, 5]], [[0, 0, 9]] * 3])
    found = points_on_triangles(triangles, 20_000, torch.Generator().manual_seed(0))
    large = found[:, 2] > 4
    assert large.mean() == pytest.approx(0.9, abs=0.01)
    assert np.allclose(found[large].mean(0), (1, 1, 5), atol=0.03) and (found.sum(1) < 8 + 1e-9).all()


BROKEN = {
    "another ending": ("jpg", b"", "it: expected a file ending in .xyz.*, got 'jpg'"),
    "text in the middle": ("xyz", b"0 0 0\n1 2\n", r"it, line 2: expected three numbers, x, y and z, got '1 2'"),
    "words": ("xyz", b"0 0 0\nno point\n", "it, line 2: expected three numbers"),
    "nothing": ("xyz", b"", "it: expected points or triangles, got none"),
    "an OBJ without vertices": ("obj", b"# nothing", "it: expected points or triangles, got none"),
    "not a number": ("xyz", b"0 0 0\nnan 0 0\n1 1 1", "it: expected finite coordinates, got others at 1 of 3 points"),
    "one position": ("xyz", b"1 2 3\n1 2 3", "it: points: expected some at different positions"),
    "no PLY": ("ply", b"no ply", "it: expected a file of points or a mesh, cannot read it"),
    "too many": ("xyz", text(POINTS), "it: expected at most 100 points .the limit here., got 200"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_used_is_refused(name):
    ending, data, message = BROKEN[name]
    with pytest.raises(ValueError, match=message):
        read_point_cloud(data, 10, name="it", file_type=ending, most=100)
