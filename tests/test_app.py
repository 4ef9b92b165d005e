"""The app's actions through its API, and the parts that they are made of."""

import base64
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from app_server import call, checkpoints, client, serve
from gradio.utils import get_function_description
from gradio_client import handle_file
from gradio_client.utils import python_type_to_json_schema
from PIL import Image

from demo import api, models, opening, share
from demo.answers import Sampling, entropies, joint, marginal
from demo.density import density_svg
from demo.drawings import Request, drawing, level_tiles, remembered
from demo.grids import choose_cells, observe_cells, split
from demo.image_actions import EVERYTHING, draw, infer, refit, reveal
from demo.limits import MAX_PAIRS, drawn_at_most
from demo.observed import Observed, ObservedLists, read_observed
from demo.polynomial_actions import REGION_NAMES, observe, read_points, true_curve, write_points
from demo.shape_actions import PLAIN, WHERE, glb
from demo.shape_actions import observe as observe_shape
from demo.video_actions import PATTERNS as VIDEO_PATTERNS
from demo.video_actions import observe as observe_clip
from demo.widgets.pad import pad_value, read_pad
from pixeltransformer.distribution import ValueDistribution
from signals.cells import cell_positions
from signals.image import Images


@pytest.fixture(scope="module", autouse=True)
def offered():
    models.offer(checkpoints())


def some_pixels(count: int = 20, grid=(32, 32), channels: int = 3) -> Observed:
    values = torch.rand(grid[1], grid[0], channels, generator=torch.Generator().manual_seed(0))
    return observe_cells((values * 255).round() / 255, chosen(grid, count, "random pixels"))


def chosen(grid, count: int, pattern: str) -> torch.Tensor:
    positions = cell_positions(list(grid), torch.arange(math.prod(grid)))
    return choose_cells(Images.patterns, positions, count, pattern, 1, EVERYTHING)


def test_the_pad_gives_back_what_it_is_given():
    observed = some_pixels()
    again = read_pad(pad_value(observed, [32, 32]), 3)
    order, other = (each.positions @ torch.tensor([1.0, 100.0]) for each in (observed, again))
    assert torch.allclose(observed.positions[order.argsort()], again.positions[other.argsort()], atol=1e-6)
    assert torch.allclose(observed.values[order.argsort()], again.values[other.argsort()], atol=1e-6)


def dabs_and_pixels() -> Observed:
    """Averages over 4×4 and 3×3 pixels, and 20 pixels, for the checkpoint "scaled"."""
    corners, sides = torch.tensor([[4.0, 10.0], [29.0, 0.0]]), torch.tensor([4.0, 3.0])
    centres = (corners + sides[:, None] / 2) / 16 - 1
    colours = torch.tensor([[1.0, 0.2, 0.4], [0.0, 0.6, 0.8]])
    return Observed(centres, colours, sides.log2()) + some_pixels()


def test_the_pad_and_a_link_give_back_dabs():
    observed = dabs_and_pixels()
    value = pad_value(observed, [32, 32])
    assert value["dabs"] == [[4, 10, 4], [29, 0, 3]] and value["dab_colours"] == "ff3366" + "0099cc"
    text = share.to_text("image", {"checkpoint": "scaled", **observed.to_json()})
    state = share.from_text(share.from_code(share.to_code(text)), "image")
    linked = read_observed(state, models.config_of("scaled"))
    for again in (read_pad(value, 3), linked):
        assert torch.allclose(again.sizes, observed.sizes, atol=1e-5)
        assert torch.allclose(again.positions[:2], observed.positions[:2], atol=1e-5)
        assert torch.allclose(again.values[:2], observed.values[:2], atol=1e-5)


def test_a_dab_is_one_average_to_the_model_and_makes_no_pixel_known():
    observed, model = dabs_and_pixels(), models.load("scaled")
    cells = split(observed, [32, 32])
    assert len(cells.known) == 20
    found = marginal("scaled", observed, cells.queries).mean
    arguments = observed.positions[None], observed.values[None], cells.queries[None]
    assert torch.allclose(found, model.predict(*arguments, context_scales=observed.sizes[None]).mean[0], atol=1e-5)
    assert not torch.allclose(found, model.predict(*arguments).mean[0], atol=1e-3)
    assert not torch.allclose(found, marginal("scaled", some_pixels(), cells.queries).mean, atol=1e-3)


def test_a_dab_becomes_a_pixel_for_a_checkpoint_without_averages():
    moved = refit(dabs_and_pixels(), "plain", [32, 32])
    assert moved.scales is None and len(moved) == 22
    assert torch.allclose(moved.positions[0], torch.tensor([3.5, 6.5]) / 8 - 1)  # of 16 columns and rows
    twice = refit(dabs_and_pixels() + dabs_and_pixels(), "plain", [32, 32])
    assert len(twice) == 22  # no place counts twice
    kept = refit(dabs_and_pixels(), "scaled", [64, 64])
    assert torch.allclose(kept.scales[:2], torch.tensor([2.0, 1.5]).log2())


def test_json_and_link_give_back_the_same_state():
    observed = some_pixels()
    text = share.to_text("image", {"checkpoint": "cat-faces", **observed.to_json()})
    state = share.from_text(share.from_code(share.to_code(text)), "image")
    again = read_observed({"positions": state["positions"], "values": state["values"]}, models.config_of("cat-faces"))
    assert torch.allclose(again.positions, observed.positions, atol=1e-5)
    assert torch.allclose(again.values, observed.values, atol=1e-5)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "pixeltransformer/1", "tab": "video"}', "[" * 3000])
def test_a_state_of_another_kind_is_told(text):
    with pytest.raises(ValueError, match="state: expected"):
        share.from_text(text, "image")


@pytest.mark.parametrize("code", ["", "!!!", "abc", share.to_code("x" * 500_000), share.to_code("hello")[:-4]])
def test_a_damaged_link_is_told(code):
    with pytest.raises(ValueError, match="link: expected"):
        share.from_code(code)


def test_observed_pixels_are_kept_in_the_mean_and_certain():
    observed = some_pixels()
    cells = split(observed, [32, 32])
    found = infer("cat-faces", observed)
    assert torch.allclose(found.mean.view(-1, 3)[cells.known], cells.values)
    assert (found.deviation.view(-1, 3)[cells.known] == 0).all()
    assert (found.deviation.view(-1, 3)[cells.hidden] > 0).all()


@pytest.mark.parametrize("side", [16, 45, 64])
def test_the_answer_has_the_resolution_asked_for(side):
    assert infer("cifar10", some_pixels(), side).mean.shape == (side, side, 3)


def test_another_checkpoint_gets_the_same_places_in_its_cells_and_channels():
    moved = refit(some_pixels(), "mnist")
    assert moved.values.shape[1] == 1 and 15 < len(moved) <= 20  # of several in one cell the last stays
    assert len(split(moved, [28, 28]).known) == len(moved) == len(moved.positions.unique(dim=0))


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("random pixels", 50), ("every fourth pixel", 64), ("all but the centre", 768), ("left half", 512)]
    + [("everything", 1024)],
)
def test_patterns_reveal_as_many_pixels_as_they_say(pattern, count):
    assert len(chosen((32, 32), 50, pattern).unique()) == count


def test_random_pixels_may_be_none():
    assert len(chosen((32, 32), 0, "random pixels")) == 0


@pytest.mark.parametrize("where", WHERE)
def test_as_many_points_of_a_shape_are_observed_as_asked_for(where):
    axis = (torch.arange(32) + 0.5) / 16 - 1
    ball = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1, keepdim=True) - 0.6
    observed = observe_shape(ball, 200, where, 0)
    assert len(observed.positions) == 200
    if where == "surface of the front":
        assert (observed.values == 0).all() and (observed.positions[:, 1] < 0.2).all()


@pytest.mark.parametrize("pattern", VIDEO_PATTERNS)
def test_a_clip_is_observed_as_its_pattern_says(pattern):
    clip = torch.rand(8, 32, 32, 1)
    observed = observe_clip(clip, 100, pattern, 0)
    frames = ((observed.positions[:, 0] + 1) * 4).long()
    expected = {"first half of the frames": [0, 1, 2, 3], "every second frame": [0, 2, 4, 6], "first frame": [0]}
    expected["first and last frame"] = [0, 7]
    if pattern in expected:
        assert frames.unique().tolist() == expected[pattern] and len(frames) == 1024 * len(expected[pattern])
    index = ((observed.positions + 1) / 2 * torch.tensor([8, 32, 32])).long()
    assert torch.equal(clip[index[:, 0], index[:, 2], index[:, 1]], observed.values)


def test_points_of_an_interval_lie_closer_together():
    spans = [observe(1, 6, where).positions.max() - observe(1, 6, where).positions.min() for where in REGION_NAMES[:2]]
    assert spans[1] < 0.6 < spans[0]


def test_hidden_centre_is_not_revealed():
    picture = Image.new("RGB", (32, 32), "red")
    observed = reveal("cat-faces", picture, 1, "all but the centre", 0)
    assert (observed.positions.abs().amax(1) > 0.5).all()


def test_large_requests_draw_fewer_values_one_after_another():
    assert drawn_at_most(1, 1024, 0) == 1024
    drawn = drawn_at_most(6, 256 * 256, 100)
    assert 1 < drawn < 1024 and 6 * 256 * 256 * (drawn + 100) <= MAX_PAIRS


def test_partial_samples_grow_and_keep_what_is_drawn():
    observed = some_pixels()
    states = list(joint("cat-faces", observed, split(observed, [32, 32]).queries[:100], Sampling(2, 30)))
    assert [state.share for state in states] == sorted(state.share for state in states)
    assert states[-1].share == 1 and states[-1].drawn.all()
    first = states[0]
    assert torch.equal(first.values[first.drawn], states[-1].values[first.drawn])


def test_one_sample_comes_first_and_whole_and_the_share_of_all_work_only_grows():
    observed = some_pixels(9, (28, 28), 1)
    partials = list(draw("mnist", observed, None, Sampling(3, 16)))
    counts, shares = [len(partial.values) for partial in partials], [partial.share for partial in partials]
    first = partials[counts.index(3) - 1]
    assert set(counts) == {1, 3} and counts == sorted(counts) and shares == sorted(shares)
    assert first.share == pytest.approx(1 / 3) and shares[-1] == 1
    assert torch.equal(first.values[0], partials[-1].values[0])
    assert not any(partial.values.isnan().any() for partial in partials)


def test_before_it_is_drawn_a_pixel_shows_its_mean():
    observed = some_pixels(9, (28, 28), 1)
    first = next(draw("mnist", observed, None, Sampling(1, 64)))
    same = first.values[0] == infer("mnist", observed).mean
    assert 0.5 < same.float().mean() < 1


def test_exact_is_the_default_and_a_finished_drawing_is_remembered():
    assert Sampling().steps is None
    request = Request("plain", some_pixels(5, (16, 16), 1), None, Sampling(2))
    shares = [each.samples["share"] for each in drawing(request)]
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) > 2
    assert next(drawing(request)) is remembered(request)
    other = Request("plain", some_pixels(5, (16, 16), 1), None, Sampling(2, seed=1))
    assert remembered(other) is None


def test_the_opening_that_is_stored_is_that_of_the_shipped_weights():
    request = opening.first()
    assert opening.stored(request), "the sketch or its checkpoint changed: run `python -m demo.opening`"
    assert opening.stored(replace(request, sampling=Sampling(3))) is None
    done = opening.drawn_before(request)
    assert len(done.samples["tiles"]) == 4 and done.samples["share"] == 1 and done.files


def test_paper_around_ink_is_observed_to_be_background():
    value = pad_value(some_pixels(0, (28, 28), 1), [28, 28]) | {"paper": [0, 29]}
    found = read_pad(value, 1)
    assert torch.equal(found.values, torch.zeros(2, 1)) and len(found) == 2


def test_from_coarse_to_fine_squares_become_pixels():
    observed = some_pixels(5)
    partials = list(draw("scaled", observed, None, Sampling(2, 40, order="coarse-to-fine")))
    levels = [partial for partial in partials if partial.level is not None]
    assert [tuple(partial.level.shape[:2]) for partial in levels] == [(4, 4), (8, 8), (16, 16)]
    cells = split(observed, [32, 32])
    for partial, side in zip(levels, (8, 4, 2), strict=True):
        squares = partial.level.repeat_interleave(side, 0).repeat_interleave(side, 1)
        assert torch.equal(partial.values[0].flatten(0, 1)[cells.hidden], squares.flatten(0, 1)[cells.hidden])
        assert torch.equal(partial.values[0].flatten(0, 1)[cells.known], cells.values)
    assert [each["name"] for each in level_tiles(partials, [32, 32])] == ["4 × 4", "8 × 8", "16 × 16", "32 × 32"]
    assert level_tiles(draw("scaled", observed, None, Sampling(1, 4)), [32, 32]) == []


def test_density_names_mean_and_mode_and_draws_a_bar_for_each_bin():
    for channels in (1, 3):
        centers = torch.rand(7, channels)
        found = ValueDistribution(torch.zeros(7), centers, torch.full((7,), -3.0), (0.0, 1.0), 1 / 255, centers)
        drawing = density_svg(found, "Pixel")
        assert drawing.count("<rect") == 7
        assert ">mean</text>" in drawing and ">mode</text>" in drawing and 'role="img"' in drawing


def test_points_are_read_as_they_are_written():
    observed = observe(3, 5)
    again = read_points(write_points(observed), "polynomial")
    assert torch.allclose(again.positions, observed.positions, atol=1e-3)
    assert torch.allclose(true_curve(3, observed.positions[:, 0]), observed.values[:, 0])


@pytest.mark.parametrize("text", ["1", "a, b", "0, 1, 2", "2, 0", "0, nan", "0, 1e9", "\n".join(["0, 0"] * 65)])
def test_points_that_cannot_be_read_are_named(text):
    with pytest.raises(ValueError, match="points.*expected"):
        read_points(text, "polynomial")


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
