"""What a training is made of: episodes and batches, compiled layers, losses, calibration, precision."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from conftest import make_context, make_model
from pixeltransformer.attention import Block
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.grids import coordinates
from pixeltransformer.modeling_pixeltransformer import PixelTransformerOutput
from signals.image import Images
from signals.patterns import PatternMixture
from training.batches import EpisodeBatches
from training.calibration import fit_scales, split_components, without_buffer
from training.compiling import MASS, PARTS, compiled_layers
from training.episodes import EpisodeSampler, make_episode
from training.losses import weighted_loss
from training.precision import choose_precision, multiplies_bf16
from training.setup import kmeans_bins

SIGNAL = Images(dataset_name="none")
SAMPLER = EpisodeSampler(seed=0, max_context=40, buffer=8, queries=8, token_budget=256, num_cells=64)


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
    other = make_episode(SIGNAL, images, sizes, seed=0, step=4)
    assert not torch.equal(other["query_positions"], episode["query_positions"])


@pytest.mark.parametrize("first", [4, 32])
def test_images_of_every_size_are_observed_at_their_own_cells(first, monkeypatch):
    """Patterns choose among all cells of each, whatever the size of the first image, which the sampler knows."""
    offered, order = set(), PatternMixture.order

    def recorded(patterns, positions, *sizes):
        offered.add(positions.shape[1])
        return order(patterns, positions, *sizes)

    monkeypatch.setattr(PatternMixture, "order", recorded)
    sampler = replace(SAMPLER, num_cells=first**2, max_context=6, buffer=4, queries=4, long_buffer_probability=0)
    sampler = replace(sampler, patterns=PatternMixture(1.0))
    images = [torch.randint(0, 256, (side, side, 1), dtype=torch.uint8) for side in (32, 4, 32)]
    for step in range(10):
        episode = make_episode(SIGNAL, images, sampler.sizes(step), seed=0, step=step)
        for row, image in enumerate(images):
            at = coordinates(episode["context_positions"][row], torch.tensor([len(image)] * 2))
            cells = at.round().long()
            assert torch.allclose(at, cells.float(), atol=1e-3)
            x, y = cells.unbind(-1)
            assert torch.allclose(episode["context_values"][row], image[y, x] / 255)
    assert offered == {16, 1024}


def test_kmeans_bins_sit_on_the_values():
    values = torch.tensor([0.0, 0.5, 1.0]).repeat(100).view(10, 5, 6, 1)
    config = type("Config", (), {"value_dim": 1, "num_bins": 3})
    assert torch.allclose(kmeans_bins(values, config, 0)[:, 0], torch.tensor([0.0, 0.5, 1.0]), atol=1e-4)


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


def test_fitting_scales_leaves_out_values_that_are_not_finite(grey_model):
    """As the training before it does."""
    positions, values = make_context(grey_model)
    episode = dict(context_positions=positions, context_values=values, query_positions=positions)
    before = {name: part.clone() for name, part in grey_model.state_dict().items()}
    gaps = values.clone()
    gaps[0, 2] = torch.nan
    fit_scales(grey_model, iter([episode | {"query_values": gaps}]), 1, nullcontext)
    assert all(torch.equal(part, before[name]) for name, part in grey_model.state_dict().items())
    fit_scales(grey_model, iter([episode | {"query_values": values}]), 1, nullcontext)
    assert not torch.equal(grey_model.head.bias, before["head.bias"])


def test_components_split_into_one_stay_as_they_are(grey_model):
    before = {name: part.clone() for name, part in grey_model.state_dict().items()}
    split_components(grey_model, 1)
    assert all(torch.equal(part, before[name]) for name, part in grey_model.state_dict().items())


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
