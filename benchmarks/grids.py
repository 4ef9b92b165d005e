"""Mean and variance on ever larger grids from 64 observed positions: `python -m benchmarks.grids`.

Each grid is predicted in a process of its own: median seconds after one call to warm up, and the peak memory above that
of a process that has loaded the model and predicted one value. Float32, and bf16 matrix products under
`torch.autocast("cpu", torch.bfloat16)`, whose likelihood of held-out values is given beside it with `--dataset_name`.
"""

import argparse
import json
import math
import shlex
import sys
import time
from pathlib import Path

import torch

from benchmarks.timing import in_fresh_process, median, peak_memory, write
from evaluation.tables import mean_interval
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.image import Images


def load(checkpoint: str, context: int):
    """The model, and random observed positions."""
    model = PixelTransformerModel.from_pretrained(checkpoint).eval()
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(1, context, model.config.position_dim, generator=generator) * 2 - 1
    values = torch.rand(1, context, model.config.value_dim, generator=generator)
    return model, positions, (values * 255).round() / 255


def predict_grid(checkpoint: str, grid: list[int], context: int, bf16: bool, repeats: int) -> tuple[float, float, int]:
    """Median seconds, peak MB of this process, and queries; `repeats` 0 predicts a single value."""
    model, positions, values = load(checkpoint, context)
    queries = model.native_positions(grid)
    seconds = []
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        model.predict(positions, values, queries[:, :1], reduce=lambda d: d.moments)
        for _ in range(repeats):
            started = time.perf_counter()
            model.predict(positions, values, queries, reduce=lambda d: d.moments)
            seconds.append(time.perf_counter() - started)
    return median(seconds) if seconds else 0.0, peak_memory(), queries.shape[1]


@torch.no_grad()
def cost_of_bf16(checkpoint: str, dataset: str, contexts: list[int], limit: int) -> list[dict]:
    """Bits per dimension of held-out images in float32, and how much bf16 products change them (paired)."""
    model = PixelTransformerModel.from_pretrained(checkpoint).eval()
    signal = Images(dataset_name=dataset)
    batch = signal.collate(signal.load_split("test", model.config, limit).first(limit))
    rows = []
    for context in contexts:
        positions, values = signal.pairs(batch, context + 128, torch.Generator().manual_seed(0))
        bits = []
        for bf16 in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                d = model.predict(positions[:, :context], values[:, :context], positions[:, context:])
            scores = d.log_prob(values[:, context:]).mean(1)
            bits.append(-scores / (model.config.value_dim * math.log(2)))
        change = mean_interval(bits[1] - bits[0])
        rows.append({"context": context, "bits_per_dim": mean_interval(bits[0]), "bf16_adds": change})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="checkpoints/cifar10", help="checkpoint of images")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64, 128, 256, 512, 1024], help="sides of grids")
    parser.add_argument("--volume", default="checkpoints/chairs", help='checkpoint of shapes; "": none')
    parser.add_argument("--volume_side", type=int, default=64, help="side of the volume")
    parser.add_argument("--context", type=int, default=64, help="observed positions")
    parser.add_argument("--contexts", type=int, nargs="*", default=[512, 2048], help="larger contexts, at 128×128")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each")
    parser.add_argument("--dataset_name", help="images whose likelihood is compared between float32 and bf16")
    parser.add_argument("--limit", type=int, default=256, help="images of that")
    parser.add_argument("--output", help="name of the report in docs/performance; default: none is written")
    arguments = parser.parse_args()
    jobs = [(arguments.checkpoint, [side, side], arguments.context) for side in arguments.sides]
    if arguments.volume:
        jobs.append((arguments.volume, [arguments.volume_side] * 3, arguments.context))
    jobs += [(arguments.checkpoint, [128, 128], context) for context in arguments.contexts]
    rows, base = [], {}
    for checkpoint, grid, context in jobs:
        if checkpoint not in base:
            base[checkpoint] = in_fresh_process(predict_grid, checkpoint, [4] * len(grid), context, False, 0)
        row = {"checkpoint": Path(checkpoint).name, "grid": grid, "context": context}
        for name, bf16 in (("float32", False), ("bf16", True)):
            repeats = arguments.repeats if math.prod(grid) <= 2**16 else 1
            seconds, memory, queries = in_fresh_process(predict_grid, checkpoint, grid, context, bf16, repeats)
            row |= {"queries": queries, f"{name}_seconds": seconds, f"{name}_microseconds": 1e6 * seconds / queries}
            row[f"{name}_megabytes"] = memory - base[checkpoint][1]
        rows.append(row)
        print(json.dumps(row), flush=True)
    results = {"rows": rows}
    if arguments.dataset_name:
        results["bf16"] = cost_of_bf16(arguments.checkpoint, arguments.dataset_name, [4, 64, 256], arguments.limit)
        print(json.dumps(results["bf16"]))
    if arguments.output:
        write(arguments.output, results, "python -m benchmarks.grids " + shlex.join(sys.argv[1:]))


if __name__ == "__main__":
    main()
