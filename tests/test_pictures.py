"""The image processor and the pipeline of a checkpoint: pictures in, pictures out, observed pixels as they were."""

import json
import re
from shutil import copytree

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, pipeline

from conftest import ROOT, make_model
from pixeltransformer import PixelTransformerImageProcessor
from pixeltransformer.patterns import IMAGE_PATTERNS
from pixeltransformer.pictures import as_image, image_to_array
from processes import run_outside
from signals.image import Images

NOISE = np.random.default_rng(0)


def noise(mode: str, width: int, height: int) -> Image.Image:
    """A picture of random pixels in a mode."""
    levels = NOISE.integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(levels[..., :2].copy().view(np.uint16)[..., 0])
    if mode == "P":
        image = Image.fromarray(levels[..., 0], "P")
        image.putpalette(NOISE.integers(0, 256, 768, dtype=np.uint8).tobytes())
        return image
    if mode == "1":
        return Image.fromarray(levels[..., 0] > 127)
    depth = {"L": 1, "LA": 2, "RGB": 3, "YCbCr": 3}.get(mode, 4)
    return Image.frombytes(mode, (width, height), levels[..., :depth].tobytes())


def turned(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[0x0112] = orientation
    return image


def with_transparency(image: Image.Image) -> Image.Image:
    image.info["transparency"] = 3
    return image


PICTURES = {
    "grey": noise("L", 6, 6),
    "grey, oblong": noise("L", 13, 7),
    "grey with alpha": noise("LA", 9, 5),
    "palette": noise("P", 5, 9),
    "palette with a transparent colour": with_transparency(noise("P", 16, 16)),
    "RGB": noise("RGB", 6, 6),
    "RGB, one row": noise("RGB", 20, 1),
    "RGBA": noise("RGBA", 31, 17),
    "CMYK": noise("CMYK", 8, 12),
    "16 bits": noise("I;16", 10, 10),
    "black and white": noise("1", 7, 11),
    "turned": turned(noise("RGB", 12, 8), 6),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PICTURES)
def test_observed_pixels_come_back_to_the_level_in_any_mode_and_size(name, channels):
    picture = PICTURES[name]
    processor = PixelTransformerImageProcessor((6, 6), channels)
    upright = image_to_array(picture, None, channels)
    for size in (None, (5, 9), 4, upright.shape[1::-1]):
        width, height = (6, 6) if size is None else (size, size) if isinstance(size, int) else size
        inputs = processor(picture, pattern="random pixels", size=size, generator=0)
        values = torch.full((1, inputs.query_positions.shape[1], channels), 7 / 255)
        found = np.array(processor.post_process(inputs, values)[0]).reshape(height, width, channels)
        expected = image_to_array(picture, (width, height), channels)
        hidden = np.array(processor.post_process_uncertainty(inputs, values, white=7 / 255)[0]) > 0
        assert hidden.sum() == width * height - inputs.context_positions.shape[1]
        assert np.array_equal(found[~hidden], expected[~hidden]) and (found[hidden] == 7).all()
    assert np.array_equal(expected, upright)  # in its own size, a picture is not resampled


def test_arrays_tensors_and_files_are_the_same_pictures(tmp_path):
    image = PICTURES["RGB"]
    image.save(tmp_path / "a.png")
    array = np.array(image)
    same = [tmp_path / "a.png", str(tmp_path / "a.png"), array, array.transpose(2, 0, 1), array / 255]
    same += [torch.from_numpy(array).permute(2, 0, 1), torch.from_numpy(array) / 255, (array.astype(np.uint16) << 8)]
    for one in same:
        assert np.array_equal(np.array(as_image(one)), array)
    assert as_image(array[..., 0]).mode == "L" and as_image(torch.zeros(2, 5, 5)).mode == "LA"
    assert as_image(array > 99).mode == "RGB" and as_image(torch.zeros(4, 5, 5)).mode == "RGBA"


WRONG = {
    "floats in": np.full((4, 4), 2.0),
    "int64": np.full((4, 4), 300),
    "shape": np.zeros((5, 5, 5), np.uint8),
    "path of a file": "https://example.com/a.png",
    "unknown range": Image.fromarray(np.zeros((4, 4), np.float32)),
    "NoneType": None,
    "at least one picture": [],
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_pictures_are_named(words):
    with pytest.raises((TypeError, ValueError), match=words):
        PixelTransformerImageProcessor(4)(WRONG[words], num_pixels=3)


def test_wrong_choices_are_named():
    processor, image = PixelTransformerImageProcessor(6), PICTURES["grey"]
    wrong = {
        "expected one of mask, pattern and num_pixels, got none": {},
        "got pattern and num_pixels": {"pattern": "top half", "num_pixels": 3},
        "pattern: expected one of random pixels": {"pattern": "bottom"},
        "num_pixels: expected a number from 0 to 35": {"num_pixels": 36},
        "mask: expected at least one hidden": {"mask": np.zeros((6, 6))},
        r"mask: expected the picture's width and height \(6, 6\)": {"mask": np.ones((5, 6))},
        "mask: expected one mask, or one for each of 1": {"mask": [np.ones((6, 6))] * 2},
        "size: expected a side": {"num_pixels": 1, "size": 0},
    }
    for words, options in wrong.items():
        with pytest.raises(ValueError, match=words):
            processor(image, **options)


def test_a_mask_hides_what_is_white_whatever_its_type():
    picture = PICTURES["turned"]  # 8×12 when upright
    hidden = np.zeros((12, 8), bool)
    hidden[:5, 2:] = True
    levels = hidden.astype(np.uint8) * 255
    processor = PixelTransformerImageProcessor((8, 12), 3)
    expected = processor(picture, mask=hidden)
    assert expected.query_positions.shape[1] == hidden.sum()
    masks = [levels, Image.fromarray(levels), Image.fromarray(levels).convert("1"), hidden.astype(float)]
    masks += [
        torch.from_numpy(hidden),
        hidden.astype(np.int64),
        levels[..., None],
        Image.fromarray(levels).convert("RGB"),
    ]
    for mask in masks:
        assert torch.equal(processor(picture, mask=mask).query_positions, expected.query_positions)
    small = processor(picture, mask=hidden, size=(4, 6))  # resized and cropped like the picture
    assert small.query_positions.shape[1] == pytest.approx(hidden.sum() / 4, abs=3)


def test_positions_are_those_of_the_model():
    model = make_model(native_grid=[6, 4])
    inputs = PixelTransformerImageProcessor.of(model.config)(PICTURES["grey"], num_pixels=0)
    assert torch.equal(inputs.query_positions, model.native_positions()) and inputs.context_values.shape == (1, 0, 1)


def test_a_list_of_pictures_gives_what_each_gives_alone():
    model = make_model(value_dim=3)
    processor = PixelTransformerImageProcessor.of(model.config)
    images = [PICTURES["RGB"], PICTURES["CMYK"], PICTURES["palette"]]
    masks = [np.ones((6, 6)), *(np.arange(36).reshape(6, 6) > most for most in (7, 20))]  # observed: 0, 8, 21
    inputs = processor(images, mask=masks)
    assert inputs.context_mask.sum(1).tolist() == [0, 8, 21]
    with torch.no_grad():
        means = model(**inputs).distribution.mean
    pictures = processor.post_process(inputs, torch.stack((means, means)))
    for image, mask, several in zip(images, masks, pictures, strict=True):
        alone = processor(image, mask=mask)
        assert "context_mask" not in alone
        expected = np.array(processor.post_process(alone, model.predict(**alone).mean)[0]).astype(int)
        assert len(several) == 2 and np.abs(np.array(several[0]).astype(int) - expected).max() <= 1  # rounding
    stacked = processor(np.stack([np.array(images[0])] * 2), num_pixels=4)
    assert stacked.context_values.shape == (2, 4, 3)


def test_a_seed_decides_what_is_random():
    processor = PixelTransformerImageProcessor(6)
    for options in ({"pattern": "three strokes"}, {"num_pixels": 9}):
        one, two, three = (processor(PICTURES["grey"], generator=seed, **options) for seed in (1, 1, 2))
        assert torch.equal(one.context_positions, two.context_positions)
        assert not torch.equal(one.context_positions, three.context_positions)


def test_values_that_do_not_fit_are_named():
    processor = PixelTransformerImageProcessor(6)
    inputs = processor(PICTURES["grey"], num_pixels=4)
    with pytest.raises(ValueError, match=r"values: expected shape \(B, Q, V\)"):
        processor.post_process(inputs, torch.zeros(1, 5, 1))
    part = {**inputs, "query_positions": inputs.query_positions[:, :9]}
    with pytest.raises(ValueError, match="inputs: expected each pixel of a picture"):
        processor.post_process(part, torch.zeros(1, 9, 1))


def test_the_patterns_have_the_names_that_evaluation_and_app_show():
    assert Images.patterns is IMAGE_PATTERNS


def test_processor_and_pipeline_come_with_a_checkpoint_for_images_alone(tmp_path):
    model = make_model(native_grid=[8, 6], value_dim=3)
    model.save_pretrained(tmp_path / "images")
    loaded = AutoImageProcessor.from_pretrained(tmp_path / "images", trust_remote_code=True)
    assert loaded.size == {"width": 8, "height": 6} and loaded.num_channels == 3
    loaded.save_pretrained(tmp_path / "again")
    again = AutoImageProcessor.from_pretrained(tmp_path / "again", trust_remote_code=True)
    assert again.to_dict() == loaded.to_dict() and again.quantization_step == model.config.quantization_step
    curve = make_model(signal="polynomial", native_grid=[8], value_range=None, quantization_step=None)
    curve.save_pretrained(tmp_path / "curves")
    assert not (tmp_path / "curves" / "preprocessor_config.json").exists()
    assert "pixel-completion" not in (tmp_path / "curves" / "config.json").read_text()


def test_observed_pixels_are_levels_that_the_checkpoint_knows(tmp_path):
    """A processor that was saved without the step rounds nothing."""
    model = make_model(native_grid=[6, 6], quantization_step=1.0, num_bins=2)
    model.save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path, trust_remote_code=True)
    picture = np.linspace(0, 255, 36).astype(np.uint8).reshape(6, 6)
    inputs = processor(picture, pattern="top half")
    observed = torch.from_numpy(picture[:3].reshape(1, 18, 1))
    assert torch.equal(inputs.context_values, (observed > 127).float())
    path = tmp_path / "preprocessor_config.json"
    fields = json.loads(path.read_text())
    del fields["quantization_step"]
    path.write_text(json.dumps(fields))
    old = AutoImageProcessor.from_pretrained(tmp_path, trust_remote_code=True)
    assert torch.allclose(old(picture, pattern="top half").context_values, observed / 255)
    with pytest.raises(ValueError, match="quantization_step: expected None or a number above 0, got 0"):
        PixelTransformerImageProcessor(6, 1, 0)


def test_the_pipeline_returns_pictures(tmp_path):
    make_model(value_dim=3).save_pretrained(tmp_path)
    complete = pipeline("pixel-completion", model=str(tmp_path), trust_remote_code=True)
    found = complete(PICTURES["RGB"], pattern="top half", num_samples=2, generator=3)
    assert [found[name].size for name in ("mean", "uncertainty")] == [(6, 6)] * 2 and len(found["samples"]) == 2
    for picture in (found["mean"], *found["samples"]):
        assert np.array_equal(np.array(picture)[:3], np.array(PICTURES["RGB"])[:3])
    assert found["std"].shape == (6, 6, 3) and (found["std"][:3] == 0).all() and (found["std"][3:] > 0).all()
    again = complete(PICTURES["RGB"], pattern="top half", num_samples=2, generator=3)
    assert all(np.array_equal(*pair) for pair in zip(found["samples"], again["samples"], strict=True))
    several = complete(
        [{"image": PICTURES["RGB"], "mask": np.ones((6, 6))}, PICTURES["CMYK"]], mask=np.eye(6), num_samples=0
    )
    assert len(several) == 2 and not several[0]["samples"] and (several[0]["std"] > 0).all()
    assert int((several[1]["std"][..., 0] > 0).sum()) == 6
    with pytest.raises(ValueError, match="batch_size: expected 1"):
        complete([PICTURES["RGB"]], batch_size=2, num_pixels=3)
    with pytest.raises(TypeError, match="samples: expected one of mask"):
        complete(PICTURES["RGB"], num_pixels=3, samples=2)


@pytest.mark.parametrize(("page", "lines"), [("README.md", 4), ("docs/USAGE.md", 10)])
def test_lines_of_the_docs_run_from_a_checkpoint_copied_elsewhere(page, lines, tmp_path):
    """As printed, in a process that knows nothing of the repository."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    block = next(block for block in blocks if "photo.jpg" in block)
    assert len([line for line in block.splitlines() if line.strip()]) == lines
    copytree(ROOT / "checkpoints" / "cat-faces", tmp_path / "checkpoints" / "cat-faces")
    noise("RGB", 48, 40).save(tmp_path / "photo.jpg")
    hidden = np.zeros((40, 48), np.uint8)
    hidden[10:16, 20:28] = 255
    Image.fromarray(hidden).save(tmp_path / "mask.png")
    run_outside(block, folder=tmp_path)
    assert Image.open(tmp_path / "mean.png").size == (32, 32)
