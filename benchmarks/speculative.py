"""Speculative sampling against one value per pass: `python -m benchmarks.speculative --checkpoint … --dataset_name …`.

Exact samples are drawn given K values of held-out signals, interleaved in one process: speculatively, one value per
pass, and in blocks of independent draws, next to one `predict` of the same queries. Rounds and accepted drafts are
counted over several signals. The floor of any sampler that drafts and verifies is to encode and decode all values twice
in one batch. Quality stands next to speed: the bits of whole held-out signals under the chain that is drawn, against
the chain in random order (paired), and, with `--samples`, the bits of the samples of both methods under that chain.
"""

import json
import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks.sampling import draw, estimate, exponent
from benchmarks.steps import bits_by_budget, held_out
from benchmarks.timing import interleaved, median, write
from evaluation.command import parse_flags
from evaluation.tables import mean_interval
from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.base import flag, flags

BLOCKS = 64  # passes of the sampler that draws blocks


@dataclass
class Arguments:
    """Time speculative sampling and count its rounds."""

    checkpoint: str = flag("Checkpoint folder or Hub id.")
    kind: str | None = flag("Kind of signal, or a Python file that defines it; default: the checkpoint's.")
    split: str | None = flag("Split to measure on; default: the validation rows of the training split.")
    limit: int = flag("Held-out signals that are scored.", 48)
    counted: int = flag("Of them, signals whose rounds are counted.", 8)
    context: int = flag("Observed values K of each signal.", 16)
    factors: list[float] = flags("Sides of the grids that are drawn, as factors of the native one.", [0.5, 1.0, 2.0])
    repeats: int = flag("Timed runs of each sampler, interleaved.", 5)
    samples: int = flag("Samples of either method whose bits are compared; 0: none.", 0)
    paper: bool = flag("Also time the published network's size (random weights), one value per pass.", False)
    seed: int = flag("Seed of contexts and orders.", 0)
    output: str | None = flag("Name of the report in docs/performance; default: none is written.")


@dataclass
class Task:
    """What is drawn: K known values (N, K, V) at positions (N, K, P), and queries (1, Q, P) of a grid."""

    positions: Tensor
    values: Tensor
    queries: Tensor

    @classmethod
    def of(cls, model, values: Tensor, context: int, factor: float, seed: int) -> "Task":
        """K random cells of each signal (N, cells, V) are known. On the native grid, the others are drawn."""
        native = model.native_positions()
        order = torch.randperm(native.shape[1], generator=torch.Generator().manual_seed(seed)).to(native.device)
        known, rest = order[:context], order[context:].sort().values
        grid = [round(side * factor) for side in model.config.native_grid]
        queries = native[:, rest] if grid == model.config.native_grid else model.native_positions(grid)
        return cls(native[:, known].expand(len(values), -1, -1), values[:, known], queries)

    def sample_iter(self, model, signal: int, samples: int, seed: int = 0, **options):
        """`model.sample_iter` for one of the signals."""
        part, generator = slice(signal, signal + 1), torch.Generator().manual_seed(seed)
        inputs = (self.positions[part], self.values[part], self.queries)
        return model.sample_iter(*inputs, num_samples=samples, generator=generator, **options)


def kept_by_known(model, task: Task, signal: int) -> list[tuple[int, int]]:
    """For each round of a sample, how many values were known before it and how many it added."""
    count, known = task.queries.shape[1], task.positions.shape[1]
    drawn = [0, *(round(state.share * count) for state in task.sample_iter(model, signal, 1, seed=signal))]
    return [(known + before, after - before) for before, after in zip(drawn, drawn[1:], strict=False)]


@torch.no_grad()
def floor(model, task: Task, samples: int) -> None:
    """Encode all values and decode all queries, twice each in one batch: the work of perfect drafts, verified."""
    queries = task.queries.expand(2 * samples, -1, -1)
    values = task.values[:1, :1].expand(2 * samples, queries.shape[1], -1)
    model.decode(model.encode(queries, values), model.embed_positions(queries))


def seconds(model, task: Task, repeats: int) -> dict[str, float]:
    """Median seconds of each sampler for one and for four samples of the first signal, and of one `predict`."""

    def run(samples: int, **options):
        def drawn() -> None:
            for _ in task.sample_iter(model, 0, samples, **options):
                pass

        return drawn

    runs = {"predict": lambda: model.predict(task.positions[:1], task.values[:1], task.queries)}
    for samples in (1, 4):
        runs[f"floor-{samples}"] = lambda samples=samples: floor(model, task, samples)
        runs[f"speculative-{samples}"] = run(samples)
        runs[f"blocks-{samples}"] = run(samples, num_steps=BLOCKS)
        runs[f"one-by-one-{samples}"] = run(samples, method="one-by-one")
    return {name: median(taken) for name, taken in interleaved(runs, repeats).items()}


def benchmark(model, values: Tensor, factor: float, arguments: Arguments) -> dict:
    """One row: values, rounds of each counted signal, and seconds."""
    task = Task.of(model, values, arguments.context, factor, arguments.seed)
    rounds = [kept_by_known(model, task, signal) for signal in range(min(arguments.counted, len(values)))]
    repeats = arguments.repeats if factor <= 1 else 1
    return {
        "values": task.queries.shape[1],
        "rounds": [len(each) for each in rounds],
        "kept_by_known": rounds,
        "seconds": seconds(model, task, repeats),
    }


def paper_seconds(config, context: int) -> dict[str, float]:
    """Seconds for one sample of a grid with the published network's size: cached, and encoding all anew each time."""
    count = math.prod(config.native_grid)
    size = PixelTransformerConfig.paper(value_dim=config.value_dim, native_grid=config.native_grid)
    model = PixelTransformerModel(size).eval()
    cached = draw(model, count, 1, context, use_cache=True)[0]
    return {"cached": cached, "re_encoding": estimate(model, count, 1, context, timed_steps=12)}


def bits_of_samples(model, values: Tensor, arguments: Arguments) -> dict[str, list[float]]:
    """Bits per dimension of as many samples of each method, under the chain that they are drawn by."""
    task, found = Task.of(model, values, arguments.context, 1.0, arguments.seed), {}
    signals = min(arguments.counted, len(values))
    times = -(-arguments.samples // signals)
    context = task.positions[:signals].repeat(times, 1, 1), task.values[:signals].repeat(times, 1, 1)
    queries = task.queries.expand(signals * times, -1, -1)
    for seed, method in enumerate(("speculative", "one-by-one")):
        generator = torch.Generator().manual_seed(arguments.seed + seed)
        scores = []
        for part in tqdm(torch.arange(len(queries)).split(25), desc=method, leave=False):
            given = context[0][part], context[1][part], queries[part]
            drawn = model.sample(*given, generator=generator, method=method)[0]
            scores.append(model.log_prob(*given, drawn, generator=generator))
        found[method] = list(mean_interval(-torch.cat(scores) / (queries.shape[1] * values.shape[-1] * math.log(2))))
    return found


def main() -> None:
    try:
        arguments, signal = parse_flags(Arguments, sys.argv[1:])
    except ValueError as error:
        sys.exit(f"benchmarks.speculative: {error}")
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    config = model.config
    values = signal.grid_values(signal.collate(held_out(arguments, signal, config)), config.native_grid)
    scored = bits_by_budget(
        model, values, arguments.context, {"spread": {}, "random": {"order": "random"}}, "spread", arguments.seed
    )
    results = {"checkpoint": Path(arguments.checkpoint).name, "context": arguments.context, "signals": len(values)}
    results |= {"max_buffer_share": config.max_buffer_share, "split": arguments.split or "validation"}
    results["bits_per_dim"] = list(mean_interval(scored["spread"]))
    results["random_adds"] = list(mean_interval(scored["random"] - scored["spread"]))
    print(json.dumps(results), flush=True)
    rows = results["rows"] = []
    for factor in arguments.factors:
        rows.append(benchmark(model, values, factor, arguments))
        print(json.dumps({key: value for key, value in rows[-1].items() if key != "kept_by_known"}), flush=True)
    timed = [{"values": row["values"], "samples": 1, "seconds": row["seconds"]["speculative-1"]} for row in rows]
    results["exponent"] = exponent(timed, "seconds", 1) if len(timed) > 1 else None
    if arguments.paper:
        results["paper_seconds"] = paper_seconds(config, arguments.context)
        print(json.dumps(results["paper_seconds"]), flush=True)
    if arguments.samples:
        results["bits_of_samples"] = bits_of_samples(model, values, arguments)
        print(json.dumps(results["bits_of_samples"]), flush=True)
    if arguments.output:
        write(arguments.output, results, "python -m benchmarks.speculative " + shlex.join(sys.argv[1:]))


if __name__ == "__main__":
    main()
