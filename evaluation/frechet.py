"""Fréchet distance of samples to held-out images, by order and number of steps: `python -m evaluation.frechet`.

The features are those that a small classifier of `evaluation.classifier`, trained on training images only, has before
its last layer; distances compare with one another, not with those of other features. Each distance is taken twice: to
the very images whose pixels are observed, where samples are favoured that stay too near to them (half the noise of so
few images is common to both), and to other held-out ones, where only the distribution counts. Rows of the images
themselves, with a little noise, and averaged, show what the features see (those of a small autoencoder do not know
noise of 0.06 from none). Writes a table (JSON) and a picture of samples of every way side by side.
"""

import copy
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from evaluation.classifier import Classifier, load
from evaluation.tables import make_table, markdown
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.base import flag
from signals.cells import random_cells
from signals.image import Images, checkered, to_image

PIXEL = 3  # screen pixels of a pixel in the picture
SHOWN = 12  # images in a row of it
NOISES = (0.03, 0.06)  # standard deviations, where black and white are 0 and 1


@dataclass
class Arguments:
    """Compare ways of sampling images."""

    checkpoint: str = flag("Checkpoint folder or Hub id of images with scales.")
    dataset_name: str = flag("Hub dataset or folder with the images.")
    classifier: str = flag("File of evaluation.classifier whose features images are compared in.")
    output: str = flag("File for the table (.json); the picture gets the same name.")
    context: int = flag("Observed pixels of each image.", 32)
    images: int = flag("Held-out images that are completed from a few pixels, one sample each.", 512)
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
    """Images (N, V, y, x), the same with Gaussian noise, and averaged over blocks of 2×2 pixels, by name."""
    averaged = F.interpolate(F.avg_pool2d(images, 2, ceil_mode=True), images.shape[2:], mode="nearest")
    named, generator = {"the images themselves": images}, torch.Generator().manual_seed(seed)
    for noise in NOISES:
        noisy = images + noise * torch.randn(images.shape, generator=generator)
        named[f"… with noise of {noise}"] = noisy.clamp(0, 1)
    return named | {"… averaged over 2×2 pixels": averaged}


@dataclass(frozen=True)
class Way:
    """A way of sampling.

    Attributes:
        options (`dict`): Arguments of `model.sample`.
        chain_scales (`list[int]` or `None`): Scales to use instead of the checkpoint's own.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    chain_scales: list[int] | None = None


def ways(arguments: Arguments, pixels: int) -> list[Way]:
    """The ways that are compared, of images with so many pixels."""
    coarse = {"order": "coarse-to-fine", "num_steps": 64}
    compared = [
        Way("coarse to fine, 64 passes", coarse),
        Way("coarse to fine, 64 passes, pixels by their mean", coarse | {"finish": "mean"}),
        Way("coarse to fine, scale 1 and the pixels alone, 64 passes", coarse, [1, 0]),
        Way("spread order, 64 passes", {"num_steps": 64}),
        Way("random order, 64 passes", {"num_steps": 64, "order": "random"}),
    ]
    if arguments.exact:
        compared.append(Way(f"random order, {pixels - arguments.context:,} passes (exact)", {"order": "random"}))
    return compared


def with_scales(model, chain_scales: list[int] | None):
    """The same weights under a config with other `chain_scales`; `None`: the model itself."""
    if chain_scales is None:
        return model
    other = copy.copy(model)
    other.config = copy.deepcopy(model.config)
    other.config.chain_scales = chain_scales
    return other


@dataclass
class Data:
    """Held-out images on the native grid, and which of their pixels are observed.

    Attributes:
        values (`Tensor` (N, cells, V)): Of the images that samples complete.
        others (`Tensor` (M, V, y, x)): Other images to compare with.
        known, asked (`Tensor` (N, K), (N, cells - K)): Cells that are observed, and all the rest.
    """

    values: Tensor
    others: Tensor
    known: Tensor
    asked: Tensor
    grid: list[int]

    def images(self, values: Tensor) -> Tensor:
        """Values (N, cells, V) as images (N, V, y, x)."""
        return values.movedim(-1, 1).unflatten(2, self.grid[::-1])


def read_data(arguments: Arguments, model, generator: torch.Generator) -> Data:
    """The images that are compared.

    Raises:
        ValueError: for a split of too few images.
    """
    grid, wanted = model.config.native_grid, arguments.images + arguments.others
    signal = Images(dataset_name=arguments.dataset_name)
    held_out = signal.load_split(arguments.split, model.config, wanted)
    if len(held_out) < wanted:
        raise ValueError(
            f"--others: expected at most {len(held_out) - arguments.images} besides --images {arguments.images}, as "
            f"split {arguments.split!r} has {len(held_out):,}, got {arguments.others}"
        )
    arrays = torch.stack([held_out[index] for index in range(len(held_out))])
    values, others = signal.grid_values(arrays, grid).split((arguments.images, arguments.others))
    order = random_cells(len(values), values.shape[1], grid, generator, "cpu")
    known, asked = order[:, : arguments.context], order[:, arguments.context :]
    data = Data(values, others, known, asked, grid)
    data.others = data.images(others)
    return data


def complete(arguments: Arguments, model, way: Way, data: Data, generator: torch.Generator) -> Tensor:
    """One sample (N, V, y, x) of each image, given its observed pixels, drawn in a way."""
    drawn, model = [], with_scales(model, way.chain_scales)
    for start in tqdm(range(0, len(data.values), arguments.batch_size), desc=way.name):
        part = slice(start, start + arguments.batch_size)
        positions = model.native_positions().expand(len(data.known[part]), -1, -1)
        sample = model.sample(
            _at(positions, data.known[part]),
            _at(data.values[part], data.known[part]),
            _at(positions, data.asked[part]),
            temperature=arguments.temperature,
            generator=generator,
            **way.options,
        )[0]
        drawn.append(data.values[part].scatter(1, data.asked[part, :, None].expand_as(sample), sample))
    return data.images(torch.cat(drawn))


def compare(arguments: Arguments) -> tuple[list[dict], Image.Image]:
    """One row for each way, and the picture."""
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    classifier, facts = load(arguments.classifier)
    if facts["channels"] != model.config.value_dim:
        raise ValueError(
            f"--classifier: expected one of images with {model.config.value_dim} channel(s), got {facts['channels']}"
        )
    features, generator = Features(classifier), torch.Generator().manual_seed(arguments.seed)
    data = read_data(arguments, model, generator)
    real = data.images(data.values)

    def row(name: str, images: Tensor) -> dict:
        found = {"to_the_same": distance(features, real, images)}
        return {"way": name, **found, "to_others": distance(features, data.others, images)}

    rows = [row(name, images) for name, images in altered(real, arguments.seed).items()]
    lines = [observed(data), real[:SHOWN]]
    for way in ways(arguments, data.values.shape[1]):
        started = time.process_time()
        images = complete(arguments, model, way, data, generator)
        seconds = (time.process_time() - started) / len(data.values)
        rows.append({**row(way.name, images), "cpu_seconds_per_image": seconds})
        lines.append(images[:SHOWN])
    return rows, contact_sheet(lines)


def observed(data: Data) -> Tensor:
    """What is observed of the first images, (N, 3, y, x), on a dim ground."""
    known = data.known[:SHOWN]
    seen = checkered(data.grid).flatten(0, 1).repeat(len(known), 1, 1)
    values = _at(data.values[:SHOWN], known).expand(-1, -1, 3)
    return data.images(seen.scatter(1, known[:, :, None].expand(-1, -1, 3), values))


def contact_sheet(lines: list[Tensor]) -> Image.Image:
    """Lines of images (N, V, y, x), one below the other."""
    pictures = [to_image(torch.cat(list(line.movedim(1, -1)), 1)) for line in lines]
    width, height = pictures[-1].size
    sheet = Image.new("RGB", (width, (height + 2) * len(pictures) - 2), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (0, number * (height + 2)))
    return sheet.resize((PIXEL * sheet.width, PIXEL * sheet.height), Image.Resampling.NEAREST)


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
    columns = {"way": 0, "distance to the same images": 3, "to others": 3, "CPU seconds an image": 2}
    names = ("way", "to_the_same", "to_others", "cpu_seconds_per_image")
    print(markdown(make_table(columns, [[row.get(name) for name in names] for row in rows])))


if __name__ == "__main__":
    main()
