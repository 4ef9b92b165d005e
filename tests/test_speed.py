"""What is fast gives the numbers of what is slow: moments chunk by chunk, the plain training step, measured curves."""

import json
import math

import pytest
import torch

from benchmarks import plain
from benchmarks.steps import bits_by_budget, knots, loss_of_next, measure_losses, write_losses
from conftest import make_context, make_model
from pixeltransformer.context import Context
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.orders import block_sizes
from signals.base import Rows
from signals.image import Images
from training.episodes import EpisodeSizes, make_episode


@pytest.mark.parametrize("size", [1, 7, None])
def test_reduced_prediction_is_that_of_the_whole_one(model, size):
    context, queries = make_context(model), model.native_positions()
    whole = model.predict(*context, queries)
    mean, variance = model.predict(*context, queries, chunk_size=size, reduce=lambda d: d.moments)
    assert mean.shape == (2, queries.shape[1], model.config.value_dim)
    assert torch.allclose(mean, whole.mean, atol=1e-5) and torch.allclose(variance, whole.variance, atol=1e-5)
    entropy = model.predict(*context, queries[:, :9], chunk_size=size, reduce=lambda d: d.entropy(8))
    assert entropy.shape == (2, 9)


def test_prediction_holds_no_more_than_a_chunk(grey_model):
    sizes = []

    def keep(distribution):
        sizes.append(distribution.batch_shape[1])
        return distribution.mean

    grey_model.predict(*make_context(grey_model), grey_model.native_positions(), chunk_size=8, reduce=keep)
    assert sizes == [4] * 9


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.1, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.3, 2.0])
def test_moments_are_those_of_the_clamped_gaussian(mean, scale):
    z = torch.linspace(-12, 12, 480_001, dtype=torch.float64)
    density = torch.exp(-0.5 * z * z)
    density /= density.sum()
    clamped = (mean + scale * z).clamp(0, 1)
    expected = (density * clamped).sum()
    spread = (density * (clamped - expected) ** 2).sum()
    d = ValueDistribution(torch.zeros(1), torch.tensor([[mean]]), torch.tensor([math.log(scale)]), (0.0, 1.0), 1 / 255)
    assert d.mean.item() == pytest.approx(expected.item(), abs=2e-6)
    assert d.variance.item() == pytest.approx(spread.item(), rel=1e-3, abs=1e-6)


def test_measured_losses_fall_where_values_tell_of_others_and_decide_blocks():
    """Constant signals: one value tells all others, which an untrained model cannot know, but its measure can."""
    model = make_model(native_grid=[8, 8], num_scales=2)
    arrays = [torch.rand(3, 1, 1).expand(-1, cells, -1).mul(255).round() / 255 for cells in (64, 16)]
    curves = measure_losses(model, arrays, torch.Generator().manual_seed(0))
    assert set(curves) == {"random", "scale-0", "scale-1"}
    for curve in curves.values():
        assert len(curve["known"]) == len(curve["nats"]) and all(map(math.isfinite, curve["nats"]))
        assert curve["nats"] == sorted(curve["nats"], reverse=True)  # chance is not planned by
        assert sum(block_sizes(64, 5, curve)) == 64
    assert curves["scale-1"]["known"][-1] < 16


def test_measured_loss_of_the_first_value_is_that_of_predict(grey_model):
    values = torch.rand(2, 36, 1).mul(255).round() / 255
    positions = grey_model.native_positions().expand(2, -1, -1)
    curve = loss_of_next(grey_model, Context(positions[:, :0], values[:, :0]), positions, values, 0)
    expected = -grey_model.predict(positions[:, :0], values[:, :0], positions).log_prob(values).mean().item()
    assert curve["known"][0] == 0 and curve["nats"][0] == pytest.approx(expected, rel=1e-3)


def test_knots_leave_values_to_score():
    assert knots(1024)[0] == 0 and knots(1024)[-1] <= 1024 * 7 // 8 and len(knots(1024)) <= 21
    assert knots(2) == [0, 1]


def test_one_step_costs_what_independent_values_cost(grey_model):
    values = torch.rand(2, 36, 1).mul(255).round() / 255
    bits = bits_by_budget(grey_model, values, 0, {"one": {"num_steps": 1}}, "random", seed=0)["one"]
    positions = grey_model.native_positions().expand(2, -1, -1)
    expected = (
        -grey_model.predict(positions[:, :0], values[:, :0], positions).log_prob(values).sum(1) / 36 / math.log(2)
    )
    assert torch.allclose(bits, expected, atol=1e-3)


def test_curves_are_written_into_a_config_that_stays_as_it_is(grey_model, tmp_path):
    grey_model.config.save_pretrained(tmp_path)
    before = json.loads((tmp_path / "config.json").read_text())
    curves = {"random": {"known": [0, 5], "nats": [2.0, 1.0]}}
    write_losses(str(tmp_path), curves)
    assert json.loads((tmp_path / "config.json").read_text()) == before | {"step_losses": curves}
    with pytest.raises(ValueError, match="--write: expected --checkpoint to be a folder"):
        write_losses(str(tmp_path / "nowhere"), curves)


@pytest.mark.parametrize(("context", "correlated"), [(0, False), (5, False), (5, True)])
def test_plain_training_step_has_the_same_data_loss_and_gradients(context, correlated):
    model = make_model(native_grid=[8, 8], value_dim=3, correlated_channels=correlated)
    signal = Images(dataset_name="none")
    images = torch.randint(256, (4, 8, 8, 3), dtype=torch.uint8)
    rows, sizes = Rows(images, lambda row: row), EpisodeSizes(context, 6, 4, 2, 3)
    episode = make_episode(signal, images[[2, 0, 1]], sizes, seed=0, step=5)
    same = plain.make_episode(rows, [2, 0, 1], sizes, seed=0, step=5)
    for name, part in episode.items():
        assert torch.allclose(part, same[name], atol=1e-6), name
    losses = model(**episode).loss, plain.loss(model, same)
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-4)
    gradients = [torch.autograd.grad(loss, list(model.encoder.parameters())) for loss in losses]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-3 * other.abs().max().item() + 1e-6)


def test_attention_in_training_is_the_fused_one(model):
    """Written out where gradients are wanted on a CPU, the fused kernel elsewhere: the same distributions."""
    positions, values = make_context(model)
    queries = model.native_positions()[:, :5]
    call = dict(buffer_positions=queries.expand(2, -1, -1), buffer_values=values[:, :5])
    trained = model(positions, values, queries, **call).buffer_distribution
    with torch.no_grad():
        fused = model(positions, values, queries, **call).buffer_distribution
    assert torch.allclose(trained.means, fused.means, atol=1e-4)
    assert torch.allclose(trained.log_weights, fused.log_weights, atol=1e-4)
