"""Tokens trained a second against a plain first implementation: `python -m benchmarks.training --dataset_name …`.

Both train the same network from the same weights on the same signals and positions (see `benchmarks.plain`). They take
turns step by step in one process, and their losses are compared at every step. A signal has K + 2 M + Q tokens: every
context value, every buffer value as token and as query, every query. Ours uses bf16 products where the hardware has
them (`--mixed_precision auto`) and compiled layers (`--compile true`); compiling happens in steps that are not timed.
"""

import argparse
import copy
import json
import shlex
import statistics
import sys
import time

import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.timing import write
from pixeltransformer.head import channel_outputs
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from training.arguments import parse_arguments
from training.batches import EpisodeBatches
from training.compiling import compiled_layers
from training.episodes import EpisodeSizes, make_episode
from training.optimizers import (
    make_ema,
    make_optimizers,
    matrices_of_layers,
    schedule,
    set_learning_rate,
    update_ema,
)
from training.precision import choose_precision
from training.setup import make_model, make_sampler


class Trainer:
    """A model with its optimisers, and one step of training as `train_accelerate.py` does it."""

    def __init__(self, model: PixelTransformerModel, arguments):
        self.model, self.arguments = model.train(), arguments
        self.optimizers = make_optimizers(model, arguments, matrices_of_layers(model))
        self.ema = make_ema(model, arguments.ema_decay)

    def step(self, loss: Tensor, factor: float) -> float:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.arguments.max_grad_norm)
        set_learning_rate(self.optimizers, factor)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        update_ema(self.ema, self.model)
        return loss.item()


def flops(config, sizes: EpisodeSizes) -> float:
    """Floating-point operations of the matrix products of one step, forward and backward (three times forward)."""
    width, wide = config.hidden_size, config.intermediate_size
    known, total = 1 + sizes.context, 1 + sizes.context + sizes.buffer
    asked = sizes.queries + sizes.buffer
    feed = 3 * width * wide
    encoder = total * (4 * width**2 + feed) + 2 * width * (known**2 + sizes.buffer * total)
    decoder = total * 2 * width**2 + asked * (2 * width**2 + feed)
    decoder += 2 * width * (sizes.queries * known + sizes.buffer * total)
    outputs = config.value_dim + 2 + (channel_outputs(config.value_dim) if config.correlated_channels else 0)
    head = asked * width * config.num_bins * outputs
    products = config.num_encoder_layers * encoder + config.num_decoder_layers * decoder + head
    return 3 * 2 * products * sizes.signals


def matrix_rate(dtype: torch.dtype, side: int = 2048, repeats: int = 5) -> float:
    """The most operations a second that square matrix products reach here."""
    left, right = torch.randn(side, side, dtype=dtype), torch.randn(side, side, dtype=dtype)
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds)


def benchmark(flags: list[str], steps: int, skipped: int) -> dict:
    """Speed and losses of both; the first `skipped` steps are not timed."""
    arguments, signal = parse_arguments([*flags, "--output_dir", "unused"])
    bf16 = choose_precision(arguments.mixed_precision, "cpu") == "bf16"
    torch.manual_seed(arguments.seed)
    rows, _ = signal.load(arguments.seed)
    model = make_model(arguments, signal, rows)
    rows._kept.clear()  # the data is cold for both
    sampler = make_sampler(arguments, signal, model.config)
    ours, first = Trainer(model, arguments), Trainer(copy.deepcopy(model), arguments)
    batches = iter(EpisodeBatches(len(rows), sampler))
    seconds = {"ours": [], "plain": []}
    data = {"ours": [], "plain": []}
    losses = {"ours": [], "plain": []}
    tokens, work = [], []
    for step in range(steps):
        sizes, indices, factor = sampler.sizes(step), next(batches), schedule(step / steps, arguments.warmup, "linear")

        started = time.perf_counter()
        batch = signal.collate([rows[index] for index in indices])
        episode = make_episode(signal, batch, sizes, arguments.seed, step)
        data["ours"].append(time.perf_counter() - started)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = ours.model(**episode).loss
        losses["ours"].append(ours.step(loss, factor))
        seconds["ours"].append(time.perf_counter() - started)

        started = time.perf_counter()
        same = plain.make_episode(rows, indices, sizes, arguments.seed, step)
        data["plain"].append(time.perf_counter() - started)
        losses["plain"].append(first.step(plain.loss(first.model, same), factor))
        seconds["plain"].append(time.perf_counter() - started)

        for name in episode:
            if not torch.allclose(episode[name], same[name], atol=1e-6):
                raise AssertionError(f"step {step}: both were to see the same {name}")
        tokens.append(sizes.signals * (sizes.context + 2 * sizes.buffer + sizes.queries))
        work.append(flops(model.config, sizes))
        print(f"step {step}: {losses['ours'][-1]:.4f} {losses['plain'][-1]:.4f} nats", flush=True)
    timed = slice(skipped, None)
    dtypes = {"ours": torch.bfloat16 if bf16 else torch.float32, "plain": torch.float32}
    speed = {name: sum(tokens[timed]) / sum(seconds[name][timed]) for name in seconds}
    return {
        "precision": "bf16" if bf16 else "float32",
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps - skipped,
        "tokens_a_second": speed,
        "ratio": speed["ours"] / speed["plain"],
        "ratio_of_each_step": statistics.median(
            slow / fast for slow, fast in zip(seconds["plain"][timed], seconds["ours"][timed], strict=True)
        ),
        "data_share": {name: sum(data[name][timed]) / sum(seconds[name][timed]) for name in seconds},
        "gflops": {name: sum(work[timed]) / sum(seconds[name][timed]) / 1e9 for name in seconds},
        "matrix_gflops": {name: matrix_rate(dtype) / 1e9 for name, dtype in dtypes.items()},
        "losses": losses,
        "largest_difference": max(abs(a - b) for a, b in zip(losses["ours"], losses["plain"], strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="All other flags are those of train_accelerate.py.",
        allow_abbrev=False,
    )
    parser.add_argument("--steps", type=int, default=40, help="training steps of each")
    parser.add_argument("--skipped", type=int, default=10, help="first steps, which are not timed (compiling)")
    parser.add_argument("--output", help="name of the report in docs/performance; default: none is written")
    own, rest = parser.parse_known_args()
    flags = ["--preset", "cifar10", "--num_scales", "1", "--horizontal_flip", "false", "--continuous_probability", "0"]
    with compiled_layers():  # the plain step calls none of them
        found = benchmark([*flags, *rest], own.steps, own.skipped)
    print(json.dumps({key: value for key, value in found.items() if key != "losses"}, indent=1))
    if own.output:
        write(own.output, found, "python -m benchmarks.training " + shlex.join(sys.argv[1:]))


if __name__ == "__main__":
    main()
