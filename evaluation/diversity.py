"""How much samples of one signal differ from each other: less, the more is observed."""

from itertools import combinations

import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

# Three of the five scales of Wang, Simoncelli & Bovik (2003), their weights made to sum to 1, and a Gaussian window of
# five pixels: the published five scales with eleven pixels need images of more than 160 pixels.
BETAS = tuple(beta / (0.0448 + 0.2856 + 0.3001) for beta in (0.0448, 0.2856, 0.3001))
SIGMA, WINDOW = 0.7, 5
SMALLEST = (WINDOW - 1) * (len(BETAS) - 1) ** 2 + len(BETAS) + 1  # side of the smallest image it is defined for


def pairwise_distance(samples: Tensor) -> Tensor:
    """Root mean square difference of two samples (S >= 2, B, N, V), averaged over all pairs: (B,)."""
    check_samples(samples)
    pairs = combinations(samples, 2)
    return torch.stack([(one - other).square().mean((1, 2)).sqrt() for one, other in pairs]).mean(0)


def pairwise_similarity(samples: Tensor) -> Tensor:
    """MS-SSIM of two sampled images (S >= 2, B, V, y, x) in [0, 1], averaged over all pairs: (B,)."""
    check_samples(samples)
    first, second = (torch.cat(part) for part in zip(*combinations(samples, 2), strict=True))
    similarity = multiscale_structural_similarity_index_measure(
        first, second, sigma=SIGMA, kernel_size=WINDOW, betas=BETAS, data_range=1.0, reduction="none"
    )
    return similarity.view(-1, samples.shape[1]).mean(0)


def check_samples(samples: Tensor) -> None:
    """Raise `ValueError` unless there are two samples to compare."""
    if len(samples) < 2:
        raise ValueError(f"samples: expected at least 2 of each signal, got {len(samples)}")
