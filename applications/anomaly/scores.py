"""Scores of whole images, larger where an image is more unusual: likelihood, and two corrections of it.

The plain likelihood of an image says as much about its complexity as about its content: smooth images get high
likelihoods from any model (Nalisnick et al., ICLR 2019). Both corrections compare with something that shares the
complexity: a general compressor, or versions of the image itself.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pixeltransformer.levels import round_to_levels
from signals.image import image_to_array, to_image, to_values

NUM_STEPS = 8  # passes of the joint likelihood: more change it by about a percent, for all images alike
BLOCK = 4  # side of the squares that "shuffled" moves, in pixels


@torch.no_grad()
def joint_bits(model, values: Tensor, num_steps: int = NUM_STEPS) -> Tensor:
    """-log2 p (B,) of images (B, height, width, V) under the chain of `num_steps` passes, each value encoded once."""
    flat, share = values.flatten(1, 2), model.config.max_buffer_share
    nothing = torch.zeros(len(flat), 0, 2), torch.zeros(len(flat), 0, flat.shape[-1])
    generators = [torch.Generator().manual_seed(0) for _ in flat]  # one order for all, whatever the batch
    model.config.max_buffer_share = 1.0
    try:
        nats = model.log_prob(*nothing, model.native_positions(), flat, num_steps=num_steps, generator=generators)
    finally:
        model.config.max_buffer_share = share
    return -nats / np.log(2)


def compressed_bits(values: Tensor) -> int:
    """Bits of an image (height, width, V) as lossless WebP or as PNG, whichever is shorter."""
    sizes = []
    for name, options in (("WEBP", dict(lossless=True, quality=100, method=6)), ("PNG", dict(optimize=True))):
        buffer = io.BytesIO()
        to_image(values).save(buffer, name, **options)
        sizes.append(len(buffer.getvalue()))
    return 8 * min(sizes)


def turned(values: Tensor) -> list[Tensor]:
    """Images (B, side, side, V) turned by 90, 180 and 270 degrees; others upside down and mirrored."""
    if values.shape[1] != values.shape[2]:
        return [values.flip(1), values.flip(2), values.flip(1, 2)]
    return [values.rot90(quarters, (1, 2)) for quarters in (1, 2, 3)]


def shuffled(values: Tensor) -> list[Tensor]:
    """Images (B, height, width, V) whose squares of `BLOCK` pixels change places, twice, in a fixed way."""
    generator = torch.Generator().manual_seed(0)
    height, width = (length // BLOCK * BLOCK for length in values.shape[1:3])
    found = []
    for _ in range(2):
        inner = values[:, :height, :width].unflatten(2, (-1, BLOCK)).unflatten(1, (-1, BLOCK))
        blocks = inner.transpose(2, 3).flatten(1, 2)  # (B, blocks, BLOCK, BLOCK, V)
        blocks = blocks[:, torch.randperm(blocks.shape[1], generator=generator)]
        inner = blocks.unflatten(1, (height // BLOCK, width // BLOCK)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        made = values.clone()
        made[:, :height, :width] = inner
        found.append(made)
    return found


SHAKES: dict[str, Callable[[Tensor], list[Tensor]]] = {"turned": turned, "shuffled": shuffled}


def image_scores(model, values: Tensor, shakes: tuple[str, ...] = ("turned",)) -> dict[str, list[float]]:
    """Scores of images (B, height, width, V), in bits per value of the image; larger is more unusual.

    Returns:
        plain: -log2 p(x).
        corrected: -log2 p(x) minus the bits of a compressed file (Serrà et al., ICLR 2020).
        turned, shuffled: -log2 p(x) minus the mean of -log2 p of shaken versions: an image of the kind that the model
            knows loses much when it is shaken.
    """
    count = values[0].numel()
    plain = joint_bits(model, values)
    complexity = torch.tensor([float(compressed_bits(image)) for image in values])
    found = {"plain": plain / count, "corrected": (plain - complexity) / count}
    for name in shakes:
        others = torch.stack([joint_bits(model, other.contiguous()) for other in SHAKES[name](values)]).mean(0)
        found[name] = (plain - others) / count
    return {name: score.tolist() for name, score in found.items()}


def read_images(images: list[Image.Image], config) -> Tensor:
    """Pillow images as values (B, height, width, V), cropped and resized to a model's grid, rounded to its levels."""
    arrays = [torch.from_numpy(image_to_array(image, tuple(config.native_grid), config.value_dim)) for image in images]
    return round_to_levels(to_values(torch.stack(arrays)), config.value_range, config.quantization_step)
