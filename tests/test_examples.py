"""The examples run, at small size, on models that know nothing."""

import copy
import os

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from scipy.io import wavfile

from conftest import ROOT, make_context, make_model
from evaluation import figure
from evaluation.command import parse_flags
from examples import complete_image, lora, query, rebuild_mesh, train_on_my_images
from hub_server import run_hub
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from processes import python
from train_accelerate import train
from training.arguments import parse_arguments

SMALL = "--hidden_size 16 --num_attention_heads 2 --num_encoder_layers 1 --num_decoder_layers 1 --intermediate_size 16"
SMALL += " --num_bins 3 --max_context 12 --buffer_size 4 --max_queries 4 --token_budget 128 --max_train_steps 2"
SMALL += " --validation_contexts 0 4 --validation_images 4 --report_to none --mixed_precision no"
SHAPE = dict(signal="shape", native_grid=[8, 8, 8], value_range=[-1.5, 1.5], quantization_step=None)


def test_query(tmp_path, capsys):
    make_model().save_pretrained(tmp_path)
    query.main(str(tmp_path))
    assert "nats" in capsys.readouterr().out


@pytest.mark.parametrize("what", [["--reveal", "5"], ["--hide", "0.25", "0.25", "0.75", "0.75"]])
def test_complete_image(tmp_path, what):
    make_model(value_dim=3).save_pretrained(tmp_path / "model")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8))
    picture.save(tmp_path / "photo.png")
    flags = ["--checkpoint", str(tmp_path / "model"), "--size", "12", "--samples", "1", "--steps", "4"]
    complete_image.main([str(tmp_path / "photo.png"), *flags, *what, "--output", str(tmp_path / "out")])
    written = {path.stem: np.array(Image.open(path).resize((12, 12), 0)) for path in (tmp_path / "out").glob("*.png")}
    assert set(written) == {"observed", "mean", "uncertainty", "sample-1"}
    known = written["uncertainty"] == 0
    assert known.sum() == (5 if what[0] == "--reveal" else 144 - 36)
    assert np.array_equal(written["mean"][known], np.array(picture)[known])


def test_complete_image_names_bad_input(tmp_path):
    make_model(value_dim=3).save_pretrained(tmp_path / "model")
    (tmp_path / "text.png").write_text("no picture")
    for path in ("text.png", "missing.png"):
        with pytest.raises(SystemExit, match=path):
            complete_image.main([str(tmp_path / path), "--checkpoint", str(tmp_path / "model")])


def test_train_on_my_images(image_folder, tmp_path):
    flags = ["--output", str(tmp_path / "run"), "--size", "8", *SMALL.split(), "--validation_size", "8"]
    export = train_on_my_images.main([str(image_folder), *flags])
    assert PixelTransformerModel.from_pretrained(export).config.native_grid == [8, 8]


def test_lora_adapts_a_checkpoint_to_a_folder(image_folder, tmp_path, capsys):
    make_model(native_grid=[8, 8]).save_pretrained(tmp_path / "model")
    flags = ["--checkpoint", str(tmp_path / "model"), "--output", str(tmp_path / "run"), "--steps", "3", "--rank", "2"]
    flags += ["--max_context", "12", "--buffer_size", "4", "--max_queries", "4", "--token_budget", "128"]
    lora.main([str(image_folder), *flags, "--validation_size", "8"])
    out = capsys.readouterr().out
    assert "bits per dimension before" in out and "bits per dimension after" in out and "of the model's" in out
    original, merged = (PixelTransformerModel.from_pretrained(tmp_path / name) for name in ("model", "run/merged"))
    adapted = PeftModel.from_pretrained(copy.deepcopy(original), tmp_path / "run" / "adapters").eval()
    context, queries = make_context(original), original.native_positions()
    means = [one.predict(*context, queries).means for one in (original, adapted, merged)]
    assert torch.allclose(means[1], means[2], atol=1e-4) and not torch.equal(means[0], means[1])
    make_model(native_grid=[8, 4]).save_pretrained(tmp_path / "oblong")
    with pytest.raises(SystemExit, match="lora: --checkpoint: expected one for square images"):
        lora.main([str(image_folder), "--checkpoint", str(tmp_path / "oblong")])


def test_adapters_are_a_small_share_of_the_weights():
    model = PixelTransformerModel.from_pretrained(ROOT / "checkpoints" / "cat-faces")
    count = model.num_parameters()
    _, adapters = lora.add_adapters(model, lora.RANK)
    assert 0 < sum(weights.numel() for weights in adapters) < 0.05 * count


def test_rebuild_mesh(tmp_path, capsys):
    make_model(**SHAPE).save_pretrained(tmp_path / "model")
    flags = ["--checkpoint", str(tmp_path / "model"), "--samples", "1", "--drawn", "9", "--steps", "3", "--points", "9"]
    rebuild_mesh.main([*flags, "--output", str(tmp_path / "out")])
    assert (tmp_path / "out" / "truth.glb").exists()
    assert "likely" in capsys.readouterr().out
    (tmp_path / "broken.obj").write_text("no mesh")
    with pytest.raises(SystemExit, match="broken.obj: expected a mesh"):
        rebuild_mesh.main([str(tmp_path / "broken.obj"), *flags])


def test_a_fifth_kind_of_signal_is_one_file(tmp_path):
    random = np.random.default_rng(0)
    for number in range(20):
        wavfile.write(tmp_path / f"{number}.wav", 8000, random.normal(0, 4000, (100, 2)).astype(np.int16))
    flags = f"--kind examples/audio_signal.py --output_dir {tmp_path}/run --overwrite --samples 64 {SMALL}"
    for source in ([], ["--folder", str(tmp_path)]):
        export = train(*parse_arguments([*flags.split(), *source]))
        config = PixelTransformerModel.from_pretrained(export).config
        assert config.signal == "audio" and config.native_grid == [64]


def test_push_to_hub(tmp_path):
    make_model().save_pretrained(tmp_path / "model")
    (tmp_path / "arrived").mkdir()
    with run_hub(tmp_path / "arrived") as hub:
        where = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_x", "HF_HUB_OFFLINE": "0"}
        command = ["-m", "examples.push_to_hub", tmp_path / "model", "you/name"]
        done = python(*command, variables=os.environ | where)
    assert done.returncode == 0, done.stderr
    assert "you/name/commit/" in done.stdout and (tmp_path / "arrived" / "model.safetensors").exists()


@pytest.mark.parametrize("kind", ["image", "polynomial", "shape", "video"])
def test_every_kind_has_its_picture(kind, tmp_path, image_folder, monkeypatch):
    module = __import__(f"signals.figures.{kind}", fromlist=["draw"])
    for name, small in (("CONTEXTS", [2, 5]), ("SAMPLES", 1), ("DRAWN", 4)):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, small)
    curve = dict(native_grid=[32], value_range=None, quantization_step=None, num_bins=1, offset_radius=None)
    configs = {"image": {}, "polynomial": curve, "shape": SHAPE, "video": dict(native_grid=[3, 12, 12])}
    model = make_model(**{"signal": kind, **configs[kind]})
    model.save_pretrained(tmp_path / "model")
    source = ["--dataset_name", str(image_folder), "--split", "train"]
    if kind == "polynomial":
        source = []
    if kind == "video":
        source += ["--digit_size", "6"]
    if kind == "shape":
        rebuild_mesh.table().export(tmp_path / "table.obj")
        source[1] = str(tmp_path)
        rebuild_mesh.table().export(tmp_path / "another.obj")
    output = tmp_path / ("picture.gif" if kind == "video" else "picture.png")
    flags = ["--checkpoint", str(tmp_path / "model"), "--output", str(output), *source]
    torch.manual_seed(0)
    figure.make(*parse_flags(figure.Arguments, flags))
    assert Image.open(output).width > 100
