"""Bad input to the app gets a message that says what was expected, and the next good request works."""

import json
import re

import numpy as np
import pytest
import trimesh
from app_server import call, client, serve
from gradio_client import handle_file
from PIL import Image

ONE = {"positions": [[0.0, 0.0]], "values": [[0.5, 0.5, 0.5]]}
GREY = ONE | {"values": [[0.5]]}  # for the checkpoint "plain", which knows no scales
POINT = {"positions": [[0.0]], "values": [[1.0]]}
DEEP = "[" * 5000 + "]" * 5000


def observed(positions, values=((0.5, 0.5, 0.5),)) -> str:
    return json.dumps({"positions": positions, "values": values})


def image(text: str, resolution: str = "0") -> tuple[str, str]:
    return "infer_image", f'["cat-faces", {text}, {resolution}]'


def sample(*rest, order: str = "spread", checkpoint: str = "cat-faces", given: dict = ONE) -> tuple[str, str]:
    return "sample_image", json.dumps([checkpoint, given, *rest, order])


def scaled(scales, checkpoint: str = "scaled", given: dict = ONE) -> tuple[str, str]:
    return "infer_image", json.dumps([checkpoint, given | {"scales": scales}, 0])


# Name: endpoint and arguments as text, and what the message must say.
REQUESTS = {
    "text for a set": (image('"red"'), "observed: expected JSON"),
    "a list for a set": (image("[1, 2]"), "observed: expected an object"),
    "a number for a set": (image("7"), "observed: expected an object"),
    "no values": (image('{"positions": [[0, 0]]}'), "observed: expected an object"),
    "positions as text": (image('{"positions": "x", "values": []}'), "positions: expected a list"),
    "positions as numbers": (image(observed([0.0, 0.5])), r"positions\[0\]: expected a list of 2"),
    "three coordinates": (
        image(observed([[0, 0, 0]])),
        r"positions\[0\]: expected a list of 2 numbers \(x, y\), got 3",
    ),
    "one coordinate": (image(observed([[0]])), r"positions\[0\]: expected a list of 2"),
    "coordinates as strings": (image(observed([["0", "0"]])), r"positions\[0\]: expected finite numbers"),
    "a coordinate that is null": (image(observed([[None, 0]])), r"positions\[0\]: expected finite numbers"),
    "a coordinate that is true": (image(observed([[True, 0]])), r"positions\[0\]: expected finite numbers"),
    "NaN": (image('{"positions": [[NaN, 0]], "values": [[0, 0, 0]]}'), "finite numbers|JSON"),
    "infinity": (image('{"positions": [[Infinity, 0]], "values": [[0, 0, 0]]}'), "finite numbers|JSON"),
    "a huge exponent": (image('{"positions": [[1e400, 0]], "values": [[0, 0, 0]]}'), "finite numbers|JSON"),
    "outside the picture": (image(observed([[1.5, 0]])), r"positions\[0\]: expected numbers from -1 to 1"),
    "grey for colour": (image(observed([[0, 0]], [[0.5]])), r"values\[0\]: expected a list of 3"),
    "levels to 255": (image(observed([[0, 0]], [[255, 0, 0]])), r"values\[0\]: expected numbers from 0 to 1"),
    "a negative level": (image(observed([[0, 0]], [[-0.1, 0, 0]])), r"values\[0\]: expected numbers from 0 to 1"),
    "more values than positions": (image(observed([[0, 0]], [[0, 0, 0]] * 2)), "as many values as positions"),
    "too many positions": (image(observed([[0, 0]] * 4097, [[0, 0, 0]] * 4097)), "at most 4,096 positions .the limit"),
    "scales as a number": (
        scaled(2),
        r"observed.scales: expected a list of as many numbers as positions \(1\), got 2",
    ),
    "more scales than positions": (scaled([0, 1]), r"observed.scales: expected .* positions \(1\), got 2"),
    "a scale as text": (scaled(["1"]), r"observed.scales\[0\]: expected finite numbers"),
    "a scale that is null": (scaled([None]), r"observed.scales\[0\]: expected finite numbers"),
    "a negative scale": (scaled([-1]), r"observed.scales\[0\]: expected numbers from 0 to 3, got -1"),
    "an average over 16×16": (scaled([4]), r"observed.scales\[0\]: expected numbers from 0 to 3, got 4"),
    "an average where none is known": (scaled([1.5], "plain", GREY), r"observed.scales: expected only 0, .*, got 1.5"),
    "a coarse answer": (image(json.dumps(ONE), "8"), "resolution: expected an integer from 16 to 256"),
    "a huge answer": (image(json.dumps(ONE), "4096"), "resolution: expected an integer from 16 to 256"),
    "half a pixel": (image(json.dumps(ONE), "32.5"), "resolution: expected an integer"),
    "a resolution as text": (image(json.dumps(ONE), '"big"'), "resolution: expected an integer"),
    "an unknown checkpoint": (("infer_image", json.dumps(["dogs", ONE, 0])), "checkpoint: expected one of"),
    "a path as checkpoint": (("infer_image", json.dumps(["../../etc", ONE, 0])), "checkpoint: expected one of"),
    "another kind's checkpoint": (("infer_image", json.dumps(["chairs", ONE, 0])), "checkpoint: expected one of"),
    "no checkpoint": (("infer_image", json.dumps([None, ONE, 0])), "checkpoint: expected one of"),
    "no samples": (sample(0, 0, 8, 0.9, 0), "samples: expected an integer from 1 to 6"),
    "a thousand samples": (sample(0, 1000, 8, 0.9, 0), "samples: expected an integer from 1 to 6"),
    "no steps": (sample(0, 1, -1, 0.9, 0), "steps: expected an integer from 1"),
    "a negative temperature": (sample(0, 1, 8, -1, 0), "temperature: expected a number from 0"),
    "a negative seed": (sample(0, 1, 8, 0.9, -1), "seed: expected an integer from 0"),
    "a seed of many digits": (sample(0, 1, 8, 0.9, 10**30), "seed: expected an integer from 0"),
    "an unknown order": (
        sample(0, 1, 8, 0.9, 0, order="spiral"),
        "order: expected one of spread, random, raster, coarse-to-fine",
    ),
    "coarse to fine without averages": (
        sample(0, 1, 8, 0.9, 0, order="coarse-to-fine", checkpoint="plain", given=GREY),
        "order: .*coarse-to-fine.* expected a model trained with scales",
    ),
    "no queries": (("predict", json.dumps(["cat-faces", ONE, []])), "queries: expected at least one"),
    "queries outside": (("predict", json.dumps(["cat-faces", ONE, [[2, 0]]])), r"queries\[0\]: expected numbers"),
    "too many queries": (("predict", json.dumps(["polynomial", POINT, [[0]] * 65537])), "at most 65,536"),
    "a position too short": (("distribution", json.dumps(["cat-faces", ONE, [0]])), "position.*list of 2"),
    "a curve's value too large": (
        ("infer_polynomial", json.dumps(["polynomial", {"positions": [[0]], "values": [[1e9]]}])),
        r"values\[0\]: expected numbers from -1000 to 1000",
    ),
    "a fine cube": (("infer_shape", json.dumps(["chairs", {"positions": [], "values": []}, 512])), "from 12 to 64"),
    "too few arguments": (("infer_image", '["cat-faces"]'), "enough input values"),
    "deeply nested": (image(DEEP), "expected|JSON|nested|error"),
    "no JSON at all": (("infer_image", "{not json"), "JSON|json|error"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_bad_request_is_told_what_was_expected(name):
    (endpoint, body), expected = REQUESTS[name]
    text = '{"data": ' + body + "}" if body.startswith("[") else body
    event, data = call(serve(), endpoint, text)
    assert event in ("error", "refused")
    assert re.search(expected, json.dumps(data, ensure_ascii=False)), data


def files(folder) -> dict[str, tuple[str, str, str]]:
    """Name: endpoint, path of a bad file, and what the message must say."""
    picture = Image.new("RGB", (8, 8), "red")
    picture.save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:40])
    (folder / "text.png").write_text("this is no picture")
    (folder / "empty.png").write_bytes(b"")
    Image.new("1", (8000, 8000)).save(folder / "huge.png")
    Image.fromarray(np.zeros((4, 4), np.float32), "F").save(folder / "floats.tiff")
    (folder / "nofaces.obj").write_text("v 0 0 0\nv 1 0 0\n")
    (folder / "text.obj").write_text("no mesh")
    bowl = trimesh.creation.icosphere()
    bowl.update_faces(bowl.triangles_center[:, 2] < 0)
    bowl.export(folder / "open.ply")
    (folder / "words.xyz").write_text("0 0 0\nno numbers here\n")
    (folder / "one.xyz").write_text("1 2 3\n")
    (folder / "text.ply").write_text("no ply")
    (folder / "text.mp4").write_text("no video")
    return {
        "a picture cut short": ("reveal_picture", "cut.png", "picture: expected an image file"),
        "text called PNG": ("reveal_picture", "text.png", "picture: expected an image file"),
        "an empty file": ("reveal_picture", "empty.png", "picture: expected an image"),
        "8000 × 8000": ("reveal_picture", "huge.png", "picture: expected at most"),
        "floats of unknown range": ("reveal_picture", "floats.tiff", "expected 8 or 16 bits"),
        "a mesh without faces": ("observe_mesh", "nofaces.obj", "mesh: expected"),
        "text called OBJ": ("observe_mesh", "text.obj", "mesh: expected"),
        "a mesh with a hole": ("observe_mesh", "open.ply", "watertight"),
        "words among points": ("observe_point_cloud", "words.xyz", "point cloud, line 2: expected three numbers"),
        "a single point": ("observe_point_cloud", "one.xyz", "point cloud: .*expected some at different positions"),
        "text called PLY": ("observe_point_cloud", "text.ply", "point cloud: expected a file of points or a mesh"),
        "a picture for a scan": ("observe_point_cloud", "whole.png", "point cloud: expected a file ending in"),
        "text called MP4": ("reveal_video", "text.mp4", "video: expected a video file"),
    }


def test_bad_files_are_told_what_was_expected_and_good_ones_still_work(tmp_path):
    extra = {
        "reveal_picture": ["cat-faces", 16, "random pixels", 0],
        "observe_mesh": ["chairs", 16, "random distances", 0],
    }
    extra["observe_point_cloud"] = ["chairs", 16, "random", 0]
    extra["reveal_video"] = ["moving-mnist", 16, "random pixels", 0]
    for endpoint, file, expected in files(tmp_path).values():
        first, *rest = extra[endpoint]
        with pytest.raises(Exception, match=expected):
            client().predict(first, handle_file(tmp_path / file), *rest, api_name=f"/{endpoint}")
    whole = handle_file(tmp_path / "whole.png")
    for count in (-1, 10**9, 1.5):
        with pytest.raises(Exception, match="count: expected an integer"):
            client().predict(
                "mnist", handle_file(tmp_path / "whole.png"), count, "random pixels", 0, api_name="/reveal_picture"
            )
    with pytest.raises(Exception, match="pattern: expected one of"):
        client().predict("mnist", whole, 4, "spiral", 0, api_name="/reveal_picture")
    found = client().predict("mnist", whole, 9, "random pixels", 0, api_name="/reveal_picture")
    assert len(found["positions"]) == len(found["values"]) == 9


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "LA", "P", "1", "I;16", "tiny"])
def test_unusual_pictures_are_read(mode, tmp_path):
    size = (1, 1) if mode == "tiny" else (40, 30)
    picture = Image.new("RGB" if mode == "tiny" else mode, size)
    path = tmp_path / ("picture.tiff" if mode in ("CMYK", "I;16") else "picture.png")
    picture.save(path)
    found = client().predict("cat-faces", handle_file(path), 5, "random pixels", 0, api_name="/reveal_picture")
    white = mode in ("RGBA", "LA", "CMYK")  # what is transparent, or has no ink, is white
    assert found["values"] == [[1.0 if white else 0.0] * 3] * 5


def test_the_server_answers_well_after_all_that():
    event, data = call(serve(), "infer_image", json.dumps({"data": ["cat-faces", ONE, 0]}))
    assert event == "complete"
    assert np.shape(data[0]["mean"]) == (32, 32, 3)
