"""Speculative samples have exactly the distribution of the chain that draws one value at a time."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

import speculative_pixeltransformer as speculative
from chain_pixeltransformer import Chain, Evidence
from conftest import make_context, make_model
from speculative_pixeltransformer import draw_residual, draw_speculatively
from streams_pixeltransformer import Streams

DRAWS = 20_000
CASES = {
    "grey": dict(quantization_step=0.5),
    "correlated": dict(quantization_step=1.0, value_dim=2, correlated_channels=True),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(case: str, **config):
    """A random network on three pixels, each of which says much about the next."""
    config = dict(native_grid=[3, 1], num_bins=4, max_scale=0.3, initializer_range=0.6) | CASES[case] | config
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
