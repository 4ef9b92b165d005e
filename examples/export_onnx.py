"""Export a checkpoint's mean to ONNX: `python -m examples.export_onnx checkpoints/mnist --output runs/mnist.onnx`.

The file takes context positions, context values and query positions of one item (B = 1) and any K and Q, and returns
the mean (1, Q, V) that `model.predict` returns. onnxruntime serves it without torch:

    import onnxruntime
    session = onnxruntime.InferenceSession("runs/mnist.onnx")
    mean = session.run(["mean"], {"context_positions": ..., "context_values": ..., "query_positions": ...})[0]

Needs `pip install onnx onnxscript onnxruntime`. Prints the largest difference to the model in torch, and the time of
both. Arguments are not checked by the file; `torch.export` alone (`export_mean`) keeps the checks of numbers.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from transformers import AutoModel

NAMES = ("context_positions", "context_values", "query_positions")
RUNS = 5  # whose median is printed


class Mean(nn.Module):
    """A model's mean (B, Q, V) given context positions (B, K, P), context values (B, K, V), queries (B, Q, P)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> Tensor:
        return self.model(context_positions, context_values, query_positions).distribution.mean


def arguments_for(model: nn.Module, batch: int, context: int, queries: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Random arguments: values in the middle of the model's range at cells of its grid."""
    generator = torch.Generator().manual_seed(seed)
    positions = model.native_positions()[0]
    chosen = torch.stack([torch.randperm(len(positions), generator=generator) for _ in range(batch)])
    values = torch.rand(batch, context, model.config.value_dim, generator=generator)
    return positions[chosen[:, :context]], values, positions[chosen[:, -queries:]]


def export_mean(model: nn.Module) -> torch.export.ExportedProgram:
    """The mean as a graph of torch, for a batch of 1, a context of at least 1 and any number of queries."""
    shapes = tuple({1: torch.export.Dim.AUTO} for _ in NAMES)
    return torch.export.export(Mean(model).eval(), arguments_for(model, 1, 7, 9), dynamic_shapes=shapes)


def export_onnx(mean: torch.export.ExportedProgram, path: Path) -> Path:
    """Write the mean that `export_mean` returns as an ONNX file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    program = torch.onnx.export(mean, input_names=NAMES, output_names=["mean"], dynamo=True)
    program.save(path)
    return path


def median_seconds(call) -> float:
    """Median time of a call, after one that warms up."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def main(argv: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="checkpoint folder or Hub name")
    parser.add_argument("--output", type=Path, default=Path("runs/mean.onnx"), help="file (default: %(default)s)")
    parser.add_argument("--context", type=int, default=64, help="observed values of the comparison")
    own = parser.parse_args(argv)
    model = AutoModel.from_pretrained(own.checkpoint, trust_remote_code=True).eval()
    export_onnx(export_mean(model), own.output)
    session = onnxruntime.InferenceSession(own.output)
    inputs = arguments_for(model, 1, own.context, model.native_positions().shape[1] - own.context)
    named = {name: tensor.numpy() for name, tensor in zip(NAMES, inputs, strict=True)}
    served = session.run(["mean"], named)[0]
    difference = float(np.abs(served - model.predict(*inputs).mean.numpy()).max())
    eager = median_seconds(lambda: model.predict(*inputs, reduce=lambda d: d.mean))
    seconds = median_seconds(lambda: session.run(["mean"], named))
    print(f"{own.output}: largest difference {difference:.1e}; {seconds:.3f} s, torch {eager:.3f} s")
    return difference


if __name__ == "__main__":
    main()
