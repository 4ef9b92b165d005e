"""Polynomials are learned from their exact posterior instead of single draws from it."""

import torch

from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.output import PixelTransformerOutput
from signals.polynomial import Polynomials, polynomial
from training.exact import COPIES, exact_targets
from training.losses import weighted_loss


def episode(context: int, buffer: int = 4, queries: int = 3, block: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(context)
    positions = torch.rand(5, context + buffer + queries, 1, generator=generator) * 2 - 1
    values = polynomial(torch.randn(5, 7, generator=generator), positions).float()
    names = ("context", "buffer", "query")
    parts = (x.split((context, buffer, queries), 1) for x in (positions, values))
    found = {}
    for name, where, what in zip(names, *parts, strict=True):
        found |= {f"{name}_positions": where, f"{name}_values": what}
    return found | {"buffer_blocks": torch.arange(buffer) // block + 1}


def targets_of(made: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return exact_targets(Polynomials().posterior, made, torch.Generator().manual_seed(1))


def test_copies_surround_the_exact_mean_of_each_query():
    made = episode(2)
    exact = Polynomials().posterior.predict(made["context_positions"], made["context_values"], made["query_positions"])
    found = targets_of(made)["query_values"]
    assert found.shape == (COPIES, 5, 3, 1)
    assert torch.allclose(found.mean(0), exact.mean.float(), atol=1e-5)
    deviations = ((found - exact.mean) / exact.stddev).sort(0).values
    quarter = torch.distributions.Normal(0, 1).icdf(torch.tensor([0.25, 0.5, 0.75]))
    assert (deviations[:-1] <= quarter.view(-1, 1, 1, 1) + 1e-4).all()  # one in each quarter of the probability
    assert (deviations[1:] >= quarter.view(-1, 1, 1, 1) - 1e-4).all()


def test_a_buffer_value_is_drawn_given_the_blocks_before_its_own():
    made = episode(2, block=2)
    found, posterior = targets_of(made)["buffer_values"].mean(0), Polynomials().posterior
    where, what = made["buffer_positions"], made["buffer_values"]
    context = made["context_positions"], made["context_values"]
    longer = (torch.cat((seen, part[:, :2]), 1) for seen, part in zip(context, (where, what), strict=True))
    assert torch.allclose(found[:, :2], posterior.predict(*context, where[:, :2]).mean.float(), atol=1e-4)
    assert torch.allclose(found[:, 2:], posterior.predict(*longer, where[:, 2:]).mean.float(), atol=1e-4)


def test_copies_are_the_truth_where_all_is_known():
    made = episode(7)
    found = targets_of(made)
    for name in ("query", "buffer"):
        assert (found[f"{name}_values"] == made[f"{name}_values"]).all()


def test_the_exact_prediction_has_no_gradient_by_its_mean():
    made = episode(2)
    exact = Polynomials().posterior.predict(made["context_positions"], made["context_values"], made["query_positions"])
    means = exact.mean.float()[..., None, :].requires_grad_()
    found = ValueDistribution(torch.zeros(5, 3, 1), means, exact.stddev.float().log())
    output = PixelTransformerOutput(distribution=found)
    for beta in (0.0, 0.5):
        (gradient,) = torch.autograd.grad(weighted_loss(output, targets_of(made), beta), means)
        (noisy,) = torch.autograd.grad(weighted_loss(output, {"query_values": made["query_values"][None]}, beta), means)
        assert gradient.abs().max() < 1e-3 * noisy.abs().max()
