"""What each event of the app's tabs changes: handlers as functions from what a visitor sees to updates by name."""

import gradio as gr
import pytest
import torch
from app_server import checkpoints
from PIL import Image

from demo import (
    example_shapes,
    image_actions,
    image_handlers,
    models,
    polynomial_handlers,
    saving,
    shape_actions,
    shape_handlers,
    shape_tab,
    share,
    unusual,
    video_actions,
    video_handlers,
)
from demo.answers import FAST, Sampling
from demo.density import colour_name
from demo.image_handlers import Visit
from demo.observed import nothing
from demo.pictures import read_picture, smooth_url
from demo.tab import Page
from demo.widgets.numbers import Number, Slider
from demo.widgets.pad import pad_value, read_pad
from demo.widgets.result import result
from pixeltransformer.pictures import to_image


@pytest.fixture(autouse=True)
def offered():
    models.offer(checkpoints())


def pad(checkpoint: str = "plain", cells=(0, 17), **more) -> dict:
    """A pad with grey pixels."""
    value = pad_value(nothing(models.config_of(checkpoint)), models.config_of(checkpoint).native_grid)
    value |= {"cells": list(cells), "colours": "808080" * len(cells), "checkpoint": checkpoint, "source": ""}
    return value | more


def visit(checkpoint: str = "plain", **more) -> Visit:
    values = dict(
        uploads={}, checkpoint=checkpoint, pad=pad(), auto=True, upload=None, pattern="left half", count=9, shuffle=0,
        number=2, speed="fast", resolution=16, order="spread", temperature=0.9, seed=None,
    )  # fmt: skip
    return Visit(values | more)


def test_a_visit_resolves_what_the_controls_say():
    seen = visit(order="coarse-to-fine")
    assert len(seen.observed) == 2 and seen.picture is None
    assert seen.sampling == Sampling(2, FAST, 0.9, 0, "spread")  # "plain" knows no averages
    assert visit(speed="exact").sampling.steps is None


def test_marginals_take_away_what_was_asked_about_another_sketch():
    updates = image_handlers.live(visit())
    assert updates["density"] == image_handlers.ASK and updates["pad"]["mark"] == -1
    assert updates["marginals"]["mark"] is None and updates["samples"]["mark"] is None
    assert [tile["name"] for tile in updates["marginals"]["value"]] == ["Mean", "Uncertainty"]


def test_samples_follow_a_change_only_where_that_is_wanted():
    drawn = list(image_handlers.run_if_wanted(visit()))
    assert [len(each["samples"]["value"]["tiles"]) for each in drawn][-1] == 2
    assert drawn[-1]["samples"]["value"]["share"] == 1 and {"still", "moving", "levels"} <= set(drawn[-1])
    (kept,) = image_handlers.run_if_wanted(visit(auto=False))
    assert "value" not in kept["samples"]


def test_nothing_left_to_draw_leaves_no_old_sample():
    seen = visit(pad=pad(cells=range(256)), edition=7)
    wanted = image_handlers.note(seen)["samples"]["wanted"]
    (empty,) = image_handlers.run_if_wanted(seen)
    assert empty["samples"]["value"] == result([], 0, 1.0, wanted["name"]) and wanted["edition"] == 7


def test_a_picture_that_is_observed_whole_is_still_drawn_at_more_pixels():
    drawn = list(image_handlers.run_if_wanted(visit(pad=pad(cells=range(256)), resolution=20, speed="fast", number=1)))
    assert len(drawn[-1]["samples"]["value"]["tiles"]) == 1 and drawn[-1]["samples"]["value"]["share"] == 1


def test_another_model_keeps_the_paint_in_its_cells_but_not_the_paper():
    before = pad(ink=[0, 17], paper=[34, 35])
    updates = image_handlers.change_model(visit("scaled", pad=before))
    moved = updates["pad"]["value"]
    assert moved["grid"] == [32, 32] and moved["checkpoint"] == "scaled" and len(moved["cells"]) == 2
    assert updates["resolution"] == 32 and updates["pad"]["channels"] == 3 and updates["pad"]["largest"] == 8
    assert ("coarse to fine", "coarse-to-fine") in updates["order"]["choices"]
    assert len(read_pad(before, 1)) == 4  # for its own model paper is observed


def test_undo_to_another_model_sets_the_controls_but_leaves_the_pad_as_it_is():
    updates = image_handlers.recall(visit("plain", pad=pad("scaled")))
    assert updates["checkpoint"] == "scaled" and updates["pad"]["largest"] == 8
    assert "value" not in updates["pad"]


def test_an_upload_stays_behind_the_pad_for_undo(tmp_path):
    uploads = {}
    for number, colour in enumerate(("red", "white", "blue", "grey", "black"), 1):
        Image.new("RGB", (20, 20), colour).save(tmp_path / "picture.png")
        updates = image_handlers.open_picture(visit(upload=str(tmp_path / "picture.png"), uploads=uploads))
        uploads, value = updates["uploads"], updates["pad"]["value"]
        assert value["source"] == f"upload {number}" and len(value["cells"]) == 128
        assert updates["upload"] is None  # the file may be deleted
        assert visit(pad=value, uploads=uploads).picture.getpixel((0, 0)) == Image.new("RGB", (1, 1), colour).getpixel(
            (0, 0)
        )
    assert list(uploads) == [f"upload {number}" for number in (2, 3, 4, 5)]


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (48, 48)])
def test_a_small_upload_is_observed_as_it_is_and_as_the_api_does(size, tmp_path):
    path = str(tmp_path / "picture.png")
    values = torch.randint(256, (*size, 3), generator=torch.Generator().manual_seed(0)) / 255
    to_image(values).save(path)
    shown = image_handlers.open_picture(visit("scaled", upload=path, pattern="everything", count=0))
    found = read_pad(shown["pad"]["value"], 3).values
    assert torch.equal(found, image_actions.reveal("scaled", path, 0, "everything", 0).values)
    assert size != (32, 32) or torch.equal(found, values.flatten(0, 1))


def test_other_pixels_are_revealed_of_the_same_picture():
    uploads = {"upload 1": Image.new("RGB", (8, 8), "white")}
    seen = visit(pad=pad(source="upload 1"), uploads=uploads, pattern="random pixels")
    updates = image_handlers.reveal_again(seen)
    assert len(updates["pad"]["value"]["cells"]) == 9 and updates["pad"]["value"]["source"] == "upload 1"
    assert "value" not in image_handlers.reveal_again(visit())["pad"]
    more = image_handlers.reveal_best(seen)["pad"]["value"]
    assert len(more["cells"]) == 3


def test_a_state_brings_everything_back():
    seen = visit(seed=5, number=3)
    updates = image_handlers.restore(image_handlers.state_of(seen))
    assert (updates["number"], updates["seed"], updates["speed"], updates["temperature"]) == (3, 5, "fast", 0.9)
    again = read_pad(updates["pad"]["value"], 1)
    assert torch.equal(again.positions, seen.observed.positions)
    with pytest.raises(ValueError, match="state.speed: expected one of exact, fast"):
        image_handlers.restore(
            share.to_text("image", {"checkpoint": "plain", "positions": [], "values": [], "speed": 3})
        )
    for side in ("big", 1000, 15, [32]):
        state = {"checkpoint": "plain", "positions": [], "values": [], "resolution": side}
        with pytest.raises(ValueError, match="resolution: expected an integer from 16 to 256"):
            image_handlers.restore(share.to_text("image", state))


def test_other_points_of_a_curve_take_its_density_away():
    values = dict(checkpoint="polynomial", points="0, 1", truth=None, number=1, temperature=1.0, seed=0)
    shown = polynomial_handlers.redraw(polynomial_handlers.Visit(values))
    assert shown["density"] == polynomial_handlers.ASK and shown["plot"]["drawn"] is None
    *_, last = polynomial_handlers.run(polynomial_handlers.Visit(values))
    assert len(last["plot"]["drawn"]["samples"]) == 1 and last["plot"]["drawn"]["points"] == [[0.0, 1.0]]


def test_a_clip_draws_nothing_before_there_is_one():
    values = dict(checkpoint="moving-mnist", truth=None, known=None, count=9, pattern="random pixels", shuffle=0)
    seen = video_handlers.Visit(values | dict(temperature=1.0, seed=0, upload=None))
    (waiting,) = video_handlers.run_if_known(seen)
    assert "value" not in waiting["player"] and "value" not in video_handlers.update(seen)["player"]
    with pytest.raises(ValueError, match="video: expected one, got none"):
        next(video_handlers.run(seen))


def test_updates_by_name_reach_their_components_and_an_event_its_handler():
    page = Page(dict)
    page.add(number="NUMBER")
    page.add(asked=False, text="TEXT")
    assert page.bind(lambda visit: {"text": visit["number"] + 1})(None, "7", 4) == {"TEXT": 5}

    class Event:
        _data = {"x": 3}

    assert page.bind(lambda visit, picked: {"text": picked["x"]})(None, Event(), "7", 4) == {"TEXT": 3}

    def twice(visit):
        yield {"text": visit["number"]}
        yield {"text": 0}

    assert list(page.bind(twice)(None, "", 4)) == [{"TEXT": 4}, {"TEXT": 0}]


def test_a_large_picture_is_smooth():
    import base64
    import io

    values = torch.zeros(8, 8, 1)
    values[:, 4:] = 1
    data = base64.b64decode(smooth_url(values).split(",")[1])
    row = torch.tensor(list(Image.open(io.BytesIO(data)).convert("L").tobytes())).view(384, 384)[100]
    assert (row[180:204].diff() >= -2).all() and 60 < row[192] < 200  # it rises step by step


def test_a_camera_s_jpeg_is_reduced_and_a_file_of_another_kind_is_told_in_plain_words(tmp_path):
    Image.new("RGB", (6000, 4000), "red").save(tmp_path / "camera.jpg", quality=20)
    assert read_picture(str(tmp_path / "camera.jpg"), [8, 8], 3)[0, 0].tolist() == pytest.approx([1, 0, 0], abs=0.02)
    files = {
        "drawing.svg": (b'<?xml version="1.0"?><svg/>', "got SVG"),
        "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "got HEIC"),
        "words.png": (b"words", "cannot read this one"),
    }
    for name, (data, told) in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=rf"expected an image file \(PNG, JPEG, WebP, GIF, …\), {told}"):
            read_picture(str(tmp_path / name), [8, 8], 3)


def test_a_bad_clip_is_told_without_the_server_s_folder(tmp_path):
    (tmp_path / "words.mp4").write_text("no clip")
    with pytest.raises(ValueError, match="video: expected") as told:
        video_actions.read_video(str(tmp_path / "words.mp4"), "moving-mnist")
    assert str(tmp_path) not in str(told.value)


def test_an_empty_field_and_a_number_beyond_the_limits_are_borne():
    slider = Slider(1, 6, value=4, step=1)
    assert [slider.preprocess(number) for number in (None, 3, 9999, -1)] == [4, 3, 6, 1]
    seed = Number(0, precision=0, minimum=0, maximum=9)
    assert [seed.preprocess(number) for number in (None, 10**30, 2.2)] == [0, 9, 2]
    assert slider.get_block_name() == "slider" and seed.get_block_name() == "number"


def test_samples_of_what_nobody_asks_for_any_more_stop():
    first, second = visit(session="a visitor"), visit(session="a visitor", pad=pad(cells=(3,)), seed=7)
    image_handlers.live(first)
    drawn = image_handlers.run(visit(session="a visitor", number=3, seed=11))  # the page asked for something else
    assert list(drawn) == []
    image_handlers.live(second)
    started = image_handlers.run(second)
    next(started)
    image_handlers.live(second)  # the same again stops nothing
    next(started)
    image_handlers.live(first)
    assert list(started) == []


def saved(**more) -> dict:
    values = visit().values | {"seed": 3} | more
    return {name: values[name] for name in image_handlers.SAVED}


def test_what_the_browser_saved_comes_back_and_what_does_not_fit_does_not():
    updates = image_handlers.recover(saved(pad=pad(ink=[0], paper=[1])))
    assert updates["seed"] == 3 and updates["pad"]["value"]["paper"] == [1] and updates["checkpoint"] == "plain"
    assert updates["resolution"] == 16 and updates["pad"]["channels"] == 1
    for wrong in (
        dict(pad=pad(cells=())), dict(checkpoint="gone"), dict(number=99), dict(pad=None), dict(resolution="x"),
        dict(pad=pad() | {"grid": [8, 8]}), dict(pad=pad() | {"cells": ["0", "1"]}), dict(speed="slow"),
    ):  # fmt: skip
        with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
            image_handlers.recover(saved(**wrong))
    points = dict(checkpoint="polynomial", points="0, 1", truth=-1, number=1, temperature=1.0, seed=0)
    assert polynomial_handlers.recover(points)["points"] == "0, 1"
    with pytest.raises(ValueError, match="expected points, got none"):
        polynomial_handlers.recover(points | {"points": ""})


def test_an_upload_is_not_saved_but_its_revealed_pixels_are():
    updates = image_handlers.recover(saved(pad=pad(source="upload 2")))
    assert updates["pad"]["value"]["source"] == "" and updates["pad"]["picture"] == ""


def test_a_file_of_an_older_app_or_of_somebody_else_is_not_taken_for_saved_work():
    assert saving.read_saved('{"a": 1}') == {"a": 1}
    assert [saving.read_saved(text) for text in ("", None, "[1]", "{", "3")] == [None] * 5


def test_colours_are_named_by_words():
    names = [colour_name(torch.tensor(rgb) / 255) for rgb in ((200, 116, 44), (255, 255, 255), (20, 18, 16))]
    assert names == ["ginger", "white", "black"]


def test_the_map_of_what_is_unusual_is_of_the_picture_behind_the_pad():
    picture = Image.new("RGB", (40, 40), (200, 90, 10))
    seen = visit(uploads={"upload 1": picture}, pad=pad(source="upload 1"))
    shown, surprise = unusual.unusual(seen)["unusual"]["value"]
    assert [shown["name"], surprise["name"]] == ["Picture", "Surprise"] and surprise["note"].startswith("largest at")
    with pytest.raises(ValueError, match="picture: expected one to look at, got none"):
        unusual.unusual(visit())


def shape_values() -> dict:
    values = dict(checkpoint="chairs", count=32, where="near the surface", side=12, temperature=1.0, seed=0, up="z")
    return values | dict(shuffle=0, axis="y", depth=16, opened="Stool", shape=None, known=None, upload=None, scan=None)


def test_clicked_points_of_a_shape_stay_until_others_are_asked_for():
    values = shape_values() | {"shape": shape_handlers.example_distances("Stool", "chairs")}
    values["known"] = shape_handlers.update(shape_handlers.Visit(values))["known"]
    values["known"] = shape_handlers.add_point(shape_handlers.Visit(values), {"x": 0.1, "y": 0.1})["known"]
    for changed in ({"side": 16}, {"seed": 1}):
        seen = shape_handlers.redraw(shape_handlers.Visit(values | changed))
        assert len(seen["known"]) == 33 and seen["likely"]
    first = shape_handlers.update(shape_handlers.Visit(values | {"seed": 1}))["known"]
    other = shape_handlers.update(shape_handlers.Visit(values | {"shuffle": 1}))["known"]
    assert len(first) == len(other) == 32 and not torch.equal(first.positions, other.positions)
    assert torch.equal(first.positions, values["known"].positions[:32])
    with gr.Blocks() as blocks:
        shape_tab.build()
    called = {
        (getattr(blocks.blocks[block], "label", None), event): each.fn.__name__
        for each in blocks.fns.values()
        if each.fn
        for block, event in each.targets
        if block is not None
    }
    for label, event in (("Cells a side", "input"), ("Model", "input"), ("Seed", "change")):
        assert called[label, event] == "redraw"
    assert called["Where", "input"] == called["Shuffle", "input"] == "update"


def test_the_3d_tab_updates_no_more_than_its_outputs():
    """Anything more would fail in the page."""
    values = shape_values()
    opened = shape_handlers.begin(shape_handlers.Visit(values))
    assert set(opened) <= set(shape_tab.OPENED) and opened["opened"] == "Stool"
    values |= {name: opened[name] for name in ("shape", "known")}
    turned = shape_handlers.turn(shape_handlers.Visit(values | {"up": "y"}))
    more = shape_handlers.add_point(shape_handlers.Visit(values), {"x": 0.1, "y": 0.1})
    assert set(turned) <= {"truth", *shape_tab.SHOWN} and set(more) <= set(shape_tab.SHOWN)
    assert len(more["known"]) == 33
    with pytest.raises(ValueError, match="a distance is measured where the whole surface is known"):
        shape_handlers.add_point(shape_handlers.Visit(values | {"shape": None}), {"x": 0.1, "y": 0.1})


def test_samples_of_a_shape_are_shown_only_where_they_are_wanted(monkeypatch):
    drawn = [0.5, [example_shapes.shape("Stool")] * 2]
    monkeypatch.setattr(shape_handlers, "sampled_surfaces", lambda *request: iter(drawn))
    values = dict(checkpoint="chairs", side=12, temperature=1.0, seed=0, session="a visitor of shapes", files=None)
    seen = shape_handlers.Visit(values | {"known": observed_shape("Stool")})
    other = shape_handlers.Visit(values | {"known": observed_shape("Table")})
    assert shape_handlers.note(seen) == {"state": ""}
    *_, finished = shape_handlers.run(seen)
    shown = shape_handlers.Visit(seen.values | {"files": finished["files"]})
    assert all(shape_handlers.show_files(shown).values())
    shape_handlers.note(other)
    assert shape_handlers.show_files(shown) == shape_handlers.OLD  # they came after a change
    (stopped,) = shape_handlers.run(seen)
    assert stopped == {"state": shape_handlers.STOPPED, "files": None}
    assert shape_handlers.show_files(seen) == shape_handlers.OLD
    shape_handlers.note(seen)
    warmer = shape_handlers.Visit(seen.values | {"temperature": 1.2})
    assert shape_handlers.forget(warmer) == shape_handlers.OLD
    assert next(shape_handlers.run(seen))["state"] == shape_handlers.STOPPED


def observed_shape(name: str):
    return shape_actions.observe(shape_handlers.example_distances(name, "chairs"), 32, shape_actions.WHERE[0], 0)


def test_a_clip_and_its_sample_have_the_name_of_what_is_wanted():
    """The page tells by it whether they answer the last change."""
    values = dict(checkpoint="moving-mnist", count=9, pattern="random pixels", shuffle=0, temperature=1.0, seed=0)
    seen = video_handlers.Visit(values | dict(truth=torch.rand(8, 32, 32, 1), known=None, session="", edition=3))
    shown = video_handlers.update(seen)
    name = shown["player"]["value"]["name"]
    assert shown["player"]["wanted"] == {"name": name, "edition": 3}
    restored = video_handlers.Visit(seen.values | {"truth": None, "known": shown["known"], "seed": 1, "edition": 4})
    noted = video_handlers.update(restored)["player"]  # there is no clip to observe more of, but a sample to draw
    assert noted["wanted"]["edition"] == 4 and noted["wanted"]["name"] != name and "value" not in noted
    assert next(video_handlers.run(restored))["player"]["value"]["name"] == noted["wanted"]["name"]
