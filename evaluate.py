"""Evaluate a checkpoint on held-out images: `python evaluate.py --checkpoint checkpoints/mnist --dataset_name ...`.

Writes a JSON report and prints its table: bits per dimension and RMSE against the number of observed pixels.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

import torch
from tqdm.auto import tqdm

from evaluation.against_context import marginals_against_context, markdown_table
from modeling_pixeltransformer import PixelTransformerModel
from signals.image import as_arrays, find_image_column, load_images, stack_arrays, to_values


def evaluate(arguments: argparse.Namespace) -> dict:
    """The report that `--output` holds."""
    try:
        model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    except OSError as error:
        raise ValueError(f"--checkpoint: cannot load {arguments.checkpoint!r}: {error}") from error
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    splits = load_images(arguments.dataset_name)
    if arguments.split not in splits:
        raise ValueError(f"--split: expected one of {', '.join(splits)}, got {arguments.split!r}")
    rows = splits[arguments.split]
    rows = rows.select(range(min(arguments.limit or len(rows), len(rows))))
    column = find_image_column(rows.features, arguments.image_column)
    arrays = as_arrays(rows, column, tuple(model.config.native_grid), model.config.value_dim)
    arrays = stack_arrays([arrays[index] for index in tqdm(range(len(arrays)), desc="decoding", leave=False)])
    table = marginals_against_context(
        model, arrays, arguments.contexts, to_values, arguments.queries, seed=arguments.seed, progress=True
    )
    return {
        "command": "python " + shlex.join(["evaluate.py", *sys.argv[1:]]),
        "split": arguments.split,
        "signals": len(arrays),
        "rows": table,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="checkpoint folder or Hub id")
    parser.add_argument("--dataset_name", required=True, help="Hub dataset, or local folder of dataset or image files")
    parser.add_argument("--image_column", help="column with the images; needed only where there are several")
    parser.add_argument("--split", default="test", help="split to evaluate on (default: test)")
    parser.add_argument("--contexts", type=int, nargs="+", default=[0, 4, 16, 64, 256], help="numbers K")
    parser.add_argument("--queries", type=int, default=128, help="unobserved pixels scored per image and K")
    parser.add_argument("--limit", type=int, help="evaluate this many images only, for a quick look")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pixels observed and asked for")
    parser.add_argument("--output", type=Path, help="JSON file for the report")
    arguments = parser.parse_args()
    try:
        report = evaluate(arguments)
    except ValueError as error:
        sys.exit(f"evaluate.py: {error}")
    print(markdown_table(report["rows"]))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
