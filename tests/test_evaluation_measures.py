"""Each measure of the evaluation agrees with a case whose answer is known."""

import math

import pytest
import torch

from conftest import make_model
from evaluation.against_context import Scoring, marginals_against_context
from evaluation.calibration import CENTRAL, coverage, pit_bounds
from evaluation.classifier import Classifier, accuracy, load, read_labels, save
from evaluation.completion import Drawn
from evaluation.diversity import BETAS, SMALLEST, pairwise_distance, pairwise_similarity
from evaluation.frechet import NOISES, Features, altered, distance, with_scales
from evaluation.sample_measures import diversity, measures, recognised
from evaluation.scores import MODEL, UNCERTAIN, Scores
from evaluation.sections import buffer, joint
from evaluation.tables import column, make_table, markdown, mean_interval
from pixeltransformer.distribution import ValueDistribution
from signals.data import load_splits
from signals.image import Images
from signals.plan import PUBLISHED
from signals.polynomial import PLOT, Polynomials
from signals.polynomial_posterior import PolynomialPosterior

STEP = 1 / 255


def mixture(shape, channels=1, seed=0, **kwargs) -> ValueDistribution:
    generator = torch.Generator().manual_seed(seed)
    logits, scales = (torch.randn(*shape, 3, generator=generator) for _ in range(2))
    means = torch.rand(*shape, 3, channels, generator=generator)
    return ValueDistribution(logits, means, scales - 2, **kwargs)


QUANTISED = dict(value_range=(0.0, 1.0), quantization_step=STEP)


def test_the_bounds_of_a_cell_enclose_its_mass():
    """F just above a level less F just below it is the level's probability, tails and all, and levels join up."""
    distribution = mixture((1, 1), **QUANTISED)
    levels = torch.arange(256).view(-1, 1, 1, 1) * STEP
    below, above = zip(*[pit_bounds(distribution, level) for level in levels], strict=True)
    below, above = torch.stack(below).flatten(), torch.stack(above).flatten()
    mass = distribution.log_prob(levels).exp().double().flatten()
    assert torch.allclose(above - below, mass, atol=1e-6)
    assert below[0] == 0 and above[-1] == 1 and torch.allclose(above[:-1], below[1:])


@pytest.mark.parametrize("kwargs", [{}, QUANTISED])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_drawn_from_a_distribution_are_covered_as_it_says(kwargs, channels):
    distribution = mixture((100, 100), channels, **kwargs)
    values = distribution.sample(generator=torch.Generator().manual_seed(1))
    found = coverage(distribution, values).mean((1, 2, 3))
    assert torch.allclose(found, torch.tensor(CENTRAL).double(), atol=0.015)


def test_too_narrow_a_distribution_covers_less_and_one_value_for_sure_covers_nominally():
    narrow = ValueDistribution(torch.zeros(1, 4000, 1), torch.zeros(1, 4000, 1, 1), torch.zeros(1, 4000, 1))
    values = 2 * torch.randn(1, 4000, 1, generator=torch.Generator().manual_seed(0))
    expected = [math.erf(torch.distributions.Normal(0, 1).icdf(torch.tensor((1 + c) / 2)) / 8**0.5) for c in CENTRAL]
    assert torch.allclose(coverage(narrow, values).mean((1, 2, 3)), torch.tensor(expected).double(), atol=0.02)
    black = ValueDistribution(torch.zeros(1, 1, 1), torch.full((1, 1, 1, 1), -9.0), torch.zeros(1, 1, 1), **QUANTISED)
    shares = coverage(black, torch.zeros(1, 1, 1)).flatten()
    assert torch.allclose(shares, torch.tensor(CENTRAL).double(), atol=1e-6)
    assert coverage(black, torch.ones(1, 1, 1)).sum() == 0  # far from all that is probable


def test_intervals_are_those_of_a_mean():
    mean, half = mean_interval(torch.tensor([1.0, 2.0, 3.0, math.nan]))
    assert mean == 2 and half == pytest.approx(1.96 / 3**0.5)
    assert mean_interval(torch.tensor([5.0]))[0] == 5 and math.isnan(mean_interval(torch.tensor([5.0]))[1])


def test_tables_show_rounded_numbers_and_keep_exact_ones():
    table = make_table({"K": 0, "score": 2}, [[1024, [0.123456, 0.01]], [4, None], [8, [0.5, math.nan]]], "Title")
    assert markdown(table).splitlines()[2:] == [
        "| K | score |",
        "|---:|---:|",
        "| 1,024 | 0.12 ± 0.01 |",
        "| 4 | – |",
        "| 8 | 0.50 |",
    ]
    assert markdown(make_table({"way": 0, "score": 1}, [["here", 1.0]])).splitlines()[1] == "|---|---:|"
    assert column(table, "score")[0] == [0.123456, 0.01]
    with pytest.raises(ValueError, match="rows: expected 2 cells, as there are columns, got 1"):
        make_table({"K": 0, "score": 2}, [[1]])


def test_distance_and_similarity_of_equal_and_of_independent_samples():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(4, 2, 28, 28, 1, generator=generator)
    same = noise[:1].expand(3, -1, -1, -1, -1)
    assert pairwise_distance(same.flatten(2, 3)).sum() == 0
    independent = pairwise_distance(noise.flatten(2, 3))
    assert torch.allclose(independent, torch.full((2,), 6**-0.5), atol=0.01)  # two uniform values differ so much
    pictures = noise.movedim(-1, 2)
    assert torch.allclose(pairwise_similarity(same.movedim(-1, 2)), torch.ones(2), atol=1e-5)
    assert (pairwise_similarity(pictures) < 0.2).all() and sum(BETAS) == pytest.approx(1)
    smallest = torch.rand(2, 1, 1, SMALLEST, SMALLEST)
    assert pairwise_similarity(smallest).isfinite().all()
    with pytest.raises(ValueError, match="samples: expected at least 2 of each signal, got 1"):
        pairwise_distance(noise[:1, :, 0])


def drawn_of(truth: torch.Tensor, samples: torch.Tensor) -> Drawn:
    known = torch.zeros(truth.shape[:2], dtype=torch.bool)
    known[:, :10] = True
    return Drawn(10, "mean", known, truth, truth, truth.flip(1), samples)


def test_samples_are_judged_signal_by_signal():
    """One perfect sample and one whose hidden half is off by 0.4 lie 0.4 apart there, and score in between."""
    truth = torch.rand(3, 144, 1, generator=torch.Generator().manual_seed(0)) / 2
    off = truth.clone()
    off[:, 10:] += 0.4
    drawn = drawn_of(truth, torch.stack((truth, off)))
    assert diversity(drawn, [12, 12])["distance of two samples"][0] == pytest.approx(0.4)
    measure = lambda truth, guess, grid: {"error": (truth - guess).abs().mean((1, 2))}  # noqa: E731
    found = measures(drawn, measure, [12, 12])
    assert found["error of mean"][0] == 0
    assert found["error of samples"][0] == pytest.approx(0.4 * 134 / 144 / 2, abs=1e-6)


def test_recognised_counts_samples_of_the_right_class():
    class Brightness:  # takes dark images for class 0 and bright ones for class 1
        def classes_of(self, images):
            return (images.mean((1, 2, 3)) > 0.5).long()

    dark = torch.zeros(2, 16, 1)
    drawn = drawn_of(dark, torch.stack((dark, torch.ones_like(dark))))
    found = recognised(drawn, torch.tensor([0, 1]), Brightness(), [4, 4])
    assert found["accuracy of mean (%)"][0] == 50 and found["accuracy of samples (%)"][0] == 50
    assert recognised(drawn, torch.tensor([0, 0]), Brightness(), [4, 4])["accuracy of mean (%)"][0] == 100


def test_the_classifier_survives_saving(tmp_path):
    torch.manual_seed(0)
    model = Classifier(1, 4).eval()
    save(model, tmp_path / "c.safetensors", {"channels": 1, "classes": 4})
    again, facts = load(tmp_path / "c.safetensors")
    images = torch.rand(5, 1, 12, 12)
    assert torch.equal(model(images), again(images)) and facts["classes"] == 4
    assert accuracy(torch.tensor([1, 2, 3, 1]), torch.tensor([1, 2, 0, 0]), 4) == 0.5
    with pytest.raises(ValueError, match="--classifier: expected a file of evaluation.classifier, got"):
        load(tmp_path / "none.safetensors")


def test_labels_need_a_column(image_folder):
    with pytest.raises(ValueError, match="--label_column|--dataset_name: expected a dataset with a label column"):
        read_labels(load_splits(str(image_folder))["train"])


def test_joint_likelihood_without_order_effects_is_the_sum_of_marginals():
    """A model whose queries see nothing scores the same along every order; the mixture of equals is each of them."""
    model = make_model(native_grid=[4, 4])
    torch.nn.init.zeros_(model.head.weight)  # the distribution is then the same, whatever was seen
    positions = model.native_positions().expand(3, -1, -1)
    values = (torch.rand(3, 16, 1, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    chains = joint.joint_over_orders(model, positions, values, 3, seed=0)
    alone = joint.independent(model, positions, values)
    assert torch.allclose(chains, alone.expand(3, -1), atol=1e-3)
    assert torch.allclose(joint.ensemble(chains), alone, atol=1e-3)
    assert joint.ensemble(torch.tensor([[0.0], [-1000.0]]).double()).item() == pytest.approx(-math.log(2))


def test_orders_differ_where_the_model_looks_at_what_was_seen():
    model = make_model(native_grid=[4, 4])
    values = torch.rand(2, 16, 1, generator=torch.Generator().manual_seed(0))
    chains = joint.joint_over_orders(model, model.native_positions().expand(2, -1, -1), values, 3, seed=0)
    assert chains.std(0).min() > 1e-3


@pytest.mark.parametrize("buffered", [0, 3, 6])
def test_a_buffered_query_is_the_next_conditional_of_the_chain(buffered):
    """Its log-likelihood is what one more value adds to the joint one of the buffer."""
    model = make_model(native_grid=[6, 6], max_buffer_share=1.0)
    generator = torch.Generator().manual_seed(0)
    positions = model.native_positions().expand(2, -1, -1)[:, torch.randperm(36, generator=generator)[:7]]
    values = (torch.rand(2, 7, 1, generator=generator) * 255).round() / 255
    found = buffer.buffered_log_prob(
        model, (positions[:, :6], values[:, :6]), (positions[:, 6:], values[:, 6:]), buffered
    )
    start = 6 - buffered
    context = positions[:, :start], values[:, :start]

    def chain(stop: int) -> torch.Tensor:
        if stop == start:
            return torch.zeros(2)
        return model.log_prob(
            *context, positions[:, start:stop], values[:, start:stop], order=torch.arange(stop - start)
        )  # fmt: skip

    assert torch.allclose(found.float(), chain(7) - chain(6), atol=1e-4)


def test_nothing_buffered_costs_nothing_and_queries_do_not_see_each_other():
    model = make_model(native_grid=[6, 6])
    positions = model.native_positions()[:, :12]
    values = (torch.rand(1, 12, 1, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    known, asked = (positions[:, :4], values[:, :4]), (positions[:, 4:], values[:, 4:])
    exact = model.predict(*known, asked[0]).log_prob(asked[1]).mean(1)
    assert torch.allclose(buffer.buffered_log_prob(model, known, asked, 0).float(), exact, atol=1e-5)


def test_other_grids_are_scored_at_their_own_cells():
    rows = list(torch.randint(0, 256, (3, 4, 4, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
    model, signal = make_model(native_grid=[8, 8]), Images(dataset_name="none")
    scoring = Scoring(grid=[4, 4], central=[0.5])
    table = marginals_against_context(model, signal, rows, [0, 5], scoring)
    assert table[1]["signals"] == 3 and len(table[0]["coverage"]) == 1
    # A random network is uncertain everywhere, so that leaving out the certain positions changes nothing.
    assert table[1]["uncertain_coverage"] == table[1]["coverage"]
    with pytest.raises(ValueError, match="contexts: expected fewer than the 16 cells"):
        marginals_against_context(model, signal, rows, [16], scoring)


def test_scores_do_not_depend_on_batches():
    generator = torch.Generator().manual_seed(0)
    logits, means, log_stds = (torch.randn(6, 8, 3, generator=generator) for _ in range(3))
    values = torch.rand(6, 8, 1, generator=generator).mul(255).round() / 255

    def scored(*sizes: int) -> Scores:
        scores = Scores(CENTRAL)
        for part in torch.arange(6).split(sizes):
            distribution = ValueDistribution(logits[part], means[part, ..., None], log_stds[part] - 2, **QUANTISED)
            scores.add(distribution, values[part], {"zero": torch.zeros_like(values[part])})
        return scores

    whole, split = scored(6), scored(2, 4)
    assert torch.allclose(whole.nats, split.nats) and whole.methods == split.methods == ["zero"]
    for name in (MODEL, "zero"):
        assert whole.rmse(name) == pytest.approx(split.rmse(name))
    assert whole.rmse("zero") == pytest.approx(values.square().mean().sqrt().item(), rel=1e-5)
    assert torch.allclose(torch.tensor(whole.coverage()), torch.tensor(split.coverage()))
    assert whole.rmse("another") is None and whole.exact_nats is None


def test_certain_values_count_in_one_coverage_alone():
    means = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1)
    scales = torch.tensor([UNCERTAIN / 10, 1.0]).log().view(1, 2, 1)
    scores = Scores([0.5])
    scores.add(ValueDistribution(torch.zeros(1, 2, 1), means, scales), torch.tensor([0.9, 0.5]).view(1, 2, 1))
    assert scores.coverage()[0][0] == 0.5 and scores.uncertain_coverage()[0][0] == 1.0


@pytest.mark.parametrize(("count", "steepest"), [(1, math.inf), (4, 20.0)])
def test_clicked_points_lie_all_over_the_plot_and_the_rest_follows_from_them(count, steepest):
    """The exact posterior given the clicks is calibrated on what is asked for: no other predictor does better."""
    signal, generator = Polynomials(), torch.Generator().manual_seed(0)
    prior = torch.randn(500, 7, generator=generator)
    positions, values, asked, truth = signal.clicked(prior, 5, generator, count, steepest)
    assert positions.shape == (500, count, 1) and positions.abs().max() <= 1
    assert values.abs().max() <= PLOT
    if count == 1:
        assert values.abs().max() > 0.98 * PLOT and values.mean().abs() < 0.5
    else:  # steep ones are left out
        assert signal.posterior.coefficients(positions, values)[0].abs().max() < steepest
    exact = signal.posterior.predict(positions, values, asked)
    standard = (truth - exact.mean) / exact.stddev
    assert standard.mean().abs() < 0.1 and standard.std().item() == pytest.approx(1, abs=0.06)


def test_the_exact_posterior_is_calibrated():
    """So a miss in the table is the model's, not the measure's."""
    signal = Polynomials(validation_size=300)
    rows = signal.load_split("test", None).first(300)
    positions, values = signal.pairs(torch.stack(rows).double(), 43, torch.Generator().manual_seed(0))
    exact = PolynomialPosterior(6).predict(positions[:, :3], values[:, :3], positions[:, 3:])
    as_mixture = ValueDistribution(
        torch.zeros(300, 40, 1), exact.mean[:, :, None], exact.stddev.log(), None, None
    )  # fmt: skip
    found = coverage(as_mixture, values[:, 3:]).mean((1, 2, 3))
    assert torch.allclose(found, torch.tensor(CENTRAL).double(), atol=0.03)


def test_published_sizes():
    assert len(PUBLISHED) == 10 and PUBLISHED[0] == 4 and PUBLISHED[-1] == 2048


def test_the_frechet_distance_is_0_to_itself_and_grows_with_what_is_added():
    torch.manual_seed(0)
    features = Features(Classifier(1, 3, width=4).eval()).requires_grad_(False)
    images = torch.rand(64, 1, 8, 8) * 0.5
    near, far = (distance(features, images, images + more) for more in (0.1, 0.4))
    nothing = abs(distance(features, images, images))
    assert 100 * nothing < near < far
    spread = 0.3 * torch.randn(64, 1, 1, 1)  # the same mean, another covariance
    assert distance(features, images, images + spread - spread.mean(0)) > 100 * nothing


def test_other_scales_leave_the_model_s_config_alone():
    model = make_model(native_grid=[8, 8], num_scales=3)
    other = with_scales(model, [1, 0])
    assert other.config.chain_scales == [1, 0] and model.config.chain_scales is None
    assert other.head is model.head and with_scales(model, None) is model


def test_images_are_altered_as_their_names_say():
    images = torch.rand(64, 3, 8, 8) * 0.5 + 0.25
    same, *noisy, averaged = altered(images, seed=0).values()
    assert torch.equal(same, images)
    for drawn, noise in zip(noisy, NOISES, strict=True):
        assert (drawn - images).std().item() == pytest.approx(noise, rel=0.05)
    cells = images.unflatten(3, (4, 2)).unflatten(2, (4, 2))
    assert torch.allclose(averaged.unflatten(3, (4, 2)).unflatten(2, (4, 2)), cells.mean((3, 5), keepdim=True))
