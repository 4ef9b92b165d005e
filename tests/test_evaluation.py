"""References and measures agree with cases whose answer is known."""

import pytest
import torch

from conftest import make_model
from evaluation.against_context import Scoring, marginals_against_context, markdown_table
from evaluation.quality import complete, quality_against_context
from signals.image import Images
from signals.measures import chamfer_distance, image_quality, shape_quality, video_quality
from signals.polynomial import Polynomials, polynomial
from signals.polynomial_posterior import PolynomialPosterior
from signals.shape import Shapes

POSTERIOR = PolynomialPosterior(6)


def polynomials(count: int = 64, num_positions: int = 9, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    coefficients = torch.randn(count, 7, generator=generator)
    positions = torch.rand(count, num_positions, 1, generator=generator) * 2 - 1
    return positions, polynomial(
        coefficients, positions
    )  # float64: where seven positions fix all, float32 is too coarse


def test_posterior_without_observations_is_the_prior():
    x = torch.tensor([[[0.0], [0.5], [-1.0]]])
    prior = POSTERIOR.predict(torch.zeros(1, 0, 1), torch.zeros(1, 0, 1), x)
    variance = (x.double() ** (2 * torch.arange(7))).sum(-1, keepdim=True)
    assert torch.allclose(prior.variance, variance) and (prior.mean == 0).all()


@pytest.mark.parametrize("context", [1, 3, 6])
def test_posterior_is_that_of_gaussian_conditioning(context):
    """The textbook formula on covariances, k_xx - k_xS K⁻¹ k_Sx, which the projector must reproduce."""
    positions, values = polynomials(4)
    known, asked = positions[:, :context], positions[:, context:]
    predicted = POSTERIOR.predict(known, values[:, :context], asked)
    powers = torch.arange(7)
    known, asked = known.double() ** powers, asked.double() ** powers
    gain = torch.linalg.solve(known @ known.mT, known @ asked.mT).mT
    assert torch.allclose(predicted.mean, gain @ values[:, :context].double(), atol=1e-4)
    variance = (asked @ asked.mT - gain @ known @ asked.mT).diagonal(dim1=1, dim2=2)
    assert torch.allclose(predicted.variance[..., 0], variance, atol=1e-6)


def test_seven_places_determine_everything():
    positions, values = polynomials()
    predicted = POSTERIOR.predict(positions[:, :8], values[:, :8], positions[:, 8:])
    error = (predicted.mean - values[:, 8:]).abs().flatten()
    assert error.median() < 1e-4 and predicted.variance.max() < 1e-8
    assert POSTERIOR.has_density(6) and not POSTERIOR.has_density(7)


@pytest.mark.parametrize("context", [0, 1, 6, 12])
def test_posterior_with_noise_is_that_of_bayesian_linear_regression(context):
    noisy, (positions, values) = PolynomialPosterior(6, noise=0.1), polynomials(4, context + 3)
    features, asked = (part.double() ** torch.arange(7) for part in positions.split([context, 3], 1))
    covariance = torch.linalg.inv(torch.eye(7) + features.mT @ features / 0.1**2)
    mean = covariance @ features.mT @ values[:, :context].double() / 0.1**2
    predicted = noisy.predict(positions[:, :context], values[:, :context], positions[:, context:])
    joint = torch.distributions.MultivariateNormal((asked @ mean)[..., 0], asked @ covariance @ asked.mT)
    assert torch.allclose(predicted.mean, asked @ mean) and noisy.has_density(context)
    assert torch.allclose(predicted.variance[..., 0], joint.variance)
    scored = noisy.log_prob(positions[:, :context], values[:, :context], positions[:, context:], values[:, context:])
    assert torch.allclose(scored, joint.log_prob(values[:, context:, 0].double()))


def test_posterior_s_joint_density_is_the_product_of_its_conditionals():
    positions, values = polynomials(8, 4)
    joint = POSTERIOR.log_prob(positions[:, :1], values[:, :1], positions[:, 1:], values[:, 1:])
    steps = [
        POSTERIOR.predict(positions[:, :k], values[:, :k], positions[:, k : k + 1]).log_prob(
            values[:, k : k + 1].double()
        )
        for k in (1, 2, 3)
    ]
    assert torch.allclose(joint, torch.cat(steps, 1).sum(1), atol=1e-3)
    with pytest.raises(ValueError, match="query_positions: expected at most 7 positions in all"):
        POSTERIOR.log_prob(positions, values, *polynomials(8, 4))


def test_posterior_s_samples_pass_through_what_is_known_and_spread_as_predicted():
    positions, values = polynomials(2, 5)
    drawn = POSTERIOR.sample(positions[:, :3], values[:, :3], positions, 4000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn[:, :, :3], values[:, :3].float().expand(4000, -1, -1, -1), atol=1e-4)
    marginal = POSTERIOR.predict(positions[:, :3], values[:, :3], positions[:, 3:])
    assert torch.allclose(drawn[:, :, 3:].std(0).double(), marginal.stddev, rtol=0.05)


def test_no_model_beats_the_exact_posterior():
    model = make_model(
        signal="polynomial", native_grid=[32], value_range=None, quantization_step=None, num_bins=1, offset_radius=None
    )
    signal = Polynomials(validation_size=64)
    rows = signal.load(seed=0)[1].first(64)
    table = marginals_against_context(model, signal, rows, [0, 2, 8], Scoring(reference=POSTERIOR))
    assert table[0]["reference_nats"] < table[0]["nats"] and table[1]["reference_nats"] < table[0]["reference_nats"]
    assert table[2]["reference_nats"] is None
    shown = markdown_table(table, model.config).splitlines()
    assert "gap" in shown[0] and shown[-1].endswith("| – | – |")


def test_measures_know_the_perfect_answer_and_rank_others_below():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 256, 3, generator=generator)
    assert torch.allclose(image_quality(truth, truth, [16, 16])["SSIM"], torch.ones(2))
    assert (image_quality(truth, truth.flip(1), [16, 16])["SSIM"] < 0.5).all()
    clip, off = torch.rand(2, 3 * 16, 1, generator=generator) / 2, 0.1
    assert torch.allclose(video_quality(clip, clip + off, [3, 4, 4])["PSNR"], torch.full((2,), 20.0), atol=1e-3)


def test_iou_and_chamfer_of_balls():
    grid = [32, 32, 32]
    distance = Shapes(dataset_name="none").positions(grid).norm(dim=-1, keepdim=True)[None]
    small, large = distance - 0.5, distance - 0.6
    scores = shape_quality(large, small, grid)
    assert scores["IoU"].item() == pytest.approx((0.5 / 0.6) ** 3, abs=0.03)
    assert scores["Chamfer"].item() == pytest.approx(0.1, abs=0.01)
    assert shape_quality(large, large, grid)["IoU"].item() == 1.0
    nothing = shape_quality(large, torch.ones_like(large), grid)
    assert nothing["IoU"].item() == 0.0 and nothing["Chamfer"].isnan().all()
    cube = large.view(32, 32, 32, 1)
    assert chamfer_distance(cube, cube) < 0.03


def test_what_is_observed_stands_in_the_completed_signal():
    signal = Images(dataset_name="none")
    image = torch.randint(0, 256, (1, 28, 28, 1), dtype=torch.uint8)
    positions, values = signal.pairs(image, 64)
    elsewhere = torch.cat((positions, torch.tensor([[[0.01, 0.02]]])), 1)
    whole = complete(
        signal, elsewhere, torch.cat((values, torch.full((1, 1, 1), 9.0)), 1), torch.full((1, 784, 1), -1.0), [28, 28]
    )
    known = whole >= 0
    assert known.sum() == 64 and torch.equal(whole[known], signal.grid_values(image, [28, 28])[known])


def test_quality_of_completed_signals_grows_with_what_is_observed():
    """Of the nearest neighbour, which needs no training."""
    smooth = torch.linspace(0, 255, 12).view(1, 12, 1, 1).expand(4, -1, 12, -1).to(torch.uint8)
    table = quality_against_context(
        make_model(native_grid=[12, 12]), Images(dataset_name="none"), list(smooth), [4, 64]
    )
    assert table[0]["SSIM of nearest neighbour"] < table[1]["SSIM of nearest neighbour"]
    assert set(table[0]) == {"SSIM", "SSIM of nearest neighbour"}
