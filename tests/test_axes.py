"""A kind of signal of one's own, time first and not called a video, has its cells where the model has them."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.levels import Levels
from signals.base import GridSignal, Rows
from training.arguments import Arguments
from training.setup import make_model


@dataclass
class Scans(GridSignal):
    """Arrays (t, x), positions (t, x)."""

    kind: ClassVar[str] = "scan"
    plural: ClassVar[str] = "scans"
    coordinates: ClassVar[tuple[int, ...]] = (1, 0)

    def load(self, seed):
        return (self.load_split("train", None),) * 2

    def load_split(self, split, config, limit=None):
        return Rows(range(8), lambda index: torch.rand(4, 6, 1, generator=torch.Generator().manual_seed(index)))

    def config_fields(self, rows):
        return {"native_grid": [4, 6], "value_range": [-1.0, 1.0], "quantization_step": 2 / 255, "num_bins": 3}

    def render(self, values, grid):
        raise NotImplementedError


@pytest.fixture
def arguments(tmp_path) -> Arguments:
    return Arguments(output_dir=str(tmp_path), max_train_steps=1, hidden_size=16, bins="uniform")


def test_training_gives_the_config_the_axes_of_the_signal(arguments):
    signal = Scans()
    model = make_model(arguments, signal, signal.load(0)[0])
    assert model.config.axes == [0, 1]
    assert torch.allclose(signal.positions([4, 6]), model.native_positions()[0])
    other = Scans.axes.fget(type("", (), {"coordinates": (2, 0, 1)})())
    assert other == PixelTransformerConfig(signal="video", native_grid=[2, 2, 2]).axes_slowest_first


def test_axes_that_do_not_fit_the_positions_are_refused(arguments, monkeypatch):
    monkeypatch.setattr(Scans, "axes", [1, 0])
    with pytest.raises(ValueError, match="--kind: expected positions of a scan with the axes"):
        make_model(arguments, Scans(), Scans().load(0)[0])


def test_averages_are_rounded_to_levels_of_their_range():
    """Of values in [-1, 1] no level is 0."""
    levels = Levels(-1.0, 1.0, 2 / 255)
    arrays = levels.nearest(torch.rand(2, 4, 6, 1) * 2 - 1)
    for scale in Scans().pyramid(arrays, 2, levels):
        assert (scale[..., None] - levels.all()).abs().amin(-1).max() < 1e-6
