"""Measures of completed and sampled signals: how true, how different and how recognisable they are."""

import torch
from torch import Tensor

from evaluation.classifier import Classifier
from evaluation.completion import Drawn, to_pictures
from evaluation.diversity import SMALLEST, pairwise_distance, pairwise_similarity
from evaluation.tables import mean_interval
from signals.plan import Measure


def measures(drawn: Drawn, measure: Measure, grid: list[int]) -> dict[str, list[float]]:
    """Measures of the mean, of the samples (averaged over each signal's) and of the nearest neighbour."""
    found = {}
    for name, guess in (
        (drawn.guessed, drawn.guess[None]),
        ("samples", drawn.samples),
        ("nearest", drawn.nearest[None]),
    ):
        scores = [measure(drawn.truth, one, grid) for one in guess]
        for key in scores[0]:
            found[f"{key} of {name}"] = mean_interval(torch.stack([score[key] for score in scores]).nanmean(0))
    return found


def diversity(drawn: Drawn, grid: list[int]) -> dict[str, list[float]]:
    """Distance of two samples over the cells that were not observed and, of images, their MS-SSIM."""
    hidden = ~drawn.known  # every signal has as many
    count = int(hidden[0].sum())
    unseen = drawn.samples[:, hidden].view(len(drawn.samples), len(hidden), count, -1)
    found = {"distance of two samples": mean_interval(pairwise_distance(unseen))}
    if len(grid) == 2 and min(grid) >= SMALLEST:
        found["MS-SSIM of two samples"] = mean_interval(pairwise_similarity(to_pictures(drawn.samples, grid)))
    return found


def recognised(drawn: Drawn, labels: Tensor, model: Classifier, grid: list[int]) -> dict[str, list[float]]:
    """Share (%) of means and samples that the classifier takes for what the true image shows."""
    found = {}
    for name, guess in ((drawn.guessed, drawn.guess[None]), ("samples", drawn.samples)):
        classes = model.classes_of(to_pictures(guess, grid).flatten(0, 1)).view(guess.shape[:2])
        found[f"accuracy of {name} (%)"] = mean_interval(100 * (classes == labels).double().mean(0))
    return found
