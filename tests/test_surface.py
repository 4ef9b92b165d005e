"""Points on the surface of a distance field lie on it, everywhere on it, and nowhere else."""

import pytest
import torch

from signals.cells import cell_positions, values_at_positions
from signals.surface import TOLERANCE, has_surface, interpolate, surface_points


def ball(radius: float = 0.6, grid=(24, 20, 16), center=(0.0, 0.0, 0.0)) -> torch.Tensor:
    """Signed distances (1, z, y, x, 1) of a ball."""
    cells = cell_positions(list(grid), torch.arange(torch.Size(grid).numel()))
    return ((cells - torch.tensor(center)).norm(dim=-1) - radius).view(1, *grid[::-1], 1)


def box(half: float, grid=(16, 16, 16)) -> torch.Tensor:
    """Positive outside and negative inside of a box, not a distance beyond its corners."""
    cells = cell_positions(list(grid), torch.arange(torch.Size(grid).numel()))
    return (cells.abs().amax(-1) - half).view(1, *grid[::-1], 1)


def test_the_interpolated_distance_is_zero_at_every_point():
    fields = torch.cat((ball(), ball(0.2, center=(0.5, 0.1, -0.4)), box(0.5, (24, 20, 16)), -ball()))
    points = surface_points(fields, 500, torch.Generator().manual_seed(0))
    assert points.shape == (4, 500, 3) and points.abs().max() <= 1
    assert values_at_positions(fields, points).abs().max() <= TOLERANCE


def test_noise_without_a_slope_still_gives_points_on_the_surface():
    fields = torch.randn(3, 8, 9, 10, 1, generator=torch.Generator().manual_seed(0))
    points = surface_points(fields, 200, torch.Generator().manual_seed(1))
    assert values_at_positions(fields, points).abs().max() <= TOLERANCE


def test_points_cover_a_ball_evenly():
    points = surface_points(ball(0.6, (32, 32, 32)), 8000, torch.Generator().manual_seed(0))[0]
    # Slices of a sphere of equal height have equal area (Archimedes), along any axis.
    for axis in range(3):
        share = torch.histc(points[:, axis], 6, -0.6, 0.6) / len(points)
        assert (share - 1 / 6).abs().max() < 0.02
    assert points.unique(dim=0).shape[0] == len(points)


def test_the_interpolation_and_its_gradient_are_those_of_the_field():
    fields = torch.randn(2, 5, 6, 7, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    positions = torch.rand(2, 300, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1
    positions.requires_grad_()
    expected = values_at_positions(fields, positions)[..., 0]
    slope = torch.autograd.grad(expected.sum(), positions)[0]
    found, gradient = interpolate(fields, positions.detach())
    assert torch.allclose(found, expected.detach()) and torch.allclose(gradient, slope)


def test_a_seed_repeats_and_noise_leaves_the_surface():
    fields = ball()
    first, second = (surface_points(fields, 64, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    noisy = surface_points(fields, 4000, torch.Generator().manual_seed(3), noise=0.05)
    assert noisy.abs().max() <= 1
    assert values_at_positions(fields, noisy).std() == pytest.approx(0.05, rel=0.1)


def test_a_field_without_a_surface_is_refused_by_its_number():
    fields = torch.cat((ball(), torch.ones_like(ball())))
    assert has_surface(fields).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"fields\[1\]: expected cells inside and outside"):
        surface_points(fields, 4)
    with pytest.raises(ValueError, match=r"expected signed distances of shape"):
        surface_points(fields[0], 4)
    assert surface_points(fields[:1], 0).shape == (1, 0, 3)
