"""Speculative samples have exactly the distribution of the chain that draws one value at a time."""

import functools
import itertools

import pytest
import torch
from scipy.stats import chisquare

from conftest import make_context, make_model
from pixeltransformer import speculative
from pixeltransformer.chain import Chain
from pixeltransformer.checks import METHODS
from pixeltransformer.context import Context
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.row_memory import Packing
from pixeltransformer.speculative import draw_residual, draw_speculatively, spare
from pixeltransformer.streams import Streams

DRAWS = 8_000
CASES = {
    "grey": dict(quantization_step=0.5),
    "correlated": dict(quantization_step=1.0, value_dim=2, correlated_channels=True),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(case: str, **config):
    """A random network on three pixels, each of which says much about the next."""
    config = dict(native_grid=[3, 1], num_bins=4, max_std=0.3, initializer_range=0.6) | CASES[case] | config
    return make_model(**config)


def outcomes(model) -> torch.Tensor:
    """All values (n, 3, V) of three pixels."""
    levels = torch.linspace(0, 1, round(1 / model.config.quantization_step) + 1)
    flat = itertools.product(levels.tolist(), repeat=3 * model.config.value_dim)
    return torch.tensor(list(flat)).unflatten(1, (3, -1))


@torch.no_grad()
def enumerated(model, positions, values, mask, temperature: float) -> torch.Tensor:
    """Probabilities (n,) of the outcomes by the chain rule, one forward pass for each conditional."""
    every = outcomes(model)
    queries = model.native_positions().expand(len(every), -1, -1)
    context = positions[mask].expand(len(every), -1, -1), values[mask].expand(len(every), -1, -1)
    total, held = torch.zeros(len(every)), 0
    for now in range(3):
        known = context[0].shape[1]
        if now - held > model.config.max_buffer_share * (known + now):
            held = now
        found = model(
            torch.cat((context[0], queries[:, :held]), 1),
            torch.cat((context[1], every[:, :held]), 1),
            queries[:, :1],
            buffer_positions=queries[:, held : now + 1],
            buffer_values=every[:, held : now + 1],
        ).buffer_distribution[:, -1]
        total += found.tempered(temperature).log_prob(every[:, now])
    return total.exp()


def p_value(model, temperature: float, masked: bool, share: float, seed: int = 0) -> float:
    """Of the frequencies of many samples of an item that stands beside another one in a batch."""
    model.config.max_buffer_share = share
    positions, values = make_context(model, batch=2, context=4)
    values = values.round()
    mask = torch.tensor([[True, False, True, False], [True] * 4]) if masked else torch.ones(2, 4, dtype=torch.bool)
    options = dict(temperature=temperature, order=torch.arange(3), context_mask=mask, generator=generator(seed))
    queries = model.native_positions()
    draws = model.sample(positions, values, queries, DRAWS, **options)[:, 0]
    every = outcomes(model)
    base = len(torch.unique(every))
    digits = base ** torch.arange(every[0].numel() - 1, -1, -1)
    codes = (draws.flatten(1) * (base - 1)).round().long() @ digits
    counts = torch.bincount(codes, minlength=len(every)).double()
    expected = enumerated(model, positions[0], values[0], mask[0], temperature).double()
    assert expected.sum().item() == pytest.approx(1, abs=1e-4)
    expected *= len(draws) / expected.sum()
    often = expected >= 5  # the rare ones together
    counts, expected = (torch.cat((part[often], part[~often].sum()[None] + 1e-9)) for part in (counts, expected))
    return chisquare(counts, expected).pvalue


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("temperature", "masked", "share"), [(1.0, False, 1.0), (0.7, True, 0.2)])
def test_frequencies_are_those_of_exact_enumeration(case, temperature, masked, share):
    assert p_value(tiny(case), temperature, masked, share) > 1e-3


def chain_of(model, count: int, samples: int = 3) -> tuple[Chain, Streams]:
    """A chain of the first `count` cells, two items of which are known in part."""
    positions, values = make_context(model)
    queries = model.native_positions()[:, :count].expand(2 * samples, -1, -1)
    return (
        Chain(model, Context(positions, values), queries, None, [count] * 2 * samples, spare(None, count)),
        Streams.of(generator(), 2, samples),
    )


def test_drafts_that_equal_the_target_are_always_accepted(grey_model, monkeypatch):
    """A model whose queries see the known values alone: no residual is needed, and every row drafts ever more."""
    monkeypatch.setattr(speculative, "draw_residual", None)
    grey_model.config.max_buffer_share = 1.0
    decode = grey_model.decode
    monkeypatch.setattr(
        grey_model, "decode", lambda memory, embedded, seen=None: decode(memory, embedded, first_8(embedded))
    )
    chain, streams = chain_of(grey_model, 36)
    rounds = sum(1 for _ in draw_speculatively(chain, streams, 1.0))
    assert chain.done and rounds <= 3


def first_8(embedded) -> torch.Tensor:
    """The "nothing observed" token and 7 known values."""
    return torch.full(embedded.queries.shape[:2], 8)


def test_one_query_is_always_accepted(model, monkeypatch):
    monkeypatch.setattr(speculative, "draw_residual", None)
    chain, streams = chain_of(model, 1)
    assert sum(1 for _ in draw_speculatively(chain, streams, 1.0)) == 1


def test_rows_of_different_lengths_in_one_sequence_are_as_if_padded(model, monkeypatch):
    mask = torch.tensor([[True] * 12, [True] * 3 + [False] * 9])
    inputs = *make_context(model, context=12), model.native_positions()
    draw = functools.partial(model.sample, *inputs, num_samples=3, context_mask=mask)
    packings, of = [], Packing.of  # `None` where rows are padded
    monkeypatch.setattr(Packing, "of", lambda *given: packings.append(of(*given)) or packings[-1])
    packed = draw(generator=generator())
    assert any(packings)
    monkeypatch.setattr(Packing, "of", lambda *given: None)
    # Rounding grows along the chain of a network with random weights.
    torch.testing.assert_close(packed, draw(generator=generator()), atol=1e-2, rtol=0)


def test_without_heat_both_methods_draw_the_same(model):
    """At temperature 0 nothing is left to chance but the order, which is given."""
    positions, values = make_context(model)
    queries, order = model.native_positions()[:, :10], torch.arange(10)
    options = dict(num_samples=2, temperature=0.0, order=order)
    draws = [model.sample(positions, values, queries, method=method, **options) for method in METHODS]
    assert torch.allclose(*draws, atol=1e-4) and torch.allclose(draws[0][0], draws[0][1], atol=1e-6)


def test_the_residual_is_what_the_target_has_more_of():
    masses = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]])
    means = torch.tensor([[0.0], [0.5], [1.0]])
    target, proposal = (
        ValueDistribution(
            mass.log().expand(9000, 3), means.expand(9000, 3, 1), torch.full((9000, 3), -9.0), (0, 1), 0.5
        )
        for mass in masses
    )
    drawn = draw_residual(target, proposal, Streams.of(generator(), 9000), torch.zeros(9000, dtype=torch.long))
    assert (drawn == 0).all()  # the one value that is likelier under the target
    back = draw_residual(proposal, target, Streams.of(generator(), 9000), torch.zeros(9000, dtype=torch.long))
    counts = torch.bincount((back.flatten() * 2).long(), minlength=3)
    assert counts[0] == 0 and abs(counts[1].item() / 9000 - 2 / 3) < 0.02


def test_equal_distributions_end_the_search_for_a_residual(monkeypatch):
    monkeypatch.setattr(speculative, "ATTEMPTS", 64)
    same = ValueDistribution(torch.zeros(5, 2), torch.rand(5, 2, 1), torch.full((5, 2), -3.0))
    values = draw_residual(same, same, Streams.of(generator(), 5), torch.arange(5))
    assert values.isfinite().all() and values.shape == (5, 1)
