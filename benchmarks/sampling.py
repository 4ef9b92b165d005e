"""Cached against re-encoding sampler on the same weights: `python -m benchmarks.sampling`.

The two run interleaved in one process; each prints its median, and the samples they drew are compared.
"""

import argparse
import json
import statistics
import time

import torch
from tqdm.auto import tqdm

from modeling_pixeltransformer import PixelTransformerModel


def benchmark(model, num_samples: int, context: int, repeats: int) -> dict[str, float]:
    """Median seconds of both samplers for whole native grids, one query per step, and their largest difference."""
    generator = torch.Generator().manual_seed(0)
    queries = model.native_positions()
    observed = torch.randperm(queries.shape[1], generator=generator)[:context]
    values = (torch.rand(1, context, model.config.value_dim, generator=generator) * 255).round() / 255
    seconds: dict[bool, list[float]] = {True: [], False: []}
    difference = 0.0
    for repeat in tqdm(range(repeats), desc="repeats"):
        draws = {}
        for use_cache in (True, False):
            started = time.perf_counter()
            draws[use_cache] = model.sample(
                queries[:, observed],
                values,
                queries,
                num_samples=num_samples,
                generator=torch.Generator().manual_seed(repeat),
                use_cache=use_cache,
            )
            seconds[use_cache].append(time.perf_counter() - started)
        difference = max(difference, (draws[True] - draws[False]).abs().max().item())
    cached, encoded_again = statistics.median(seconds[True]), statistics.median(seconds[False])
    return {
        "num_samples": num_samples,
        "context": context,
        "queries": queries.shape[1],
        "cached_seconds": cached,
        "re_encoding_seconds": encoded_again,
        "speedup": encoded_again / cached,
        "largest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="checkpoints/mnist", help="checkpoint folder or Hub id")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 4], help="numbers of samples")
    parser.add_argument("--context", type=int, default=16, help="observed pixels")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, interleaved")
    arguments = parser.parse_args()
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    for number in arguments.samples:
        print(json.dumps(benchmark(model, number, arguments.context, arguments.repeats)))


if __name__ == "__main__":
    main()
