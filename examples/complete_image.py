"""Complete an image file: `python -m examples.complete_image photo.jpg --reveal 64 --output runs/completed`.

`--reveal K` keeps K random pixels; `--hide X0 Y0 X1 Y1` (shares of width and height) hides a region instead. Writes
what is observed, the mean, its uncertainty and joint samples as PNG files.
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from transformers import AutoModel

from pixeltransformer.levels import round_to_levels
from signals.cells import cell_positions
from signals.image import image_to_array, to_image, to_values


def hidden_cells(grid: list[int], region: list[float]) -> torch.Tensor:
    """True (cells,) where a cell's centre lies in the region (x0, y0, x1, y1), shares of width and height."""
    x, y = ((cell_positions(grid, torch.arange(grid[0] * grid[1])) + 1) / 2).unbind(-1)
    x0, y0, x1, y1 = region
    return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def complete(arguments: argparse.Namespace) -> None:
    model = AutoModel.from_pretrained(arguments.checkpoint, trust_remote_code=True).eval()
    config = model.config
    if config.signal != "image":
        raise ValueError(f"--checkpoint: expected one for images, got one for {config.signal}s")
    grid = [arguments.size, arguments.size] if arguments.size else config.native_grid
    array = image_to_array(Image.open(arguments.image), tuple(grid), config.value_dim)
    values = to_values(torch.from_numpy(array)).flatten(0, 1)  # (cells, V)
    values = round_to_levels(values, config.value_range, config.quantization_step)
    generator = torch.Generator().manual_seed(arguments.seed)
    if arguments.hide:
        hidden = hidden_cells(grid, arguments.hide)
    else:
        hidden = torch.rand(len(values), generator=generator).argsort().argsort() >= arguments.reveal
    if not hidden.any():
        given = f"--hide {arguments.hide}" if arguments.hide else f"--reveal {arguments.reveal}"
        raise ValueError(f"{given}: expected at least one of the {len(values)} pixels to be hidden, got none")
    positions = model.native_positions(grid)
    context, queries = (positions[:, ~hidden], values[None, ~hidden]), positions[:, hidden]
    marginal = model.predict(*context, queries)
    samples = model.sample(
        *context, queries, num_samples=arguments.samples, num_steps=arguments.steps, generator=generator
    )
    pictures = {"observed": torch.full_like(values[hidden], 0.5), "mean": marginal.mean[0]}
    pictures |= {f"sample-{number}": sample[0] for number, sample in enumerate(samples, 1)}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, filling in pictures.items():
        whole = values.clone()
        whole[hidden] = filling
        save(whole, grid, arguments.output / f"{name}.png")
    uncertainty = torch.zeros(len(values), 1)
    uncertainty[hidden] = marginal.stddev[0].mean(-1, keepdim=True) * 2
    save(uncertainty, grid, arguments.output / "uncertainty.png")


def save(values: torch.Tensor, grid: list[int], path: Path) -> None:
    picture = to_image(values.view(grid[1], grid[0], -1))
    zoom = max(1, 256 // max(grid))
    picture.resize((grid[0] * zoom, grid[1] * zoom), Image.Resampling.NEAREST).save(path)
    print(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="image file")
    parser.add_argument("--checkpoint", default="checkpoints/cat-faces", help="checkpoint folder or Hub id")
    parser.add_argument("--reveal", type=int, default=64, help="number of random pixels to keep")
    parser.add_argument("--hide", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="region to hide instead")
    parser.add_argument("--size", type=int, help="side of the completed image; default: the checkpoint's own")
    parser.add_argument("--samples", type=int, default=3, help="joint samples")
    parser.add_argument("--steps", type=int, default=256, help="steps of the sampler; one per hidden pixel is exact")
    parser.add_argument("--seed", type=int, default=0, help="seed of pixels and samples")
    parser.add_argument("--output", type=Path, default=Path("runs/completed"), help="folder for the pictures")
    arguments = parser.parse_args(argv)
    try:
        complete(arguments)
    except (ValueError, OSError, UnidentifiedImageError) as error:
        sys.exit(f"complete_image: {error}")


if __name__ == "__main__":
    main()
