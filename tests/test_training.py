"""The training command, at small size: what it writes, resumes and refuses, and that it learns."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_training import arguments
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import ROOT, make_model
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from processes import python
from signals import find, kinds
from train_accelerate import train
from training import setup
from training.arguments import Arguments, parse_arguments


def test_training_learns_writes_and_exports(image_folder, tmp_path):
    folder = train(*arguments(image_folder, tmp_path / "run", max_train_steps=60, validate_every=10, save_every=30))
    model = PixelTransformerModel.from_pretrained(folder)
    assert model.config.native_grid == [8, 8] and model.config.value_dim == 1
    log = EventAccumulator(str(tmp_path / "run" / "log"))
    log.Reload()
    nats = [event.value for event in log.Scalars("validation/nats_K4")]
    assert nats[-1] < nats[0] - 0.07
    assert log.Tags()["images"] == ["validation/mean and sample"]
    card = (folder / "README.md").read_text()
    assert "| 4 |" in card and "60 steps" in card and "32 images" in card
    assert not list(folder.glob("*.bin"))
    assert sorted(path.name for path in (tmp_path / "run").glob("state-*")) == ["state-30", "state-60"]


def test_resumed_training_ends_with_the_same_weights(image_folder, tmp_path):
    whole = train(*arguments(image_folder, tmp_path / "whole"))
    train(*arguments(image_folder, tmp_path / "parts", max_train_steps=6, save_every=4, max_checkpoints=5))
    (tmp_path / "parts" / "state-6").rename(tmp_path / "later")
    parts = train(*arguments(image_folder, tmp_path / "parts", resume="latest"))
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("changes", [{"continuous_probability": 1.0, "optimizer": "adamw", "architecture": "paper"},
                                     {"gradient_accumulation_steps": 2, "bins": "uniform", "channels": "colour"},
                                     {"buffer_size": 0, "mixed_precision": "bf16", "image_size": [12], "beta": 0.5,
                                      "calibration_steps": 2}])  # fmt: skip
def test_other_flags_train_too(image_folder, tmp_path, changes):
    folder = train(*arguments(image_folder, tmp_path / "run", max_train_steps=2, report_to="none", **changes))
    assert (folder / "model.safetensors").exists()


def test_images_as_they_are_train_together(image_folder, tmp_path):
    """Of different sizes; validation shows what has the first one's."""
    for number in range(10):
        Image.new("L", (9 + number % 2, 10), 20 * number).save(image_folder / f"large{number}.png")
    folder = train(*arguments(image_folder, tmp_path / "run", max_train_steps=3, report_to="none"))
    assert (folder / "model.safetensors").exists()
    with pytest.raises(ValueError, match="--validation_contexts: expected numbers below the .* cells"):
        train(*arguments(image_folder, tmp_path / "other", validation_contexts=[900], report_to="none"))


def test_command_line_reports_errors_in_one_line():
    done = python("train_accelerate.py", "--dataset_name", "x")
    assert done.returncode != 0 and "--output_dir: expected a folder, got None" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", kinds())
def test_help_explains_every_flag(kind, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--kind", kind, "--help"])
    shown = capsys.readouterr().out
    assert all(f"--{entry.name}" in shown for entry in (*fields(Arguments), *fields(find(kind))))


def test_what_is_exported_is_the_running_average(image_folder, tmp_path):
    """Without decay it is the last step's weights, with a slow one it is not."""
    folder = train(*arguments(image_folder, tmp_path / "run", ema_decay=0.0, report_to="none"))
    last = load_file(tmp_path / "run" / "state-6" / "model.safetensors")
    exported = load_file(folder / "model.safetensors")
    assert all(torch.equal(last[name], exported[name]) for name in exported)
    folder = train(*arguments(image_folder, tmp_path / "slow", ema_decay=1.0, report_to="none"))
    exported = load_file(folder / "model.safetensors")
    assert not all(torch.equal(last[name], exported[name]) for name in exported)


# As `torchrun --nproc_per_node 2 train_accelerate.py`, whose processes are forks: modules are imported already.
TORCHRUN = """
import train_accelerate
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
settings = dict(rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id="two", start_method="fork")
elastic_launch(LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2, **settings), train_accelerate.main)()
"""


def test_two_processes_train_and_stop_together(image_folder, tmp_path):
    """Under a limit by the clock too, where each process has its own."""
    flags = {}
    for part in arguments(image_folder, tmp_path / "run"):
        flags |= {name: value for name, value in vars(part).items() if value not in (None, [])}
    flags |= {"max_train_steps": 1000, "max_train_minutes": 0.02, "validate_every": 5, "report_to": "none"}
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps(flags))
    done = python("-c", TORCHRUN, "--preset", preset)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "export" / "model.safetensors").exists()


def test_presets_hold_only_known_flags():
    for preset in (ROOT / "presets").glob("*.json"):
        values = json.loads(preset.read_text())
        data = [] if values["kind"] == "polynomial" else ["--dataset_name", "mine"]
        assert parse_arguments(["--preset", preset.stem, *data])[0].output_dir == values["output_dir"]


def test_colours_get_channels_that_depend_on_each_other_and_keep_them(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(20):
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
            folder / f"{index}.png"
        )
    flags, signal = arguments(folder, tmp_path / "run")
    rows = signal.load(0)[0]
    assert setup.make_model(flags, signal, rows).config.correlated_channels
    flags.architecture = "paper"
    assert not setup.make_model(flags, signal, rows).config.correlated_channels
    flags.architecture, flags.correlated_channels = "default", False
    plain = setup.make_model(flags, signal, rows)
    plain.save_pretrained(tmp_path / "plain")

    sizes = ("hidden_size", "num_encoder_layers", "num_decoder_layers", "intermediate_size", "num_bins")
    start = dict(init_from=str(tmp_path / "plain")) | dict.fromkeys(sizes)
    flags, signal = arguments(folder, tmp_path / "run", **start, correlated_channels=True)
    model = setup.make_model(flags, signal, rows)
    assert model.config.correlated_channels and torch.equal(model.head.weight, plain.head.weight)
    assert not model.channel_head.weight.any()
    assert torch.equal(model.channel_head.bias, model.channel_head.first_bias())
    torch.nn.init.normal_(model.channel_head.weight)
    model.save_pretrained(tmp_path / "correlated")

    flags.init_from, flags.correlated_channels = str(tmp_path / "correlated"), None
    assert torch.equal(setup.make_model(flags, signal, rows).channel_head.weight, model.channel_head.weight)
    flags.correlated_channels = False
    with pytest.raises(ValueError, match="--correlated_channels: expected true or none with it, as --init_from"):
        setup.make_model(flags, signal, rows)


def test_a_start_with_other_scales_is_refused(image_folder, tmp_path):
    make_model(num_scales=2, quantization_step=1 / 255, value_range=[0.0, 1.0]).save_pretrained(tmp_path / "start")
    flags, signal = arguments(image_folder, tmp_path / "run", init_from=str(tmp_path / "start"), num_scales=3)
    with pytest.raises(ValueError, match="--num_scales: expected 2, as --init_from .* has, or none with it, got 3"):
        setup.make_model(flags, signal, signal.load(0)[0])
    flags.num_scales = None
    assert setup.make_model(flags, signal, signal.load(0)[0]).config.num_scales == 2
