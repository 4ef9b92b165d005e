"""What fewer passes cost and save: `python -m benchmarks.steps --checkpoint … --dataset_name … [--write]`.

Measures, on held-out signals, the loss of the next value against the number of known ones. From these curves
`sample(num_steps=…)` decides how many values each pass draws (Hoogeboom et al., Autoregressive Diffusion Models, ICLR
2022); `--write` stores them as `step_losses` in the checkpoint's config.json. Then, for each number of passes, it
measures the joint likelihood of whole signals under the blocks that are drawn, and the seconds for four samples.
"""

import json
import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from benchmarks.timing import interleaved, median, write
from evaluation.command import parse_flags
from evaluation.tables import make_table, markdown, mean_interval
from pixeltransformer.coarse_to_fine import plan_scales
from pixeltransformer.context import Context, take
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from pixeltransformer.orders import spread_order
from pixeltransformer.streams import Streams
from signals import Signal
from signals.base import flag, flags, to_device

KNOTS = 20  # numbers of known values at which the loss is measured
NEXT = 128  # values scored at each: those that would be drawn next
TOKENS = 16384  # tokens and queries in one call
DIGITS = 4


@dataclass
class Arguments:
    """Measure what fewer passes of sampling cost and save."""

    checkpoint: str = flag("Checkpoint folder or Hub id.")
    kind: str | None = flag("Kind of signal, or a Python file that defines it; default: the checkpoint's.")
    split: str | None = flag("Split to measure on; default: the validation rows of the training split.")
    limit: int = flag("Held-out signals.", 96)
    budgets: list[int] = flags("Numbers of passes; the exact chain is always measured too.", [8, 16, 32, 64, 128, 256])
    context: int = flag("Observed positions K of each signal whose rest is scored or drawn.", 16)
    samples: int = flag("Samples drawn at a time.", 4)
    repeats: int = flag("Timed runs of each budget, interleaved; 0: no timing.", 3)
    seed: int = flag("Seed of all positions and orders.", 0)
    write: bool = flag("Store the measured curves in the checkpoint's config.json.", False)
    output: str | None = flag("Name of the report in docs/performance; default: none is written.")


def knots(count: int) -> list[int]:
    """Numbers of known values, 0 and log-spaced ones that leave an eighth of all `count` to score."""
    spaced = torch.logspace(0, math.log10(max(count * 7 // 8, 1)), KNOTS).round().long()
    return torch.cat((torch.zeros(1, dtype=torch.long), spaced)).unique().tolist()


@torch.no_grad()
def loss_of_next(model, context: Context, positions: Tensor, values: Tensor, scale: int) -> dict[str, list]:
    """The curve of one chain: the context, then values (N, L, V) at positions (N, L, P) in the order of drawing.

    The values known are given as context, as nearly all are when more is drawn.
    """
    count, rows = positions.shape[1], positions.shape[0]
    at, nats = knots(count), []
    scales = torch.full_like(positions[..., 0], scale)
    for known in at:
        stop = min(known + NEXT, count)
        size = max(1, TOKENS // (context.positions.shape[1] + stop))
        total = 0.0
        for start in range(0, rows, size):
            part = slice(start, start + size)
            given = Context(context.positions[part], context.values[part], None, _rows(context.scales, part))
            given = given.extend(positions[part, :known], values[part, :known], scales[part, :known])
            distribution = model.predict(
                given.positions,
                given.values,
                positions[part, known:stop],
                context_scales=given.scales,
                query_scales=scales[part, known:stop],
            )
            total -= distribution.log_prob(values[part, known:stop]).sum().item()
        nats.append(total / (rows * (stop - known)))
    return {"known": at, "nats": nats}


def _rows(x: Tensor | None, part: slice) -> Tensor | None:
    return None if x is None else x[part]


def measure_losses(model, arrays: list[Tensor], generator: torch.Generator) -> dict[str, dict]:
    """`config.step_losses` from the values (N, cells, V) of each scale's grid, the finest first.

    No curve rises, as to know more can only help: where a measured one does, it is chance, or the positions that come
    next are harder ones, and blocks planned by it would be wrong.
    """
    finest = arrays[0]
    positions = model.native_positions().expand(len(finest), -1, -1)
    nothing = Context(positions[:, :0], finest[:, :0])
    streams = Streams.of(generator, len(positions))
    order = spread_order(positions, streams)
    curves = {"random": loss_of_next(model, nothing, take(positions, order), take(finest, order), 0)}
    coarser = None
    for level in plan_scales(model, nothing, positions, None, streams) if len(arrays) > 1 else ():
        values = arrays[level.scale]
        context = level.given(nothing, coarser)
        curves[f"scale-{level.scale}"] = loss_of_next(
            model, context, take(level.positions, level.order), take(values, level.order), level.scale
        )
        coarser = values
    return {name: _falling(**curve) for name, curve in curves.items()}


def _falling(known: list[int], nats: list[float]) -> dict[str, list]:
    nats = IsotonicRegression(increasing=False).fit_transform(known, nats)
    return {"known": known, "nats": [float(f"{loss:.{DIGITS}g}") for loss in nats]}


@torch.no_grad()
def bits_by_budget(
    model, values: Tensor, context: int, budgets: dict[Any, dict], order: str, seed: int
) -> dict[Any, Tensor]:
    """Bits per dimension (N,) of the values (N, cells, V) that K = `context` random ones of each leave, by budget.

    Every budget scores the same values; orders are fresh ones, as in sampling.

    Args:
        budgets (`dict`): Further arguments of `log_prob` by name.
    """
    generator = torch.Generator(values.device).manual_seed(seed)
    positions = model.native_positions().expand(len(values), -1, -1)
    shuffled = torch.rand(positions.shape[:2], generator=generator, device=values.device).argsort(-1)
    positions, values = take(positions, shuffled), take(values, shuffled)
    rest = positions.shape[1] - context
    size = max(1, TOKENS // (2 * positions.shape[1]))
    found = {}
    for name, extra in budgets.items():
        parts = []
        for start in range(0, len(values), size):
            at, value = positions[start : start + size], values[start : start + size]
            given, asked = (at[:, :context], value[:, :context]), (at[:, context:], value[:, context:])
            chosen = {"order": order, "generator": generator} | extra
            parts.append(model.log_prob(*given, *asked, **chosen))
        found[name] = -torch.cat(parts) / (rest * values.shape[-1] * math.log(2))
    return found


def seconds_by_budget(
    model, values: Tensor, context: int, budgets: list[int | None], order: str, samples: int, repeats: int
) -> dict[int | None, float]:
    """Median seconds for `samples` samples of one signal, of which K = `context` random values are known."""
    positions = model.native_positions()
    known = torch.randperm(positions.shape[1], generator=torch.Generator().manual_seed(0)).to(positions.device)
    given = positions[:, known[:context]], values[:1, known[:context]]

    def run(budget: int | None):
        return lambda: model.sample(
            *given, positions[:, known[context:]], num_samples=samples, num_steps=budget, order=order
        )

    quick = {budget: run(budget) for budget in budgets}
    return {budget: median(seconds) for budget, seconds in interleaved(quick, repeats).items()}


def report(model, values: Tensor, arguments: Arguments, order: str) -> list[dict]:
    """One row for each budget of passes, then the exact chain: in random orders, and as it is sampled."""
    budgets = [budget for budget in arguments.budgets if budget < values.shape[1] - arguments.context]
    scored = {budget: {"num_steps": budget} for budget in budgets}
    if order == "spread":
        scored["random"] = {"order": "random"}
    scored[None] = {}
    bits = bits_by_budget(model, values, arguments.context, scored, order, arguments.seed)
    seconds = {}
    if arguments.repeats:
        seconds = seconds_by_budget(
            model, values, arguments.context, [*budgets, None], order, arguments.samples, arguments.repeats
        )
    return [
        {
            "passes": name,
            "bits_per_dim": mean_interval(bits[name]),
            "lost": mean_interval(bits[name] - bits[None]) if name is not None else None,
            "seconds": seconds.get(name),
        }
        for name in scored
    ]


EXACT = {None: "exact", "random": "exact, random order", "spread": "exact, spread order"}


def table(rows: list[dict], samples: int, quantised: bool) -> str:
    """The rows in Markdown."""
    unit = "bits per dimension" if quantised else "bits of density"
    columns = {"passes": 0, unit: 3, "lost against exact": 4, f"seconds for {samples} samples": 2}
    lines = []
    for row in rows:
        lost = "–" if row["lost"] is None else "{:+.4f} ± {:.4f}".format(*row["lost"])
        lines.append([EXACT.get(row["passes"], str(row["passes"])), row["bits_per_dim"], lost, row["seconds"]])
    return markdown(make_table(columns, lines))


def held_out(arguments: Arguments, signal: Signal, config) -> list[Tensor]:
    """The signals that are measured on, as stored."""
    if arguments.split is not None:
        return signal.load_split(arguments.split, config, arguments.limit).first(arguments.limit)
    return signal.load(arguments.seed)[1].first(arguments.limit)


def write_losses(checkpoint: str, losses: dict[str, dict]) -> None:
    """Store the curves in a checkpoint folder's config.json, which otherwise stays as it is."""
    path = Path(checkpoint) / "config.json"
    if not path.is_file():
        raise ValueError(f"--write: expected --checkpoint to be a folder with a config.json, got {checkpoint}")
    config = json.loads(path.read_text())
    config["step_losses"] = losses
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")


def main() -> None:
    try:
        arguments, signal = parse_flags(Arguments, sys.argv[1:])
    except ValueError as error:
        sys.exit(f"benchmarks.steps: {error}")
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    config = model.config
    batch = to_device(signal.collate(held_out(arguments, signal, config)), model.device)
    if config.num_scales > 1:
        arrays = [array.flatten(1, -2) for array in signal.pyramid(batch, config.num_scales, config.levels)]
    else:
        arrays = [signal.grid_values(batch, config.native_grid)]
    generator = torch.Generator(model.device).manual_seed(arguments.seed)
    config.step_losses = measure_losses(model, arrays, generator)
    for name, curve in config.step_losses.items():
        print(f"{name}: " + ", ".join(f"{n}: {nats}" for n, nats in zip(*curve.values(), strict=True)), flush=True)
    if arguments.write:
        write_losses(arguments.checkpoint, config.step_losses)
    results = {"checkpoint": Path(arguments.checkpoint).name, "signals": len(arrays[0]), "context": arguments.context}
    results |= {"samples": arguments.samples, "parameters": sum(p.numel() for p in model.parameters()), "orders": {}}
    results |= {"quantised": config.quantization_step is not None, "split": arguments.split or "validation"}
    for order in ["spread"] + ["coarse-to-fine"] * (config.num_scales > 1):
        rows = results["orders"][order] = report(model, arrays[0], arguments, order)
        print(f"\n{order}\n\n{table(rows, arguments.samples, results['quantised'])}", flush=True)
    if arguments.output:
        write(arguments.output, results, "python -m benchmarks.steps " + shlex.join(sys.argv[1:]))


if __name__ == "__main__":
    main()
