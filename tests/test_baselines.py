"""Baselines answer the model's calls, and agree with cases whose answer is known."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from sklearn.gaussian_process.kernels import Kernel

from baselines import surface_reconstruction
from baselines.base import PointwiseBaseline
from baselines.gaussian_process import GaussianProcess
from baselines.interpolation import Interpolation
from baselines.nearest import NearestNeighbour
from baselines.surface_reconstruction import iou, occupied, screened_poisson
from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.distribution import ValueDistribution
from signals.cells import cell_positions
from signals.polynomial import polynomial
from signals.polynomial_posterior import PolynomialPosterior

IMAGE = PixelTransformerConfig(native_grid=[8, 8], value_dim=3)
CURVE = PixelTransformerConfig(
    signal="polynomial", native_grid=[32], value_range=None, quantization_step=None, num_bins=1, offset_radius=None
)
SHAPE = PixelTransformerConfig(
    signal="shape", native_grid=[4, 4, 4], value_range=[-1.0, 1.0], quantization_step=None, num_bins=4
)
METHODS = [NearestNeighbour, lambda c: Interpolation(c, 1), lambda c: Interpolation(c, 3), GaussianProcess]


def shared_places(config, seed: int = 1):
    """As `pairs`, all signals at the same positions (N, P), for `fit`."""
    positions, values = pairs(config, batch=1, seed=seed)
    return positions[0], values


def pairs(config, batch: int = 2, count: int = 40, seed: int = 0):
    """Random positions, and values that are linear in the position: 0.5 + 0.1 x + 0.2 y …, alike in all channels."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(batch, count, config.position_dim, generator=generator) * 2 - 1
    slopes = 0.1 * torch.arange(1, config.position_dim + 1)
    return positions, (0.5 + (positions * slopes).sum(-1, keepdim=True)).expand(-1, -1, config.value_dim)


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("context", [0, 1, 3, 20])
def test_all_answer_the_same_calls(make, context):
    positions, values = pairs(IMAGE)
    method = make(IMAGE).fit(*shared_places(IMAGE))
    known, asked = (positions[:, :context], values[:, :context]), positions[:, 30:]
    marginal = method.predict(*known, asked)
    assert marginal.mean.shape == (2, 10, 3) and marginal.log_prob(values[:, 30:]).shape == (2, 10)
    drawn = method.sample(*known, asked, 3, torch.Generator().manual_seed(0))
    assert drawn.shape == (3, 2, 10, 3) and ((drawn >= 0) & (drawn <= 1)).all()
    assert torch.allclose((drawn * 255).round() / 255, drawn, atol=1e-6)
    assert method.log_prob(*known, asked, values[:, 30:]).isfinite().all()


@pytest.mark.parametrize("degree", [1, 3])
@pytest.mark.parametrize("config", [IMAGE, CURVE, SHAPE])
def test_interpolation_of_a_linear_function_is_exact_inside(config, degree):
    if config is SHAPE and degree == 3:
        with pytest.raises(ValueError, match="degree: expected 1, as positions have 3 dimensions"):
            Interpolation(config, degree)
        return
    positions, values = pairs(config, count=300)
    inside = positions.abs().amax(-1) < 0.4  # well inside of what 300 positions enclose
    known = ~inside | (torch.rand(inside.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    for item in range(2):
        k, q = known[item], ~known[item]
        found = Interpolation(config, degree).values(
            positions[item][None, k], values[item][None, k], positions[item][None, q]
        )
        assert torch.allclose(found[0], values[item][q], atol=1e-5)


def test_interpolation_outside_takes_the_nearest_value():
    corners = torch.tensor([[[-0.1, -0.1], [0.1, -0.1], [0.0, 0.1]]])
    values = torch.tensor([[[0.0], [0.5], [1.0]]]).expand(-1, -1, 3)
    found = Interpolation(IMAGE, 1).values(corners, values, torch.tensor([[[0.9, -0.5], [0.0, 0.9]]]))
    assert torch.allclose(found[0, :, 0], torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="degree: expected 1"):
        Interpolation(IMAGE, 2)


def test_the_width_is_the_method_s_error_on_its_context():
    """Values ± 0.3 at random about 0.5: the nearest one is off by 0 or 0.6, half of the time each."""
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(4, 400, 2, generator=generator) * 2 - 1
    values = 0.5 + 0.3 * torch.randn(4, 400, 1, generator=generator).sign().expand(-1, -1, 3)
    width = (
        NearestNeighbour(IMAGE).fit(positions[0], values).predict(positions, values, positions[:, :1]).log_stds.exp()
    )
    assert torch.allclose(width, torch.full_like(width, 0.6 / math.sqrt(2)), rtol=0.1)


def test_four_black_places_do_not_prove_that_all_is_black():
    method = NearestNeighbour(IMAGE).fit(*shared_places(IMAGE))
    positions, black = pairs(IMAGE)[0][:, :4], torch.zeros(2, 4, 3)
    width = method.predict(positions, black, positions).log_stds.exp()
    assert torch.allclose(width, torch.tensor(method.spread / 5**0.5))


def test_parts_of_the_context_are_predicted_from_the_others():
    seen = []

    class Spy(PointwiseBaseline):
        def values(self, context_positions, context_values, query_positions):
            seen.append((set(context_positions[0, :, 0].tolist()), set(query_positions[0, :, 0].tolist())))
            return query_positions

    line = torch.arange(7.0).view(1, 7, 1)
    Spy(CURVE).predict(line, line, line + 100)
    folds = seen[1:]
    assert len(folds) == 5 and not any(known & asked for known, asked in folds)
    assert set.union(*[asked for _, asked in folds]) == set(range(7))


def test_gaussian_process_with_the_prior_s_kernel_is_the_exact_posterior():
    """With the covariance Σ (x x')^k of polynomials in place of its own it gives what Bayesian regression gives."""

    class Powers(Kernel):  # of polynomials of degree 6 with coefficients N(0, 1)
        def __init__(self):  # scikit-learn reads a kernel's parameters off its signature
            pass

        def __call__(self, x, y=None, eval_gradient=False):
            return ((x @ (x if y is None else y).T)[..., None] ** range(7)).sum(-1)

        def diag(self, x):
            return self(x).diagonal().copy()

        def is_stationary(self):
            return False

    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(3, 6, 1, generator=generator) * 2 - 1
    values = polynomial(torch.randn(3, 7, generator=generator), positions)
    process = GaussianProcess(CURVE)
    process.kernel = Powers()
    known, asked = (positions[:, :3], values[:, :3]), positions[:, 3:]
    exact, ours = PolynomialPosterior(6).predict(*known, asked), process.predict(*known, asked)
    assert torch.allclose(ours.mean, exact.mean.float(), atol=1e-3)
    assert torch.allclose(ours.stddev, exact.stddev.float(), atol=1e-3)
    joint = PolynomialPosterior(6).log_prob(*known, asked, values[:, 3:])
    assert torch.allclose(process.log_prob(*known, asked, values[:, 3:]).double(), joint, rtol=1e-3, atol=1e-2)
    drawn = process.sample(*known, asked, 4000, generator)
    assert torch.allclose(drawn.std(0).double(), exact.stddev, rtol=0.05)


def test_a_fitted_gaussian_process_beats_the_nearest_neighbour_on_smooth_curves():
    positions = (torch.rand(60, 1, generator=torch.Generator().manual_seed(3)) * 2 - 1).expand(16, -1, -1)
    values = (4 * positions + torch.arange(16.0)[:, None, None]).sin()
    methods = [method.fit(positions[0], values[:8]) for method in (GaussianProcess(CURVE), NearestNeighbour(CURVE))]
    known, asked, truth = (positions[8:, :20], values[8:, :20]), positions[8:, 20:], values[8:, 20:]
    process, nearest = (method.predict(*known, asked) for method in methods)
    assert (process.mean - truth).square().mean() < 0.2 * (nearest.mean - truth).square().mean()
    assert process.log_prob(truth).mean() > nearest.log_prob(truth).mean() + 0.5


def test_quantised_joint_density_of_a_gaussian_process_is_near_its_marginal_mass():
    """For one query the joint likelihood is the marginal one: a density times a cell's width is close to its mass."""
    positions, values = pairs(IMAGE)
    values = values + 0.1 * torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    process = GaussianProcess(IMAGE).fit(positions[0], values[:1])
    known, asked, truth = (positions[:, :4], values[:, :4]), positions[:, 4:5], (values[:, 4:5] * 255).round() / 255
    one = process.predict(*known, asked).log_prob(truth)[:, 0]
    assert torch.allclose(process.log_prob(*known, asked, truth), one, atol=0.02)


def test_a_closed_surface_fills_the_cells_inside_of_it():
    mesh = trimesh.creation.box((1.0, 1.0, 1.0))
    faces = np.asarray(mesh.faces, dtype=np.int64)
    found = occupied(np.asarray(mesh.vertices), faces, [8, 9, 12])
    assert found.shape == (12, 9, 8) and found.mean() == pytest.approx(1 / 8, abs=0.04)
    assert found[6, 4, 4] and not found[0].any()
    assert (found == occupied(np.asarray(mesh.vertices), faces[:, ::-1], [8, 9, 12])).all()
    assert not occupied(np.zeros((0, 3)), faces[:0], [4, 4, 4]).any()
    assert iou(found, found) == 1 and iou(found, ~found) == 0
    half = found.copy()
    half[6:] = False
    assert iou(found, half) == pytest.approx(0.5)


def test_surface_reconstruction_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymeshlab", None)
    with pytest.raises(ImportError, match="pip install pymeshlab"):
        screened_poisson(np.zeros((4, 3)))
    with pytest.raises(SystemExit, match="surface_reconstruction: "):
        surface_reconstruction.main(["--dataset_name", str(tmp_path / "nothing")])


@pytest.mark.parametrize("front", [False, True])
def test_a_model_is_told_that_points_lie_on_the_surface_and_asked_for_cells(front, monkeypatch):
    monkeypatch.setattr(surface_reconstruction, "METHODS", {})
    centres = cell_positions([12, 14, 16], torch.arange(12 * 14 * 16))
    egg = (centres * torch.tensor([1.0, 1.2, 1.5])).norm(dim=-1, keepdim=True) - 0.6
    seen = []

    def predict(positions, values, queries):
        seen.append((positions, values))
        torch.testing.assert_close(queries[0], centres)
        return ValueDistribution(torch.zeros(1, len(egg), 1), egg[None, :, None], torch.full((1, len(egg), 1), -6.0))

    model = SimpleNamespace(predict=predict)
    (found,) = surface_reconstruction.compare([egg.view(16, 14, 12, 1)], 300, 0, front, model)
    assert found == {"this model": 1.0, "this model, negative mean": 1.0}
    ((positions, values),) = seen
    assert positions.shape == (1, 300, 3) and values.shape == (1, 300, 1) and not values.any()
    assert (positions[..., 1] < 0).all() == front


def test_surface_reconstruction_rebuilds_a_ball():
    pytest.importorskip("pymeshlab", reason="pymeshlab is not installed")
    centres = cell_positions([16] * 3, torch.arange(16**3))
    ball = (centres.norm(dim=-1) - 0.6).view(16, 16, 16, 1)
    found = next(surface_reconstruction.compare([ball], 400, 0))
    assert found["screened Poisson, true normals"] > 0.9
