"""Slices of a 3D shape: a click measures the distance there; another axis of a file points up."""

import pytest
import torch
from app_server import checkpoints

from demo import models
from demo.observed import Observed
from demo.slices import AXES, measured, plane, slice_picture, turned


@pytest.fixture(autouse=True)
def offered():
    models.offer(checkpoints())


def ramp(side: int = 8) -> torch.Tensor:
    """Distances x + 10 y + 100 z as an array (z, y, x, 1)."""
    at = (torch.arange(side) + 0.5) * 2 / side - 1
    return (100 * at[:, None, None] + 10 * at[:, None] + at)[..., None]


def at(values: torch.Tensor, place: torch.Tensor) -> float:
    x, y, z = ((place + 1) / 2 * len(values)).long().tolist()
    return values[z, y, x, 0].item()


@pytest.mark.parametrize("axis", AXES)
def test_a_click_on_a_slice_observes_the_distance_of_that_cell(axis):
    found = measured(ramp(), Observed(torch.zeros(0, 3), torch.zeros(0, 1)), axis, 3, 0.3, -0.6)
    place = found.positions[0]
    assert found.values.item() == pytest.approx((place @ torch.tensor([1.0, 10, 100])).item())
    across = AXES.index(axis)
    right, up = (place[index].item() for index in range(3) if index != across)
    assert (right, up, place[across].item()) == (0.375, 0.625, -0.375)


@pytest.mark.parametrize("up", AXES)
def test_distances_and_points_turn_alike(up):
    place = torch.tensor([[0.125, -0.375, 0.625]])
    moved = turned(place, up)[0]
    assert at(turned(ramp(), up), moved) == at(ramp(), place[0])
    assert moved[2] == place[0, AXES.index(up)]  # what pointed up in the file does now


def test_a_slice_shows_observed_points_and_names_a_wrong_axis():
    known = Observed(plane(32, "z", 5)[3, 4][None], torch.tensor([[0.4]]))
    picture = slice_picture("chairs", known, "z", 5)
    assert picture.shape == (32, 32, 3) and picture[3, 4].tolist() == pytest.approx([1.0, 0.8, 0.1])
    with pytest.raises(ValueError, match="axis: expected one of x, y, z"):
        plane(8, "w", 1)
    with pytest.raises(ValueError, match="depth: expected an integer from 1 to 8"):
        plane(8, "x", 9)
    with pytest.raises(ValueError, match="up: expected one of x, y, z"):
        turned(ramp(), "w")
