"""One value per pass, cached against re-encoding, on the same weights: `python -m benchmarks.sampling`.

Signals of N = 64 … 4,096 values are drawn one value at a time, interleaved in one process. (For the speculative
sampler see `benchmarks.speculative`.) The cached sampler is timed whole. Re-encoding is timed whole up to `--whole`
values and compared draw by draw; beyond, `--timed_steps` steps spread over the run are timed and the rest read off
between them, as its cost grows smoothly. Memory is the peak of a process that does nothing else, above that of one
which has loaded the model and predicted once.
"""

import argparse
import json
import math
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks.timing import in_fresh_process, median, peak_memory, write
from pixeltransformer.context import Context
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from pixeltransformer.orders import values_in_context


def make_input(model, count: int, context: int) -> tuple[Tensor, Tensor, Tensor]:
    """Context positions and values and the `count` cells (N = side²) of a square grid to draw."""
    generator = torch.Generator().manual_seed(0)
    side = math.isqrt(count)
    if side * side != count or model.config.position_dim != 2:
        raise ValueError(f"--sizes: expected squares, and a checkpoint of images, got {count}")
    queries = model.native_positions([side, side])
    positions = torch.rand(1, context, 2, generator=generator) * 2 - 1
    values = (torch.rand(1, context, model.config.value_dim, generator=generator) * 255).round() / 255
    return positions, values, queries


def draw(model, count: int, samples: int, context: int, use_cache: bool, seed: int = 0) -> tuple[float, Tensor]:
    """Seconds for whole exact samples, and the samples."""
    inputs, generator = make_input(model, count, context), torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    drawn = model.sample(*inputs, num_samples=samples, generator=generator, use_cache=use_cache, method="one-by-one")
    return time.perf_counter() - started, drawn


@torch.no_grad()
def estimate(model, count: int, samples: int, context: int, timed_steps: int) -> float:
    """Seconds of the re-encoding sampler from some of its steps: what it does when `known` values are drawn."""
    positions, values, queries = make_input(model, count, context)
    positions, values = positions.repeat(samples, 1, 1), values.repeat(samples, 1, 1)
    at = np.unique(np.linspace(0, count - 1, timed_steps).round().astype(int))
    drawn = torch.rand(samples, count, model.config.value_dim)
    in_context = values_in_context(context, [1] * count, model.config.max_buffer_share)
    here, seconds = queries.expand(samples, -1, -1), []
    for known in tqdm(at.tolist(), desc=f"N = {count}", leave=False):
        started, held = time.perf_counter(), in_context[known]
        given = Context(positions, values).extend(here[:, :held], drawn[:, :held])
        memory, embedded = given.encode(model), model.embed_positions(here[:, : known + 1])
        if known > held:
            model.append(memory, embedded.part(held, known), drawn[:, held:known], torch.arange(known - held))
        model.decode(memory, embedded.part(known, known + 1)).sample()
        seconds.append(time.perf_counter() - started)
    return float(np.interp(np.arange(count), at, seconds).sum())


def memory_of(checkpoint: str, count: int, samples: int, context: int) -> float:
    """Peak MB of this process after drawing with the cache (0: of one that only predicts a value)."""
    model = PixelTransformerModel.from_pretrained(checkpoint).eval()
    positions, values, queries = make_input(model, count or 64, context)
    model.predict(positions, values, queries[:, :1])
    if count:
        model.sample(positions, values, queries, num_samples=samples, method="one-by-one")
    return peak_memory()


def benchmark(model, count: int, samples: int, arguments: argparse.Namespace) -> dict:
    """One row: N, samples, median seconds of both, their ratio, and how far the draws differ."""
    whole = count <= arguments.whole
    cached, again, difference = [], [], None
    for repeat in range(arguments.repeats if whole else 1):
        seconds, drawn = draw(model, count, samples, arguments.context, True, repeat)
        cached.append(seconds)
        if whole and len(again) < (1 if count > 256 else arguments.repeats):
            seconds, other = draw(model, count, samples, arguments.context, False, repeat)
            again.append(seconds)
            difference = max(difference or 0.0, (drawn - other).abs().max().item())
        elif not again:
            again.append(estimate(model, count, samples, arguments.context, arguments.timed_steps))
    seconds = {"cached_seconds": median(cached), "re_encoding_seconds": median(again)}
    return {
        "values": count,
        "samples": samples,
        **seconds,
        "speedup": seconds["re_encoding_seconds"] / seconds["cached_seconds"],
        "re_encoding": "whole" if whole else f"{arguments.timed_steps} steps, the rest between them",
        "largest_difference": difference,
    }


def exponent(rows: list[dict], key: str, samples: int, low: int = 0) -> float:
    """Slope of log seconds over log N, fitted to rows of N ≥ `low`."""
    points = [(row["values"], row[key]) for row in rows if row["samples"] == samples and row["values"] >= low]
    return float(np.polyfit(*np.log(np.array(points)).T, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="checkpoints/cifar10", help="checkpoint folder or Hub id")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024, 4096], help="numbers N of values")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 4], help="numbers of samples")
    parser.add_argument("--context", type=int, default=16, help="observed values")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, interleaved")
    parser.add_argument("--whole", type=int, default=1024, help="largest N at which re-encoding is timed whole")
    parser.add_argument("--timed_steps", type=int, default=24, help="steps timed beyond that")
    parser.add_argument(
        "--max_buffer_share", type=float, help="instead of the checkpoint's; 1: every value is encoded once"
    )
    parser.add_argument("--output", help="name of the report in docs/performance; default: none is written")
    arguments = parser.parse_args()
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    if arguments.max_buffer_share is not None:
        model.config.max_buffer_share = arguments.max_buffer_share
    draw(model, 64, 1, arguments.context, True)  # the first products choose their kernels
    rows = []
    for samples in arguments.samples:
        for count in arguments.sizes:
            rows.append(benchmark(model, count, samples, arguments))
            print(json.dumps(rows[-1]), flush=True)
    base = in_fresh_process(memory_of, arguments.checkpoint, 0, 1, arguments.context)
    for row in rows:
        if row["values"] >= 1024 and row["samples"] == arguments.samples[0]:
            used = in_fresh_process(memory_of, arguments.checkpoint, row["values"], row["samples"], arguments.context)
            row["megabytes"] = used - base
    fitted = {
        key: {str(samples): exponent(rows, key, samples) for samples in arguments.samples}
        for key in ("cached_seconds", "re_encoding_seconds")
    }
    results = {"checkpoint": Path(arguments.checkpoint).name, "context": arguments.context, "rows": rows}
    results |= {"exponents": fitted, "max_buffer_share": model.config.max_buffer_share}
    print(json.dumps(fitted))
    if arguments.output:
        write(arguments.output, results, "python -m benchmarks.sampling " + shlex.join(sys.argv[1:]))


if __name__ == "__main__":
    main()
