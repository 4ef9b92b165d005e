"""The app's actions through its API."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from app_server import call, checkpoints, client, serve
from gradio.utils import get_function_description
from gradio_client import handle_file
from gradio_client.utils import python_type_to_json_schema
from observed_sets import dabs_and_pixels, some_pixels
from PIL import Image

from demo import api, models
from demo.answers import entropies, marginal
from demo.observed import ObservedLists
from demo.shape_actions import PLAIN, glb


@pytest.fixture(scope="module", autouse=True)
def offered():
    models.offer(checkpoints())


def test_every_argument_keeps_its_own_description_to_the_end_and_scales_are_optional():
    serve()
    for function in api.QUICK + api.DRAWING:
        described = get_function_description(function)[1]
        assert all(text.endswith(".") for text in described.values()), described
    assert get_function_description(api.predict)[1]["checkpoint"].startswith("Name of a checkpoint")
    assert "scales" not in python_type_to_json_schema(ObservedLists).get("required", [])


def test_every_action_has_a_documented_endpoint():
    import httpx

    info = httpx.get(f"{serve()}/gradio_api/info").json()["named_endpoints"]
    for kind in ("image", "polynomial", "shape", "video"):
        assert {f"/infer_{kind}", f"/sample_{kind}"} <= set(info)
    assert {"/predict", "/distribution", "/most_uncertain_pixel", "/reveal_picture"} <= set(info)
    for name, endpoint in info.items():
        assert endpoint.get("description"), name
        assert all(parameter["python_type"]["type"] for parameter in endpoint["parameters"]), name


def test_infer_image_gives_numbers_and_the_same_as_a_picture():
    found = client().predict("cat-faces", some_pixels().to_json(), 0, api_name="/infer_image")
    data = base64.b64decode(found["mean_picture"].split(",")[1])
    picture = np.asarray(Image.open(io.BytesIO(data)), dtype=float) / 255
    assert np.abs(picture - np.array(found["mean"])).max() <= 0.5 / 255 + 1e-6


def test_the_same_seed_gives_the_same_samples_and_they_stream():
    arguments = ("mnist", some_pixels(9, (28, 28), 1).to_json(), 0, 2, 12, 0.9)
    jobs = [client().submit(*arguments, seed, api_name="/sample_image") for seed in (1, 1, 2)]
    results = [job.result() for job in jobs]
    assert results[0]["pictures"] == results[1]["pictures"] != results[2]["pictures"]
    assert len(jobs[0].outputs()) > 3 and results[0]["share"] == 1


def test_the_api_takes_averages_and_an_order():
    observed, place = dabs_and_pixels(), [0.3, -0.2]
    found = client().predict("scaled", observed.to_json(), [place], api_name="/predict")
    expected = marginal("scaled", observed, torch.tensor([place])).mean
    assert torch.allclose(torch.tensor(found["mean"]), expected, atol=1e-4)
    arguments = ("scaled", observed.to_json(), 0, 1, 24, 0.9, 1)
    results = [
        client().predict(*arguments, order, api_name="/sample_image")["pictures"]
        for order in ("spread", "coarse-to-fine")
    ]
    assert results[0] != results[1]


def test_the_most_uncertain_pixel_is_not_an_observed_one():
    observed = some_pixels()
    found = client().predict("cat-faces", observed.to_json(), api_name="/most_uncertain_pixel")
    gap = (observed.positions - torch.tensor(found["position"])).abs().amax(1).min()
    assert gap > 1 / 32


def test_a_distribution_sums_to_one_for_every_kind():
    for name, width, channels in (("cat-faces", 2, 3), ("mnist", 2, 1), ("chairs", 3, 1), ("moving-mnist", 3, 1)):
        observed = {"positions": [[0.1] * width], "values": [[0.2] * channels]}
        found = client().predict(name, observed, [0.3] * width, api_name="/distribution")
        assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-3), name


def test_curves_pass_through_their_points():
    observed = {"positions": [[-0.5], [0.5]], "values": [[1.0], [-1.0]]}
    found = client().predict("polynomial", observed, api_name="/infer_polynomial")
    for x, y in ((-0.5, 1.0), (0.5, -1.0)):
        index = int(np.abs(np.array(found["x"]) - x).argmin())
        assert found["exact_mean"][index] == pytest.approx(y, abs=1e-3)
        assert found["mean"][index] == pytest.approx(y, abs=0.15)


def test_a_surface_comes_as_glb():
    observed = {"positions": [[0.0, 0, 0], [0.9, 0.9, 0.9]], "values": [[-0.3], [0.8]]}
    path = client().predict("chairs", observed, 16, api_name="/infer_shape")["surface"]
    assert Path(path).read_bytes()[:4] == b"glTF"


def test_a_surface_without_colours_gets_one_that_is_seen_on_white_and_on_black():
    mesh = trimesh.load(io.BytesIO(glb(trimesh.creation.box())), file_type="glb", force="mesh")
    assert (np.unique(mesh.visual.vertex_colors, axis=0) == [[*PLAIN, 255]]).all()
    assert 60 < np.dot(PLAIN, [0.299, 0.587, 0.114]) < 195


def test_a_mesh_and_a_scan_are_observed_on_their_surface(tmp_path):
    mesh = trimesh.creation.box((1.0, 2.0, 3.0))
    mesh.export(tmp_path / "box.ply")
    trimesh.PointCloud(mesh.sample(300, seed=0)).export(tmp_path / "scan.ply")
    corners = np.array([0.3, 0.6, 0.9])
    for endpoint, file, pattern, near in (
        ("observe_mesh", "box.ply", "surface", 0.05),  # the field has 32 cells a side and round edges
        ("observe_point_cloud", "box.ply", "random", 1e-5),
        ("observe_point_cloud", "scan.ply", "random", 0.02),
    ):
        found = client().predict("chairs", handle_file(tmp_path / file), 90, pattern, 0, api_name=f"/{endpoint}")
        positions = np.abs(found["positions"])
        assert positions.shape == (90, 3) and found["values"] == [[0.0]] * 90
        assert np.abs(positions - corners).min(1).max() <= near and (positions <= corners + near).all()
    assert client().predict("chairs", found, 16, api_name="/infer_shape")["surface"] is not None


def test_predict_gives_entropies_in_the_order_of_the_queries():
    observed, queries = some_pixels(), [[0.1, 0.2], [-0.5, 0.9], [0.9, -0.9]]
    found = client().predict("cat-faces", observed.to_json(), queries, api_name="/predict")
    expected = marginal("cat-faces", observed, torch.tensor(queries))
    assert np.allclose(found["entropy"], expected.entropy().tolist(), atol=1e-3)
    assert np.array(found["mean"]).shape == np.array(found["deviation"]).shape == (3, 3)
    many = entropies(expected.expand((3,))[torch.arange(9000) % 3])  # in parts, with fewer draws
    assert many.shape == (9000,) and np.allclose(many[:3], found["entropy"], atol=1.5)


def test_a_clip_keeps_its_observed_places():
    frame, x, y = -1 + 1 / 8, 1 / 32, 1 / 32
    observed = {"positions": [[frame, x, y]], "values": [[1.0]]}
    found = np.array(client().predict("moving-mnist", observed, api_name="/infer_video")["mean"])
    assert found.shape == (8, 32, 32, 1)
    assert found[0, 16, 16, 0] == pytest.approx(1.0)


def test_plain_http_works():
    body = json.dumps({"data": ["polynomial", {"positions": [[0.0]], "values": [[1.0]]}, [[0.0]]]})
    event, data = call(serve(), "predict", body)
    assert event == "complete" and data[0]["mean"][0][0] == pytest.approx(1, abs=0.1)
