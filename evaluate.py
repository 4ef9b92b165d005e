"""Evaluate a checkpoint on held-out signals: `python evaluate.py --checkpoint checkpoints/mnist --dataset_name ...`.

Writes a JSON report and prints its table: likelihood, error and quality against the number of observed places.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import HfArgumentParser

from baselines.polynomial import PolynomialPosterior
from configuration_pixeltransformer import PixelTransformerConfig
from evaluation.against_context import marginals_against_context, markdown_table, quality_table
from evaluation.quality import quality_against_context
from modeling_pixeltransformer import PixelTransformerModel
from signals import Signal, find
from signals.base import flag, flags


@dataclass
class Arguments:
    """Evaluate a checkpoint on held-out signals."""

    checkpoint: str = flag("Checkpoint folder or Hub id.")
    signal: str | None = flag("Kind of signal, or a Python file that defines it; default: the checkpoint's.")
    split: str = flag("Split to evaluate on.", "test")
    contexts: list[int] = flags("Numbers K of observed places.", [0, 4, 16, 64, 256])
    queries: int = flag("Unobserved places scored for each signal and K.", 128)
    quality: list[int] = flags("Numbers K for which whole signals are completed and judged (SSIM, PSNR, IoU).", [])
    quality_limit: int | None = flag("Signals completed for --quality; default: all that are evaluated.")
    limit: int | None = flag("Evaluate this many signals only, for a quick look.")
    seed: int = flag("Seed of the places observed and asked for.", 0)
    output: str | None = flag("JSON file for the report.")

    def __post_init__(self):
        for name in ("queries", "limit", "quality_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name}: expected a number above 0, got {value}")
        for name in ("contexts", "quality"):
            if min(getattr(self, name), default=0) < 0:
                raise ValueError(f"--{name}: expected numbers of at least 0, got {getattr(self, name)}")
        if not self.contexts:
            raise ValueError("--contexts: expected at least one number, got none")


def evaluate(arguments: Arguments, signal: Signal) -> dict:
    """The report that `--output` holds."""
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    rows = signal.load_split(arguments.split, model.config, arguments.limit)
    polynomial = model.config.signal == "polynomial"
    table = marginals_against_context(
        model,
        signal,
        rows,
        arguments.contexts,
        arguments.queries,
        seed=arguments.seed,
        progress=True,
        reference=PolynomialPosterior(signal.degree) if polynomial else None,
    )
    completed = rows.first(arguments.quality_limit or len(rows))
    quality = quality_against_context(model, signal, completed, arguments.quality, seed=arguments.seed, progress=True)
    return {
        "command": "python " + shlex.join(["evaluate.py", *sys.argv[1:]]),
        "split": arguments.split,
        "signals": len(rows),
        "plural": signal.plural,
        "rows": table,
        "completed": len(completed),
        "quality": [{"context": k, **row} for k, row in zip(arguments.quality, quality, strict=True)],
    }


def parse_flags(own: type, argv: list[str]) -> tuple:
    """A command's own arguments (with `checkpoint` and `signal`) and the signal, whose kind the checkpoint knows.

    Raises:
        ValueError: naming the flag.
    """
    given = HfArgumentParser(own, add_help=False, allow_abbrev=False).parse_known_args(argv)[0]
    helping = {"-h", "--help"} & set(argv)
    if given.checkpoint is None and not helping:
        raise ValueError("--checkpoint: expected a folder or a Hub id, got None")
    known = "image" if given.checkpoint is None else read_config(given.checkpoint).signal
    kind = given.signal or known
    if find(kind).kind != known and not helping:
        raise ValueError(f"--signal: expected the checkpoint's kind, {known}, got {kind}")
    parser = HfArgumentParser((own, find(kind)), allow_abbrev=False, description=own.__doc__)
    try:
        return parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        raise ValueError(str(error).replace("Some specified arguments are not used", "unknown flags")) from error


def read_config(checkpoint: str) -> PixelTransformerConfig:
    """The checkpoint's configuration."""
    try:
        return PixelTransformerConfig.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise ValueError(f"--checkpoint: cannot load {checkpoint!r}: {error}") from error


def main() -> None:
    try:
        arguments, signal = parse_flags(Arguments, sys.argv[1:])
        report = evaluate(arguments, signal)
    except ValueError as error:
        sys.exit(f"evaluate.py: {error}")
    print(markdown_table(report["rows"], read_config(arguments.checkpoint)))
    if report["quality"] and len(report["quality"][0]) > 1:
        print("\n" + quality_table(report["quality"]))
    if arguments.output:
        output = Path(arguments.output)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
