"""Likelihood and error of the marginals against the number of observed places."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from tqdm.auto import tqdm

from baselines.nearest import nearest_values
from signals.places import random_places


@torch.no_grad()
def marginals_against_context(
    model,
    arrays: Tensor,
    contexts: Iterable[int],
    to_values,
    num_queries: int = 128,
    tokens_per_batch: int = 16384,
    seed: int = 0,
    progress: bool = False,
) -> list[dict[str, float | None]]:
    """Score random unobserved cells given K random observed cells of each signal.

    Args:
        arrays (`Tensor` (N, …, y, x, V)): Held-out signals as stored; `to_values` turns a batch into values.
        contexts (`Iterable[int]`): The numbers K. Every K sees the same cells first: fewer of them, never others.
        num_queries (`int`): Unobserved cells scored per signal (all of them where fewer are left).

    Returns:
        One row per K: `context`, `signals`, `bits_per_dim` (bits per dimension of 8-bit values, or of a density
        without quantisation), `half_width` (of its 95 % confidence interval over signals), `rmse` of the mean image,
        `nearest_rmse`.
    """
    device = model.device
    cells = math.prod(arrays.shape[1:-1])
    contexts, rows = list(contexts), []
    # One batch size for all K, so that all see the same random order of each signal's cells.
    batch = max(1, tokens_per_batch // (max(contexts, default=0) + min(num_queries, cells)))
    for context in contexts:
        if context >= cells:
            raise ValueError(f"contexts: expected fewer than the {cells} cells of a signal, got {context}")
        queries = min(num_queries, cells - context)
        nats, error, nearest_error = [], 0.0, 0.0
        starts = range(0, len(arrays), batch)
        for start in tqdm(starts, desc=f"K = {context}", disable=not progress, leave=False):
            values = to_values(arrays[start : start + batch].to(device))
            generator = torch.Generator(device).manual_seed(seed + start)
            positions, known = random_places(values, cells, generator=generator)
            observed, observed_values = positions[:, :context], known[:, :context]
            # The last cells of the order, so that all K are scored at the same ones while enough are left.
            asked, truth = positions[:, -queries:], known[:, -queries:]
            distribution = model.predict(observed, observed_values, asked)
            nats.append(-distribution.log_prob(truth).double().mean(1).cpu())
            error += (distribution.mean - truth).double().square().sum().item()
            if context:
                nearest = nearest_values(observed, observed_values, asked)
                nearest_error += (nearest - truth).double().square().sum().item()
        per_signal = torch.cat(nats) / (math.log(2) * arrays.shape[-1])
        count = len(arrays) * queries * arrays.shape[-1]
        rows.append(
            {
                "context": context,
                "signals": len(arrays),
                "bits_per_dim": per_signal.mean().item(),
                "half_width": 1.96 * per_signal.std().item() / math.sqrt(len(per_signal)),
                "rmse": math.sqrt(error / count),
                "nearest_rmse": math.sqrt(nearest_error / count) if context else None,
            }
        )
    return rows


def markdown_table(rows: list[dict[str, float | None]]) -> str:
    """The rows of `marginals_against_context` as a Markdown table."""
    lines = [
        "| observed places K | bits per dimension | RMSE of the mean | RMSE of nearest neighbour |",
        "|---:|---:|---:|---:|",
    ]
    for row in rows:
        nearest = f"{row['nearest_rmse']:.4f}" if row["context"] else "–"
        bits = f"{row['bits_per_dim']:.3f} ± {row['half_width']:.3f}"
        lines.append(f"| {row['context']} | {bits} | {row['rmse']:.4f} | {nearest} |")
    return "\n".join(lines)
