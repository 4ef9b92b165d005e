"""The cells that are filled are those with the highest expected overlap with the shape."""

import pytest
import torch

from pixeltransformer.distribution import ValueDistribution
from signals.overlap import inside, likely_distances, most_overlap

CELLS = 12
SHAPES = torch.cartesian_prod(*[torch.tensor([False, True])] * CELLS)  # all there are


def expected_iou(probability: torch.Tensor, filled: torch.Tensor) -> float:
    """Mean intersection over union of filled cells with shapes whose cells are independent, over all shapes."""
    weights = torch.where(SHAPES, probability, 1 - probability).prod(1)
    return float((weights * (SHAPES & filled).sum(1) / (SHAPES | filled).sum(1)).sum())


def test_no_other_threshold_overlaps_more():
    for seed in range(20):
        probability = torch.rand(CELLS, generator=torch.Generator().manual_seed(seed)) ** 2
        threshold, expected = most_overlap(probability)
        found = expected_iou(probability, probability >= threshold)
        best = max(expected_iou(probability, probability >= each) for each in probability)
        assert found >= best - 0.02  # the ratio of means is not quite the mean of ratios
        assert found == pytest.approx(expected, abs=0.05)


def test_exactly_the_chosen_cells_are_negative():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        logits, means, log_stds = (torch.randn(300, 4, generator=generator) for _ in range(3))
        distances = ValueDistribution(logits.log_softmax(-1), means[..., None], log_stds - 2)
        threshold, _ = most_overlap(inside(distances))
        assert torch.equal(likely_distances(distances)[:, 0] < 0, inside(distances) > threshold)


def test_certain_cells_alone_are_filled_where_nothing_is_uncertain():
    assert most_overlap(torch.tensor([1.0, 0.0, 1.0, 0.0])) == (0.5, 1.0)


def test_a_part_that_is_somewhere_is_filled_though_no_cell_has_a_negative_mean():
    """One of three cells is inside: the mean is positive in each, and filling all three gives an IoU of 1/3."""
    chances = torch.tensor([1, 1, 1, 0, 0]) / 3
    logits = torch.stack((chances, 1 - chances), -1).clamp(min=1e-6).log()
    means = torch.tensor([[-0.1], [0.1]]).expand(5, 2, 1)
    distances = ValueDistribution(logits, means, torch.full((5, 2), -5.0))
    assert (distances.mean > 0).all()
    assert (likely_distances(distances) < 0)[:, 0].tolist() == [True, True, True, False, False]
    assert most_overlap(distances.cdf(torch.zeros(5, 1))[:, 0])[1] == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize("wrong", [torch.zeros(0), torch.zeros(2, 3)])
def test_it_says_what_it_expects(wrong):
    with pytest.raises(ValueError, match="probability: expected a tensor"):
        most_overlap(wrong)
