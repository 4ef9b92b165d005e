"""The value distribution is a proper one, and its summaries agree with it."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.levels import Levels, LogGaussianMass, round_to_levels

STEP = 1 / 255


def mixture(channels: int = 1, quantized: bool = True, seed: int = 0, batch=(3,), bins: int = 4) -> ValueDistribution:
    generator = torch.Generator().manual_seed(seed)
    return ValueDistribution(
        torch.randn(*batch, bins, generator=generator),
        torch.rand(*batch, bins, channels, generator=generator),
        torch.randn(*batch, bins, generator=generator) - 2,
        (0.0, 1.0),
        STEP if quantized else None,
    )


def correlated(step: float | None = STEP, scale: float = -2.5, spread: float = 1.0, bins: int = 4) -> ValueDistribution:
    """Three mixtures of colours whose channels depend on each other."""
    generator = torch.Generator().manual_seed(0)
    return ValueDistribution(
        torch.randn(3, bins, generator=generator),
        0.5 + spread * (torch.rand(3, bins, 3, generator=generator) - 0.5),
        scale + 0.3 * torch.randn(3, bins, 3, generator=generator),
        (0.0, 1.0) if step else None,
        step,
        coefficients=torch.randn(3, bins, 3, generator=generator),
    )


def all_colours(levels: int) -> torch.Tensor:
    axis = torch.arange(levels) / (levels - 1)
    return torch.cartesian_prod(axis, axis, axis)


def all_log_masses(d: ValueDistribution) -> torch.Tensor:
    return torch.stack([d.log_prob(level.expand(*d.batch_shape, 1)) for level in d.levels], -1)


def test_cell_masses_sum_to_one():
    assert torch.allclose(all_log_masses(mixture()).exp().sum(-1), torch.ones(3), atol=1e-5)


def test_cell_masses_sum_to_one_in_colour():
    step = 1 / 7  # 8³ colours
    d = mixture(channels=3)
    d = ValueDistribution(d.log_weights, d.means, d.log_stds, (0.0, 1.0), step)
    for distribution in (d, correlated(step, scale=-1.5)):
        masses = distribution.log_prob(all_colours(8)[:, None, :].expand(-1, 3, -1)).exp()
        assert torch.allclose(masses.sum(0), torch.ones(3), atol=1e-5)


def test_samples_follow_the_cell_masses_of_channels_that_depend_on_each_other():
    d = correlated(1 / 7, scale=-1.5)
    samples = (d.sample((100_000,), generator=torch.Generator().manual_seed(0)) * 7).round().long()
    masses = d.log_prob(all_colours(8)[:, None, :].expand(-1, 3, -1)).exp()  # (512, 3)
    for mixture_number in range(3):
        code = samples[:, mixture_number] @ torch.tensor([64, 8, 1])
        counts = torch.bincount(code, minlength=512) / len(samples)
        assert (counts - masses[:, mixture_number]).abs().max() < 0.003


def test_channels_that_depend_on_each_other_are_a_mixture_of_multivariate_gaussians():
    """Coefficients and scales are a factorisation of a covariance: (1 - A)⁻¹ D is its Cholesky factor."""
    d = correlated(step=None)
    weights = torch.zeros(3, 4, 3, 3)
    for number, (row, column) in enumerate([(1, 0), (2, 0), (2, 1)]):
        weights[..., row, column] = d.coefficients[..., number]
    factor = torch.linalg.inv(torch.eye(3) - weights) @ torch.diag_embed(d.log_stds.exp())
    gaussians = torch.distributions.MultivariateNormal(d.means, scale_tril=factor.tril())
    same = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=d.log_weights), gaussians)
    values = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(d.log_prob(values), same.log_prob(values), rtol=1e-4, atol=1e-3)
    assert torch.allclose(d.mean, same.mean, atol=1e-5) and torch.allclose(d.variance, same.variance, rtol=1e-4)


def test_no_coefficients_are_coefficients_of_zero():
    d = mixture(channels=3)
    scales = d.log_stds[..., None].expand(3, 4, 3)
    same = ValueDistribution(
        d.log_weights, d.means, scales, d.value_range, d.quantization_step, coefficients=torch.zeros(3, 4, 3)
    )
    value = torch.rand(7, 3, 3)
    assert torch.allclose(d.log_prob(value), same.log_prob(value), atol=1e-5)
    for name in ("mean", "variance", "mode"):
        assert torch.allclose(getattr(d, name), getattr(same, name), atol=1e-6), name
    one, other = (x.sample((9,), generator=torch.Generator().manual_seed(0)) for x in (d, same))
    assert torch.equal(one, other)


@pytest.mark.parametrize("quantized", [True, False])
def test_cdf_is_the_sum_of_what_log_prob_gives_to_smaller_values(quantized):
    d = mixture(quantized=quantized)
    if quantized:
        expected = all_log_masses(d).exp().cumsum(-1).T[..., None]
        assert torch.allclose(d.cdf(d.levels.view(-1, 1, 1).expand(-1, 3, 1)), expected, atol=1e-5)
        return
    grid = torch.linspace(-8, 3, 100_001)
    density = d.log_prob(grid[:, None, None].expand(-1, 3, 1)).exp()
    assert torch.allclose(d.cdf(torch.full((3, 1), 3.0))[:, 0], torch.trapezoid(density, grid, dim=0), atol=1e-4)


@pytest.mark.parametrize("distribution", [correlated(step=None), mixture(3, False), mixture(3), mixture()])
def test_cdf_and_icdf_are_those_of_samples(distribution):
    samples = distribution.sample((40_000,), generator=torch.Generator().manual_seed(0))
    at = samples[0]
    assert torch.allclose(distribution.cdf(at), (samples <= at + 1e-4).float().mean(0), atol=0.01)
    for probability in (0.1, 0.5, 0.93):
        quantile = distribution.icdf(probability)
        assert ((samples <= quantile + 1e-4).float().mean(0) > probability - 0.01).all()
        assert ((samples < quantile - 1e-4).float().mean(0) < probability + 0.01).all()


def test_icdf_takes_a_probability_for_each_channel_and_refuses_others():
    d = mixture(3, quantized=False)
    value = torch.rand(5, 3, 3, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(d.icdf(d.cdf(value)), value, atol=1e-3)
    for wrong in (0.0, 1.0, float("nan"), torch.tensor([0.5, 2.0, 0.5])):
        with pytest.raises(ValueError, match="probability: expected numbers above 0 and below 1"):
            d.icdf(wrong)


def test_density_integrates_to_one():
    d = mixture(quantized=False)
    grid = torch.linspace(-8, 9, 200_001)
    density = d.log_prob(grid[:, None, None].expand(-1, 3, 1)).exp()
    assert torch.allclose(torch.trapezoid(density, grid, dim=0), torch.ones(3), atol=1e-4)


@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_moments_are_those_of_samples(channels, quantized):
    check_moments(mixture(channels, quantized), channels)


@pytest.mark.parametrize("step", [STEP, None])
def test_moments_of_channels_that_depend_on_each_other_are_those_of_samples(step):
    """Exact without clamping, which these narrow components hardly meet."""
    check_moments(correlated(step, scale=-4.0, spread=0.3), 3)


@pytest.mark.parametrize("coefficient", [-0.8, 0.6, 2.0])
@pytest.mark.parametrize(("mean", "deviation"), [(0.95, 0.22), (0.02, 0.1), (0.5, 0.6), (-0.2, 0.3)])
def test_moments_of_clamped_channels_that_depend_on_each_other_are_those_of_samples(mean, deviation, coefficient):
    """A later channel moves with an earlier one as drawn, that is clamped."""
    parts = torch.zeros(1, 1), torch.full((1, 1, 3), mean), torch.full((1, 1, 3), math.log(deviation))
    d = ValueDistribution(*parts, (0.0, 1.0), STEP, coefficients=torch.full((1, 1, 3), coefficient))
    samples = d.sample((100_000,), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(d.mean, samples.mean(0), atol=4e-3)
    assert torch.allclose(d.stddev, samples.std(0), atol=4e-3)


def test_moments_of_a_wide_mixture_of_clamped_channels_are_those_of_samples():
    """No component weighs enough to be integrated."""
    d = correlated(STEP, scale=-2.0, bins=64)
    samples = d.sample((200_000,), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(d.mean, samples.mean(0), atol=5e-3) and torch.allclose(d.stddev, samples.std(0), atol=5e-3)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 0.8, 1.7])
@pytest.mark.parametrize("colour", [False, True])
def test_a_tempered_distribution_is_the_one_that_sampling_at_a_temperature_draws_from(temperature, colour):
    step = 1 / 7
    d = correlated(step, scale=-1.5) if colour else mixture()
    d = d if colour else ValueDistribution(d.log_weights, d.means, d.log_stds, (0.0, 1.0), step)
    tempered = d.tempered(temperature)
    values = all_colours(8) if colour else (torch.arange(8) / 7)[:, None]
    masses = tempered.log_prob(values[:, None].expand(-1, 3, -1)).exp()
    assert torch.allclose(masses.sum(0), torch.ones(3), atol=1e-4)
    drawn = d.sample((60_000,), temperature, torch.Generator().manual_seed(0))
    code = (drawn * 7).round().long() @ torch.tensor([64, 8, 1] if colour else [1])
    for item in range(3):
        counts = torch.bincount(code[:, item], minlength=len(values)) / len(drawn)
        assert (counts - masses[:, item]).abs().max() < 0.008
    if temperature:  # the same random numbers give the same draws, but for rounding
        again = tempered.sample((500,), generator=torch.Generator().manual_seed(0))
        first = d.sample((500,), temperature, torch.Generator().manual_seed(0))
        assert (again == first).all(-1).float().mean() > 0.99


def test_a_tempered_density_is_that_of_the_draws():
    d = correlated(step=None)
    drawn = d.sample((100_000,), 0.5, torch.Generator().manual_seed(0))
    tempered = d.tempered(0.5)
    assert torch.allclose(tempered.mean, drawn.mean(0), atol=0.02)
    assert torch.allclose(tempered.stddev, drawn.std(0), atol=0.02)
    assert d.tempered(1.0).log_prob(drawn[:9]).equal(d.log_prob(drawn[:9]))
    with pytest.raises(ValueError, match="temperature: expected .* got -1"):
        d.tempered(-1)


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.int64(1), Fraction(1, 2)])
def test_a_temperature_is_any_real_number(number):
    d = mixture()
    first, second = (d.sample((5,), t, torch.Generator().manual_seed(0)) for t in (number, float(number)))
    assert torch.equal(first, second) and torch.equal(d.tempered(number).log_stds, d.tempered(float(number)).log_stds)


@pytest.mark.parametrize("number", [True, np.bool_(True), math.nan, math.inf, "1", None, torch.ones(2)])
def test_what_is_no_temperature_is_refused(number):
    with pytest.raises(ValueError, match="temperature: expected a finite number of at least 0, got"):
        mixture().sample(temperature=number)


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0), (-0.3, 0.9)])
def test_values_are_rounded_to_levels_of_their_range(value_range):
    levels = Levels(*value_range, (value_range[1] - value_range[0]) / 7)
    values = torch.linspace(value_range[0] - 0.5, value_range[1] + 0.5, 401)
    nearest = levels.nearest(values)
    distance = (values[:, None] - levels.all()).abs()
    assert torch.allclose((values - nearest).abs(), distance.amin(1), atol=1e-6)
    assert torch.allclose(levels.at(levels.index(values)), nearest, atol=1e-6)
    assert torch.equal(round_to_levels(values, value_range, levels.step), nearest)
    assert torch.equal(round_to_levels(values, value_range, None), values)


def check_moments(d: ValueDistribution, channels: int) -> None:
    samples = d.sample((200_000,), generator=torch.Generator().manual_seed(0))
    assert samples.shape == (200_000, 3, channels)
    assert torch.allclose(samples.mean(0), d.mean, atol=0.01)
    assert torch.allclose(samples.var(0), d.variance, rtol=0.03, atol=1e-3)


def test_samples_follow_the_cell_masses():
    d = mixture(batch=())
    samples = d.sample((100_000,), generator=torch.Generator().manual_seed(0))
    counts = torch.bincount((samples[:, 0] * 255).round().long(), minlength=256) / len(samples)
    assert (counts - all_log_masses(d).exp()).abs().max() < 0.006


def test_entropy_is_the_expected_surprise():
    d = mixture()
    log_masses = all_log_masses(d)
    assert torch.allclose(d.entropy(), -(log_masses.exp() * log_masses).sum(-1), atol=1e-4)
    colour = mixture(channels=3)
    samples = colour.sample((20_000,), generator=torch.Generator().manual_seed(5))
    assert torch.allclose(colour.entropy(), -colour.log_prob(samples).mean(0), atol=0.4)


def test_entropy_of_one_gaussian_is_known():
    d = ValueDistribution(torch.zeros(1, 1), torch.zeros(1, 1, 2), torch.zeros(1, 1))
    assert abs(d.entropy(4000).item() - math.log(2 * math.pi * math.e)) < 0.05


@pytest.mark.parametrize("mean", [0.05, 0.2, 0.97])
def test_mode_is_the_most_probable_level(mean):
    """Also where it is an end of the range, which takes a tail."""
    means, log_stds = torch.tensor([[[mean], [0.7]]]), torch.tensor([[-2.3, -4.0]])
    d = ValueDistribution(torch.tensor([[1.5, 0.0]]), means, log_stds, (0.0, 1.0), STEP)
    assert d.mode.item() == d.levels[all_log_masses(d).argmax()].item()


def test_mode_of_a_colour_is_at_least_as_probable_as_any_of_many_draws():
    for d in (mixture(channels=3), correlated()):
        draws = d.sample((500,), generator=torch.Generator().manual_seed(0))
        assert (d.log_prob(d.mode) >= d.log_prob(draws).amax(0) - 1.0).all()
    corner = ValueDistribution(
        torch.zeros(1, 1), torch.tensor([[[0.05, 0.5, 0.95]]]), torch.full((1, 1), -2.3), (0, 1), STEP
    )
    assert torch.allclose(corner.mode, torch.tensor([[0.0, 0.5, 1.0]]), atol=STEP)


def test_bins_are_a_histogram():
    assert torch.allclose(mixture().probs.sum(-1), torch.ones(3))


def test_temperature_zero_is_deterministic_and_low_temperature_narrows():
    d = mixture()
    cold = d.sample((50,), temperature=0.0)
    assert (cold == cold[0]).all()
    assert (d.sample((5000,), temperature=0.3).var(0) < d.sample((5000,)).var(0)).all()
    with pytest.raises(ValueError, match="temperature: expected .* got -1"):
        d.sample(temperature=-1)


def test_same_seed_same_sample():
    d = mixture()
    first, second = (d.sample((4,), generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("scales", [(-7.6, -0.7), (-100.0, 100.0), (-30.0, -20.0), (5.0, 20.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantized", [True, False])
def test_extreme_parameters_give_finite_numbers_and_gradients(dtype, quantized, scales):
    extremes = torch.tensor([-1e4, -80.0, 0.0, 80.0, 1e4], dtype=dtype)
    logits = extremes[:, None].expand(-1, 2).clone().requires_grad_()
    means = torch.tensor([[[0.0], [1.0]]], dtype=dtype).expand(5, -1, -1).clone().requires_grad_()
    log_stds = torch.tensor(scales, dtype=dtype).expand(5, -1).clone().requires_grad_()
    for value in (0.0, 0.5, 1.0):
        d = ValueDistribution(logits, means, log_stds, (0.0, 1.0), STEP if quantized else None)
        log_prob = d.log_prob(torch.full((5, 1), value))
        assert torch.isfinite(log_prob).all() and (not quantized or (log_prob <= 1e-5).all())
        gradients = torch.autograd.grad(log_prob.sum(), (logits, means, log_stds))
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
    for statistic in (d.mean, d.variance, d.mode, d.entropy(), d.sample()):
        assert torch.isfinite(statistic).all()


def test_far_tail_is_exact():
    d = ValueDistribution(torch.zeros(1, 1), torch.zeros(1, 1, 1), torch.full((1, 1), math.log(0.05)), (0.0, 1.0), STEP)
    upper, lower = (torch.tensor((200 + side) * STEP / 0.05, dtype=torch.float64) for side in (-0.5, 0.5))
    exact = torch.special.log_ndtr(-upper) + torch.log1p(
        -torch.exp(torch.special.log_ndtr(-lower) - torch.special.log_ndtr(-upper))
    )
    assert torch.allclose(d.log_prob(torch.tensor([[200 * STEP]])).double(), exact, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("log_std", [-9.0, -6.0, -4.0, -2.0, 0.0])
def test_mass_and_gradients_are_those_of_autograd_in_float64(log_std, channels):
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(200, 4, 3, generator=generator).requires_grad_()
    log_stds = (log_std + torch.rand(200, 4, channels, generator=generator)).requires_grad_()
    levels = torch.randint(0, 256, (200, 1, 3), generator=generator)
    lower = torch.where(levels > 0, (levels - 0.5) * STEP, -math.inf)
    upper = torch.where(levels < 255, (levels + 0.5) * STEP, math.inf)
    mass = LogGaussianMass.apply(means, log_stds, lower, upper)
    gradients = torch.autograd.grad(mass.sum(), (means, log_stds))

    exact = (means.detach().double().requires_grad_(), log_stds.detach().double().requires_grad_())
    a, b = ((edge.double().clamp(-99, 99) - exact[0]) / exact[1].exp() for edge in (lower, upper))
    near, away = torch.where(a + b > 0, -a, b), torch.where(a + b > 0, -b, a)
    near, away = torch.special.log_ndtr(near), torch.special.log_ndtr(away)
    expected = near + torch.log(-torch.expm1(away - near))
    expected_gradients = torch.autograd.grad(expected.sum(), exact)
    assert torch.allclose(mass.double(), expected, rtol=1e-5, atol=5e-4)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        assert torch.allclose(found.double(), wanted, rtol=5e-3, atol=5e-3)


def test_indexing_expanding_and_concatenating_commute_with_log_prob():
    check_commuting(mixture(batch=(2, 3)), torch.rand(2, 3, 1))
    flat = correlated()
    parts = {name: torch.stack((part, part.flip(0))) for name, part in flat.parts.items()}
    check_commuting(flat.with_parts(**parts), torch.rand(2, 3, 3))


def check_commuting(d: ValueDistribution, value: torch.Tensor) -> None:
    whole = d.log_prob(value)
    assert torch.allclose(d[:, 1:].log_prob(value[:, 1:]), whole[:, 1:])
    assert torch.allclose(ValueDistribution.cat([d[:, :1], d[:, 1:]], 1).log_prob(value), whole)
    assert torch.allclose(d.expand((4, 2, 3)).log_prob(value), whole.expand(4, 2, 3))


def test_an_index_selects_along_the_batch_alone():
    d = ValueDistribution(torch.zeros(2, 3, 4), torch.rand(2, 3, 4, 1), torch.zeros(2, 3, 4))
    mask = torch.tensor([[True, False, True], [False, False, True]])
    rows, columns = torch.tensor([0, 1]), torch.tensor([2, 0])
    for index in (0, (1, 2), slice(1), (slice(None), 1), mask, (None, 1), (rows, columns)):
        assert d[index].batch_shape == torch.zeros(2, 3)[index].shape
        assert torch.equal(d[index].mean, d.mean[index])
    with pytest.raises(IndexError):
        d[0, 0, 0]
