"""A picture of what a checkpoint infers: `python -m evaluation.figure --checkpoint checkpoints/mnist --output m.png`.

Each kind of signal has a picture of its own, see `Signal.evaluation_plan`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from evaluation.command import parse_flags
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals import Signal
from signals.base import flag

DRAWN = 2048  # values of a large signal that are drawn


@dataclass
class Arguments:
    """A picture of what a checkpoint infers from a few observed positions, or of new signals."""

    checkpoint: str = flag("Checkpoint folder or Hub id.")
    output: str = flag("File for the picture: PNG, or GIF for videos.")
    kind: str | None = flag("Kind of signal, or a Python file that defines it; default: the checkpoint's.")
    split: str = flag("Split to take signals from.", "test")
    index: int = flag("Row of the split.", 0)
    temperature: float = flag("Temperature of the samples.", 0.9)
    seed: int = flag("Seed of positions and samples.", 0)
    new: int = flag("Draw so many new signals, with nothing observed, instead.", 0)
    num_steps: int = flag("Passes for each new signal.", 256)
    order: Literal["spread", "random", "coarse-to-fine"] = flag("Order in which new signals are drawn.", "spread")


def make(arguments: Arguments, signal: Signal) -> None:
    """Write the picture."""
    plan = signal.evaluation_plan()
    drawing = plan.draw_new if arguments.new else plan.draw
    if drawing is None:
        missing = "draw_new" if arguments.new else "draw"
        raise ValueError(
            f"--kind: there is no picture of {signal.plural} yet: their class gives no `{missing}` in `evaluation_plan`"
        )
    if arguments.new < 0 or arguments.num_steps < 1:
        raise ValueError(
            f"--new, --num_steps: expected at least 0 and 1, got {arguments.new} and {arguments.num_steps}"
        )
    if not arguments.output:
        raise ValueError(f"--output: expected a file, got {arguments.output!r}")
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    if arguments.new:
        generator = torch.Generator().manual_seed(arguments.seed)
        if plan.new is None:
            signals = new_signals(arguments, model, generator)
        else:
            signals = plan.new(model, arguments.new, arguments.num_steps, arguments.temperature, generator)
        drawing(signals, model.config.native_grid, output)
        return
    rows = signal.load_split(arguments.split, model.config, arguments.index + 8)
    if not 0 <= arguments.index <= len(rows) - 2:
        raise ValueError(f"--index: expected 0 … {len(rows) - 2} (two rows may be shown), got {arguments.index}")
    drawing(model, signal, rows, arguments.index, arguments.temperature, arguments.seed, output)


def new_signals(arguments: Arguments, model: PixelTransformerModel, generator: torch.Generator) -> torch.Tensor:
    """Samples (N, cells, V) of whole signals, nothing observed; of large ones `DRAWN` values, then the others' mean."""
    positions, nothing = model.native_positions(), torch.zeros(1, 0, model.config.value_dim)
    large = positions.shape[1] > 2 * DRAWN
    return model.sample(
        positions[:, :0],
        nothing,
        positions,
        num_samples=arguments.new,
        num_steps=min(arguments.num_steps, positions.shape[1]),
        num_autoregressive=DRAWN if large else None,
        order=arguments.order,
        temperature=arguments.temperature,
        generator=generator,
    )[:, 0]


if __name__ == "__main__":
    try:
        make(*parse_flags(Arguments, sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"evaluation.figure: {error}")
