"""Which positions are observed: by name, and in training."""

import math

import pytest
import torch

from signals import find, kinds
from signals.cells import cell_positions
from signals.patterns import ANY_KIND, FAMILIES, Pattern, PatternMixture, anywhere, every, outside, ranked, toward
from signals.polynomial import Polynomials
from signals.polynomial_posterior import PolynomialPosterior
from signals.shape import Shapes
from signals.surface import interpolate

GRIDS = {1: [64], 2: [16, 16], 3: [8, 8, 8]}


def grid(axes: int, batch: int = 3) -> torch.Tensor:
    sides = GRIDS[axes]
    return cell_positions(sides, torch.arange(math.prod(sides))).expand(batch, -1, -1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_context_buffer_and_queries_are_different_positions(name, axes):
    order = PatternMixture(1.0, [name]).order(grid(axes), 20, 10, 40, seeded())
    assert order.shape == (3, 40)
    assert all(len(set(row.tolist())) == 40 for row in order)


@pytest.mark.parametrize("name", [name for name in ANY_KIND if name != "spread"])
def test_a_pattern_observes_a_region_not_random_positions(name):
    """Neighbours are observed together: the nearest observed position is closer, or farther, than at random."""
    positions = grid(2, 64)

    def nearest(mixture: PatternMixture) -> float:
        chosen = mixture.order(positions, 40, 0, 40, seeded(1))[..., None].expand(-1, -1, 2)
        context = positions.gather(1, chosen)
        distances = torch.cdist(context, context) + 10 * torch.eye(40)
        return distances.amin(-1).mean().item()

    assert abs(nearest(PatternMixture(1.0, [name])) / nearest(PatternMixture(0.0, [name])) - 1) > 0.1


def test_without_patterns_every_position_is_as_likely():
    order = PatternMixture(0.0).order(grid(2, 4000), 32, 0, 32, seeded())
    counts = torch.bincount(order.flatten(), minlength=256).float()
    assert ((counts - 500).abs() < 6 * 500**0.5).all()


def test_a_buffer_may_go_on_where_the_context_ended():
    positions = grid(2, 200)
    order = PatternMixture(1.0, ["raster"]).order(positions, 64, 64, 128, seeded())
    steps = positions.gather(1, order[:, 64:, None].expand(-1, -1, 2)).diff(dim=1).norm(dim=-1)
    along = (steps < 0.13).float().mean(1)  # the next cell of a row is 0.125 away
    assert (along > 0.9).sum() > 30  # sharp raster orders
    assert (along < 0.2).sum() > 60  # random orders


def test_the_top_half_is_the_top_half():
    seen, hidden = Pattern(toward(0, -1), 1 / 2).observe(grid(2), seeded())
    assert (seen < 128).all() and (hidden >= 128).all() and seen.shape[1] + hidden.shape[1] == 256


def test_all_but_what_a_pattern_observes_is_its_complement():
    score = toward(1, 0)
    positions = grid(2)
    inside = set(Pattern(score, 1 / 4).observe(positions, seeded())[0][0].tolist())
    others = set(Pattern(outside(score), 3 / 4).observe(positions, seeded())[1][0].tolist())
    assert inside == others


def test_every_second_pixel():
    seen = Pattern(every(2, 2), 1 / 4).observe(grid(2), seeded())[0][0].sort().values
    assert seen.tolist() == [16 * y + x for y in range(0, 16, 2) for x in range(0, 16, 2)]


def test_a_region_and_a_few_others():
    seen = Pattern(toward(0, -1), 1 / 2, also=1 / 16).observe(grid(2), seeded())[0]
    assert ((seen < 128).sum(1) == 128).all() and ((seen >= 128).sum(1) == 16).all()


def test_a_sparse_region():
    seen = Pattern(toward(0, -1), 1 / 2, density=1 / 8).observe(grid(2), seeded())[0]
    assert seen.shape == (3, 16) and (seen < 128).all()


def test_equal_scores_are_in_random_order():
    assert not torch.equal(ranked(torch.zeros(1, 50), seeded(0)), ranked(torch.zeros(1, 50), seeded(1)))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_something_is_observed_and_something_is_not(share):
    seen, hidden = Pattern(anywhere, share).observe(grid(2), seeded())
    assert seen.shape[1] >= 1 and hidden.shape[1] >= 1


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_names_patterns(kind):
    assert len(find(kind).patterns) >= 6 and set(find(kind).families) <= set(FAMILIES)


@pytest.mark.parametrize("context", [1, 2, 4, 6])
def test_the_rest_of_a_polynomial_with_atypical_values_follows_the_exact_posterior(context):
    signal = Polynomials(clicked_probability=1.0)
    batch = torch.randn(2000, 7, generator=seeded())
    positions, values = signal.pairs(batch, context + 1, seeded(1))
    _, revised = signal.revise(batch, positions, values.double(), context, seeded(2))
    exact = PolynomialPosterior(6).predict(positions[:, :context], revised[:, :context], positions[:, context:])
    standard = ((revised[:, context:] - exact.mean) / exact.stddev).flatten()
    assert abs(standard.mean()) < 0.1 and abs(standard.std() - 1) < 0.1
    assert revised[:, 0].std() > 1.3 * values[:, 0].std()


def test_a_shape_may_be_observed_on_its_surface(tmp_path):
    axis = (torch.arange(16) + 0.5) / 8 - 1
    ball = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1, keepdim=True) - 0.6
    batch = ball.expand(32, -1, -1, -1, -1)
    signal = Shapes(dataset_name=str(tmp_path), surface_probability=1.0)
    positions, values = signal.pairs(batch, 60, seeded())
    moved, seen = signal.revise(batch, positions, values, 40, seeded(1))
    on_surface = (seen[:, :40, 0] == 0).float().mean(1)
    assert (on_surface == 1).sum() >= 6 and (on_surface < 1).sum() >= 2
    assert (interpolate(batch, moved[:, :40])[0][seen[:, :40, 0] == 0].abs() < 0.15).all()  # noise of up to 0.03
    assert torch.equal(moved[:, 40:], positions[:, 40:]) and torch.equal(seen[:, 40:], values[:, 40:])
    observed = signal.observe(batch, Shapes.patterns["surface of the front"], [16, 16, 16], seeded())
    assert (observed.context_values == 0).all() and (observed.context_positions[..., 1] < 0.1).all()
    assert (interpolate(batch, observed.context_positions)[0].abs() < 1e-3).all()


def test_sides_of_a_surface_are_of_many_sizes(tmp_path, monkeypatch):
    axis = (torch.arange(16) + 0.5) / 8 - 1
    ball = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1, keepdim=True) - 0.6
    batch = ball.expand(256, -1, -1, -1, -1)
    monkeypatch.setattr("signals.shape.half_space", lambda points, generator: points[..., 0])
    signal = Shapes(dataset_name=str(tmp_path), surface_probability=1.0)
    positions, values = signal.pairs(batch, 200, seeded())
    moved, seen = signal.revise(batch, positions, values, 200, seeded(1))
    whole = moved[(seen == 0).all(1)[:, 0]]
    least = whole[..., 0].amin(1)  # points of a sphere have x uniform in [-0.6, 0.6]: a third of them lies beyond 0.2
    assert (least > 0.05).any() and ((least > -0.4) & (least < -0.1)).any() and (least < -0.5).any()
