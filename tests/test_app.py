"""The image tab reads what is painted, answers through the API, and survives bad input."""

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from PIL import Image

import app
from conftest import make_model
from demo import examples
from demo.observations import from_sketch, read_picture, reveal
from demo.pictures import show_observed
from signals.places import cell_positions


def sketch(size: int = 80, boxes=()) -> dict:
    """An editor's value with painted boxes (x0, y0, x1, y1, RGBA)."""
    layer = np.zeros((size, size, 4), np.uint8)
    for x0, y0, x1, y1, colour in boxes:
        layer[y0:y1, x0:x1] = colour
    return {"background": None, "layers": [layer], "composite": layer}


def test_painted_cells_are_observed_at_their_place_with_their_colour():
    observed = from_sketch(sketch(boxes=[(10, 20, 20, 30, (255, 0, 0, 255))]), [8, 8], 3)
    positions, values = observed.context
    assert torch.allclose(positions[0], cell_positions([8, 8], torch.tensor([2 * 8 + 1])))
    assert torch.allclose(values[0], torch.tensor([[1.0, 0.0, 0.0]]))


def test_grey_models_read_brightness_and_faint_strokes_are_no_dabs():
    boxes = [(0, 0, 10, 10, (128, 128, 128, 255)), (40, 40, 43, 43, (255, 255, 255, 255))]
    observed = from_sketch(sketch(boxes=boxes), [8, 8], 1)
    assert observed.cells.tolist() == [0]
    assert observed.values.item() == pytest.approx(128 / 255)


@pytest.mark.parametrize("empty", [None, {}, {"layers": []}, sketch()])
def test_empty_canvas_observes_nothing(empty):
    assert len(from_sketch(empty, [8, 8], 1)) == 0


def test_revealed_pixels_are_the_pictures():
    values = read_picture(examples.digit(3), [28, 28], 1)
    observed = reveal(values, 50, seed=1)
    assert len(observed) == 50
    assert torch.equal(values.flatten(0, 1)[observed.cells], observed.values)
    assert torch.equal(observed.cells, reveal(values, 50, seed=1).cells)
    assert len(reveal(values, 10**6, seed=0)) == 783


def test_pictures_that_cannot_be_read_are_named():
    with pytest.raises(ValueError, match="picture: expected an image, got none"):
        read_picture(None, [8, 8], 1)
    with pytest.raises(ValueError, match="picture: expected at most .*got 8000"):
        read_picture(Image.new("1", (8000, 8000)), [8, 8], 1)


@pytest.mark.parametrize("number", examples.STROKES)
def test_example_digits_are_white_on_black(number):
    digit = np.asarray(examples.digit(number))
    assert digit.shape == (224, 224)
    assert digit.max() > 200 and np.median(digit) == 0


def test_observed_picture_shows_the_observed_colours():
    observed = from_sketch(sketch(boxes=[(0, 0, 10, 10, (255, 0, 0, 255))]), [8, 8], 3)
    assert show_observed(observed).getpixel((3, 3)) == (255, 0, 0)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The app with a small model beside the shipped checkpoints."""
    folder = tmp_path_factory.mktemp("served") / "small"
    make_model().save_pretrained(folder)
    blocks = app.build([str(folder)])
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True)
    yield Client(url, verbose=False), str(folder), folder.parent
    blocks.close()


def upload(folder, array: np.ndarray) -> dict:
    path = folder / "layer.png"
    Image.fromarray(array).save(path)
    return handle_file(str(path))


def test_sketch_through_the_api_gives_pictures_that_depend_on_it(served):
    client, place, folder = served
    means = []
    for colour in (0, 255):
        painted = sketch(boxes=[(0, 0, 40, 40, (colour, colour, colour, 255))])["layers"][0]
        layer = upload(folder, painted)
        value = {"background": None, "layers": [layer], "composite": layer}
        seen, mean, doubt, status = client.predict(place, value, api_name="/infer_sketch")
        assert "**9** of 36 pixels" in status
        means.append(np.asarray(Image.open(mean if isinstance(mean, str) else mean["path"])))
    assert means[0].shape == means[1].shape and not np.array_equal(*means)


def test_samples_stream_through_the_api(served):
    client, place, folder = served
    picture = handle_file(_saved(folder, examples.digit(2)))
    job = client.submit(place, picture, 8, 0, 2, 12, 0.9, 0, api_name="/sample_picture")
    assert len(job.result()) == 2
    assert len(job.outputs()) > 3


def test_bad_input_gets_a_message_and_the_next_request_works(served):
    client, place, folder = served
    for bad in ((place, None, 8, 0, 2, 12, 0.9, 0), (place, None, 8, 0, 0, 12, -1, -5)):
        with pytest.raises(Exception, match="expected|less than minimum"):
            client.predict(*bad, api_name="/sample_picture")
    good = handle_file(_saved(folder, examples.digit(7)))
    assert len(client.predict(place, good, 8, 0, 1, 4, 0.9, 0, api_name="/sample_picture")) == 1


def _saved(folder, picture: Image.Image) -> str:
    path = folder / "picture.png"
    picture.save(path)
    return str(path)
