"""The parts that the app's actions are made of."""

from dataclasses import replace

import pytest
import torch
from app_server import checkpoints
from observed_sets import chosen, dabs_and_pixels, some_pixels
from PIL import Image

from demo import models, opening, share
from demo.answers import Sampling, joint, marginal
from demo.density import density_svg
from demo.drawings import Request, drawing, level_tiles, remembered
from demo.grids import split
from demo.image_actions import draw, infer, refit, reveal
from demo.limits import MAX_CONTEXT, MAX_PAIRS, drawn_at_most, together_at_most
from demo.observed import Observed, read_observed
from demo.polynomial_actions import REGION_NAMES, curves, observe, read_points, true_curve, write_points
from demo.polynomial_handlers import edit
from demo.shape_actions import WHERE
from demo.shape_actions import observe as observe_shape
from demo.video_actions import PATTERNS as VIDEO_PATTERNS
from demo.video_actions import observe as observe_clip
from demo.widgets.pad import pad_value, read_pad
from pixeltransformer.distribution import ValueDistribution


@pytest.fixture(scope="module", autouse=True)
def offered():
    models.offer(checkpoints())


def test_the_pad_gives_back_what_it_is_given():
    observed = some_pixels()
    again = read_pad(pad_value(observed, [32, 32]), 3)
    order, other = (each.positions @ torch.tensor([1.0, 100.0]) for each in (observed, again))
    assert torch.allclose(observed.positions[order.argsort()], again.positions[other.argsort()], atol=1e-6)
    assert torch.allclose(observed.values[order.argsort()], again.values[other.argsort()], atol=1e-6)


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


def test_each_sample_of_a_large_request_has_some_hundred_values_or_it_is_refused():
    queries = 256 * 256
    for known in (0, 768, 1024, MAX_CONTEXT):
        most = together_at_most(queries, known)
        drawn = drawn_at_most(most, queries, known)
        assert most >= 1 and drawn >= 256 and most * queries * (known + drawn) <= 2 * MAX_PAIRS
    assert together_at_most(queries, 1024) >= 5  # the whole pad of a model of 32×32 pixels, and six samples
    many = Observed(torch.rand(2000, 2) * 2 - 1, torch.zeros(2000, 1))
    with pytest.raises(ValueError, match="samples: expected at most 4 of 256 × 256 pixels with 2,000 observed, got 6"):
        next(draw("plain", many, 256, Sampling(6)))


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


def test_the_first_visitor_s_model_has_drawn_before():
    name = opening.first().checkpoint
    models._load.cache_clear()
    model, passes = models.load(name), []
    handle = model.decoder[0].register_forward_hook(lambda *_: passes.append(True))
    opening.warm_up()
    handle.remove()
    assert models.load(name) is model and passes


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


@pytest.mark.parametrize("writes", ["a random curve", "an edit"])
def test_the_exact_posterior_covers_the_true_curve_between_and_beyond_points_of_an_interval(writes):
    worst = []
    for number in range(30):
        text = write_points(observe(number, 6, "points of an interval"))
        if writes == "an edit":
            text = edit(None, curves("polynomial", read_points(text, "polynomial"), None))["points"]
        found = curves("polynomial", read_points(text, "polynomial"), number)
        mean, deviation, truth = (torch.tensor(found[key]) for key in ("exact_mean", "exact_deviation", "truth"))
        worst.append(((mean - truth).abs() / (deviation + 1e-4)).max().item())  # 1e-4: all three are rounded
    assert max(worst) < 5


@pytest.mark.parametrize("text", ["1", "a, b", "0, 1, 2", "2, 0", "0, nan", "0, 1e9", "\n".join(["0, 0"] * 65)])
def test_points_that_cannot_be_read_are_named(text):
    with pytest.raises(ValueError, match="points.*expected"):
        read_points(text, "polynomial")
