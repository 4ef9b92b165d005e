"""A picture of what a checkpoint infers: `python -m evaluation.figure --output docs/mnist.png`.

Columns are numbers of observed pixels, rows what is observed, the mean, its uncertainty, and joint samples.
"""

import argparse
from pathlib import Path

import matplotlib
import torch

from demo.observations import Observed
from demo.pictures import checkered
from modeling_pixeltransformer import PixelTransformerModel
from signals.image import Images, to_values

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def figure(model, picture: torch.Tensor, contexts: list[int], num_samples: int, temperature: float, seed: int):
    """A matplotlib figure for one picture (y, x, V), each K observing the first K of one random order of its pixels."""
    height, width, channels = picture.shape
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(height * width, generator=generator)
    names = ["observed", "mean", "uncertainty", *[f"sample {index + 1}" for index in range(num_samples)]]
    size = (1.5 * len(contexts) + 0.3, 1.5 * len(names) + 0.4)
    sheet, axes = plt.subplots(len(names), len(contexts), figsize=size, squeeze=False, layout="constrained")
    for column, context in enumerate(contexts):
        known = cells[:context]
        observed = Observed([width, height], known, picture.flatten(0, 1)[known])
        marginal = model.predict(*observed.context, observed.queries)
        samples = model.sample(
            *observed.context,
            observed.queries,
            num_samples=num_samples,
            temperature=temperature,
            generator=generator,
        )
        ground = checkered([width, height]).flatten(0, 1)
        ground[known] = observed.values.expand(-1, 3)
        pictures = [ground, observed.complete(marginal.mean[0]).expand(-1, -1, 3)]
        pictures += [observed.complete(marginal.stddev[0], 0.0).mean(-1)]
        pictures += [observed.complete(sample[0]).expand(-1, -1, 3) for sample in samples]
        for row, shown in enumerate(pictures):
            axis = axes[row][column]
            axis.imshow(shown.view(height, width, -1).squeeze(-1), cmap="magma", vmin=0, vmax=0.5 if row == 2 else 1)
            axis.set(xticks=[], yticks=[])
            if column == 0:
                axis.set_ylabel(names[row], fontsize=10)
            if row == 0:
                axis.set_title(f"{context} pixels", fontsize=10)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="checkpoints/mnist", help="checkpoint folder or Hub id")
    parser.add_argument("--dataset_name", default="ylecun/mnist", help="Hub dataset, or local folder")
    parser.add_argument("--split", default="test", help="split to take the picture from")
    parser.add_argument("--index", type=int, default=0, help="row of the split")
    parser.add_argument("--contexts", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128, 256], help="numbers K")
    parser.add_argument("--samples", type=int, default=4, help="samples for each K")
    parser.add_argument("--temperature", type=float, default=0.9, help="temperature of the samples")
    parser.add_argument("--seed", type=int, default=0, help="seed of pixels and samples")
    parser.add_argument("--output", type=Path, required=True, help="PNG file")
    arguments = parser.parse_args()
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    rows = Images(dataset_name=arguments.dataset_name).load_split(arguments.split, model.config)
    picture = to_values(rows[arguments.index])
    sheet = figure(model, picture, arguments.contexts, arguments.samples, arguments.temperature, arguments.seed)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()
