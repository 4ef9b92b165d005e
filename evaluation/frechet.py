"""Fréchet distance of samples to held-out images, by order and number of steps: `python -m evaluation.frechet`.

The features are those that a small classifier of `evaluation.classifier`, trained on training images only, has before
its last layer; distances compare with one another, not with those of other features. Each distance is taken twice: to
the very images whose pixels are observed, where samples are favoured that stay too near to them (half the noise of so
few images is common to both), and to other held-out ones, where only the distribution counts. Rows of the images
themselves, with a little noise, and averaged, tell what the features see (those of a small autoencoder do not know
noise of 0.06 from none). Writes a table (JSON) and a picture of samples of every way side by side.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from evaluation.classifier import Classifier, load
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.base import flag
from signals.image import Images, checkered, to_image
from signals.places import random_cells

PIXEL = 3  # screen pixels of a pixel in the picture
SHOWN = 12  # images in a row of it
NOISES = (0.03, 0.06)  # standard deviations, where black and white are 0 and 1


@dataclass
class Arguments:
    """Compare ways of sampling images."""

    checkpoint: str = flag("Checkpoint folder or Hub id of images with scales.")
    dataset_name: str = flag("Hub dataset or folder with the images.")
    classifier: str = flag("File of evaluation.classifier whose features images are compared in.")
    output: str = flag("File for the table (.json); the picture goes next to it.")
    context: int = flag("Observed pixels of each image.", 32)
    images: int = flag("Held-out images of which pixels are observed, one sample of each.", 512)
    others: int = flag("Other held-out images to compare with.", 488)
    split: str = flag("Split of the held-out images.", "test")
    temperature: float = flag("Temperature of all samples.", 1.0)
    exact: bool = flag("Sample in the random order with one step for each pixel, too (long).", False)
    batch_size: int = flag("Images sampled at a time.", 32)
    seed: int = flag("Seed of everything.", 0)

    def __post_init__(self):
        for name in ("checkpoint", "dataset_name", "classifier", "output"):
            if not getattr(self, name):
                raise ValueError(f"--{name}: expected a name, got {getattr(self, name)!r}")
        for name, least in {"images": 2, "others": 2, "batch_size": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: expected a number of at least {least}, got {getattr(self, name)}")


class Features(nn.Module):
    """What a classifier knows of images (N, V, y, x) in [0, 1] before its last layer, (N, `num_features`)."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        *layers, last = classifier
        self.layers, self.num_features = nn.Sequential(*layers), last.in_features

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.layers(part) for part in images.split(512)])


def altered(images: Tensor, seed: int) -> dict[str, Tensor]:
    """Images (N, V, y, x), with Gaussian noise, and with averages of 2×2 pixels instead of the pixels, by name."""
    averaged = F.interpolate(F.avg_pool2d(images, 2, ceil_mode=True), images.shape[2:], mode="nearest")
    named, generator = {"the images themselves": images}, torch.Generator().manual_seed(seed)
    for noise in NOISES:
        noisy = images + noise * torch.randn(images.shape, generator=generator)
        named[f"… with noise of {noise}"] = noisy.clamp(0, 1)
    return named | {"… averaged over 2×2 pixels": averaged}


def ways(arguments: Arguments, model) -> dict[str, dict]:
    """The ways of sampling that are compared, by name."""
    pixels = torch.Size(model.config.native_grid).numel()
    compared = {
        "coarse to fine, 64 steps": {"order": "coarse-to-fine", "num_steps": 64},
        "coarse to fine, 64 steps, pixels by their mean": {
            "order": "coarse-to-fine",
            "num_steps": 64,
            "finish": "mean",
        },
        "coarse to fine, scale 1 and the pixels alone, 64 steps": {
            "order": "coarse-to-fine",
            "num_steps": 64,
            "chain_scales": [1, 0],
        },
        "spread order, 64 steps": {"num_steps": 64},
        "random order, 64 steps": {"num_steps": 64, "order": "random"},
    }
    if arguments.exact:
        compared[f"random order, {pixels - arguments.context:,} steps (exact)"] = {}
    return compared


def compare(arguments: Arguments) -> tuple[list[dict], Image.Image]:
    """One row for each way, and the picture."""
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    grid = model.config.native_grid
    features, facts = load(arguments.classifier)
    if facts["channels"] != model.config.value_dim:
        raise ValueError(
            f"--classifier: expected one of images with {model.config.value_dim} channel(s), got {facts['channels']}"
        )
    features = Features(features)
    signal = Images(dataset_name=arguments.dataset_name)
    held_out = signal.load_split(arguments.split, model.config, arguments.images + arguments.others)
    if len(held_out) < arguments.images + arguments.others:
        raise ValueError(
            f"--others: expected at most {len(held_out) - arguments.images} besides --images {arguments.images}, as "
            f"split {arguments.split!r} has {len(held_out):,}, got {arguments.others}"
        )
    arrays = torch.stack([held_out[index] for index in range(len(held_out))])
    values, others = signal.grid_values(arrays, grid).split((arguments.images, arguments.others))
    positions = model.native_positions()
    generator = torch.Generator().manual_seed(arguments.seed)
    order = random_cells(len(values), positions.shape[1], grid, generator, "cpu")
    known, asked = order[:, : arguments.context], order[:, arguments.context :]
    real = values.movedim(-1, 1).unflatten(2, grid[::-1])
    others = others.movedim(-1, 1).unflatten(2, grid[::-1])
    rows = []
    for name, images in altered(real, arguments.seed).items():
        found = {"to_the_same": distance(features, real, images), "to_others": distance(features, others, images)}
        rows.append({"way": name, **found})
    pictures = [to_image(torch.cat(list(real[:SHOWN].movedim(1, -1)), 1))]
    seen = checkered(grid).flatten(0, 1).expand(SHOWN, -1, -1).clone()
    seen.scatter_(1, known[:SHOWN, :, None].expand(-1, -1, 3), _at(values[:SHOWN], known[:SHOWN]).expand(-1, -1, 3))
    pictures.insert(0, to_image(torch.cat(list(seen.unflatten(1, grid[::-1])), 1)))
    own_scales = model.config.chain_scales
    for name, how in ways(arguments, model).items():
        drawn, started = [], time.process_time()
        model.config.chain_scales = how.pop("chain_scales", own_scales)
        for start in tqdm(range(0, len(values), arguments.batch_size), desc=name):
            part = slice(start, start + arguments.batch_size)
            places = positions.expand(len(known[part]), -1, -1)
            chosen = dict(how)
            sample = model.sample(
                _at(places, known[part]),
                _at(values[part], known[part]),
                _at(places, asked[part]),
                temperature=arguments.temperature,
                generator=generator,
                **chosen,
            )[0]
            drawn.append(values[part].scatter(1, asked[part, :, None].expand_as(sample), sample))
        images = torch.cat(drawn).movedim(-1, 1).unflatten(2, grid[::-1])
        seconds = (time.process_time() - started) / len(values)
        found = {"to_the_same": distance(features, real, images), "to_others": distance(features, others, images)}
        rows.append({"way": name, **found, "cpu_seconds_per_image": seconds})
        pictures.append(to_image(torch.cat(list(images[:SHOWN].movedim(1, -1)), 1)))
    width, height = pictures[-1].size
    sheet = Image.new("RGB", (width, (height + 2) * len(pictures) - 2), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (0, number * (height + 2)))
    return rows, sheet.resize((PIXEL * sheet.width, PIXEL * sheet.height), Image.Resampling.NEAREST)


def distance(features: Features, real: Tensor, drawn: Tensor) -> float:
    """Fréchet distance of the features of images (N, V, y, x) in [0, 1]."""
    metric = FrechetInceptionDistance(feature=features, normalize=True)
    metric.update(real, real=True)
    metric.update(drawn, real=False)
    return metric.compute().item()


def _at(x: Tensor, cells: Tensor) -> Tensor:
    return x.gather(1, cells[..., None].expand(-1, -1, x.shape[-1]))


def main() -> None:
    try:
        arguments = HfArgumentParser(Arguments, description=__doc__).parse_args_into_dataclasses()[0]
        rows, picture = compare(arguments)
    except ValueError as error:
        sys.exit(f"frechet: {error}")
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    facts = {name: getattr(arguments, name) for name in ("context", "images", "others", "split", "temperature")}
    output.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")
    picture.save(output.with_suffix(".png"), optimize=True)
    print("| way | distance to the same images | to others | CPU seconds an image |\n|---|---:|---:|---:|")
    for row in rows:
        seconds = f"{row['cpu_seconds_per_image']:.2f}" if "cpu_seconds_per_image" in row else "–"
        print(f"| {row['way']} | {row['to_the_same']:.3f} | {row['to_others']:.3f} | {seconds} |")


if __name__ == "__main__":
    main()
