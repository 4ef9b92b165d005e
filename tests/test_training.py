"""The training command, at small size: what it draws, writes, resumes, and that it learns."""

import copy
import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import ROOT, make_context, make_model
from pixeltransformer.attention import Block
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel, PixelTransformerOutput
from processes import python
from signals import find, kinds
from signals.image import Images
from train_accelerate import train
from training import setup
from training.arguments import Arguments, parse_arguments
from training.batches import EpisodeBatches
from training.calibration import fit_scales, split_components, without_buffer
from training.compiling import MASS, PARTS, compiled_layers
from training.episodes import EpisodeSampler, make_episode
from training.losses import weighted_loss
from training.muon import BatchedMuon, orthogonalize
from training.optimizers import make_ema, make_optimizers, schedule
from training.precision import choose_precision, multiplies_bf16
from training.setup import kmeans_bins

SIGNAL = Images(dataset_name="none")
SAMPLER = EpisodeSampler(seed=0, max_context=40, buffer=8, queries=8, token_budget=256, num_cells=64)


def arguments(image_folder, output_dir, **changes) -> tuple[Arguments, Images]:
    """Flags of a tiny training on images, the signal's own among them."""
    small = dict(hidden_size=16, num_encoder_layers=1, num_decoder_layers=1, intermediate_size=16, num_bins=4)
    small |= dict(max_context=40, buffer_size=8, max_queries=8, token_budget=256, mixed_precision="no")
    small |= dict(
        dataset_name=str(image_folder),
        validation_size=8,
        validation_contexts=[0, 4],
        max_train_steps=6,
        validate_every=3,
        save_every=2,
    )
    flags = {"output_dir": str(output_dir), **small, **changes}
    own = {entry.name for entry in fields(Images)}
    signal = Images(**{name: value for name, value in flags.items() if name in own})
    return Arguments(**{name: value for name, value in flags.items() if name not in own}), signal


def test_context_sizes_are_log_uniform_with_zero_among_them():
    sizes = [SAMPLER.sizes(step) for step in range(2000)]
    contexts, lengthened = torch.tensor([(s.context, s.buffer > 8) for s in sizes]).T
    assert 0.02 < (contexts[lengthened == 0] == 0).float().mean() < 0.11
    assert 0.24 < (contexts[lengthened == 1] == 0).float().mean() < 0.36  # as whole signals are drawn
    assert 0.3 < (contexts[contexts > 0] <= 6).float().mean() < 0.7 and contexts.max() == 40
    assert {s.block for s in sizes} == {1, 2, 4, 8, 16, 32}
    assert all(s.context + s.buffer + s.queries <= 64 for s in sizes)
    assert all(s.signals * (s.context + 2 * s.buffer + s.queries) <= 256 for s in sizes)


def test_an_epoch_shows_every_row_once_whatever_the_number_of_processes():
    for world in (1, 2):
        streams = [iter(EpisodeBatches(50, SAMPLER, rank, world)) for rank in range(world)]
        seen = [row for _ in range(40) for stream in streams for row in next(stream)]
        assert sorted(seen[:50]) == list(range(50)) and sorted(seen[50:100]) == list(range(50))
        assert seen[:50] != seen[50:100]


def test_batches_go_on_where_they_stopped():
    whole, rest = iter(EpisodeBatches(50, SAMPLER)), iter(EpisodeBatches(50, SAMPLER, start=7))
    for _ in range(7):
        next(whole)
    assert [next(whole) for _ in range(5)] == [next(rest) for _ in range(5)]


@pytest.mark.parametrize("continuous", [False, True])
def test_context_buffer_and_queries_share_no_place(continuous):
    images = torch.randint(0, 256, (3, 8, 8, 1), dtype=torch.uint8)
    sizes = replace(SAMPLER.sizes(3), continuous=continuous)
    episode = make_episode(SIGNAL, images, sizes, seed=0, step=3)
    positions = torch.cat([episode[f"{part}_positions"] for part in ("context", "buffer", "query")], 1)
    assert positions.shape == (3, sizes.context + sizes.buffer + sizes.queries, 2)
    assert all(len({tuple(p) for p in rows}) == positions.shape[1] for rows in positions.tolist())
    again = make_episode(SIGNAL, images, sizes, seed=0, step=3)
    assert all(torch.equal(episode[key], again[key]) for key in episode)
    other = make_episode(SIGNAL, images, sizes, seed=0, step=3, rank=1)
    assert not torch.equal(other["query_positions"], episode["query_positions"])


def test_schedule_rises_then_falls_to_zero():
    assert schedule(0.05, 0.1, "linear") == pytest.approx(0.5)
    for decay in ("linear", "cosine"):
        factors = [schedule(x / 100, 0.1, decay) for x in range(10, 101)]
        assert factors[0] == pytest.approx(1) and factors == sorted(factors, reverse=True)
        assert factors[-1] == pytest.approx(0, abs=1e-6)


def test_every_parameter_has_one_optimizer(grey_model):
    for name in ("muon", "adamw"):
        held = [
            parameter
            for optimizer in make_optimizers(grey_model, Arguments(optimizer=name))
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]
        assert {id(p) for p in held} == {id(p) for p in grey_model.parameters()}
        assert len(held) == len(list(grey_model.parameters()))


def test_running_average_lags_and_forgets_the_start(grey_model):
    ema = make_ema(grey_model, 0.5)
    with torch.no_grad():
        for value in (1.0, 1.0, 0.0):
            grey_model.head.bias.fill_(value)
            ema.update_parameters(grey_model)
    assert 0 < ema.module.head.bias[0] < 1


def test_kmeans_bins_sit_on_the_values():
    values = torch.tensor([0.0, 0.5, 1.0]).repeat(100).view(10, 5, 6, 1)
    config = type("Config", (), {"value_dim": 1, "num_bins": 3})
    assert torch.allclose(kmeans_bins(values, config, 0)[:, 0], torch.tensor([0.0, 0.5, 1.0]), atol=1e-4)


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


def test_compiled_layers_give_the_same_loss_and_gradients(grey_model):
    """`aot_eager` traces forward and backward as inductor does, and needs no compiler."""
    generator = torch.Generator().manual_seed(0)
    positions, values = torch.rand(2, 9, 2, generator=generator) * 2 - 1, torch.rand(2, 9, 1, generator=generator)
    parts = {"context": slice(0, 3), "buffer": slice(3, 6), "query": slice(6, 9)}
    episode = {f"{name}_positions": positions[:, part] for name, part in parts.items()}
    episode |= {f"{name}_values": values[:, part] for name, part in parts.items()}
    parameters = list(grey_model.train().parameters())

    def loss_and_gradients():
        loss = grey_model(**episode).loss
        return loss, torch.autograd.grad(loss, parameters, allow_unused=True)

    loss, gradients = loss_and_gradients()
    original = Block.residual
    with compiled_layers(backend="aot_eager"):
        assert Block.residual is not original
        compiled_loss, compiled_gradients = loss_and_gradients()
        with torch.no_grad():
            without = grey_model(**episode).loss
    assert Block.residual is original
    assert torch.allclose(compiled_loss, loss, atol=1e-6) and torch.allclose(without, loss, atol=1e-6)
    for compiled, eager in zip(compiled_gradients, gradients, strict=True):
        assert (compiled is None) == (eager is None)
        assert eager is None or torch.allclose(compiled, eager, atol=1e-6)


def test_compiled_parts_are_those_that_run(grey_model, monkeypatch):
    calls = []

    def compile_(function, backend):
        def call(*arguments):
            calls.append(function.__name__)
            return function(*arguments)

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    positions, values = make_context(grey_model)
    episode = dict(context_positions=positions, context_values=values, query_positions=positions, query_values=values)
    episode |= dict(buffer_positions=positions, buffer_values=values)
    with compiled_layers():
        grey_model(**episode).loss.backward()
    assert set(calls) == {name for _, name in (*PARTS, *MASS)}
    calls.clear()
    grey_model(**episode).loss.backward()
    assert not calls


def test_beta_weights_the_means_alone():
    """The gradient of a log-std is the likelihood's; a mean's is multiplied by the variance to the power beta."""
    means = torch.tensor([[0.0, 0.0]]).requires_grad_()
    log_stds = torch.tensor([[0.0, -2.0]]).requires_grad_()
    values = torch.tensor([[[1.0], [0.5]]])

    def gradients(beta):
        d = ValueDistribution(torch.zeros(1, 2, 1), means[..., None, None], log_stds[..., None])
        output = PixelTransformerOutput(loss=-d.log_prob(values).mean(), distribution=d)
        return torch.autograd.grad(weighted_loss(output, {"query_values": values}, beta), (means, log_stds))

    plain, weighted = gradients(0.0), gradients(0.5)
    weight = log_stds.detach().exp()  # σ = (σ²)^0.5
    assert torch.allclose(weighted[1], plain[1])
    assert torch.allclose(weighted[0], plain[0] * weight / weight.mean())


def test_fitting_scales_moves_nothing_else_and_lowers_the_loss(grey_model):
    generator = torch.Generator().manual_seed(0)

    def episodes():
        while True:
            positions = torch.rand(8, 12, 2, generator=generator) * 2 - 1
            values = (0.5 + 0.02 * torch.randn(8, 12, 1, generator=generator)).clamp(0, 1)
            yield {
                "context_positions": positions[:, :4],
                "context_values": values[:, :4],
                "query_positions": positions[:, 4:],
                "query_values": values[:, 4:],
            }

    test = next(episodes())
    bins = grey_model.config.num_bins
    before, loss = {k: v.clone() for k, v in grey_model.state_dict().items()}, grey_model(**test).loss.item()
    fit_scales(grey_model, episodes(), 40, nullcontext)
    assert grey_model(**test).loss.item() < loss - 0.1
    for name, tensor in grey_model.state_dict().items():
        if name.startswith("head."):
            assert torch.equal(tensor[bins : 2 * bins], before[name][bins : 2 * bins])
            assert not torch.equal(tensor[2 * bins :], before[name][2 * bins :])
        else:
            assert torch.equal(tensor, before[name]), name
    assert all(parameter.requires_grad for parameter in grey_model.parameters())


def test_split_components_keep_the_mean_and_learn_heavier_tails():
    kind = {"signal": "polynomial", "native_grid": [16], "num_bins": 1}
    model = make_model(**kind, value_range=None, quantization_step=None, offset_radius=None)
    torch.nn.init.zeros_(model.head.weight)  # of all networks, the one whose means are right
    generator = torch.Generator().manual_seed(0)

    def episodes():
        while True:
            positions = torch.rand(64, 24, 1, generator=generator) * 2 - 1
            wide = torch.rand(64, 24, 1, generator=generator) < 0.1  # one in ten errs ten times as much
            values = torch.randn(64, 24, 1, generator=generator) * torch.where(wide, 1.0, 0.1)
            parts = {"context": slice(0, 4), "buffer": slice(4, 8), "query": slice(8, None)}
            episode = {f"{name}_positions": positions[:, part] for name, part in parts.items()}
            yield episode | {f"{name}_values": values[:, part] for name, part in parts.items()}

    test = without_buffer(next(episodes()))
    assert test["query_positions"].shape[1] == 20 and not any(name.startswith("buffer") for name in test)
    before = model(**test).distribution.mean.clone()
    losses = []
    for components in (1, 2):
        other = copy.deepcopy(model)
        split_components(other, components)
        fit_scales(other, episodes(), 200, nullcontext)
        after = other(**test)
        assert other.config.num_bins == components and torch.allclose(after.distribution.mean, before, atol=1e-6)
        losses.append(after.loss.item())
    assert losses[1] < losses[0] - 0.1


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


def test_batched_muon_takes_the_steps_of_torch():
    shapes = [(8, 8), (24, 8), (8, 24), (8, 8), (24, 8), (16, 16)]
    random = torch.Generator().manual_seed(0)
    batched, single = ([torch.nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    unused = torch.nn.Parameter(torch.ones(8, 8))  # without a gradient it stays as it is
    ours = BatchedMuon([*batched, unused], lr=0.1, weight_decay=0.01, dtype=torch.bfloat16)
    theirs = torch.optim.Muon(single, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for one, other in zip(batched, single, strict=True):
            one.grad = torch.randn(one.shape, generator=random)
            other.grad = one.grad.clone()
        ours.step(), theirs.step()
        if step == 1:  # a state of the one goes on in the other
            ours.load_state_dict(ours.state_dict())
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(batched, single, strict=True))
    assert (unused == 1).all()


@pytest.mark.parametrize(
    ("name", "multiplied"),
    [("avx2", False), ("avx512_f", False), ("avx512_bf16", True), ("amx_bf16", True), ("bf16", True)],
)
def test_bf16_is_chosen_only_where_the_hardware_multiplies_it(monkeypatch, name, multiplied):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "any", name: True, "other": False})
    assert multiplies_bf16("cpu") is multiplied
    assert choose_precision("auto", "cpu") == ("bf16" if multiplied else "no")
    assert choose_precision("bf16", "cpu") == "bf16" and choose_precision("fp16", "cpu") == "fp16"


def test_split_components_keep_a_mixture_whose_channels_depend_on_each_other():
    model = make_model(value_dim=3, correlated_channels=True)
    torch.nn.init.normal_(model.channel_head.weight, std=0.1)
    positions, values = make_context(model)
    before = model.predict(positions, values, model.native_positions())
    split_components(model, 2)
    after = model.predict(positions, values, model.native_positions())
    assert after.coefficients.shape == (*before.coefficients.shape[:2], model.config.num_bins, 3)
    for name in ("means", "coefficients"):
        assert torch.allclose(getattr(after, name)[..., ::2, :], getattr(before, name), atol=1e-5), name
    assert torch.allclose(after.mean, before.mean, atol=0.05)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_muon_treats_joined_matrices_as_it_would_apart(dtype):
    shapes, parts = [(24, 8), (32, 8), (8, 8), (8, 16)], [3, 2, 1, 1]
    random = torch.Generator().manual_seed(0)
    joined = [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]
    apart = [
        [torch.nn.Parameter(part.clone()) for part in whole.detach().chunk(count)]
        for whole, count in zip(joined, parts, strict=True)
    ]
    rates = dict(lr=0.1, weight_decay=0.01, dtype=dtype)
    ours, theirs = BatchedMuon(joined, parts, **rates), BatchedMuon(sum(apart, []), **rates)
    for _ in range(3):
        for whole, pieces in zip(joined, apart, strict=True):
            whole.grad = torch.randn(whole.shape, generator=random)
            for piece, grad in zip(pieces, whole.grad.chunk(len(pieces)), strict=True):
                piece.grad = grad.clone()
        ours.step(), theirs.step()
    for whole, pieces in zip(joined, apart, strict=True):
        assert torch.equal(whole, torch.cat(pieces))
    with pytest.raises(ValueError, match="parts: expected a divisor of the 8 rows of its matrix, got 3"):
        BatchedMuon([torch.nn.Parameter(torch.ones(8, 8))], [3])


@pytest.mark.parametrize("activation", ["swiglu", "relu"])
def test_muon_gets_the_projections_of_every_layer_one_by_one(activation):
    model = make_model(activation=activation, num_encoder_layers=3)
    muon = make_optimizers(model, Arguments(optimizer="muon"))[1]
    shapes = Counter(
        tuple(part.shape)
        for parameter, count in zip(muon.param_groups[0]["params"], muon.parts, strict=True)
        for part in parameter.chunk(count)
    )
    up = 2 if activation == "swiglu" else 1  # the gate too
    # Queries, keys, values and outputs of 3 + 2 layers, and two or three matrices of their perceptrons.
    assert shapes == {(32, 32): 4 * 5, (48, 32): up * 5, (32, 48): 5}


def test_muon_in_float32_makes_singular_values_near_1():
    matrices = torch.randn(3, 8, 24, generator=torch.Generator().manual_seed(0))
    group = torch.optim.Muon([torch.nn.Parameter(torch.ones(2, 2))]).param_groups[0]
    found = orthogonalize(matrices, group["ns_coefficients"], group["ns_steps"], group["eps"])
    assert found.dtype == torch.float32
    singular = torch.linalg.svdvals(found)
    assert (singular > 0.5).all() and (singular < 1.5).all()


def test_a_start_with_other_scales_is_refused(image_folder, tmp_path):
    make_model(num_scales=2, quantization_step=1 / 255, value_range=[0.0, 1.0]).save_pretrained(tmp_path / "start")
    flags, signal = arguments(image_folder, tmp_path / "run", init_from=str(tmp_path / "start"), num_scales=3)
    with pytest.raises(ValueError, match="--num_scales: expected 2, as --init_from .* has, or none with it, got 3"):
        setup.make_model(flags, signal, signal.load(0)[0])
    flags.num_scales = None
    assert setup.make_model(flags, signal, signal.load(0)[0]).config.num_scales == 2
