"""Whatever valid numbers come in, finite ones come out: distributions that sum to one, gradients that are finite."""

import copy
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import make_model
from pixeltransformer.distribution import ValueDistribution

MODELS = {
    "grey": make_model(),
    "colour": make_model(value_dim=3),
    "scales": make_model(native_grid=[8, 8], num_scales=3),
    "shape": make_model(signal="shape", native_grid=[4, 4, 4], value_range=[-1.5, 1.5], quantization_step=None),
    "curve": make_model(
        signal="polynomial",
        native_grid=[32],
        value_range=None,
        quantization_step=None,
        num_bins=1,
        offset_radius=None,
        min_std=1e-4,
        max_std=8.0,
    ),
}
EXTREMES = {"curve": [0.0, 1e-30, -1e-30, 1.0, -1e4, 1e4, 1e8, -1e8], "shape": [-1.5, 0.0, 1e-20, 1.5]}
FEW = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def observations(draw):
    """A model's name, its context and queries, both from few positions, so that many coincide and contradict."""
    name = draw(st.sampled_from(sorted(MODELS)))
    config = MODELS[name].config
    batch, known, asked = draw(st.integers(1, 3)), draw(st.sampled_from([0, 1, 2, 7, 40])), draw(st.integers(1, 9))
    coordinates = st.sampled_from([-1.0, 1.0, 0.0, 1e-30, -0.5, 1 / 3, 0.999999])
    if config.quantization_step is not None:
        numbers = st.integers(0, 255).map(lambda level: level / 255)
    else:
        numbers = st.sampled_from(EXTREMES[name])
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))

    def tensor(source, *shape):
        count = torch.Size(shape).numel()
        flat = draw(st.lists(source, min_size=count, max_size=count))
        return torch.tensor(flat, dtype=dtype).view(shape)

    positions = tensor(coordinates, batch, known, config.position_dim)
    values = tensor(numbers, batch, known, config.value_dim)
    queries = tensor(coordinates, batch, asked, config.position_dim)
    return name, positions, values, queries, tensor(numbers, batch, asked, config.value_dim)


@FEW
@given(observations())
def test_every_answer_is_finite(case):
    name, positions, values, queries, truth = case
    model = MODELS[name]
    marginal = model.predict(positions, values, queries)
    numbers = (marginal.mean, marginal.variance, marginal.stddev, marginal.mode, marginal.entropy(num_samples=4))
    for number in (*numbers, marginal.log_prob(truth), marginal.sample((2,))):
        assert torch.isfinite(number).all()
    assert torch.allclose(marginal.probs.sum(-1), torch.ones(()), atol=1e-5) and (marginal.variance >= 0).all()
    generator = torch.Generator().manual_seed(0)
    assert torch.isfinite(model.sample(positions, values, queries, num_samples=2, generator=generator)).all()
    assert torch.isfinite(model.log_prob(positions, values, queries, truth, generator=generator)).all()


@FEW
@given(observations())
def test_every_gradient_is_finite(case):
    name, positions, values, queries, truth = case
    model = MODELS[name]
    model.zero_grad()
    loss = model(positions.float(), values.float(), queries.float(), truth.float()).loss
    loss.backward()
    assert torch.isfinite(loss)
    for path, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), path


@FEW
@given(observations())
def test_half_precision_answers_are_finite(case):
    name, positions, values, queries, _ = case
    with torch.autocast("cpu", torch.bfloat16):
        marginal = MODELS[name].predict(positions, values, queries)
    assert torch.isfinite(marginal.mean).all() and torch.isfinite(marginal.log_stds).all()


LOW = {name: {d: copy.deepcopy(m).to(d) for d in (torch.bfloat16, torch.float16)} for name, m in MODELS.items()}


@FEW
@given(observations(), st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64]), st.booleans())
def test_models_and_numbers_of_any_dtype_give_finite_float32_answers(case, dtype, low_model):
    """Whichever of the two has the fewer digits."""
    name, positions, values, queries, truth = case
    values, truth = (part.clamp(-1e4, 1e4) for part in (values, truth))  # what float16 holds
    model = LOW[name].get(dtype, MODELS[name]) if low_model else MODELS[name]
    if not low_model:
        positions, values, queries, truth = (part.to(dtype) for part in (positions, values, queries, truth))
    out = model(positions, values, queries, truth)
    for part in (out.loss, out.mean, out.log_prob, out.distribution.means, out.distribution.log_weights):
        assert part.dtype == torch.float32 and torch.isfinite(part).all()


@FEW
@given(observations(), st.data())
def test_the_order_of_observations_and_masked_ones_change_nothing(case, data):
    name, positions, values, queries, _ = case
    model, known = MODELS[name], positions.shape[1]
    order = torch.tensor(data.draw(st.permutations(range(known))), dtype=torch.long)
    expected = model.predict(positions, values, queries).mean
    permuted = model.predict(positions[:, order], values[:, order], queries).mean
    scale = expected.abs().max().clamp(min=1)
    assert torch.allclose(permuted / scale, expected / scale, atol=1e-4)
    padded = [torch.cat((part, part.new_zeros(len(part), 3, part.shape[-1])), 1) for part in (positions, values)]
    mask = (torch.arange(known + 3) < known).expand(len(positions), -1)
    masked = model.predict(*padded, queries, context_mask=mask).mean
    assert torch.allclose(masked / scale, expected / scale, atol=1e-4)


LOGITS = st.sampled_from([-1e4, -50.0, 0.0, 1.0, 50.0, 1e4])


@FEW
@given(st.lists(LOGITS, min_size=3, max_size=3), st.lists(st.floats(-40, 40), min_size=3, max_size=3),
       st.lists(st.floats(0, 1), min_size=3, max_size=3))  # fmt: skip
def test_masses_of_all_levels_sum_to_one(logits, log_stds, means):
    """However sharp, flat or lopsided the mixture; gradients of the likelihood are finite too."""
    leaves = [torch.tensor([part]).requires_grad_() for part in (logits, log_stds, means)]
    distribution = ValueDistribution(leaves[0], leaves[2][..., None], leaves[1], (0.0, 1.0), 1 / 255)
    log_masses = distribution.log_prob(distribution.levels[:, None, None])
    assert torch.isfinite(log_masses).all()
    assert log_masses.exp().sum().item() == pytest.approx(1, abs=1e-3)
    if min(log_stds) < math.log(1 / 255 / 8):  # no model has narrower components
        return
    log_masses.sum().backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)
