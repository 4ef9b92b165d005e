"""A picture of what a checkpoint infers: `python -m evaluation.figure --checkpoint checkpoints/mnist --output m.png`.

Each kind of signal has a picture of its own, see `evaluation/figures`.
"""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from evaluate import parse_flags
from modeling_pixeltransformer import PixelTransformerModel
from signals import Signal
from signals.base import flag


@dataclass
class Arguments:
    """A picture of what a checkpoint infers from a few observed places."""

    checkpoint: str = flag("Checkpoint folder or Hub id.")
    output: str = flag("File for the picture: PNG, or GIF for videos.")
    signal: str | None = flag("Kind of signal, or a Python file that defines it; default: the checkpoint's.")
    split: str = flag("Split to take signals from.", "test")
    index: int = flag("Row of the split.", 0)
    temperature: float = flag("Temperature of the samples.", 0.9)
    seed: int = flag("Seed of places and samples.", 0)


def make(arguments: Arguments, signal: Signal) -> None:
    """Write the picture."""
    if importlib.util.find_spec(f"evaluation.figures.{signal.kind}") is None:
        raise ValueError(
            f"--signal: there is no picture for {signal.plural} yet; add evaluation/figures/{signal.kind}.py"
        )
    if not arguments.output:
        raise ValueError(f"--output: expected a file, got {arguments.output!r}")
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    rows = signal.load_split(arguments.split, model.config, arguments.index + 8)
    if not 0 <= arguments.index <= len(rows) - 2:
        raise ValueError(f"--index: expected 0 … {len(rows) - 2} (two rows may be shown), got {arguments.index}")
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"evaluation.figures.{signal.kind}")
    module.draw(model, signal, rows, arguments.index, arguments.temperature, arguments.seed, output)


if __name__ == "__main__":
    try:
        make(*parse_flags(Arguments, sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"evaluation.figure: {error}")
