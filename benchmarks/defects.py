"""Defects in images whose place is known: pasted patches, erased parts, scratches."""

from collections.abc import Callable

import numpy as np

CHANGED = 16  # levels by which a channel must differ for a pixel to count as part of a defect
LEAST = 12  # pixels of a defect
TRIALS = 50


def patch(image: np.ndarray, donor: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A square of another image, from anywhere in it, at a random place: sides from a fifth to a third of the image."""
    height, width = image.shape[:2]
    side = int(random.integers(height // 5, height // 3 + 1))
    y, x, from_y, from_x = (int(random.integers(0, length - side + 1)) for length in (height, width, height, width))
    made = image.copy()
    made[y : y + side, x : x + side] = donor[from_y : from_y + side, from_x : from_x + side]
    return made


def erased(image: np.ndarray, donor: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A disc around a pixel that differs from the ground, replaced by the ground: the median of the image."""
    height, width = image.shape[:2]
    ground = np.median(image.reshape(-1, image.shape[-1]), 0)
    ink = (np.abs(image - ground).max(-1) > 64).nonzero()
    if not len(ink[0]):
        return image.copy()
    chosen = int(random.integers(len(ink[0])))
    y, x = np.mgrid[:height, :width]
    made = image.copy()
    made[np.hypot(y - ink[0][chosen], x - ink[1][chosen]) <= height / 8] = ground
    return made


def scratch(image: np.ndarray, donor: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A white line, a pixel wide, half as long as the image, at a random place and angle."""
    height, width = image.shape[:2]
    angle, length = random.uniform(0, np.pi), height / 2
    middle = random.uniform(0.25, 0.75, 2) * (height, width)
    along = np.linspace(-length / 2, length / 2, 4 * height)
    y = (middle[0] + along * np.sin(angle)).round().astype(int)
    x = (middle[1] + along * np.cos(angle)).round().astype(int)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    made = image.copy()
    made[y[inside], x[inside]] = 255
    return made


DEFECTS: dict[str, Callable] = {"patch": patch, "erased": erased, "scratch": scratch}


def damage(images: np.ndarray, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, height, width, V), uint8, with a defect each, and masks (N, height, width) of the pixels it changed.

    A defect that changes fewer than `LEAST` pixels (black on black, say) is made again elsewhere.
    """
    random = np.random.default_rng(seed)
    made, masks = [], []
    for number, image in enumerate(images):
        for _ in range(TRIALS):
            donor = images[(number + int(random.integers(1, len(images)))) % len(images)]
            found = DEFECTS[kind](image, donor, random)
            mask = (np.abs(found.astype(int) - image).max(-1)) >= CHANGED
            if mask.sum() >= LEAST:
                break
        made.append(found)
        masks.append(mask)
    return np.stack(made), np.stack(masks)
