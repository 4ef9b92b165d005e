"""Optimisers, their schedule, and the running average of the weights."""

from collections import Counter

import pytest
import torch

from conftest import make_model
from training.arguments import Arguments
from training.muon import BatchedMuon, orthogonalize
from training.optimizers import make_ema, make_optimizers, matrices_of_layers, schedule


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
            for optimizer in make_optimizers(grey_model, Arguments(optimizer=name), matrices_of_layers(grey_model))
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


def test_muon_treats_kernels_as_matrices_in_any_layout():
    random = torch.Generator().manual_seed(0)
    start, grad = (torch.randn(12, 4, 3, 2, generator=random) for _ in range(2))
    kernels = [start.clone(), start.clone().to(memory_format=torch.channels_last), start.flatten(1).clone()]
    parameters = [torch.nn.Parameter(kernel) for kernel in kernels]
    for parameter in parameters:
        parameter.grad = grad.reshape(parameter.shape).clone()
        BatchedMuon([parameter], lr=0.1, dtype=torch.float32).step()
    assert not torch.equal(parameters[0], start)
    assert torch.allclose(parameters[0], parameters[1], atol=1e-6)
    assert torch.allclose(parameters[0].flatten(1), parameters[2], atol=1e-6)


@pytest.mark.parametrize("activation", ["swiglu", "relu"])
def test_muon_gets_the_projections_of_every_layer_one_by_one(activation):
    model = make_model(activation=activation, num_encoder_layers=3)
    muon = make_optimizers(model, Arguments(optimizer="muon"), matrices_of_layers(model))[1]
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
