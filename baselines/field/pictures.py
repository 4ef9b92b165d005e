"""Draw the same images at several sizes with a model that can: `python -m baselines.field.pictures --model FOLDER`.

Each size becomes a PNG file with one row of images, as large as they were drawn; `sizes.png` shows all of them at one
size, a row for each. Spatial PixelCNN was published with digits at 1, 2, 8 and 50 times the side of those it knew.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm
from transformers import AutoModel, HfArgumentParser

from signals.base import flag, flags
from signals.image import to_image

SHOWN = 168  # side of an image in the sheet


@dataclass
class PictureArguments:
    """Draw the same images at several sizes."""

    model: str = flag("Folder of a Spatial PixelCNN.", "checkpoints/field/spatial-pixelcnn")
    sides: list[int] = flags(
        "Sides to draw at, in pixels; an image of 1,400 takes about a quarter of an hour.", [28, 56, 224]
    )
    images: int = flag("Images of each size.", 8)
    temperature: float = flag("Temperature of the pixels.", 1.0)
    output: str = flag("Folder of the pictures.", "runs/pictures")
    seed: int = flag("Seed of the codes and of the pixels.", 0)

    def __post_init__(self):
        if self.images < 1:
            raise ValueError(f"--images: expected a number above 0, got {self.images}")
        if not self.sides:
            raise ValueError("--sides: expected at least one number, got none")


def row(images: Tensor) -> Image.Image:
    """Images (N, V, y, x) in [0, 1] side by side."""
    return to_image(torch.cat(list(images.movedim(1, 3)), 1))


def sheet(rows: list[Image.Image], count: int) -> Image.Image:
    """All rows below each other, at one size: small images as squares of pixels, large ones averaged."""
    made = Image.new("RGB", (count * SHOWN, len(rows) * SHOWN))
    for number, each in enumerate(rows):
        how = Image.Resampling.NEAREST if each.height < SHOWN else Image.Resampling.BOX
        made.paste(each.convert("RGB").resize((count * SHOWN, SHOWN), how), (0, number * SHOWN))
    return made


@torch.no_grad()
def draw(arguments: PictureArguments) -> Path:
    """Write all pictures; returns the sheet.

    Raises:
        ValueError: for a model that draws one size only, and for sides smaller than a patch.
    """
    model = AutoModel.from_pretrained(arguments.model, trust_remote_code=True).eval()
    if not hasattr(model, "patches"):
        raise ValueError(f"--model: expected a Spatial PixelCNN, got {arguments.model}, which draws one size only")
    generator = torch.Generator().manual_seed(arguments.seed)
    code = model.draw_codes(arguments.images, generator)
    folder, rows = Path(arguments.output), []
    folder.mkdir(parents=True, exist_ok=True)
    for side in tqdm(arguments.sides, desc="sizes"):
        images = model.generate(len(code), (side, side), generator, arguments.temperature, code)
        rows.append(row(images))
        rows[-1].save(folder / f"{side}.png")
    sheet(rows, len(code)).save(folder / "sizes.png")
    return folder / "sizes.png"


def main() -> None:
    """As the command line says; a failure is one line."""
    try:
        parser = HfArgumentParser(
            PictureArguments, allow_abbrev=False, prog="python -m baselines.field.pictures", description=__doc__
        )
        (arguments,) = parser.parse_args_into_dataclasses()
        print(f"wrote {draw(arguments)}")
    except (ValueError, OSError) as error:
        sys.exit(f"baselines.field.pictures: {error}")


if __name__ == "__main__":
    main()
