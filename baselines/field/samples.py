"""Drawn images, judged: does a classifier of real images recognise them, and how much do they differ from each other?

As in Spatial PixelCNN's tables 1 to 3 (Akoury & Nguyen 2017): the confidence of a classifier in its best class, and
MS-SSIM of pairs. Images larger than those that the classifier knows are averaged down to their size first.
"""

import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from baselines.field.scores import summary
from baselines.protocol import FieldModel, can
from evaluation.classifier import Classifier
from evaluation.diversity import BETAS, SIGMA, WINDOW

SURE = 0.9  # confidence from which an image counts as recognised


@torch.no_grad()
def draw(model: FieldModel, count: int, enlarge: int, seed: int) -> Tensor | None:
    """Images (count, V, y, x) drawn from nothing, `enlarge` times the native side; `None` where that cannot be."""
    width, height = (enlarge * side for side in model.config.native_grid)
    generator = torch.Generator().manual_seed(seed)
    if hasattr(model, "patches"):
        return model.generate(count, (width, height), generator)
    own = not hasattr(model, "refusal")  # PixelTransformer, whose positions are free
    if enlarge > 1 and not own:
        return None
    positions = model.native_positions([width, height]) if own else model.native_positions()
    if not can(model, "sample", positions[:, :0]):
        return None
    nothing = torch.zeros(1, 0, model.config.value_dim)
    drawn = model.sample(positions[:, :0], nothing, positions, num_samples=count, generator=generator)[:, 0]
    return drawn.movedim(1, 2).unflatten(2, (height, width))


@torch.no_grad()
def judge(images: Tensor, classifier: Classifier, side: int) -> dict:
    """Confidence of the classifier, share of images that it is sure of, and MS-SSIM of successive images."""
    factor = images.shape[-1] // side
    seen = torch.nn.functional.avg_pool2d(images, factor) if factor > 1 else images
    confidence = classifier(seen).softmax(-1).amax(-1).double()
    alike = multiscale_structural_similarity_index_measure(
        seen[1:], seen[:-1], sigma=SIGMA, kernel_size=WINDOW, betas=BETAS, data_range=1.0, reduction="none"
    )
    return {
        "confidence": summary(confidence),
        "recognised": summary((confidence >= SURE).double()),
        "similarity": summary(alike.double().view(-1)),
    }
